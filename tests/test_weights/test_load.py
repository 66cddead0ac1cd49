"""A backbone loads all weights of a file, or an error says what to do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmpretrain.models.utils import resize_pos_embed
from torch import nn

from orl_mm.models.utils import cls_attention
from orl_mm.registry import MODELS
from orl_mm.weights import ViTInit, load_backbone

SMALL = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8),
    img_size=32,
    patch_size=8,
)
WIDE = dict(arch=dict(VIT['arch'], embed_dims=16))
TOTAL = 20 * 5  # 20 norms, each with a convolution before it


def build(seed=0, base=SMALL, **changes):
    torch.manual_seed(seed)
    model = MODELS.build({**base, **changes})
    for p in [*model.parameters(), *model.buffers()]:
        p.data = torch.rand_like(p) if p.is_floating_point() else p.data
    return model


def save(tmp_path, weights):
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


def under(prefix, model):
    return {prefix + name: value for name, value in model.state_dict().items()}


def equal(a, b):
    other = b.state_dict()
    return all(
        torch.equal(value, other[name])
        for name, value in a.state_dict().items()
        if not name.endswith('num_batches_tracked')
    )


@pytest.mark.parametrize(
    ('prefix', 'found'),
    [
        ('', ''),
        ('backbone.', 'backbone.'),
        ('module.backbone.', 'backbone.'),
        ('module.encoder_q.', 'encoder_q.'),
        ('trunk.net.', 'trunk.net.'),
    ],
)
def test_finds_the_prefix(prefix, found, tmp_path):
    source, mine = build(0), build(1)
    weights = under(prefix, source)
    weights[prefix + 'fc.weight'] = torch.zeros(1000, 64)  # torchvision's classifier
    path = save(tmp_path, weights)
    assert load_backbone(mine, path) == (found, TOTAL, TOTAL, [])
    assert equal(source, mine)
    mine = build(2)
    assert load_backbone(mine, path, prefix=prefix).prefix == found
    assert equal(source, mine)


@pytest.mark.parametrize(
    ('network', 'other', 'prefix', 'expected'),
    [
        ('backbone.', 'target.backbone.', 'auto', 'backbone.'),
        ('backbone.', 'target.backbone.', 'target.backbone', 'target.backbone.'),
        ('backbone.', 'teacher.backbone.', 'auto', 'backbone.'),
        ('backbone.', 'teacher.backbone.', 'evaluated', 'teacher.backbone.'),
        ('encoder_q.', 'encoder_k.', 'evaluated', 'encoder_q.'),
        ('student.backbone.', 'teacher.backbone.', 'auto', 'teacher.backbone.'),
    ],
)
def test_which_of_two_networks(network, other, prefix, expected, tmp_path):
    networks = {network: build(0), other: build(1)}
    path = save(tmp_path, {**under(other, networks[other]), **under(network, networks[network])})
    mine = build(2)
    assert load_backbone(mine, path, prefix=prefix).prefix == expected
    assert equal(networks[expected], mine)


def test_two_networks_without_an_obvious_one(tmp_path):
    path = save(tmp_path, {**under('one.', build(0)), **under('two.', build(1))})
    with pytest.raises(ValueError, match=r'several networks that fit, .*one.*two.*prefix='):
        load_backbone(build(2), path)


def test_wrong_prefix(tmp_path):
    mine = build(1)
    before = mine.conv1.weight.clone()
    path = save(tmp_path, under('backbone.', build(0)))
    said = rf"{path} holds 0 of the 100 .*conv1.weight.*'encoder.'.*'backbone.' \(100 names\)"
    with pytest.raises(ValueError, match=said):
        load_backbone(mine, path, prefix='encoder.')
    assert torch.equal(mine.conv1.weight, before)


def test_fewer_than_99_percent(tmp_path):
    weights = under('backbone.', build(0))
    del weights['backbone.layer4.1.conv2.weight']
    loaded = load_backbone(build(1), save(tmp_path, weights))
    assert loaded == ('backbone.', 99, 100, ['layer4.1.conv2.weight'])
    del weights['backbone.layer4.1.conv1.weight']
    with pytest.raises(ValueError, match='98 of the 100.*layer4.1.conv1.weight'):
        load_backbone(build(1), save(tmp_path, weights))


def test_counters_of_batches_are_not_counted(tmp_path):
    weights = {name: v for name, v in under('', build(0)).items() if 'tracked' not in name}
    assert load_backbone(build(1), save(tmp_path, weights)).matched == TOTAL


@pytest.mark.parametrize(
    ('base', 'changes', 'said'),
    [
        (SMALL, dict(depth=34), 'layer1.2.conv1.weight is only in the file'),
        (SMALL, dict(type='mmpretrain.ResNetV1c'), 'holds 95 of the 100|only in the file'),
        (SMALL, dict(stem_channels=4), r'conv1.weight is \(4, 3, 7, 7\) in the file and \(8, 3, 7'),
        (VIT, dict(arch=dict(VIT['arch'], num_layers=3)), 'layers.2.ln1.weight is only in'),
        (VIT, dict(patch_size=16), r'of 16 pixels and width 8 in the file.* 8 pixels and width 8'),
        (VIT, WIDE, r'of 8 pixels and width 16 in the file.* 8 pixels and width 8'),
    ],
)
def test_another_architecture(base, changes, said, tmp_path):
    path = save(tmp_path, under('backbone.', build(0, base, **changes)))
    with pytest.raises(ValueError, match=said):
        load_backbone(build(1, base), path)


def test_another_image_size_resizes_the_position_embedding(tmp_path, monkeypatch):
    """As stock mmpretrain does, with one line in the log; all else stays equal."""
    source, mine, lines = build(0, VIT), build(1, VIT, img_size=(64, 48)), []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handle', lines.append)
    monkeypatch.setattr(logger, 'isEnabledFor', lambda level: True)  # earlier tests set levels
    load_backbone(mine, save(tmp_path, under('backbone.', source)))
    expected = resize_pos_embed(source.pos_embed, (4, 4), (8, 6), 'bicubic', 1)
    assert torch.equal(mine.pos_embed, expected)
    assert ['Resize the pos_embed' in line.getMessage() for line in lines] == [True, False]
    for name, value in source.state_dict().items():
        assert name == 'pos_embed' or torch.equal(value, mine.state_dict()[name])


# DINO's ViT, against features that its own code computed.


@pytest.fixture(scope='module')
def golden():
    arrays = np.load(Path(__file__).parents[1] / 'data' / 'dino.npz', allow_pickle=False)
    return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}


@pytest.mark.parametrize('wrapped', [False, True])
def test_features_and_attention_of_the_reference(golden, wrapped, tmp_path):
    weights = {name[4:]: value for name, value in golden.items() if name.startswith('vit.')}
    content = weights
    if wrapped:  # a full checkpoint
        teacher = {f'backbone.{name}': value for name, value in weights.items()}
        student = {f'module.backbone.{name}': value + 1 for name, value in weights.items()}
        teacher['head.mlp.0.weight'] = torch.zeros(3)
        content = dict(student=student, teacher=teacher, epoch=3)
    torch.save(content, tmp_path / 'dino.pth')
    arch = dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192)
    norm = dict(type='LN', eps=1e-5)
    model = build(0, VIT, arch=arch, img_size=64, patch_size=16, norm_cfg=norm)
    model.eval()
    loaded = load_backbone(model, tmp_path / 'dino.pth')
    assert loaded == ('teacher.backbone.' if wrapped else '', len(weights), len(weights), [])
    rows = []
    model.layers[-1].attn.qkv.register_forward_hook(
        lambda module, args, qkv: rows.append(cls_attention(qkv, 6))
    )
    with torch.no_grad():
        feature = model(golden['vit_input'])[-1]
    torch.testing.assert_close(feature, golden['vit_cls_feature'], atol=1e-6, rtol=0)
    torch.testing.assert_close(rows[0], golden['vit_last_selfattention_cls_row'], atol=1e-6, rtol=0)


# init_cfg.


class Detector(BaseModule):
    """A model that owns a backbone, as mmengine initializes it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize('config', [dict(SMALL, zero_init_residual=True), VIT])
