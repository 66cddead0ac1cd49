"""Fit the linear layer of a frozen segmenter by logistic regression instead of training it.

python -m orl_mm.evaluation.linear_fit CONFIG CHECKPOINT OUT.pth [--strength 1e-3]
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from orl_mm.models.utils.diagnostics import effective_rank
from orl_mm.registry import MODELS

IGNORED = 255
ITERATIONS = 2000


class Cells(NamedTuple):
    """Cells of the training images: features (N, D), and the share of each class in each (N, C)."""

    features: Tensor
    shares: Tensor


def fit_segmenter(
    cfg: Config, checkpoint: str, out: str | Path, strength: float = 1e-3
) -> dict[str, float]:
    """Fit the last layer of a config's segmenter to the cells of the training images.

    A cell is one place of the last feature map (stride 16) of an image without augmentation. The
    loss is convex, so the comparison of networks does not depend on a learning rate or a number
    of steps: the mean over cells of the cross entropy, in which a pixel has the config's weight
    of its class, plus ``strength`` times the sum of the squared weights (not of the biases).
    Training the same layer differs by that term, by augmentation, and by taking the loss over
    pixels.

    Args:
        cfg (Config): ``configs/transfer/voc/small/linear.py``; is changed.
        checkpoint (str): Of pretraining, or ``random:SEED`` for random weights.
        out (str or Path): The checkpoint to write; tools/test.py takes it with the same config.
        strength (float): Of the regularization of the layer on normalized features.

    Returns:
        dict: ``cells``, their number, and ``effective_rank`` of their centered features (see
        :func:`~orl_mm.models.utils.diagnostics.effective_rank`): near 1 after a collapse.

    Raises:
        ConvergenceWarning: The minimum was not reached.
    """
    model = build_segmenter(cfg, checkpoint)
    cells = cells_of(model, cfg)
    norm, layer = model.neck.norms[-1], model.decode_head.conv_seg
    norm.running_mean.copy_(cells.features.mean(0))
    norm.running_var.copy_(cells.features.var(0, unbiased=False))
    normed = norm(cells.features[:, :, None, None])[:, :, 0, 0]
    weight, bias = fit_layer(
        Cells(normed, cells.shares),
        torch.tensor(cfg.model.decode_head.loss_decode.class_weight),
        strength,
    )
    with torch.no_grad():
        layer.weight.copy_(weight[:, :, None, None])
        layer.bias.copy_(bias)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict()), out)
    rank = effective_rank(cells.features - cells.features.mean(0))
    return dict(cells=len(cells.features), effective_rank=rank)


def build_segmenter(cfg: Config, checkpoint: str) -> Any:
    """The network of a config in test mode, with a pretrained or a random backbone."""
    kind, _, seed = checkpoint.partition(':')
    init_default_scope('mmseg')
    torch.manual_seed(int(seed) if kind == 'random' else 0)
    backbone = cfg.model.backbone
    backbone.init_cfg = None if kind == 'random' else dict(backbone.init_cfg, checkpoint=checkpoint)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.eval()


@torch.no_grad()
def cells_of(model: Any, cfg: Config) -> Cells:
    """All cells of the training images that have a label, with the pipeline of the test."""
    loader = dict(
        cfg.test_dataloader,
        num_workers=0,
        persistent_workers=False,
        pin_memory=False,
        dataset=dict(cfg.train_dataloader.dataset, pipeline=cfg.test_dataloader.dataset.pipeline),
    )
    classes, features, shares = model.decode_head.num_classes, [], []
    for batch in Runner.build_dataloader(loader):
        data = model.data_preprocessor(batch, False)
        maps = model.backbone(data['inputs'])[-1]
        for found, sample in zip(maps, data['data_samples'], strict=True):
            labels = sample.gt_sem_seg.data[0].long()
            pixels = F.one_hot(labels.where(labels != IGNORED, torch.tensor(classes)), classes + 1)
            share = F.adaptive_avg_pool2d(
                pixels.permute(2, 0, 1).float()[:classes], found.shape[1:]
            )
            features.append(found.flatten(1).T)
            shares.append(share.flatten(1).T)
    every = Cells(torch.cat(features), torch.cat(shares))
    inside = every.shares.sum(1) > 0
    return Cells(every.features[inside], every.shares[inside])


def fit_layer(cells: Cells, class_weight: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weights (C, D) and biases (C,) that minimise the loss of :func:`fit_segmenter`.

    A class without any cell gets weights of 0 and a bias that never wins.
    """
    cell, label = cells.shares.nonzero(as_tuple=True)  # a row for each class that a cell has
    weight = cells.shares[cell, label] * class_weight[label]
    present: list[int] = label.unique().tolist()
    two = len(present) == 2
    # scikit-learn minimises C sum(weight * loss) + |w|^2 / 2. For two classes it returns the
    # difference w of their weights; w / 2 and -w / 2 together have half its square.
    model = LogisticRegression(
        C=(1 + two) / (2 * strength * len(cells.features)), max_iter=ITERATIONS
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error', ConvergenceWarning)
        model.fit(cells.features[cell].numpy(), label.numpy(), sample_weight=weight.numpy())
    found = [torch.from_numpy(value).float() for value in (model.coef_, model.intercept_)]
    if two:
        found = [torch.cat([-value, value]) / 2 for value in found]
    weights = torch.zeros(len(class_weight), cells.features.shape[1])
    biases = torch.full((len(class_weight),), -1e4)
    weights[present], biases[present] = found
    return weights, biases


def main(argv: list[str] | None = None) -> None:
    """Write the fitted checkpoint, and the numbers of the fit beside it as ``fit.json``."""
    parser = argparse.ArgumentParser(description='Fit the linear layer of a frozen segmenter')
    parser.add_argument('config')
    parser.add_argument('checkpoint', help='of pretraining, or random:SEED')
    parser.add_argument('out', type=Path, help='the checkpoint to write')
    parser.add_argument('--strength', type=float, default=1e-3, help='of the regularization')
    args = parser.parse_args(argv)
    found = fit_segmenter(Config.fromfile(args.config), args.checkpoint, args.out, args.strength)
    args.out.with_name('fit.json').write_text(json.dumps(found) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
