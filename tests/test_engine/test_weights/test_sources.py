"""Which file is whose: checkpoints of this project and of mmselfsup, and nobody's files."""

import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import ResNet

from orl_mm.engine.load_backbone import load_backbone
from orl_mm.engine.weights import ALIASES, KEYS, TARGETS, read_backbone, write_backbone
from orl_mm.engine.weights.architecture import (
    RESNETS,
    check_complete,
    few,
    find_architecture,
    resnet,
)
from orl_mm.engine.weights.read import named_tensors, read_file
from orl_mm.engine.weights.sources import find_backbone
from orl_mm.registry import MODELS
from tests.small import NARROW, tiny_dino

from . import published

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'


@pytest.fixture(scope='module')
def reference():
    return published.light_resnet50()


@pytest.fixture(scope='module')
def mm_resnet50():
    model = ResNet(depth=50)
    model.eval()
    return model


def save(path, weights, **entries):
    torch.save(dict(state_dict=OrderedDict(weights), **entries), path)
    return path


# Checkpoints that this project writes, by their own models.


def built(name, images):
    """A model of a config, narrow."""
    cfg = Config.fromfile(CONFIGS / name)
    if cfg.model.type.endswith('DINO'):
        tiny_dino(cfg, images)
    else:
        cfg.model.backbone.update(NARROW)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ('config', 'title', 'networks'),
    [
        ('r2o/r50_in1k.py', 'R2O or a baseline', ('backbone.', 'target.backbone.')),
        ('r2o/r50_in1k_100e_simsiam.py', 'a model of OpenMMLab', ('backbone.',)),
        (
            'r2o/mixing/byol_r50_in1k.py',
            'mmselfsup 1.x or mmpretrain',
            ('backbone.', 'target_net.module.0.'),
        ),
        (
            'r2o/mixing/densecl_r50_in1k.py',
            'mmselfsup 1.x or mmpretrain',
            ('backbone.', 'encoder_k.module.0.'),
        ),
        ('medino/vits16_chexpert_dino.py', 'DINO or MeDINO', ('backbone.', 'teacher.backbone.')),
    ],
)
def test_checkpoints_of_this_project(config, title, networks, tmp_path):
    model = built(config, tmp_path)
    path = save(tmp_path / 'epoch_1.pth', model.state_dict(), meta=dict(epoch=1), optimizer={})
    by_default = read_backbone(path)
    assert by_default.found.source.title.startswith(title)
    assert by_default.found.prefix == (networks[1] if 'dino' in config else networks[0])
    for network, prefix in zip(('online', 'target'), networks, strict=False):
        read = read_backbone(path, network=network)
        own = {
            name[len(prefix) :]: value
            for name, value in model.state_dict().items()
            if name.startswith(prefix)
        }
        assert read.found.prefix == prefix
        assert set(read.weights) == set(own)
        assert all(torch.equal(read.weights[name], value) for name, value in own.items())
        assert set(read.left_out) == {
            name for name in model.state_dict() if not name.startswith(prefix)
        }
    if len(networks) == 1:
        with pytest.raises(ValueError, match='has no target network, only the online one'):
            read_backbone(path, network='target')


@pytest.mark.parametrize(
    'config',
    [
        f'baselines/{path.name}'
        for path in sorted((CONFIGS / 'baselines').glob('*.py'))
        if not re.search('100e|paper', path.name)
    ],
)
def test_every_baseline_goes_out(config, tmp_path):
    state = built(config, tmp_path).state_dict()
    found = find_backbone(list(state))
    weights = {
        ours: state[theirs] for ours, theirs in found.layout.ours(state, found.prefix).items()
    }
    assert found.prefix == ('teacher.backbone.' if 'dino' in config else 'backbone.')
    assert not check_complete(weights, find_architecture(weights))


