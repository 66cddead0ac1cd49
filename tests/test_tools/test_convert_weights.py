"""tools/convert_weights.py: a published file becomes one that a config's backbone takes whole."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from orl_mm.registry import MODELS
from orl_mm.weights import load_weights
from orl_mm.weights.convert import TARGETS
from orl_mm.weights.names import ALIASES, KEYS
from tests.small import load_tool
from tests.test_weights import published

ROOT = Path(__file__).resolve().parents[2]
NARROW = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)


@pytest.fixture(scope='module')
def tool():
    return load_tool('convert_weights')


@pytest.fixture
def dino():
    arrays = np.load(ROOT / 'tests/data/dino.npz', allow_pickle=False)
    return {n[4:]: torch.from_numpy(arrays[n].copy()) for n in arrays if n.startswith('vit.')}


@pytest.fixture
def resnet():
    """A narrow ResNet-18: 20 convolutions and norms, 100 tensors and 20 counters."""
    return MODELS.build(NARROW).state_dict()


def test_converted_file_starts_a_backbone(tool, dino, tmp_path, capsys):
    torch.save(dino, tmp_path / 'in.pth')
    out = tmp_path / 'new' / 'out.pth'
    tool.main([str(tmp_path / 'in.pth'), str(out)])
    said = capsys.readouterr().out
    assert 'in.pth: DINO as published (facebookresearch), backbone; timm' in said
    assert f'{len(dino)} of {len(dino)} tensors of a ViT with 2 blocks, 48 wide' in said
    init_cfg = dict(type='orl_mm.PretrainedBackbone', checkpoint=str(out), min_match=1.0)
    arch = dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192)
    vit = dict(type='mmpretrain.VisionTransformer', img_size=64, patch_size=16, arch=arch)
    backbone = MODELS.build(dict(vit, init_cfg=init_cfg))
    backbone.init_weights()
    assert torch.equal(backbone.layers[1].attn.qkv.weight, dino['blocks.1.attn.qkv.weight'])
    assert torch.equal(backbone.pos_embed, dino['pos_embed'])
    assert len(load_weights(out)['meta']['sha256']) == 64


def test_network_of_a_full_checkpoint(tool, dino, tmp_path):
    student = {f'module.backbone.{name}': value + 1 for name, value in dino.items()}
    teacher = {f'backbone.{name}': value for name, value in dino.items()}
    torch.save(dict(student=student, teacher=teacher, epoch=3), tmp_path / 'full.pth')
    for network, shift in ((['--network', 'student'], 1), (['--network', 'teacher'], 0), ([], 0)):
        tool.main([str(tmp_path / 'full.pth'), str(tmp_path / 'out.pth'), *network])
        found = load_weights(tmp_path / 'out.pth')['state_dict']
        assert torch.equal(found['cls_token'], dino['cls_token'] + shift)


def test_report_of_the_conversion(tool, resnet, tmp_path, capsys):
    averaged = {name: value for name, value in resnet.items() if name != 'layer4.1.bn2.bias'}
    weights = {
        **published.under('module.encoder_q.', resnet),
        **published.under('module.encoder_k.', averaged),
        'module.queue': torch.zeros(2),
    }
    torch.save(dict(state_dict=weights), tmp_path / 'moco.pth.tar')
    tool.main([str(tmp_path / 'moco.pth.tar'), str(tmp_path / 'x.pkl'), '--to', 'detectron2'])
    assert capsys.readouterr().out.splitlines() == [
        f'{tmp_path}/moco.pth.tar: MoCo as published (facebookresearch); its online network, '
        "torchvision's names under the prefix 'encoder_q.'",
        '  left out: encoder_k.conv1 (1), encoder_k.bn1 (5), encoder_k.layer1 (24), '
        'encoder_k.layer2 (30), encoder_k.layer3 (30), encoder_k.layer4 (29), queue (1)',
        f'{tmp_path}/x.pkl: 100 of 100 tensors of a ResNet-18, stem 8 and first stage 8 wide and '
        '20 counters',
        f'  use: MODEL.WEIGHTS {tmp_path}/x.pkl with INPUT.FORMAT RGB, MODEL.RESNETS.STRIDE_IN_1X1 '
        'False, MODEL.PIXEL_MEAN [123.675,116.28,103.53], MODEL.PIXEL_STD [58.395,57.12,57.375]',
    ]
    tool.main([str(tmp_path / 'moco.pth.tar'), str(tmp_path / 'x.pth'), '--network', 'target'])
    said = capsys.readouterr().out
    assert 'missing, fewer than 1%: layer4.1.bn2.bias\n' in said
    assert '99 of 100 tensors' in said


def test_haiku_files_come_with_a_note(tool, tmp_path, capsys):
    params, state = published.haiku(published.narrow_resnet50())
    np.save(tmp_path / 'detcon.npy', dict(params=params, state=state), allow_pickle=True)
    tool.main([str(tmp_path / 'detcon.npy'), str(tmp_path / 'x.pth')])
    said = capsys.readouterr().out
    assert 'DetCon as published (deepmind)' in said
    assert '265 of 265 tensors of a ResNet-50' in said
    assert re.search(r'  note: .*SAME padding.*32 n \+ 1', said)
    assert 'SAME' in load_weights(tmp_path / 'x.pth')['meta']['notes']


class Evil:
    """Code in a file."""

    def __reduce__(self):
        return os.mkdir, ('never',)


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        ({'layer1.0.conv1.weight': torch.zeros(1)}, [], 'not recognized: it holds 1 tensors'),
        (dict(epoch=1), [], 'no names and tensors'),
        (None, [], 'does not exist'),
        (dict(model=Evil()), [], 'holds posix.mkdir.*not read'),
        ('resnet', ['--from', 'moco'], 'it is not MoCo .*; it looks like bare names of torchv'),
        ('resnet', ['--arch', 'resnet50'], 'holds a ResNet-18, stem 8 .* wide, not a resnet50'),
        ('resnet', ['--network', 'target'], 'has no target network, only the online one'),
        ('resnet', ['--prefix', 'a.'], "no known backbone under --prefix 'a.'"),
        ('resnet', ['--prefix', '', '--network', 'target'], 'leave --network out'),
        ('resnet', ['--to', 'detectron2'], 'is read from a .pkl file, not from out.pth'),
    ],
)
def test_mistakes_end_in_one_line(tool, content, options, message, resnet, tmp_path, capsys):
    source, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    if content is not None:
        torch.save(resnet if content == 'resnet' else content, source)
    stop(tool, [source, out, *options], rf'^\S+: .*{source}.*{message}', capsys)
    assert not out.exists()


def test_the_source_is_not_overwritten(tool, resnet, tmp_path, capsys):
    torch.save(resnet, tmp_path / 'in.pth')
    before = (tmp_path / 'in.pth').read_bytes()
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'in.pth')
    stop(tool, [tmp_path / 'in.pth', tmp_path / 'link.pth'], 'OUT is SOURCE', capsys)
    assert (tmp_path / 'in.pth').read_bytes() == before


def stop(tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main([*map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert re.search(message, said.err)


def test_the_page_lists_every_format():
    page = (ROOT / 'projects/weights/README.md').read_text()
    for key in (*KEYS, *ALIASES, *TARGETS):
        assert f'`{key}`' in page, key
