"""Converted files have the names and values that their readers expect, and convert back."""

import hashlib
import pickle
from collections import OrderedDict

import pytest
import torch
import torchvision

from orl_mm.registry import MODELS
from orl_mm.weights import load_weights
from orl_mm.weights.convert import TARGETS, provenance, read_backbone, write_backbone
from tests.test_weights import published


@pytest.fixture(scope='module')
def weights():
    return published.bare(published.narrow_resnet50())


@pytest.fixture(scope='module')
def ours(weights, tmp_path_factory):
    """A checkpoint of R2O: an online and a target network, and their heads."""
    path = tmp_path_factory.mktemp('ours') / 'epoch_300.pth'
    state = {
        **published.under('backbone.', weights),
        'neck.projector.fc0.weight': torch.zeros(3),
        **published.under('target.backbone.', published.flat_like(weights)),
        'target.neck.projector.fc0.weight': torch.zeros(3),
    }
    torch.save(dict(meta=dict(epoch=300), optimizer={}, state_dict=OrderedDict(state)), path)
    return path


@pytest.fixture(scope='module')
def written(ours, tmp_path_factory):
    """The file of each target, by its name."""
    folder, files = tmp_path_factory.mktemp('out') / 'new', {}
    backbone = read_backbone(ours)
    assert backbone.found.source.title == 'R2O or a baseline of this project'
    for target in TARGETS:
        files[target] = folder / f'{target}.{"pkl" if target == "detectron2" else "pth"}'
        write_backbone(backbone, files[target], target, provenance(ours, backbone))
    assert set(folder.iterdir()) == set(files.values())  # no partial file is left
    return files


@pytest.mark.parametrize('target', TARGETS)
def test_names_values_and_source(target, written, weights, ours):
    """timm is no dependency: its ResNet has torchvision's names."""
    with torch.device('meta'):
        names = {n: n for n in torchvision.models.resnet50().state_dict()}
    if target == 'detectron2':
        pickled = written[target].read_bytes()
        content, names = pickle.loads(pickled), published.detectron2_names()
        state = {name: torch.from_numpy(array) for name, array in content['model'].items()}
        # What DetectionCheckpointer looks at; without heuristics no backbone.bottom_up is found.
        assert content['__author__'] == 'orl_mm'
        assert content['matching_heuristics'] is True
        # numpy 2's own name of it would stop the numpy 1 that detectron2's environments have.
        assert b'numpy.core.multiarray' in pickled
        assert b'numpy._core' not in pickled
        meta = content['meta']
    else:
        content = torch.load(written[target], weights_only=True)
        state = content['state_dict'] if target == 'openmmlab' else content
        meta = content['meta'] if target == 'openmmlab' else content.meta
    assert set(state) == {names[name] for name in weights}
    assert len(state) == 265
    for name, value in weights.items():
        assert torch.equal(state[names[name]], value), name
    assert meta == dict(
        source='epoch_300.pth',
        sha256=hashlib.sha256(ours.read_bytes()).hexdigest(),
        format='R2O or a baseline of this project',
        prefix='backbone.',
        network='online',
        architecture='ResNet-50, stem 4 and first stage 4 wide',
        notes='',
    )


@pytest.mark.parametrize('package', ['mmpretrain', 'mmseg', 'mmdet'])
def test_openmmlab(package, written, weights):
    """A stock backbone with a stock init_cfg, without prefix."""
    try:
        __import__(f'{package}.models')
    except ImportError as error:
        pytest.skip(f'{package} cannot be imported: {error}')
    start = dict(type='Pretrained', checkpoint=str(written['openmmlab']))
    narrow = dict(depth=50, stem_channels=4, base_channels=4)
    model = MODELS.build(dict(type=f'{package}.ResNet', **narrow, init_cfg=start))
    model.init_weights()
    found = {n: v for n, v in model.state_dict().items() if 'tracked' not in n}
    assert set(found) == set(weights)
    assert all(torch.equal(found[name], value) for name, value in weights.items())


