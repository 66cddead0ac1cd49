"""tools/convert_weights.py: a published file becomes one that a config's backbone takes whole."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from orl_mm.engine.checkpoint import load_weights
from orl_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('convert_tool', ROOT / 'tools/convert_weights.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def published():
    arrays = np.load(ROOT / 'tests/data/dino.npz', allow_pickle=False)
    return {name[4:]: torch.from_numpy(np.array(arrays[name])) for name in arrays
            if name.startswith('vit.')}


def test_converted_file_starts_a_backbone(tool, published, tmp_path, capsys):
    torch.save(published, tmp_path / 'in.pth')
    out = tmp_path / 'new' / 'out.pth'
    assert tool.main([str(tmp_path / 'in.pth'), str(out)]) == 0
    assert f'{len(published)} tensors of a ViT with 2 blocks, 48 wide' in capsys.readouterr().out
    backbone = MODELS.build(dict(
        type='mmpretrain.VisionTransformer', img_size=64, patch_size=16,
        arch=dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192),
        init_cfg=dict(type='orl_mm.PretrainedBackbone', checkpoint=str(out), min_match=1.)))
    backbone.init_weights()
    assert torch.equal(backbone.layers[1].attn.qkv.weight, published['blocks.1.attn.qkv.weight'])
    assert torch.equal(backbone.pos_embed, published['pos_embed'])
    assert len(load_weights(out)['meta']['sha256']) == 64


def test_network_of_a_full_checkpoint(tool, published, tmp_path):
    student = {f'module.backbone.{name}': value + 1 for name, value in published.items()}
    teacher = {f'backbone.{name}': value for name, value in published.items()}
    torch.save(dict(student=student, teacher=teacher, epoch=3), tmp_path / 'full.pth')
    for network, shift in (('student', 1), ('teacher', 0)):
        assert tool.main([str(tmp_path / 'full.pth'), str(tmp_path / 'out.pth'),
                          '--network', network]) == 0
        found = load_weights(tmp_path / 'out.pth')['state_dict']
        assert torch.equal(found['cls_token'], published['cls_token'] + shift)


class Evil:
    """Code in a file."""

    def __reduce__(self):
        return os.system, ('true', )


@pytest.mark.parametrize('content, message', [
    ({'layer1.0.conv1.weight': torch.zeros(1)}, 'not a ViT'), (torch.zeros(3), 'not names'),
    (dict(x=Evil()), 'not data'), (None, 'no checkpoint')])
def test_other_files_are_refused(tool, content, message, tmp_path, capsys):
    if content is not None:
        torch.save(content, tmp_path / 'in.pth')
    assert tool.main([str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth')]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.pth').exists()
