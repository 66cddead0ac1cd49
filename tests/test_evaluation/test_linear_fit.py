"""The fitted linear layer: at the minimum of its loss, on the right cells."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

from orl_mm.evaluation import linear_fit as fit
from orl_mm.evaluation.results import read_result
from orl_mm.evaluation.segmentation_scores import areas_of, resampled_miou

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/transfer/voc/small/linear.py'
SIZES = ((64, 48), (40, 70), (48, 48), (64, 64))  # width, height; not all multiples of 16


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """Four images to train on, two to test: cat left of dog, 255 above, background below."""
    lists = tmp_path / 'ImageSets' / 'Segmentation'
    for folder in (lists, tmp_path / 'JPEGImages', tmp_path / 'SegmentationClass'):
        folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 2)):
        (lists / f'{split}.txt').write_text(''.join(f'{split}{i}\n' for i in range(count)))
        for i in range(count):
            width, height = SIZES[i]
            left = np.arange(width) < 16 * (1 + i % 2)
            marks = np.where(left, 8, 12)[None].repeat(height, 0).astype(np.uint8)
            image = np.where((marks == 8)[..., None], [0, 0, 255], [255, 0, 0])
            image = np.clip(image + draw.integers(-40, 40, image.shape), 0, 255).astype(np.uint8)
            marks[0], marks[-8:] = 255, 0
            if height == 64:
                marks[32:48, 16:48] = 255  # two cells
            Image.fromarray(image).save(tmp_path / 'JPEGImages' / f'{split}{i}.jpg', quality=95)
            Image.fromarray(marks).save(tmp_path / 'SegmentationClass' / f'{split}{i}.png')
    monkeypatch.setenv('ORL_VOC', str(tmp_path))
    return tmp_path


def slope(x, shares, class_weight, weight, bias, strength=1e-3):
    """Steepest direction of the loss in fit_segmenter's docstring, by autograd."""
    weight, bias = (value.detach().double().requires_grad_() for value in (weight, bias))
    nll = -F.log_softmax(x.double() @ weight.T + bias, 1)
    loss = (shares * class_weight * nll).sum() / len(x) + strength * weight.square().sum()
    return max(grad.abs().max() for grad in torch.autograd.grad(loss, (weight, bias)))