@pytest.mark.parametrize('target', TARGETS)
def test_round_trip_is_bit_identical(target, written, weights, tmp_path):
    back = read_backbone(written[target])
    assert back.architecture.name == 'resnet50'
    assert not back.left_out
    assert not back.missing
    write_backbone(back, tmp_path / 'back.pth', 'openmmlab', {})
    state = load_weights(tmp_path / 'back.pth')['state_dict']
    assert set(state) == set(weights)
    for name, value in weights.items():
        assert state[name].dtype == value.dtype, name
        assert torch.equal(state[name], value), name


def test_vits_go_to_openmmlab_and_timm(tmp_path):
    weights = published.vit_small()
    torch.save(weights, tmp_path / 'in.pth')
    read = read_backbone(tmp_path / 'in.pth', architecture='vit')
    assert read.architecture.title == 'ViT with 12 blocks, 384 wide, patches of 16'
    write_backbone(read, tmp_path / 'timm.pth', 'timm', {})
    again = torch.load(tmp_path / 'timm.pth', weights_only=True)
    assert set(again) == set(weights)
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    write_backbone(read, tmp_path / 'ours.pth', 'openmmlab', {})
    back = read_backbone(tmp_path / 'ours.pth').weights
    assert all(torch.equal(back[name], value) for name, value in read.weights.items())
    for target, name in (('torchvision', 'x.pth'), ('detectron2', 'x.pkl')):
        with pytest.raises(ValueError, match=f'--to {target} has no names for a ViT'):
            write_backbone(read, tmp_path / name, target, {})
    with pytest.raises(ValueError, match='holds a ViT with 12 blocks.*not a resnet50'):
        read_backbone(tmp_path / 'in.pth', architecture='resnet50')
    with pytest.raises(ValueError, match='no student network, only the target one'):
        read_backbone(tmp_path / 'in.pth', network='student')


def test_views_of_a_larger_tensor_are_copied(tmp_path):
    """A file with one of two networks is half as large, even if their tensors shared storage."""
    weights = {}
    for name, value in published.narrow_resnet50().state_dict().items():
        both = torch.stack([value, value + 1])
        weights.update({f'module.encoder_q.{name}': both[0], f'module.encoder_k.{name}': both[1]})
    torch.save(dict(state_dict=weights), tmp_path / 'in.pth')
    write_backbone(read_backbone(tmp_path / 'in.pth'), tmp_path / 'out.pth', 'openmmlab', {})
    assert (tmp_path / 'out.pth').stat().st_size < 0.6 * (tmp_path / 'in.pth').stat().st_size


@pytest.mark.parametrize('target', TARGETS)
def test_an_altered_file_is_noticed(target, written, tmp_path):
    data = written[target].read_bytes()
    path = tmp_path / written[target].name
    for share in (0.001, 0.3, 0.6, 0.9):
        start = int(share * len(data))
        changed = bytes(byte ^ 1 for byte in data[start : start + 16])
        path.write_bytes(data[:start] + changed + data[start + 16 :])
        with pytest.raises(ValueError, match=f'{path.name} cannot be read'):
            load_weights(path)


def test_detectron2_has_no_bfloat16(tmp_path):
    weights = {n: v.bfloat16() for n, v in published.narrow_resnet50().state_dict().items()}
    torch.save(weights, tmp_path / 'in.pth')
    backbone = read_backbone(tmp_path / 'in.pth')
    with pytest.raises(ValueError, match='BFloat16.*float32'):
        write_backbone(backbone, tmp_path / 'x.pkl', 'detectron2', {})
    write_backbone(backbone, tmp_path / 'x.pth', 'timm', {})
    assert read_backbone(tmp_path / 'x.pth').weights['conv1.weight'].dtype == torch.bfloat16


@pytest.mark.parametrize('target', TARGETS)
def test_wrong_suffix(target, ours, tmp_path):
    name = 'x.pth' if target == 'detectron2' else 'x.pkl'
    with pytest.raises(ValueError, match=f'--to {target} is read from a .p'):
        write_backbone(read_backbone(ours), tmp_path / name, target, {})
    assert not list(tmp_path.iterdir())
