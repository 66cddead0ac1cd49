"""The linear layer of a frozen segmenter, fitted to the end instead of trained for some steps."""

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from orl_mm.models.utils.diagnostics import effective_rank
from orl_mm.registry import MODELS

IGNORED = 255
RANK = 'effective_rank.txt'
ITERATIONS = 2000


class Cells(NamedTuple):
    """Cells of the training images: features (N, D), and the share of each class in each (N, C)."""

    features: Tensor
    shares: Tensor


def fit_segmenter(cfg: Config, checkpoint: str, out: Path, strength: float) -> None:
    """Write a config's segmenter whose last layer is a logistic regression of the training cells.

    A cell is one place of the last feature map (stride 16) of an image without augmentation. The
    loss is convex, so no rate and no number of steps decides which network looks better: the mean
    over cells of the cross entropy, a pixel's weight being its class's in the config, plus
    ``strength`` times the squared weights (biases are free). Training the same layer differs by
    that term, by augmentation, and by a loss of pixels instead of cells.

    Args:
        cfg (Config): ``configs/transfer/voc/small/linear.py``; is changed.
        checkpoint (str): Of pretraining, or ``random:SEED`` for a network without any.
        out (Path): A checkpoint that the config's test takes. Beside it ``effective_rank.txt``,
            of the centred features: how many directions they have, near 1 in a collapse.
        strength (float): Of the squared weights of the layer on normalised features.

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
    out.parent.mkdir(parents=True, exist_ok=True)
    rank = effective_rank(cells.features - cells.features.mean(0))
    out.with_name(RANK).write_text(f'{rank:.6g}\n', encoding='utf-8')
    torch.save(dict(state_dict=model.state_dict()), out)


def build_segmenter(cfg: Config, checkpoint: str) -> nn.Module:
    """The network of a config with a pretrained backbone, for a test."""
    kind, _, seed = checkpoint.partition(':')
    init_default_scope('mmseg')
    torch.manual_seed(int(seed) if kind == 'random' else 0)
    backbone = cfg.model.backbone
    backbone.init_cfg = None if kind == 'random' else dict(backbone.init_cfg, checkpoint=checkpoint)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.eval()


@torch.no_grad()
def cells_of(model: nn.Module, cfg: Config) -> Cells:
    """Every cell of the training images that is not wholly ignored, as a test sees them."""
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
        for found, sample in zip(maps, data['data_samples'], strict=False):
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

    A class that no cell has gets a bias that never wins.
    """
    cell, label = cells.shares.nonzero(as_tuple=True)  # a row for each class that a cell has
    weight = cells.shares[cell, label] * class_weight[label]
    present: list[int] = label.unique().tolist()
    two = len(present) == 2
    # scikit-learn minimises C sum(weight * loss) + |w|^2 / 2. Of two classes it keeps the
    # difference w of their weights, w / 2 and -w / 2, which together have half its square.
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