@pytest.mark.parametrize('soft', [[0.5, 0.3, 0.1, 0], [0.5, 0, 0.4, 0]], ids=['three', 'two'])
def test_layer_is_at_the_minimum_of_its_loss(soft):
    """The gradient of the docstring's loss, by autograd; soft labels, absent classes."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=draw)
    shares = F.one_hot((x[:, 0] + torch.randn(300, generator=draw) > 0).long() * 2, 4).float()
    shares[:50] = torch.tensor(soft)  # a tenth of each is ignored
    class_weight = torch.tensor([0.1, 0.4, 0.6, 1.0])
    weight, bias = fit.fit_layer(fit.Cells(x, shares), class_weight, 1e-3)
    assert slope(x, shares, class_weight, weight, bias) < 2e-4
    assert slope(x, shares, class_weight, 0.97 * weight, bias) > 3e-4  # so near, and no farther
    absent = [i for i, share in enumerate(soft) if not share]
    assert (bias[absent] == -1e4).all()
    assert weight[absent].abs().max() == 0


def test_cells_are_those_of_their_pixels(voc):
    cfg = Config.fromfile(str(CONFIG))
    model = fit.build_segmenter(cfg, 'random:0')
    cells = fit.cells_of(model, cfg)
    grids = [(-(-w // 16), -(-h // 16)) for w, h in SIZES]
    ignored = 2  # wholly, in the last image
    assert len(cells.features) == len(cells.shares) == sum(w * h for w, h in grids) - ignored
    assert cells.features.shape[1] == 128
    assert cells.shares.shape[1] == 21
    first = cells.shares[:12].reshape(3, 4, 21)  # 64 x 48, the cat in the first 16 columns
    assert first[1, 0, 8] == 1
    assert first[1, 1:, 12].min() == 1
    assert first[2, 0, [0, 8]].tolist() == [0.5, 0.5]
    assert first[2, 3, [0, 12]].tolist() == [0.5, 0.5]
    assert first[0, 0, 8] == pytest.approx(15 / 16)
    assert first[0, 0].sum() < 1
    with torch.no_grad():
        image = np.asarray(Image.open(voc / 'JPEGImages/train0.jpg'))
        mean, std = (torch.tensor(cfg.model.data_preprocessor[key]) for key in ('mean', 'std'))
        x = ((torch.from_numpy(image.copy()) - mean) / std).permute(2, 0, 1)[None]
        assert torch.allclose(model.backbone(x)[-1][0].flatten(1).T, cells.features[:12], atol=1e-4)


@pytest.mark.slow
def test_from_weights_to_a_tested_segmenter(voc, tmp_path):
    """tools/test.py takes the checkpoint; two colors are told apart without training."""
    cfg = Config.fromfile(str(CONFIG))
    out = tmp_path / 'run' / 'fitted.pth'
    found = fit.fit_segmenter(cfg, 'random:0', out, 1e-3)
    state = torch.load(out, weights_only=True)['state_dict']
    # The layer in the file is at the minimum on features as the file's normalization makes them.
    cfg = Config.fromfile(str(CONFIG))
    cells = fit.cells_of(fit.build_segmenter(cfg, 'random:0'), cfg)
    mean, var = (state[f'neck.norms.3.running_{key}'] for key in ('mean', 'var'))
    centered = cells.features - cells.features.mean(0)
    share = torch.linalg.svdvals(centered.double())
    share = share / share.sum()
    assert found['cells'] == len(cells.features)
    entropy = -(share * share.log()).nansum()
    assert found['effective_rank'] == pytest.approx(float(entropy.exp()), rel=1e-3)
    assert torch.allclose(mean, cells.features.mean(0), atol=1e-5)
    assert torch.allclose(var, cells.features.var(0, unbiased=False), rtol=1e-4)
    normed = (cells.features - mean) / (var + 1e-5).sqrt()
    class_weight = torch.tensor([0.3] + [1.0] * 20)
    layer = [state[f'decode_head.conv_seg.{key}'].squeeze() for key in ('weight', 'bias')]
    assert slope(normed, cells.shares, class_weight, *layer) < 1e-3
    assert slope(normed, cells.shares, torch.ones(21), *layer) > 1e-2
    other = tmp_path / 'run' / 'other.pth'
    fit.fit_segmenter(Config.fromfile(str(CONFIG)), 'random:1', other, 1e-3)
    assert not torch.equal(
        state['backbone.conv1.weight'], torch.load(other)['state_dict']['backbone.conv1.weight']
    )
    command = [sys.executable, 'tools/test.py', CONFIG, out, '--work-dir', out.parent]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    result = read_result(out.parent)['test']
    areas, miou = areas_of(result['images']['iou'], 21), result['metrics']['mIoU']
    assert areas.union.shape == (2, 21)
    once = resampled_miou(areas, np.ones((1, 2)))[0]
    assert 100 * once == pytest.approx(miou, abs=0.01)
    pets = areas.intersect.sum(0)[[8, 12]] / areas.union.sum(0)[[8, 12]]
    assert pets.min() > 0.6
    # What a checkpoint of pretraining holds is what the layer stands on.
    pretrained = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(
            state_dict={key: value for key, value in state.items() if key.startswith('backbone.')}
        ),
        pretrained,
    )
    fit.fit_segmenter(Config.fromfile(str(CONFIG)), str(pretrained), tmp_path / 'again.pth', 1e-3)
    again = torch.load(tmp_path / 'again.pth')['state_dict']
    assert all(torch.equal(again[key], value) for key, value in state.items())
