"""Recognizes checkpoints of this project and of mmselfsup, and rejects unknown files."""

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

from orl_mm.registry import MODELS
from orl_mm.weights import load_backbone, read_tensors
from orl_mm.weights.architecture import RESNETS, check_complete, find_architecture, resnet
from orl_mm.weights.convert import read_backbone
from orl_mm.weights.names import ALIASES, KEYS, find_backbone
from tests.small import NARROW, tiny_dino
from tests.test_weights import published

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


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
        ('r2o/mixing/byol_r50_in1k.py', 'mmselfsup', ('backbone.', 'target_net.module.0.')),
        ('r2o/mixing/densecl_r50_in1k.py', 'mmselfsup', ('backbone.', 'encoder_k.module.0.')),
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
        assert read.found.prefix == prefix
        state = model.state_dict()
        inside = {n for n in state if n.startswith(prefix)}
        assert {prefix + name for name in read.weights} == inside
        for name, value in read.weights.items():
            assert torch.equal(state[prefix + name], value), name
        assert set(read.left_out) == set(state) - inside
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
def test_every_baseline_is_recognized(config, tmp_path):
    state = built(config, tmp_path).state_dict()
    found = find_backbone(state)
    names = found.layout.names_under(found.prefix, state)
    weights = {ours: state[theirs] for ours, theirs in names.items()}
    assert found.prefix == ('teacher.backbone.' if 'dino' in config else 'backbone.')
    own = find_architecture(weights)
    assert not check_complete(own.title, own.shapes, weights)


# mmselfsup: both by the tool, and as they are by a config's init_cfg.


@pytest.mark.parametrize('version', [0, 1])
@pytest.mark.parametrize('algorithm', ['moco', 'densecl', 'byol', 'simsiam'])
def test_mmselfsup(version, algorithm, reference, mm_resnet50, tmp_path):
    torch.save(published.mmselfsup(reference, version, algorithm), tmp_path / 'x.pth')
    read = read_backbone(tmp_path / 'x.pth')
    averaged = algorithm != 'simsiam'
    # Without a moving average, the names are those of any model of OpenMMLab.
    assert read.found.source.key == ('mmselfsup' if averaged else 'openmmlab')
    assert (read.found.prefix, read.found.network) == ('backbone.', 'online')
    mm_resnet50.conv1.weight.data.fill_(3)
    assert load_backbone(mm_resnet50, tmp_path / 'x.pth') == ('backbone.', 265, 265, [])
    bare = published.bare(reference)
    assert set(read.weights) == set(bare)
    loaded = mm_resnet50.state_dict()
    for name, value in bare.items():
        assert torch.equal(read.weights[name], value)
        assert torch.equal(loaded[name], value)
    if averaged:
        target = read_backbone(tmp_path / 'x.pth', network='target')
        assert (target.weights['layer1.0.conv1.weight'] == 0.5).all()
        assert load_backbone(mm_resnet50, tmp_path / 'x.pth', prefix=target.found.prefix)[1] == 265


# Other networks, and incomplete ones.


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_resnets_are_torchvisions(depth):
    with torch.device('meta'):
        state = getattr(torchvision.models, f'resnet{depth}')().state_dict()
    assert resnet(depth).shapes == {
        name: tuple(value.shape)
        for name, value in state.items()
        if not name.startswith('fc.') and 'tracked' not in name
    }


@pytest.mark.parametrize('depth', [18, 101])
def test_another_depth(depth, mm_resnet50, tmp_path):
    assert len(set(RESNETS.values())) == len(RESNETS) == 6  # no two depths are confused
    weights = {name: published.flat(shape) for name, shape in resnet(depth).shapes.items()}
    path = save(tmp_path / 'x.pth', published.under('module.trunk.', weights))
    read = read_backbone(path, prefix='module.trunk.')
    assert read.architecture.title == f'ResNet-{depth}'
    with pytest.raises(ValueError, match=f'holds a ResNet-{depth}, not a resnet50'):
        read_backbone(path, prefix='trunk.', architecture='resnet50')
    with pytest.raises(ValueError, match='of the 265 tensors|of another architecture'):
        load_backbone(mm_resnet50, path)


