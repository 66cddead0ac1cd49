"""A backbone takes a file's weights whole, or an error says what to do."""

from collections import OrderedDict

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

from orl_mm.engine.load_backbone import load_backbone

SMALL = dict(type='mmpretrain.ResNet', depth=18)


def _backbone(seed=0, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(kwargs if 'arch' in kwargs else {**SMALL, **kwargs})
    for p in [*model.parameters(), *model.buffers()]:
        p.data = torch.rand_like(p) if p.is_floating_point() else p.data
    return model


def _save(tmp_path, weights, key='state_dict'):
    path = tmp_path / 'weights.pth'
    torch.save({key: weights} if key else weights, path)
    return path


def _prefixed(model, prefix):
    return OrderedDict((prefix + k, v) for k, v in model.state_dict().items())


def _equal(a, b):
    return all(
        torch.equal(v, b.state_dict()[k])
        for k, v in a.state_dict().items()
        if not k.endswith('num_batches_tracked')
    )


@pytest.mark.parametrize(
    ('prefix', 'key'),
    [('', None), ('', 'model'), ('backbone.', 'state_dict'), ('module.encoder_q.', 'state_dict')],
)
def test_finds_the_prefix(tmp_path, prefix, key):
    source, target = _backbone(0), _backbone(1)
    weights = _prefixed(source, prefix)
    weights[prefix + 'fc.weight'] = torch.zeros(1000, 512)  # torchvision's classifier
    result = load_backbone(target, _save(tmp_path, weights, key))
    assert _equal(source, target)
    assert (result.prefix, result.matched, result.missing) == (prefix, result.total, [])
    assert result.total == 20 * 5  # 20 norms, each with a convolution before it


def test_online_network_is_preferred_and_the_target_can_be_asked_for(tmp_path):
    online, target = _backbone(0), _backbone(1)
    path = _save(
        tmp_path, {**_prefixed(target, 'target.backbone.'), **_prefixed(online, 'backbone.')}
    )
    mine = _backbone(2)
    assert load_backbone(mine, path).prefix == 'backbone.'
    assert _equal(online, mine)
    load_backbone(mine, path, prefix='target.backbone')  # the dot may be left out
    assert _equal(target, mine)


def test_of_dino_the_teacher_is_evaluated(tmp_path):
    student, teacher, mine = _backbone(0), _backbone(1), _backbone(2)
    both = {**_prefixed(student, 'backbone.'), **_prefixed(teacher, 'teacher.backbone.')}
    path = _save(tmp_path, both)
    assert load_backbone(mine, path, prefix='evaluated').prefix == 'teacher.backbone.'
    assert _equal(teacher, mine)
    path = _save(tmp_path, student.state_dict())  # where there is no teacher, what there is
    assert load_backbone(mine, path, prefix='evaluated').prefix == ''
    assert _equal(student, mine)


def test_a_deeper_network_is_another_one(tmp_path):
    """All names of a ViT with two blocks are in a file of one with three."""
    arch = dict(embed_dims=8, num_heads=2, feedforward_channels=8)
    vits = [
        _backbone(type='mmpretrain.VisionTransformer', img_size=32, arch=dict(arch, num_layers=n))
        for n in (2, 3)
    ]
    with pytest.raises(ValueError, match='layers.2.ln1.weight is only in the file'):
        load_backbone(vits[0], _save(tmp_path, _prefixed(vits[1], 'backbone.')))


def test_two_networks_without_an_obvious_one(tmp_path):
    path = _save(
        tmp_path, {**_prefixed(_backbone(0), 'student.'), **_prefixed(_backbone(1), 'teacher.')}
    )
    with pytest.raises(ValueError, match='student.*teacher.*prefix='):
        load_backbone(_backbone(2), path)


def test_wrong_prefix(tmp_path):
    mine = _backbone(1)
    before = mine.conv1.weight.clone()
    path = _save(tmp_path, _prefixed(_backbone(0), 'backbone.'))
    with pytest.raises(ValueError) as error:
        load_backbone(mine, path, prefix='encoder.')
    for word in (
        '0 of the 100',
        "'encoder.'",
        'conv1.weight',
        "'backbone.' (100 names)",
        str(path),
    ):
        assert word in str(error.value)
    assert torch.equal(mine.conv1.weight, before)


def test_fewer_than_99_percent(tmp_path):
    weights = _prefixed(_backbone(0), 'backbone.')
    del weights['backbone.layer4.1.conv2.weight']
    result = load_backbone(_backbone(1), _save(tmp_path, weights))  # 99 of 100
    assert result.missing == ['layer4.1.conv2.weight']
    del weights['backbone.layer4.1.conv1.weight']
    with pytest.raises(ValueError, match='98 of the 100.*layer4.1.conv1.weight'):
        load_backbone(_backbone(1), _save(tmp_path, weights))


def test_old_files_without_batch_counters(tmp_path):
    weights = {
        k: v for k, v in _backbone(0).state_dict().items() if not k.endswith('num_batches_tracked')
    }
    assert load_backbone(_backbone(1), _save(tmp_path, weights)).matched == 100


@pytest.mark.parametrize('other', [dict(depth=50), dict(type='mmpretrain.ResNetV1c')])
def test_other_architecture(tmp_path, other):
    path = _save(tmp_path, _prefixed(_backbone(0, **other), 'backbone.'))
    with pytest.raises(ValueError, match='architecture|holds'):
        load_backbone(_backbone(1), path)


def test_other_shapes_are_named(tmp_path):
    path = _save(tmp_path, _prefixed(_backbone(0, base_channels=32), 'backbone.'))
    with pytest.raises(ValueError, match=r'conv1.weight is \(64, 3, 7, 7\)|architecture'):
        load_backbone(_backbone(1), path)


def test_names_of_other_code(tmp_path):
    """The authors' released file counts the layers of a Sequential."""
    order = {'conv1': '0', 'bn1': '1', 'layer1': '4', 'layer2': '5', 'layer3': '6', 'layer4': '7'}
    weights = {}
    for key, value in _backbone(0).state_dict().items():
        first, rest = key.split('.', 1)
        for network in ('online_network', 'target_network'):
            weights[f'module.{network}.encoder.{order[first]}.{rest}'] = value
    with pytest.raises(ValueError, match='module.online_network.*renamed'):
        load_backbone(_backbone(1), _save(tmp_path, weights, 'model'))


@pytest.mark.parametrize('content', [dict(epoch=3), [1, 2], dict(state_dict=dict(a=1))])
def test_files_without_weights(tmp_path, content):
    path = tmp_path / 'none.pth'
    torch.save(content, path)
    with pytest.raises(ValueError, match='none.pth holds no weights'):
        load_backbone(_backbone(0), path)


class Detector(BaseModule):
    """A model that owns a backbone, as mmengine initialises it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize(
    'config',
    [
        dict(SMALL, zero_init_residual=True),
        dict(type='mmpretrain.VisionTransformer', arch='deit-tiny', img_size=32, patch_size=16),
    ],
)
def test_init_cfg_survives_the_rest_of_the_initialisation(tmp_path, config):
    """Neither zeroed residuals nor fresh position embeddings replace loaded weights."""
    source = _backbone(0, **config)
    path = _save(tmp_path, _prefixed(source, 'backbone.'))
    model = Detector(
        dict(config, init_cfg=dict(type='orl_mm.PretrainedBackbone', checkpoint=str(path)))
    )
    model.init_weights()
    assert _equal(source, model.backbone)


def test_init_cfg_with_a_wrong_file_stops(tmp_path):
    path = _save(tmp_path, _prefixed(_backbone(0, depth=50), 'backbone.'))
    model = Detector(
        dict(SMALL, init_cfg=dict(type='orl_mm.PretrainedBackbone', checkpoint=str(path)))
    )
    with pytest.raises(ValueError, match='architecture'):
        model.init_weights()