@pytest.mark.parametrize('target', TARGETS)
@pytest.mark.parametrize('config', ['r2o/r50_in1k.py', 'medino/vits16_chexpert_dino.py'])
def test_ours_out_and_back(config, target, tmp_path):
    path = save(tmp_path / 'epoch_1.pth', built(config, tmp_path).state_dict())
    first = read_backbone(path)
    out = tmp_path / ('x.pkl' if target == 'detectron2' else 'x.pth')
    if first.architecture.name == 'vit' and target in ('torchvision', 'detectron2'):
        with pytest.raises(ValueError, match=f'--to {target} has no names for a ViT'):
            write_backbone(first, out, target, {})
        return
    write_backbone(first, out, target, {})
    back = read_backbone(out)
    assert set(back.weights) == set(first.weights)
    assert back.architecture == first.architecture
    assert all(torch.equal(value, first.weights[name]) for name, value in back.weights.items())


# mmselfsup: both by the tool, and as they are by a config's init_cfg.


@pytest.mark.parametrize('version', [0, 1])
@pytest.mark.parametrize('algorithm', ['moco', 'densecl', 'byol', 'simsiam'])
def test_mmselfsup(version, algorithm, reference, mm_resnet50, tmp_path):
    content = published.mmselfsup(reference, version, algorithm)
    torch.save(content, tmp_path / 'x.pth')
    read = read_backbone(tmp_path / 'x.pth')
    averaged = algorithm != 'simsiam'
    # Without a moving average, 1.x has the names of any model of OpenMMLab.
    assert read.found.source.title.startswith(
        f'mmselfsup {version}.x' if version == 0 or averaged else 'a model of OpenMMLab'
    )
    assert (read.found.prefix, read.found.network, len(read.weights)) == (
        'backbone.',
        'online',
        318,
    )
    with torch.no_grad():
        mm_resnet50.conv1.weight.fill_(3)
    assert load_backbone(mm_resnet50, tmp_path / 'x.pth') == ('backbone.', 265, 265, [])
    for name, value in published.bare(reference).items():
        assert torch.equal(read.weights[name], value)
        assert torch.equal(mm_resnet50.state_dict()[name], value)
    if averaged:
        target = read_backbone(tmp_path / 'x.pth', network='target')
        assert (target.weights['layer1.0.conv1.weight'] == 0.5).all()
        assert load_backbone(mm_resnet50, tmp_path / 'x.pth', prefix=target.found.prefix)[1] == 265


@pytest.mark.parametrize('author', ['MMSelfSup', 'OpenSelfSup', None])
def test_extracted_backbones(author, reference, mm_resnet50, tmp_path):
    """tools/model_converters/extract_backbone_weights.py of mmselfsup, tools/ of OpenSelfSup."""
    path = save(tmp_path / 'x.pth', published.bare(reference), author=author)
    assert len(read_backbone(path).weights) == 318
    assert load_backbone(mm_resnet50, path).matched == 265


# ViTs.


def test_dino_vit_out_and_back(tmp_path):
    arrays = np.load(CONFIGS.parent / 'tests/data/dino.npz', allow_pickle=False)
    theirs = {
        name[4:]: torch.from_numpy(np.array(arrays[name]))
        for name in arrays
        if name.startswith('vit.')
    }
    torch.save(theirs, tmp_path / 'in.pth')
    read = read_backbone(tmp_path / 'in.pth', architecture='vit')
    assert read.found.source.title == 'DINO as published (facebookresearch), backbone'
    assert read.architecture.title == 'ViT with 2 blocks, 48 wide, patches of 16'
    assert len(read.architecture.shapes) == len(theirs)
    assert not read.left_out
    write_backbone(read, tmp_path / 'timm.pth', 'timm', {})
    again = torch.load(tmp_path / 'timm.pth', weights_only=True)
    assert set(again) == set(theirs)
    assert all(torch.equal(again[name], value) for name, value in theirs.items())
    with pytest.raises(ValueError, match='holds a ViT with 2 blocks.*not a resnet50'):
        read_backbone(tmp_path / 'in.pth', architecture='resnet50')
    with pytest.raises(ValueError, match='no student network, only the target one'):
        read_backbone(tmp_path / 'in.pth', network='student')


# Other networks, and networks that are not whole.


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_resnets_are_torchvisions(depth):
    model = getattr(torchvision.models, f'resnet{depth}')
    with torch.device('meta'):
        weights = {
            name: tuple(value.shape)
            for name, value in model().state_dict().items()
            if not name.startswith('fc.') and not name.endswith('num_batches_tracked')
        }
    assert resnet(depth).shapes == weights


