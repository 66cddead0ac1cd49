"""Converted files give the same features in the network of their reader, and convert back."""

import hashlib
import pickle
from collections import OrderedDict

import pytest
import torch
import torchvision
from mmengine.model import BaseModule
from torch import nn
from torch.nn import functional as F

from orl_mm.registry import MODELS
from orl_mm.weights import load_weights
from orl_mm.weights.convert import TARGETS, provenance, read_backbone, write_backbone
from tests.test_weights import published


@pytest.fixture(scope='module')
def reference():
    return published.resnet50()


@pytest.fixture(scope='module')
def image():
    return published.photograph()


@pytest.fixture(scope='module')
@torch.no_grad()
def expected(reference, image):
    return published.features(reference, image)


@pytest.fixture(scope='module')
def ours(reference, tmp_path_factory):
    """A checkpoint of R2O: an online and a target network, and their heads."""
    path = tmp_path_factory.mktemp('ours') / 'epoch_300.pth'
    weights = published.bare(reference)
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


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('target', ['torchvision', 'timm'])
def test_torchvision_and_timm(target, written, image, expected):
    """timm is no dependency: its resnet50 has torchvision's names, without classifier strictly."""
    model = torchvision.models.resnet50().eval()
    state_dict = torch.load(written[target], weights_only=True)
    if target == 'timm':
        model.fc = nn.Identity()  # timm.create_model('resnet50', num_classes=0)
        model.load_state_dict(state_dict, strict=True)
    else:
        missing = model.load_state_dict(state_dict, strict=False)
        assert missing == (['fc.weight', 'fc.bias'], [])
    with torch.no_grad():
        close(published.features(model, image), expected)


def detectron2_forward(weights, images):
    """detectron2/modeling/backbone/resnet.py (BasicStem, BottleneckBlock), STRIDE_IN_1X1 False.

    Every tensor of ``weights`` is used, and no other: what is left of it at the end is counters.
    """
    weights = {name: torch.from_numpy(array) for name, array in weights.items()}

    def conv(x, at, stride=1, padding=0):
        x = F.conv2d(x, weights.pop(f'{at}.weight'), stride=stride, padding=padding)
        mean, var, weight, bias = (
            weights.pop(f'{at}.norm.{leaf}')
            for leaf in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    x = F.max_pool2d(conv(images, 'stem.conv1', 2, 3).relu(), 3, 2, 1)
    out = []
    for stage, count in zip((2, 3, 4, 5), published.BLOCKS, strict=True):
        for block in range(count):
            at, stride = f'res{stage}.{block}', 2 if stage > 2 and block == 0 else 1
            shortcut = conv(x, f'{at}.shortcut', stride) if block == 0 else x
            y = conv(x, f'{at}.conv1').relu()
            y = conv(y, f'{at}.conv2', stride, 1).relu()
            x = (conv(y, f'{at}.conv3') + shortcut).relu()
        out.append(x)
    assert all(name.endswith('.norm.num_batches_tracked') for name in weights)
    return out


def test_detectron2(written, image, expected):
    pickled = written['detectron2'].read_bytes()
    content = pickle.loads(pickled)
    # What DetectionCheckpointer looks at; without heuristics no backbone.bottom_up is found.
    assert content['__author__'] == 'orl_mm'
    assert content['matching_heuristics'] is True
    names = set(published.detectron2_names().values()) - {'stem.fc.weight', 'stem.fc.bias'}
    assert set(content['model']) == names
    assert len(names) == 318
    with torch.no_grad():
        close(detectron2_forward(content['model'], image), expected)
    # numpy 2's own name of it would stop the numpy 1 that detectron2's environments have.
    assert b'numpy.core.multiarray' in pickled
    assert b'numpy._core' not in pickled


@pytest.mark.parametrize('package', ['mmpretrain', 'mmseg', 'mmdet'])
def test_openmmlab(package, written, image, expected):
    """A stock backbone with a stock init_cfg, without prefix."""
    try:
        __import__(f'{package}.models')
    except ImportError as error:
        pytest.skip(f'{package} cannot be imported: {error}')
    start = dict(type='Pretrained', checkpoint=str(written['openmmlab']))
    resnet = dict(type=f'{package}.ResNet', depth=50, out_indices=(0, 1, 2, 3), init_cfg=start)
    model = MODELS.build(resnet)
    assert isinstance(model, BaseModule)
    model.init_weights()
    model.eval()
    with torch.no_grad():
        close(model(image), expected)
    assert set(load_weights(written['openmmlab'])['state_dict']) == set(model.state_dict())


@pytest.mark.parametrize('target', TARGETS)
def test_round_trip_is_bit_identical(target, written, reference, tmp_path):
    back = read_backbone(written[target])
    assert back.architecture.name == 'resnet50'
    assert not back.left_out
    assert not back.missing
    write_backbone(back, tmp_path / 'back.pth', 'openmmlab', {})
    for path in (written['openmmlab'], tmp_path / 'back.pth'):
        state = load_weights(path)['state_dict']
        assert set(state) == set(published.bare(reference))
        for name, value in published.bare(reference).items():
            assert state[name].dtype == value.dtype, name
            assert torch.equal(state[name], value), name


@pytest.mark.parametrize('target', TARGETS)
def test_files_record_their_source(target, written, ours):
    path = written[target]
    if target == 'detectron2':
        meta = pickle.loads(path.read_bytes())['meta']
    else:
        content = torch.load(path, weights_only=True)
        meta = content['meta'] if target == 'openmmlab' else content.meta
    assert meta == dict(
        source='epoch_300.pth',
        sha256=hashlib.sha256(ours.read_bytes()).hexdigest(),
        format='R2O or a baseline of this project',
        prefix='backbone.',
        network='online',
        architecture='ResNet-50',
        notes='',
    )


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
