"""How DINO's ViT starts, through mmengine's init_weights."""

import pytest
import torch
from torch import nn

from orl_mm.engine.vit_init import ViTInit
from orl_mm.registry import MODELS

VIT = dict(type='mmpretrain.VisionTransformer', arch='deit-tiny', img_size=32, patch_size=16)


def test_every_linear_layer_and_token():
    torch.manual_seed(0)
    vit = MODELS.build(dict(VIT, init_cfg=dict(type='orl_mm.ViTInit')))
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
    bound = (3 * 16 * 16) ** -0.5  # torch's default of a convolution
    assert 0.99 * bound < patch.abs().max() <= bound


def test_without_it_mmpretrain_starts_otherwise():
    vit = MODELS.build(VIT)
    vit.init_weights()
    assert vit.layers[0].ffn.layers[1].weight.std() > 0.03
    assert vit.cls_token.abs().max() == 0


def test_bad_deviation():
    with pytest.raises(ValueError, match='positive'):
        ViTInit(0)
