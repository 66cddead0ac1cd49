"""Settings of one part that follow from another: derived where left out, checked where given."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import ResNet

from orl_mm.models.utils.channels import backbone_channels
from orl_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
NARROW = {'backbone.base_channels': 8, 'backbone.stem_channels': 8}
R2O, DETCON, PIXPRO = 'r2o/r50_in1k', 'baselines/detcon-b_r50_in1k', 'baselines/pixpro_r50_in1k'
VADER, DINO = 'baselines/vader_r50_in1k', 'medino/small/dino'


def build(config, options):
    cfg = Config.fromfile(ROOT / 'configs' / f'{config}.py')
    init_default_scope('mmpretrain')
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    cfg.model.backbone.pop('init_cfg', None)
    return MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ('config', 'options', 'shapes'),
    [
        (R2O, {'backbone.depth': 18}, {'neck.projector.fc0': (4096, 512)}),
        (R2O, {**NARROW, 'backbone.depth': 50}, {'neck.projector.fc0': (4096, 256)}),
        (
            R2O,
            {**NARROW, 'backbone.depth': 18, 'neck.projector.out_channels': 32},
            {'head.predictor.fc0': (4096, 32), 'head.predictor.fc1': (32, 4096)},
        ),
        (
            R2O,
            {**NARROW, 'backbone.depth': 18, 'neck.projector.in_channels': 64},
            {'neck.projector.fc0': (4096, 64)},
        ),
        (
            R2O,
            {**NARROW, 'backbone.depth': 18, 'backbone.out_indices': (2, 3)},
            {'neck.projector.fc0': (4096, 64)},
        ),
        (DETCON, {**NARROW, 'backbone.depth': 18}, {'neck.projector.fc0': (4096, 64)}),
        (
            PIXPRO,
            {**NARROW, 'backbone.depth': 18, 'neck.out_channels': 32},
            {'neck.fc0': (4096, 64), 'head.transform': (32, 32)},
        ),
        (
            VADER,
            {**NARROW, 'backbone.depth': 18, 'queue_len': 64},
            {'neck.pyramid.inner_blocks.3.0': (256, 64, 1, 1)},
        ),
        (
            DINO,
            {'head.out_channels': 24},
            {'head.mlp.0': (512, 192), 'head.last_layer.weight_v': (24, 128)},
        ),
    ],
)
def test_channels_follow(config, options, shapes):
    model = build(config, options)
    for name, shape in shapes.items():
        value = model.get_submodule(name.removesuffix('.weight_v'))
        value = value.weight_v if name.endswith('weight_v') else value.weight
        assert tuple(value.shape) == shape
    if config == DINO:
        assert model.criterion.center.shape == (1, 24)


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        (R2O, {'backbone.depth': 18, 'neck.projector.in_channels': 2048}, 'in_channels=2048.*512'),
        (R2O, {'backbone.depth': 18, 'head.predictor.in_channels': 99}, 'in_channels=99.*256'),
        (R2O, {'backbone.depth': 18, 'head.predictor.out_channels': 99}, 'out_channels=99.*256'),
        (R2O, {'backbone.depth': 18, 'refiner.stage': 4}, 'stage 4 does not exist.*4 stages'),
        (
            R2O,
            {'backbone.depth': 18, 'positives': dict(type='orl_mm.NearestNeighbor', dim=99)},
            'dim=99.*256',
        ),
        (DETCON, {'backbone.depth': 18, 'neck.projector.in_channels': 2048}, '2048.*512'),
        (PIXPRO, {'backbone.depth': 18, 'head.channels': 99}, 'channels=99.*256'),
        (VADER, {'backbone.depth': 18, 'neck.in_channels': (1, 2, 3, 4)}, r'\(64, 128, 256, 512\)'),
        (DINO, {'head.in_channels': 99}, 'in_channels=99.*192'),
        (DINO, {'loss.out_channels': 99}, 'out_channels=99.*1024'),
    ],
)
def test_channels_that_do_not_fit_are_an_error_at_build(config, options, message):
    with pytest.raises(ValueError, match=message):
        build(config, options)


def test_probe_leaves_no_trace():
    torch.manual_seed(0)
    backbone = ResNet(18, base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3))
    backbone.train()
    backbone.norm1.eval()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    modes = [module.training for module in backbone.modules()]
    state = torch.get_rng_state()
    assert backbone_channels(backbone) == [8, 16, 32, 64]
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in backbone.modules()] == modes
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key])
