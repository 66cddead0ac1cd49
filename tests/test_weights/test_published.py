"""Each published file becomes a ResNet-50 of mmpretrain, counted and compared by features."""

import argparse
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmpretrain.models import ResNet, VisionTransformer
from torch.nn import functional as F

from orl_mm.weights import load_backbone
from orl_mm.weights.convert import read_backbone
from tests.test_weights import published

WHOLE, COUNTERS = 265, 53  # of a ResNet-50: 53 convolutions, 53 norms with four tensors each


@pytest.fixture(scope='module')
def reference():
    return published.resnet50()


@pytest.fixture(scope='module')
def light():
    return published.light_resnet50()


@pytest.fixture(scope='module')
def mm_resnet50():
    model = ResNet(depth=50, out_indices=(0, 1, 2, 3))
    model.eval()  # returns None
    return model


def fill(model, weights):
    """Load strictly, after filling the model with another constant."""
    for tensor in model.state_dict().values():
        tensor.fill_(3)
    assert not any(model.load_state_dict(weights, strict=True))


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# What the file is recognized as, its prefix and how many tensors are left out.
FILES = {
    'r2o': (published.r2o, 'r2o', 'online_network.encoder.', 345),
    'r2o-unwrapped': (lambda m: published.r2o(m, False), 'r2o', 'online_network.encoder.', 345),
    'detcon-pytorch-fpn': (published.detcon_pyramid, 'r2o', 'online_network.', 322),
    'r2o-torchvision': (published.r2o_torchvision, 'torchvision', '', 2),
    'torchvision': (lambda m: m.state_dict(), 'torchvision', '', 2),
    'pixpro': (published.pixpro, 'pixpro', 'encoder.', 336),
    'pixpro-raw': (lambda m: published.pixpro(m, False), 'pixpro', 'encoder.', 336),
    'infomin': (published.infomin, 'infomin', 'encoder.', 10),
    'densecl': (published.densecl, 'torchvision', '', 0),
    'mocov1': (lambda m: published.moco(m, 1), 'moco', 'encoder_q.', 324),
    'mocov2': (lambda m: published.moco(m, 2), 'moco', 'encoder_q.', 328),
    'dino-resnet': (published.dino_resnet, 'dino', 'teacher.backbone.', 322),
}


@pytest.mark.parametrize('name', FILES)
def test_torch_files(name, light, mm_resnet50, tmp_path):
    """Each tensor of ``light`` is a constant of its own."""
    content, key, prefix, left = FILES[name]
    torch.save(content(light), tmp_path / 'x.pth')
    read = read_backbone(tmp_path / 'x.pth', architecture='resnet50')
    assert (read.found.source.key, read.found.prefix) == (key, prefix)
    assert len(read.left_out) == left
    check_weights(read, light)
    # A config's init_cfg takes the same file as it is.
    fill(mm_resnet50, read.weights)
    mm_resnet50.conv1.weight.data.fill_(3)
    assert load_backbone(mm_resnet50, tmp_path / 'x.pth') == (prefix, WHOLE, WHOLE, [])
    assert torch.equal(mm_resnet50.conv1.weight, light.conv1.weight)


def check_weights(read, reference, counters=COUNTERS):
    assert not read.missing
    assert len(read.architecture.shapes) == WHOLE
    assert len(read.weights) == WHOLE + counters
    expected = reference.state_dict()
    for name, value in read.weights.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize('author', ['torchvision', 'MOCO', 'PixPro'])
def test_detectron2(author, tmp_path):
    """R2O's third format."""
    narrow = published.narrow_resnet50()
    (tmp_path / 'x.pkl').write_bytes(published.detectron2(narrow, author))
    read = read_backbone(tmp_path / 'x.pkl')
    assert read.found.source.key == 'detectron2'
    assert len(read.left_out) == 2
    assert 'RGB' in read.found.layout.note
    check_weights(read, narrow, counters=0)


@pytest.mark.parametrize(
    ('network', 'file', 'prefix'),
    [
        ('target', published.r2o, 'target_network.encoder.'),
        ('teacher', published.moco, 'encoder_k.'),
        ('target', published.pixpro, 'encoder_k.'),
        ('student', published.dino_resnet, 'student.backbone.'),
    ],
)
def test_the_other_network(network, file, prefix, light, tmp_path):
    torch.save(file(light), tmp_path / 'x.pth')
    read = read_backbone(tmp_path / 'x.pth', network=network)
    assert read.found.prefix == prefix
    assert len(read.weights) == WHOLE + COUNTERS
    assert (read.weights['layer4.2.conv3.weight'] == 0.5).all()


@pytest.mark.parametrize('full', [False, True])
def test_dino_vit_small(full, tmp_path):
    """150 tensors, all of a ViT-S of mmpretrain; a full checkpoint also holds a student."""
    weights = published.vit_small()
    content, prefix, left = weights, '', 0
    if full:
        head = {'head.mlp.0.weight': published.flat((2048, 384))}
        student = {**published.under('backbone.', published.flat_like(weights)), **head}
        # The teacher of a ViT, which has no batch norm, is not wrapped.
        teacher = {**published.under('backbone.', weights), **head}
        student = published.under('module.', student)
        args = argparse.Namespace(arch='vit_small')
        content = dict(teacher=teacher, student=student, optimizer={}, epoch=800, args=args)
        prefix, left = 'teacher.backbone.', 152
    torch.save(content, tmp_path / 'x.pth')
    read = read_backbone(tmp_path / 'x.pth', architecture='vit')
    assert read.found.source.key == 'dino'
    assert read.found.prefix == prefix
    assert (len(read.weights), len(read.left_out), read.missing) == (150, left, [])
    model = VisionTransformer(arch='deit-small', img_size=224, patch_size=16)
    fill(model, read.weights)


