"""Photometric operations in a batch, against those that the loader applies to one image."""

import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils._python_dispatch import TorchDispatchMode

from orl_mm.datasets.transforms.photometry import FAST
from orl_mm.models.data_preprocessors.photometry import DEVICE, distort_views
from orl_mm.registry import MODELS, TRANSFORMS
from orl_mm.structures.photometry import OPERATIONS, encode_operations, split_operations

CPU = torch.device('cpu')


def photographs(num, height=48, width=64):
    """Smooth images with color, uint8 (num, height, width, 3)."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(-60, 315, (num, 3, 6, 8)))
    images = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    images = (images + torch.from_numpy(rng.normal(0, 4, images.shape))).clamp(0, 255)
    return images.round().byte().permute(0, 2, 3, 1).numpy()


def on_device(images, operations):
    """Each image with its own list of operations."""
    inputs = [torch.from_numpy(images).permute(0, 3, 1, 2)]
    batch = torch.stack([encode_operations([ops]) for ops in operations])
    (out,) = distort_views([*inputs, batch], CPU, True)
    return out.permute(0, 2, 3, 1).numpy()


# Operation: parameters, and the largest mean and worst difference to the loader's.
TABLE = {
    'brightness': ([(0.6,), (1.0,), (1.4,)], 0, 0),
    'contrast': ([(0.6,), (1.0,), (1.4,)], 0, 0),
    'saturation': ([(0.8,), (1.0,), (1.2,)], 0.01, 1),
    'hue': ([(-0.1,), (0.0,), (0.05,), (0.1,)], 0.8, 9),
    'grayscale': ([(0.114, 0.587, 0.299)], 0.01, 1),
    'solarize': ([(0,), (128,), (256,)], 0, 0),
    'blur': ([(0.1, 23), (0.8, 23), (2.0, 23), (2.0, 5)], 0.03, 1),
    'box_blur': ([(0.1,), (0.8,), (2.0,)], 0.1, 1),
    'sharpness': ([(0.5,), (1.0,), (2.0,)], 0.3, 1),
}


@pytest.mark.parametrize('name', TABLE)
def test_table_of_differences(name):
    parameters, mean, worst = TABLE[name]
    images = photographs(2 * len(parameters))
    values = parameters * 2
    out = on_device(images, [[(name, *v)] for v in values])
    expected = np.stack([FAST[name](x, *v) for x, v in zip(images, values, strict=True)])
    difference = np.abs(out - expected)
    assert difference.mean() <= mean
    assert difference.max() <= worst
    assert np.array_equal(out, out.round())


def test_all_operations_have_all_implementations():
    assert set(OPERATIONS) - {'none'} == set(FAST) == set(DEVICE) == set(TABLE)


def test_inputs_without_operations_are_images():
    image = torch.zeros(2, 3, 8, 8)
    for inputs in ([image, image], [image[0], image[0]], image):
        assert split_operations(inputs) == (inputs, None)
    assert split_operations([image, torch.zeros(2, 1, 28)])[1].shape == (2, 1, 7, 4)


def test_samples_do_not_mix():
    """Each sample with its own order, and one with no operation, as when alone."""
    images = photographs(4)
    jitter = [('brightness', 1.3), ('contrast', 0.7), ('saturation', 1.2), ('hue', 0.1)]
    operations = [
        jitter,
        jitter[::-1],
        [None] * 4,
        [None, ('blur', 1.0, 23), None, ('solarize', 9)],
    ]
    out = on_device(images, operations)
    assert np.array_equal(out[2], images[2])
    for i in range(4):
        alone = on_device(images[i : i + 1], operations[i : i + 1])
        np.testing.assert_allclose(out[i : i + 1], alone, atol=1e-3)
    assert np.abs(out[0] - out[1]).mean() > 5


def pipeline(config, backend):
    init_default_scope('mmpretrain')
    steps = Config.fromfile(f'configs/{config}').train_dataloader.dataset.pipeline
    step = next(s for s in steps if s.type == 'orl_mm.MultiViewWithGeometry')
    return TRANSFORMS.build(dict(step, backend=backend))


@pytest.mark.parametrize(
    'config',
    [
        'r2o/r50_in1k.py',
        'baselines/pixpro_r50_in1k.py',
        'baselines/dino_vits16_in1k.py',
        'medino/vits16_chexpert_dino-cxr-aug.py',
    ],
)
def test_full_size_views_are_those_of_the_fast_backend(config):
    images = photographs(2, 90, 120)
    pack = TRANSFORMS.build(dict(type='mmpretrain.PackInputs'))
    batches = {}
    for backend in ('fast', 'device'):
        views, states = pipeline(config, backend), []
        samples = []
        for seed, img in enumerate(images):
            np.random.seed(seed)
            random.seed(seed)
            sample = dict(img=img, x0=img[:8, :8]) if 'r2o' in config else dict(img=img)
            samples.append(pack.transform(views.transform(sample))['inputs'])
            states.append((np.random.rand(), random.random()))
        batches[backend] = [torch.stack(x) for x in zip(*samples, strict=True)], states
    (fast, states), (device, same) = batches['fast'], batches['device']
    assert states == same
    assert len(device) == len(fast) + 1
    out = distort_views(device, CPU, True)
    assert len(out) == len(fast)
    for i, (a, b) in enumerate(zip(out, fast, strict=True)):
        if 'r2o' in config and i == 2:  # x0
            assert torch.equal(a, b)
        else:
            assert a.dtype == torch.float32
            assert (a - b.float()).abs().mean() < 1.5


class NoWaits(TorchDispatchMode):
    """Fails at operators that make the host wait for a device."""

    names = ('_local_scalar_dense', 'nonzero', 'index.Tensor', 'masked_select', 'unique', 'equal')

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in self.names), func
        return func(*args, **(kwargs or {}))


def test_no_operator_waits():
    images = photographs(3)
    inputs = [torch.from_numpy(images).permute(0, 3, 1, 2)]
    rows = [[(n, *(TABLE[n][0][-1]))] for n in TABLE]
    batch = torch.stack([encode_operations([sum(rows, [])])] * 3)
    with NoWaits():
        distort_views([*inputs, batch], CPU, True)


def test_preprocessor_distorts_then_normalizes():
    init_default_scope('mmpretrain')
    images = torch.from_numpy(photographs(2)).permute(0, 3, 1, 2)
    operations = torch.stack([encode_operations([[('solarize', 0)]])] * 2)
    pre = MODELS.build(
        dict(type='orl_mm.ViewDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)
    )
    (found,) = pre(dict(inputs=[images, operations], data_samples=[]))['inputs']
    (expected,) = pre(dict(inputs=[255 - images], data_samples=[]))['inputs']
    assert torch.equal(found, expected)
    # Where nothing applies the operations, the batch is refused.
    stock = MODELS.build(dict(type='SelfSupDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6]))
    with pytest.raises((RuntimeError, IndexError)):
        stock(dict(inputs=[images, operations], data_samples=[]))


def test_transforms_without_a_device_operation_are_named():
    init_default_scope('mmpretrain')
    for step, name in (
        (dict(type='Invert', prob=0.5), 'Invert'),
        (dict(type='orl_mm.GaussianBlur', kernel_size=31), 'kernel_size=31'),
    ):
        options = dict(num_views=[1], transforms=[[step]], backend='device')
        with pytest.raises(ValueError, match=f'no operation for {name}|{name}'):
            TRANSFORMS.build(dict(type='orl_mm.MultiViewWithGeometry', **options))
