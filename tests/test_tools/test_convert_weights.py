"""tools/convert_weights.py: a published file becomes one that a config's backbone takes whole."""

import importlib.util
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from orl_mm.engine.checkpoint import load_weights
from orl_mm.engine.weights import ALIASES, KEYS, TARGETS
from orl_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
NARROW = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('convert_tool', ROOT / 'tools/convert_weights.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def published():
    arrays = np.load(ROOT / 'tests/data/dino.npz', allow_pickle=False)
    return {
        name[4:]: torch.from_numpy(np.array(arrays[name]))
        for name in arrays
        if name.startswith('vit.')
    }


@pytest.fixture
def resnet():
    """A narrow ResNet-18: 20 convolutions and norms, 100 tensors and 20 counters."""
    return MODELS.build(NARROW).state_dict()


def refused(tool, arguments, capsys):
    """What the tool says on its way out."""
    with pytest.raises(SystemExit) as ended:
        tool.main([*map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert not said.out
    assert len(said.err.splitlines()) == 1
    return said.err


def test_converted_file_starts_a_backbone(tool, published, tmp_path, capsys):
    torch.save(published, tmp_path / 'in.pth')
    out = tmp_path / 'new' / 'out.pth'
    tool.main([str(tmp_path / 'in.pth'), str(out)])
    said = capsys.readouterr().out
    assert 'in.pth: DINO as published (facebookresearch), backbone; timm' in said
    assert f'{len(published)} of {len(published)} tensors of a ViT with 2 blocks, 48 wide' in said
    backbone = MODELS.build(
        dict(
            type='mmpretrain.VisionTransformer',
            img_size=64,
            patch_size=16,
            arch=dict(embed_dims=48, num_layers=2, num_heads=6, feedforward_channels=192),
            init_cfg=dict(type='orl_mm.PretrainedBackbone', checkpoint=str(out), min_match=1.0),
        )
    )
    backbone.init_weights()
    assert torch.equal(backbone.layers[1].attn.qkv.weight, published['blocks.1.attn.qkv.weight'])
    assert torch.equal(backbone.pos_embed, published['pos_embed'])
    assert len(load_weights(out)['meta']['sha256']) == 64


def test_network_of_a_full_checkpoint(tool, published, tmp_path):
    student = {f'module.backbone.{name}': value + 1 for name, value in published.items()}
    teacher = {f'backbone.{name}': value for name, value in published.items()}
    torch.save(dict(student=student, teacher=teacher, epoch=3), tmp_path / 'full.pth')
    for network, shift in ((['--network', 'student'], 1), (['--network', 'teacher'], 0), ([], 0)):
        tool.main([str(tmp_path / 'full.pth'), str(tmp_path / 'out.pth'), *network])
        found = load_weights(tmp_path / 'out.pth')['state_dict']
        assert torch.equal(found['cls_token'], published['cls_token'] + shift)


def test_it_says_what_it_did(tool, resnet, tmp_path, capsys):
    torch.save(
        dict(
            state_dict={
                **{f'module.encoder_q.{name}': value for name, value in resnet.items()},
                **{
                    f'module.encoder_k.{name}': value
                    for name, value in resnet.items()
                    if name != 'layer4.1.bn2.bias'
                },
                'module.queue': torch.zeros(2),
            }
        ),
        tmp_path / 'moco.pth.tar',
    )
    tool.main([str(tmp_path / 'moco.pth.tar'), str(tmp_path / 'x.pkl'), '--to', 'detectron2'])
    assert capsys.readouterr().out.splitlines() == [
        f'{tmp_path}/moco.pth.tar: MoCo as published (facebookresearch); its online network, '
        "torchvision's names under the prefix 'module.encoder_q.'",
        '  left out: module.encoder_k (119), module.queue (1)',
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
    """All the words that somebody must read who takes DetCon's own weights."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(
        'published', ROOT / 'tests/test_engine/test_weights/published.py'
    )
    names = module_from_spec(spec)
    spec.loader.exec_module(names)
    params, state = names.haiku(names.narrow_resnet50())
    np.save(tmp_path / 'detcon.npy', dict(params=params, state=state))
    tool.main([str(tmp_path / 'detcon.npy'), str(tmp_path / 'x.pth')])
    said = capsys.readouterr().out
    assert 'DetCon as published (deepmind)' in said
    assert '265 of 265 tensors of a ResNet-50' in said
    assert '  note: ' in said
    assert 'SAME padding' in said
    assert '32 n + 1' in said
    assert 'SAME' in load_weights(tmp_path / 'x.pth')['meta']['notes']


class Evil:
    """Code in a file."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            {'layer1.0.conv1.weight': torch.zeros(1)},
            'not recognised: it holds 1 tensors, named layer1',
        ),
        (torch.zeros(3), 'not names'),
        (dict(epoch=1), 'no names'),
        (None, 'there is no file'),
    ],
)
def test_other_files_are_refused(tool, content, message, tmp_path, capsys):
    if content is not None:
        torch.save(content, tmp_path / 'in.pth')
    said = refused(tool, [tmp_path / 'in.pth', tmp_path / 'out.pth'], capsys)
    assert re.search(f'^convert_weights.py: {tmp_path}/in.pth: .*{message}', said)
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(
    'save',
    [
        lambda content, path: torch.save(content, path),
        lambda content, path: path.write_bytes(pickle.dumps(content)),
        lambda content, path: np.save(path.open('wb'), content),
    ],
    ids=['torch', 'pickle', 'npy'],
)
def test_code_in_a_file_is_not_run(tool, save, tmp_path, capsys):
    path = tmp_path / 'in.pth'
    save(dict(state_dict=dict(x=np.zeros(2)), model=Evil(tmp_path / 'ran')), path)
    said = refused(tool, [path, tmp_path / 'out.pth'], capsys)
    assert 'posix.mkdir' in said
    assert 'not read' in said
    assert not (tmp_path / 'ran').exists()
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize('kind', ['torch', 'pickle', 'npy'])
def test_a_cut_file(kind, tool, resnet, tmp_path, capsys):
    path = tmp_path / 'in'
    arrays = dict(model={name: value.numpy() for name, value in resnet.items()})
    if kind == 'torch':
        torch.save(resnet, path)
    elif kind == 'pickle':
        path.write_bytes(pickle.dumps(arrays))
    else:
        np.save(path.open('wb'), arrays)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 'cut short' in refused(tool, [path, tmp_path / 'out.pth'], capsys)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--from', 'moco'], 'it is not MoCo .*; it looks like bare names of torchvision'),
        (
            ['--arch', 'resnet50'],
            'holds a ResNet-18, stem 8 and first stage 8 wide, not a resnet50',
        ),
        (['--network', 'target'], 'has no target network, only the online one'),
        (['--prefix', 'a.'], "nothing known stands under --prefix 'a.'"),
        (['--prefix', '', '--network', 'target'], 'leave --network out'),
        (['--to', 'detectron2'], 'is read from a .pkl file, not from out.pth'),
    ],
)
def test_options_that_do_not_fit(tool, options, message, resnet, tmp_path, capsys):
    torch.save(resnet, tmp_path / 'in.pth')
    said = refused(tool, [tmp_path / 'in.pth', tmp_path / 'out.pth', *options], capsys)
    assert re.search(message, said)
    assert not (tmp_path / 'out.pth').exists()


def test_the_published_file_stays(tool, resnet, tmp_path, capsys):
    torch.save(resnet, tmp_path / 'in.pth')
    before = (tmp_path / 'in.pth').read_bytes()
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'in.pth')
    assert 'OUT is SOURCE' in refused(tool, [tmp_path / 'in.pth', tmp_path / 'link.pth'], capsys)
    assert (tmp_path / 'in.pth').read_bytes() == before


def test_the_page_has_every_format():
    page = (ROOT / 'projects/weights/README.md').read_text()
    for key in (*KEYS, *ALIASES, *TARGETS):
        assert f'`{key}`' in page, key