# DetCon's own file.


def haiku_forward(params, state, images, name='res_net50'):
    """Haiku's ResNet v1 in evaluation, by its own names: (B, H, W, 3) -> C2 to C5, (B, h, w, C).

    As in utils/networks.py of deepmind/detcon and Haiku's nets/resnet.py and batch_norm.py:
    padding 'SAME', eps 1e-5. In double precision, since the order of summation differs.
    """

    def same(x, kernel, stride, value=0.0):
        pads = []
        for size in (x.shape[3], x.shape[2]):  # F.pad begins with the last axis
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads, value=value)

    def conv(x, at, stride):
        w = torch.from_numpy(params[f'{name}/~/{at}']['w']).to(images)
        return F.conv2d(same(x, w.shape[0], stride), w.permute(3, 2, 0, 1), stride=stride)

    def norm(x, at):
        arrays = [params[f'{name}/~/{at}'][part] for part in ('scale', 'offset')]
        arrays += [state[f'{name}/~/{at}/~/{ema}']['average'] for ema in ('mean_ema', 'var_ema')]
        scale, offset, mean, var = (
            torch.from_numpy(a).to(images).view(1, -1, 1, 1) for a in arrays
        )
        return (x - mean) * (scale * torch.rsqrt(var + 1e-5)) + offset

    x = images.permute(0, 3, 1, 2)
    x = norm(conv(x, 'initial_conv', 2), 'initial_batchnorm').relu()
    x, out = F.max_pool2d(same(x, 3, 2, -torch.inf), 3, 2), []
    for group, count in enumerate(published.BLOCKS):
        for block in range(count):
            at = f'block_group_{group}/~/block_{block}/~'
            stride = 2 if group > 0 and block == 0 else 1
            shortcut = conv(x, f'{at}/shortcut_conv', stride) if block == 0 else x
            shortcut = norm(shortcut, f'{at}/shortcut_batchnorm') if block == 0 else x
            for i, step in enumerate((1, stride, 1)):
                x = norm(conv(x, f'{at}/conv_{i}', step), f'{at}/batchnorm_{i}')
                x = x.relu() if i < 2 else x
            x = (x + shortcut).relu()
        out.append(x.permute(0, 2, 3, 1))
    return out


def zeros(tree):
    return {k: {leaf: np.zeros_like(a) for leaf, a in leaves.items()} for k, leaves in tree.items()}


# How parameters and state may be combined in one file.
HAIKU_LAYOUTS = dict(
    pair=lambda params, state: dict(params=params, state=state),
    online=lambda params, state: dict(
        online_params=params,
        online_state=state,
        step=np.int64(7),
        opt_state=[params],
        target_params=zeros(params),
        target_state=zeros(state),
    ),
    joined=lambda params, state: {**params, **state},
    tuple=lambda params, state: (params, state),
)


@pytest.mark.parametrize('layout', HAIKU_LAYOUTS)
def test_detcon(layout, tmp_path):
    reference = published.narrow_resnet50()
    params, state = published.haiku(reference)
    content = HAIKU_LAYOUTS[layout](params, state)
    if layout == 'tuple':  # an array of two objects
        pair = np.empty(2, object)
        pair[:] = content
        content = pair
    np.save(tmp_path / 'detcon.npy', content, allow_pickle=True)
    read = read_backbone(tmp_path / 'detcon.npy')
    assert read.found.source.key == 'detcon'
    assert read.found.prefix.endswith('res_net50/~/')
    assert read.architecture.title == 'ResNet-50, stem 4 and first stage 4 wide'
    check_weights(read, reference, counters=0)
    # A config's init_cfg takes it, too.
    model = ResNet(depth=50, stem_channels=4, base_channels=4)
    load_backbone(model, tmp_path / 'detcon.npy', prefix=read.found.prefix)
    loaded = model.state_dict()
    for name, value in reference.state_dict().items():
        assert name[:3] == 'fc.' or torch.equal(loaded[name], value), name
    if layout == 'online':
        other = read_backbone(tmp_path / 'detcon.npy', network='target').weights
        assert len(other) == WHOLE
        assert not any(value.any() for value in other.values())


@pytest.fixture
def detcon(reference, tmp_path):
    params, state = published.haiku(reference)
    np.save(tmp_path / 'detcon.npy', dict(params=params, state=state), allow_pickle=True)

    @torch.no_grad()
    def forward(images):
        out = haiku_forward(params, state, images.permute(0, 2, 3, 1))
        return [x.permute(0, 3, 1, 2) for x in out]

    return read_backbone(tmp_path / 'detcon.npy'), forward


def test_detcon_features_in_a_stock_network(detcon, mm_resnet50):
    """At odd sizes, SAME padding is symmetric, as in PyTorch."""
    read, forward = detcon
    fill(mm_resnet50, read.weights)
    images = published.photograph(97).double()  # 49, 25, 13, 7, 4
    with torch.no_grad():
        close(deepcopy(mm_resnet50).double()(images), forward(images))


def test_detcon_features_at_even_sizes(detcon, mm_resnet50):
    """The recipe of projects/weights/README.md; the stock network's features differ."""
    read, forward = detcon
    images = published.photograph(128).double()
    model = ResNet(depth=50, out_indices=(0, 1, 2, 3), conv_cfg=dict(type='Conv2dAdaptivePadding'))
    model.maxpool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
    model.eval()
    fill(model, read.weights)
    fill(mm_resnet50, read.weights)
    with torch.no_grad():
        expected = forward(images)
        close(model.double()(images), expected)
        stock = deepcopy(mm_resnet50).double()(images)
    assert all((a - b).norm() > 0.05 * b.norm() for a, b in zip(stock, expected, strict=False))
