"""facebookresearch's ViT under mmpretrain's names: no key left, features equal."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.models import VisionTransformer

from orl_mm.engine.dino_weights import convert_dino_vit
from orl_mm.engine.load_backbone import load_backbone
from orl_mm.models.utils import cls_attention


@pytest.fixture(scope='module')
def golden():
    arrays = np.load(Path(__file__).parents[1] / 'data' / 'dino.npz', allow_pickle=False)
    return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}


def published_shapes(dim=384, depth=12, patches=196, patch=16):
    """Names and shapes of dino_deitsmall16_pretrain.pth."""
    shapes = {
        'cls_token': (1, 1, dim),
        'pos_embed': (1, patches + 1, dim),
        'patch_embed.proj.weight': (dim, 3, patch, patch),
        'patch_embed.proj.bias': (dim,),
        'norm.weight': (dim,),
        'norm.bias': (dim,),
    }
    for i in range(depth):
        for name, shape in {
            'norm1.weight': (dim,),
            'norm1.bias': (dim,),
            'attn.qkv.weight': (3 * dim, dim),
            'attn.qkv.bias': (3 * dim,),
            'attn.proj.weight': (dim, dim),
            'attn.proj.bias': (dim,),
            'norm2.weight': (dim,),
            'norm2.bias': (dim,),
            'mlp.fc1.weight': (4 * dim, dim),
            'mlp.fc1.bias': (4 * dim,),
            'mlp.fc2.weight': (dim, 4 * dim),
            'mlp.fc2.bias': (dim,),
        }.items():
            shapes[f'blocks.{i}.{name}'] = shape
    return shapes


def test_vit_small_takes_the_published_file_with_no_key_left(tmp_path):
    weights = {name: torch.randn(shape) for name, shape in published_shapes().items()}
    assert len(weights) == 150
    model = VisionTransformer(arch='deit-small', img_size=224, patch_size=16)
    torch.save(convert_dino_vit(weights), tmp_path / 'vits16.pth')
    assert not any(model.load_state_dict(torch.load(tmp_path / 'vits16.pth'), strict=True))
    assert load_backbone(model, tmp_path / 'vits16.pth') == ('', 150, 150, [])
    assert torch.equal(model.layers[7].ffn.layers[0][0].weight, weights['blocks.7.mlp.fc1.weight'])


@pytest.mark.parametrize('wrapped', [False, True])
def test_features_and_attention_of_the_reference(golden, wrapped):
    weights = {name[4:]: value for name, value in golden.items() if name.startswith('vit.')}
    if wrapped:  # a full checkpoint
        head = {
            f'module.head.{name}': torch.zeros(3)
            for name in ('mlp.0.weight', 'last_layer.weight_v')
        }
        weights = dict(
            student={},
            epoch=3,
            teacher={
                **{f'module.backbone.{name}': value for name, value in weights.items()},
                **head,
            },
        )
    model = VisionTransformer(
        arch=dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192),
        img_size=64,
        patch_size=16,
        norm_cfg=dict(type='LN', eps=1e-5),
    )
    model.eval()
    model.load_state_dict(convert_dino_vit(weights), strict=True)
    rows = []
    model.layers[-1].attn.qkv.register_forward_hook(
        lambda module, args, qkv: rows.append(cls_attention(qkv, 6))
    )
    with torch.no_grad():
        feature = model(golden['vit_input'])[-1]
    torch.testing.assert_close(feature, golden['vit_cls_feature'], atol=1e-6, rtol=0)
    torch.testing.assert_close(rows[0], golden['vit_last_selfattention_cls_row'], atol=1e-6, rtol=0)


def test_foreign_weights_are_refused():
    with pytest.raises(ValueError, match='layer1.0.conv1'):
        convert_dino_vit({'layer1.0.conv1.weight': torch.zeros(1), 'cls_token': torch.zeros(1)})
    with pytest.raises(ValueError, match='not a ViT'):
        convert_dino_vit({})
    with pytest.raises(ValueError, match='network'):
        convert_dino_vit({}, network='momentum')
