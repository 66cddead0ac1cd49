"""AttentionProbe takes pretraining's checkpoints as they are and gives whole images' maps."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from mmpretrain.structures import DataSample

from orl_mm.models.probes.attention_probe import AttentionProbe
from orl_mm.registry import MODELS
from orl_mm.weights import checkpoints_must_fit
from orl_mm.weights.names import DINO_VIT
from tests.test_engine.guided import ARCH, GRID, HEADS, PATCH, SIDE, VIT, build, dino, mocov3

BACKBONE = dict(type='mmpretrain.VisionTransformer', **VIT)


def probe(**options):
    """Of other weights than any checkpoint here."""
    torch.manual_seed(99)
    return MODELS.build(dict(dict(type='orl_mm.AttentionProbe', backbone=BACKBONE), **options))


def load(model, weights):
    """As mmengine's Runner does, within what tools/test.py asks for."""
    with checkpoints_must_fit(whole=True):
        _load_checkpoint_to_model(model, dict(state_dict=weights), strict=False)
    return model


@pytest.fixture(scope='module')
def pretrained():
    """DINO whose student and teacher differ."""
    model = build(dino())
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.02)
    return model


def by_hand(vit, x):
    """(B, heads, N): the last block's row from mmpretrain's own q and k."""
    seen = []
    handle = vit.layers[-1].attn.qkv.register_forward_hook(lambda m, i, out: seen.append(out))
    vit.eval()  # gives None
    with torch.no_grad():
        vit(x)
    handle.remove()
    q, k, _ = seen[0].reshape(len(x), GRID**2 + 1, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)[:, :, 0, 1:]


IMAGES = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ('network', 'part'),
    [
        ('auto', 'teacher'),
        ('teacher', 'teacher'),
        ('student', 'student'),
        ('backbone', 'student'),
        ('teacher.backbone.', 'teacher'),
    ],
)
def test_network_of_a_dino_checkpoint(pretrained, network, part):
    model = load(probe(network=network), pretrained.state_dict())
    vit = pretrained.backbone if part == 'student' else pretrained.teacher['backbone']
    torch.testing.assert_close(model(IMAGES).flatten(2), by_hand(vit, IMAGES))


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.', 'encoder.'])
def test_backbones_under_any_one_name(pretrained, prefix):
    """Bare names (converted weights), mmselfsup's, and others."""
    weights = {prefix + key: value for key, value in pretrained.backbone.state_dict().items()}
    weights['head.fc.weight'] = torch.zeros(7, 3)
    model = load(probe(), weights)
    torch.testing.assert_close(model(IMAGES).flatten(2), by_hand(pretrained.backbone, IMAGES))


def test_full_checkpoint_of_facebookresearch(pretrained):
    """Other names, the teacher beside the student, wrapped by DDP."""
    teacher = pretrained.teacher['backbone'].state_dict()
    weights = {f'module.backbone.{DINO_VIT.to_theirs(key)}': v for key, v in teacher.items()}
    student = {key: value + 1 for key, value in weights.items()}
    model = load(probe(), dict(student=student, teacher=weights, epoch=3))
    torch.testing.assert_close(
        model(IMAGES).flatten(2), by_hand(pretrained.teacher['backbone'], IMAGES)
    )


def test_checkpoint_of_moco():
    """The online network, and by its prefix the momentum encoder."""
    moco = build(mocov3())
    with torch.no_grad():
        moco.momentum_encoder.module[0].layers[-1].attn.qkv.weight.neg_()
    for network, vit in (
        ('auto', moco.backbone),
        ('momentum_encoder.module.0.', moco.momentum_encoder.module[0]),
    ):
        model = load(probe(network=network), moco.state_dict())
        torch.testing.assert_close(model(IMAGES).flatten(2), by_hand(vit, IMAGES))


def test_its_own_checkpoint(pretrained):
    first = load(probe(), pretrained.state_dict())
    again = load(probe(), first.state_dict())
    assert set(first.state_dict()) == {
        f'backbone.{key}' for key in pretrained.backbone.state_dict()
    }
    assert torch.equal(first(IMAGES), again(IMAGES))
    again.load_state_dict(first.state_dict(), strict=True)


def wider(pretrained):
    return build(
        dict(
            dino(),
            backbone=dict(BACKBONE, arch=dict(ARCH, embed_dims=24)),
            head=dict(dino()['head'], in_channels=24),
        )
    ).state_dict()