def without(*parts):
    return lambda w: {k: v for k, v in w.items() if not any(part in k for part in parts)}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without('layer3.5'), r'no ResNet.*\(3, 4, 5, 3\) blocks.*with bottlenecks'),
        (without('running'), '159 of the 265 tensors of a ResNet-50.*99%; missing: bn1.running_m'),
        (without(*(f'layer{i}.0.downsample.0' for i in (2, 3, 4))), 'holds 262 of the 265'),  # 1.1%
        (
            lambda w: {**w, 'layer1.0.conv2.weight': published.flat((64, 2, 3, 3))},
            r'another architecture than a ResNet-50: layer1.0.conv2.weight is \(64, 2, 3, 3\) in',
        ),
        (
            lambda w: {**w, 'layer2.0.se.fc1.weight': published.flat((8, 8))},
            'another architecture.*layer2.0.se.fc1.weight is only in the file',
        ),
        (
            lambda w: {re.sub('^conv1', 'stem.0', k): v for k, v in w.items()},
            'not recognized: it holds 320 tensors, named stem.0',
        ),
    ],
)
def test_another_network(change, message, reference, tmp_path):
    torch.save(change(dict(reference.state_dict())), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=message):
        read_backbone(tmp_path / 'x.pth')


def test_less_than_a_hundredth_may_be_missing(reference, tmp_path):
    missing = ['layer4.2.bn3.bias', 'layer4.2.bn3.running_var']
    torch.save(without(*missing)(reference.state_dict()), tmp_path / 'x.pth')
    assert read_backbone(tmp_path / 'x.pth').missing == missing


def test_other_haiku_files(tmp_path):
    def save_haiku(content):
        np.save(tmp_path / 'x.npy', content, allow_pickle=True)

    params, state = published.haiku(published.narrow_resnet50())
    one = dict(params=params, state=state)
    save_haiku(dict(a=one, b=one))
    with pytest.raises(ValueError, match="network with --prefix.*'a/res_net50/~/', 'b/res_net50"):
        read_backbone(tmp_path / 'x.npy')
    assert read_backbone(tmp_path / 'x.npy', prefix='b/res_net50/~/').found.prefix[0] == 'b'
    params['res_net50/~/final_batchnorm'] = params.pop('res_net50/~/initial_batchnorm')
    save_haiku(one)
    with pytest.raises(ValueError, match='ResNet v2'):
        read_backbone(tmp_path / 'x.npy')


# Wrong --from, and unknown files.


@pytest.mark.parametrize(
    ('key', 'also'),
    [
        ('r2o', ['detcon-pytorch']),
        ('moco', []),
        ('pixpro', ['infomin']),
        ('infomin', []),
        ('dino_resnet', ['dino']),
        ('r2o_torchvision', ['torchvision', 'timm', 'densecl']),
        ('mmselfsup', ['openmmlab']),
    ],
)
def test_the_source_that_is_named(key, also, reference, tmp_path):
    """--from is used if the names fit; else an error says what the file looks like."""
    more = (1, 'moco') if key == 'mmselfsup' else ()
    torch.save(getattr(published, key)(reference, *more), tmp_path / 'x')
    names = read_tensors(tmp_path / 'x')
    right = find_backbone(names).source
    assert right.key == (also[0] if '_' in key else key)
    for said in (*KEYS, *ALIASES):
        if said in (right.key, *also):
            assert find_backbone(names, said).source.key == ALIASES.get(said, said)
            continue
        with pytest.raises(ValueError, match='it is not .* it holds .* tensors, named') as error:
            find_backbone(names, said)
        assert f'it looks like {right.title}: ' in str(error.value)


def test_unknown_names_are_listed(reference, tmp_path):
    weights = published.under('trunk.net.', published.bare(reference))
    path = save(tmp_path / 'x.pth', {**weights, 'head.0.weight': torch.zeros(2)})
    with pytest.raises(
        ValueError,
        match=r'not recognized: it holds 319 tensors, named trunk.net \(318\), head.0 \(1\)\. It '
        r"has torchvision's names under --prefix 'trunk.net.'\. --from takes orl_mm",
    ):
        read_backbone(path)
    read = read_backbone(path, prefix='trunk.net.')
    assert read.found.source.title == "torchvision's names under 'trunk.net.'"
    assert len(read.weights) == 318
    assert read.left_out == ['head.0.weight']
    with pytest.raises(ValueError, match="no known backbone under --prefix 'trunk.'"):
        read_backbone(path, prefix='trunk.')