@pytest.mark.parametrize('depth', [18, 101])
def test_another_depth(depth, mm_resnet50, tmp_path):
    weights = {name: published.flat(shape) for name, shape in resnet(depth).shapes.items()}
    path = save(tmp_path / 'x.pth', published.under('module.encoder_q.', weights))
    assert read_backbone(path).architecture.title == f'ResNet-{depth}'
    with pytest.raises(ValueError, match=f'holds a ResNet-{depth}, not a resnet50'):
        read_backbone(path, architecture='resnet50')
    write_backbone(read_backbone(path), tmp_path / 'out.pth', 'openmmlab', {})
    with pytest.raises(ValueError, match='of the 265 tensors|of another architecture'):
        load_backbone(mm_resnet50, tmp_path / 'out.pth')


def _without(names, *parts):
    return lambda weights: {
        name: value for name, value in weights.items() if not any(part in name for part in parts)
    }


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda w: {k: v for k, v in w.items() if not k.startswith('layer3.5')},
            r'no ResNet.*\(3, 4, 5, 3\) blocks.*with bottlenecks',
        ),
        (
            lambda w: {k: v for k, v in w.items() if 'running' not in k},
            'holds 159 of the 265 tensors of a ResNet-50, fewer than 99%; missing: bn1.running_mean',
        ),
        (
            lambda w: {k: v for k, v in w.items() if 'downsample.0' not in k or 'layer1' in k},
            None,
        ),  # three missing are 1.1%
        (
            lambda w: {**w, 'layer1.0.conv2.weight': published.flat((64, 2, 3, 3))},
            r'another network than a ResNet-50: layer1.0.conv2.weight is \(64, 2, 3, 3\) instead of',
        ),
        (
            lambda w: {**w, 'layer2.0.se.fc1.weight': published.flat((8, 8))},
            'another network.*layer2.0.se.fc1.weight is no part',
        ),
        (
            lambda w: {
                k.replace('conv1.', 'stem.0.') if k.startswith('conv1.') else k: v
                for k, v in w.items()
            },
            'not recognised: it holds 320 tensors, named .*stem.0',
        ),
    ],
)
def test_another_network(change, message, reference, tmp_path):
    torch.save(change(dict(reference.state_dict())), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=message or 'holds 262 of the 265 tensors'):
        read_backbone(tmp_path / 'x.pth')


def test_less_than_a_hundredth_may_be_missing(reference, tmp_path):
    weights = dict(reference.state_dict())
    del weights['layer4.2.bn3.bias'], weights['layer4.2.bn3.running_var']
    torch.save(weights, tmp_path / 'x.pth')
    assert read_backbone(tmp_path / 'x.pth').missing == [
        'layer4.2.bn3.bias',
        'layer4.2.bn3.running_var',
    ]


def test_a_haiku_resnet_v2(tmp_path):
    params, state = published.haiku(published.narrow_resnet50())
    params['res_net50/~/final_batchnorm'] = params.pop('res_net50/~/initial_batchnorm')
    np.save(tmp_path / 'x.npy', dict(params=params, state=state), allow_pickle=True)
    with pytest.raises(ValueError, match='ResNet v2'):
        read_backbone(tmp_path / 'x.npy')


def test_two_haiku_networks(tmp_path):
    params, state = published.haiku(published.narrow_resnet50())
    np.save(
        tmp_path / 'x.npy',
        dict(a=dict(params=params, state=state), b=dict(params=params, state=state)),
        allow_pickle=True,
    )
    with pytest.raises(ValueError, match="several networks.*--prefix.*'a/res_net50/~/', 'b/res"):
        read_backbone(tmp_path / 'x.npy')
    assert read_backbone(tmp_path / 'x.npy', prefix='b/res_net50/~/').found.prefix == (
        'b/res_net50/~/'
    )


# Files that are not what was said, or nobody's.

FILES = dict(
    r2o=published.r2o,
    moco=published.moco,
    pixpro=published.pixpro,
    infomin=published.infomin,
    dino=published.dino_resnet,
    torchvision=published.r2o_torchvision,
    densecl=published.densecl,
    mmselfsup=lambda model: published.mmselfsup(model, 1, 'moco'),
)


