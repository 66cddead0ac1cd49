"""The fitted linear layer: at the minimum of its loss, on the cells of the right pixels."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
from _evidence import fit, segmentation  # noqa: E402

CONFIG = ROOT / 'configs/transfer/voc/small/linear.py'
SIZES = ((64, 48), (40, 70), (48, 48), (64, 64))  # width, height; not all multiples of 16


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """Four images for training, two for the test: cat left of dog, in two colours; a rim of 255."""
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
            marks[0] = 255
            Image.fromarray(image).save(tmp_path / 'JPEGImages' / f'{split}{i}.jpg', quality=95)
            Image.fromarray(marks).save(tmp_path / 'SegmentationClass' / f'{split}{i}.png')
    monkeypatch.setenv('ORL_VOC', str(tmp_path))
    return tmp_path


@pytest.mark.parametrize('soft', [[.5, .3, .1, 0], [.5, 0, .4, 0]], ids=['three', 'two'])
def test_layer_is_at_the_minimum_of_its_loss(soft):
    """The gradient of the loss as the docstring has it, by autograd; soft labels, absent classes."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=draw)
    shares = F.one_hot((x[:, 0] + torch.randn(300, generator=draw) > 0).long() * 2, 4).float()
    shares[:50] = torch.tensor(soft)  # a tenth of each is ignored
    class_weight = torch.tensor([.3, 1., 2., 1.])
    weight, bias = fit.fit_layer(fit.Cells(x, shares), class_weight)
    weight, bias = (value.double().requires_grad_() for value in (weight, bias))

    def loss(weight, bias):
        nll = -F.log_softmax(x.double() @ weight.T + bias, 1)
        return (shares * class_weight * nll).sum() / 300 + fit.STRENGTH * weight.square().sum()

    grads = torch.autograd.grad(loss(weight, bias), (weight, bias))
    assert max(grad.abs().max() for grad in grads) < 2e-4
    less, = torch.autograd.grad(loss(.97 * weight, bias), weight)  # so near to it, and not farther
    assert less.abs().max() > 4e-4
    absent = [i for i, share in enumerate(soft) if not share]
    assert (bias[absent] == -1e4).all() and weight[absent].abs().max() == 0


def test_cells_are_those_of_their_pixels(voc):
    cfg = Config.fromfile(str(CONFIG))
    model = fit.build_segmenter(cfg, 'random:0')
    cells = fit.cells_of(model, cfg)
    grids = [(-(-w // 16), -(-h // 16)) for w, h in SIZES]
    assert len(cells.features) == len(cells.shares) == sum(w * h for w, h in grids)
    assert cells.features.shape[1] == 128 and cells.shares.shape[1] == 21
    first = cells.shares[:12].reshape(3, 4, 21)  # 64 x 48, the cat in the first 16 columns
    assert first[1:, 0, 8].tolist() == [1, 1] and first[1:, 1:, 12].min() == 1
    assert first[0, 0, 8] == pytest.approx(15 / 16) and first[0, 0].sum() < 1  # the rim is ignored
    with torch.no_grad():
        image = np.asarray(Image.open(voc / 'JPEGImages/train0.jpg'))
        mean, std = (torch.tensor(cfg.model.data_preprocessor[key]) for key in ('mean', 'std'))
        x = ((torch.from_numpy(image.copy()) - mean) / std).permute(2, 0, 1)[None]
        assert torch.allclose(model.backbone(x)[-1][0].flatten(1).T, cells.features[:12],
                              atol=1e-4)


def test_from_weights_to_a_tested_segmenter(voc, tmp_path):
    """The config's own test takes the checkpoint; two colours are told apart without training."""
    cfg = Config.fromfile(str(CONFIG))
    out = tmp_path / 'run' / 'fitted.pth'
    fit.fit_segmenter(cfg, 'random:0', out)
    state = torch.load(out, weights_only=True)['state_dict']
    other = tmp_path / 'run' / 'other.pth'
    fit.fit_segmenter(Config.fromfile(str(CONFIG)), 'random:1', other)
    assert not torch.equal(state['backbone.conv1.weight'],
                           torch.load(other)['state_dict']['backbone.conv1.weight'])
    areas, miou = segmentation.areas_of_test(Config.fromfile(str(CONFIG)), out)
    assert areas.union.shape == (2, 21)
    once = segmentation.resampled_miou(areas, np.ones((1, 2)))[0]
    assert 100 * once == pytest.approx(miou, abs=.01) and once > .7
    # What a checkpoint of pretraining holds is what the layer stands on.
    pretrained = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict={key: value for key, value in state.items()
                                if key.startswith('backbone.')}), pretrained)
    fit.fit_segmenter(Config.fromfile(str(CONFIG)), str(pretrained), tmp_path / 'again.pth')
    again = torch.load(tmp_path / 'again.pth')['state_dict']
    assert all(torch.equal(again[key], value) for key, value in state.items())