@pytest.mark.parametrize(
    ('weights', 'said'),
    [
        (lambda p: {'encoder.0.weight': torch.zeros(2)}, 'holds 0 of the 30.*model.network'),
        (
            lambda p: build(
                dict(dino(), backbone=dict(BACKBONE, arch=dict(ARCH, num_layers=3)))
            ).state_dict(),
            'layers.2.ln1.weight is only in the file',
        ),
        (
            lambda p: build(
                dict(dino(), backbone=dict(BACKBONE, arch=dict(ARCH, num_layers=1)))
            ).state_dict(),
            'holds 18 of the 30.*layers.1',
        ),
        (wider, 'width 24 in the file, patches of . pixels and width 12 in the model'),
        (
            lambda p: (
                {'a.' + k: v for k, v in p.backbone.state_dict().items()}
                | {'b.' + k: v for k, v in p.backbone.state_dict().items()}
            ),
            'several networks that fit',
        ),
    ],
)
def test_wrong_files_are_refused(pretrained, weights, said):
    model = probe()
    before = model.backbone.cls_token.clone()
    with pytest.raises(ValueError, match=said):
        load(model, weights(pretrained))
    assert torch.equal(model.backbone.cls_token, before)


def test_a_network_that_the_file_lacks(pretrained):
    with pytest.raises(ValueError, match="taken to be 'teacher.backbone.'.*'' .30 names."):
        load(probe(network='teacher'), pretrained.backbone.state_dict())


def test_another_resolution(pretrained):
    """Twice the size: mmpretrain resizes the position embeddings while loading."""
    model = load(probe(backbone=dict(BACKBONE, img_size=2 * SIDE)), pretrained.state_dict())
    assert model(torch.randn(1, 3, 2 * SIDE, 2 * SIDE)).shape == (1, HEADS, 2 * GRID, 2 * GRID)
    vit = build(dict(dino(), backbone=dict(BACKBONE, img_size=2 * SIDE))).backbone
    vit.load_state_dict(pretrained.teacher['backbone'].state_dict())
    assert torch.equal(model.backbone.pos_embed, vit.pos_embed)


def test_maps_lie_where_the_patches_are():
    """A bright patch of an image changes one number of the map beside all the others."""
    model, draw = probe(), torch.Generator().manual_seed(2)
    with torch.no_grad():  # the last block's attention to single patches, wherever they are
        model.backbone.pos_embed.zero_()
        model.backbone.cls_token.normal_(generator=draw)
        model.backbone.patch_embed.projection.weight.normal_(generator=draw)
        for p in model.backbone.layers[0].parameters():
            p.zero_()
        model.backbone.layers[-1].attn.qkv.weight.normal_(generator=draw)
    image, (row, col) = torch.zeros(1, 3, SIDE, SIDE), (1, 3)
    flat = model(image)[0]
    image[..., row * PATCH : (row + 1) * PATCH, col * PATCH : (col + 1) * PATCH] = 5
    others = torch.ones(GRID, GRID, dtype=torch.bool)
    others[row, col] = False
    for ratio in model(image)[0] / flat:
        assert torch.allclose(ratio[others], ratio[others][0].expand(15), rtol=1e-4)
        assert (ratio[row, col] / ratio[others][0] - 1).abs() > 0.01


def test_prediction_and_modes():
    model = probe()
    samples = [DataSample(metainfo=dict(id=i)) for i in range(3)]
    found = model(IMAGES, samples, mode='predict')
    assert [s.id for s in found] == [0, 1, 2]
    for sample, maps in zip(found, model(IMAGES), strict=False):
        assert torch.equal(sample.attention, maps)
        assert maps.shape == (HEADS, GRID, GRID)
        assert not sample.attention.requires_grad
    assert len(model(IMAGES, mode='predict')) == 3
    with pytest.raises(ValueError, match='only tested'):
        model(IMAGES, samples, mode='loss')
    with pytest.raises(ValueError, match='not tiled by patches of 8'):
        model(torch.zeros(1, 3, 30, 32))


def test_registered_and_needs_a_vit():
    assert ROOT.get('orl_mm.AttentionProbe') is AttentionProbe
    with pytest.raises(ValueError, match='attention of ResNet cannot be read'):
        probe(backbone=dict(type='mmpretrain.ResNet', depth=18))
    assert probe().num_heads == HEADS