# Names that are the same for both.
ALIKE = {
    ('densecl', 'torchvision'),
    ('densecl', 'timm'),
    ('torchvision', 'densecl'),
    ('torchvision', 'timm'),
    ('mmselfsup', 'orl_mm'),
    ('mmselfsup', 'openmmlab'),
    ('r2o', 'detcon-pytorch'),
    ('infomin', 'pixpro'),
    ('pixpro', 'infomin'),
}


@pytest.mark.parametrize('key', [*FILES, 'detectron2', 'detcon'])
def test_another_librarys_names(key, reference, tmp_path):
    """--from is believed where the names are there, else refused with what it looks like."""
    if key == 'detectron2':
        (tmp_path / 'x').write_bytes(published.detectron2(published.narrow_resnet50()))
    elif key == 'detcon':
        params, state = published.haiku(published.narrow_resnet50())
        with open(tmp_path / 'x', 'wb') as file:
            np.save(file, dict(params=params, state=state))
    else:
        torch.save(FILES[key](reference), tmp_path / 'x')
    tensors, author = named_tensors(read_file(tmp_path / 'x'))
    right = find_backbone(list(tensors), author).source
    assert right.key == key
    for said in (*KEYS, *ALIASES):
        if key == said or (key, said) in ALIKE:
            found = find_backbone(list(tensors), author, said)
            assert found.source.key == ALIASES.get(said, said)
            continue
        with pytest.raises(ValueError, match='it is not .* it holds .* tensors, named') as error:
            find_backbone(list(tensors), author, said)
        assert f'it looks like {right.title}: ' in str(error.value)


def test_unknown_names_are_listed(reference, tmp_path):
    path = save(
        tmp_path / 'x.pth',
        {
            **published.under('trunk.net.', published.bare(reference)),
            'head.0.weight': torch.zeros(2),
        },
    )
    with pytest.raises(
        ValueError,
        match=r'not recognised: it holds 319 tensors, named trunk.net '
        r"\(318\), head.0 \(1\)\. It has torchvision's names under --prefix "
        r"'trunk.net.'\. --from takes orl_mm",
    ):
        read_backbone(path)
    read = read_backbone(path, prefix='trunk.net.')
    assert read.found.source.title == "torchvision's names under 'trunk.net.'"
    assert len(read.weights) == 318
    assert read.left_out == ['head.0.weight']
    with pytest.raises(ValueError, match="nothing known stands under --prefix 'trunk.'"):
        read_backbone(path, prefix='trunk.')


def test_two_codes_in_one_file(reference, tmp_path):
    both = {
        **published.under('module.encoder_q.', published.bare(reference)),
        **published.under('online_network.encoder.', {'0.weight': torch.zeros(1)}),
    }
    with pytest.raises(ValueError, match='looks like R2O.*--from r2o.*and like MoCo.*choose one'):
        read_backbone(save(tmp_path / 'x.pth', both))
    assert read_backbone(tmp_path / 'x.pth', source='moco').found.source.key == 'moco'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(epoch=3), r'no names and tensors.*\[.epoch.\]'),
        ([1, 2], 'no names and tensors'),
        (torch.zeros(3), 'holds a Tensor'),
        (dict(state_dict={}), 'no names and tensors'),
    ],
)
def test_no_weights(content, message, tmp_path):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=message):
        read_backbone(tmp_path / 'x.pth')


def test_old_torch_files(reference, tmp_path):
    """Before torch 1.6 files were pickles: they go to torch's reader, not to that of arrays."""
    torch.save(
        published.densecl(reference), tmp_path / 'x.pth', _use_new_zipfile_serialization=False
    )
    assert read_backbone(tmp_path / 'x.pth').found.source.key == 'densecl'


def test_few():
    assert few('abc', 3) == 'a, b, c'
    assert few('abcd', 3) == 'a, b, c and 1 more'


def test_depths_differ():
    assert len({(blocks, deep) for blocks, deep in RESNETS.values()}) == len(RESNETS)