def test_init_cfg_survives_the_rest_of_the_initialization(tmp_path, config):
    """Neither zeroed residuals nor fresh position embeddings replace loaded weights."""
    source = build(0, config)
    path = save(tmp_path, under('backbone.', source))
    init_cfg = dict(type='orl_mm.PretrainedBackbone', checkpoint=str(path))
    model = Detector(dict(config, init_cfg=init_cfg))
    model.init_weights()
    assert equal(source, model.backbone)


def test_init_cfg_with_a_wrong_file_stops(tmp_path):
    path = save(tmp_path, under('backbone.', build(0, depth=34)))
    init_cfg = dict(type='orl_mm.PretrainedBackbone', checkpoint=str(path))
    with pytest.raises(ValueError, match='architecture'):
        Detector(dict(SMALL, init_cfg=init_cfg)).init_weights()


def test_vit_init_sets_every_linear_layer_and_token():
    torch.manual_seed(0)
    config = dict(VIT, arch='deit-tiny', patch_size=16)
    vit = MODELS.build(dict(config, init_cfg=dict(type='orl_mm.ViTInit')))
    patch = vit.patch_embed.projection.weight.detach().clone()
    vit.init_weights()
    linear = [m for m in vit.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == 12 * 4
    for layer in linear:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert layer.weight.mean().abs() < 5e-4
        assert layer.bias.abs().max() == 0
    for norm in (m for m in vit.modules() if isinstance(m, nn.LayerNorm)):
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()
    assert vit.cls_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert vit.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(vit.patch_embed.projection.weight, patch)
    # mmpretrain itself starts otherwise.
    vit = MODELS.build(config)
    vit.init_weights()
    assert vit.layers[0].ffn.layers[1].weight.std() > 0.03
    assert vit.cls_token.abs().max() == 0
    with pytest.raises(ValueError, match='positive'):
        ViTInit(0)
