"""SyncBN of several processes equals plain batch norm of the joined batch."""

import pytest
import torch
from mmcv.cnn import build_norm_layer
from torch import nn

from orl_mm.models.utils.sync_batch_norm import SyncBatchNorm, use_weighted_sync_batch_norm
from tests.ranks import run_ranks

# Rows of each rank.
ROWS = dict(equal=(3, 3), unequal=(5, 2), first_empty=(0, 4), last_empty=(4, 0))
CASES = {
    **{name: dict(rows=rows) for name, rows in ROWS.items()},
    'vectors': dict(rows=(5, 2), size=()),
    'sequence': dict(rows=(2, 3), size=(7,)),
    'channels last': dict(rows=(2, 1), channels_last=True),
    'without affine': dict(rows=(3, 2), affine=False),
    'without statistics': dict(rows=(3, 2), track_running_stats=False),
    'average of all batches': dict(rows=(3, 2), momentum=None),
    'frozen input': dict(rows=(3, 2), frozen=True),
    'float32': dict(rows=(40, 0), dtype=torch.float32),
    'bfloat16': dict(rows=(5, 3), dtype=torch.bfloat16),
}


def batches(rows, size, dtype, channels_last):
    """Two batches and the gradients of their outputs; channels far from zero."""
    generator = torch.Generator().manual_seed(0)
    shape = (sum(rows), 6, *size)
    for _ in range(2):
        x, grad = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in '12')
        x = x * 3 + torch.arange(-5, 7, 2).view(6, *[1] * len(size))
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        yield x.to(dtype), grad.to(dtype)


def run(case, rank, world):
    """Outputs, gradients and statistics after two training steps."""
    settings = dict(size=(4, 3), dtype=torch.float64, channels_last=False, frozen=False)
    settings.update(CASES[case])
    rows, size, dtype, last, frozen = (
        settings.pop(k) for k in ('rows', 'size', 'dtype', 'channels_last', 'frozen')
    )
    kind = SyncBatchNorm if world > 1 else nn.BatchNorm2d if len(size) == 2 else nn.BatchNorm1d
    norm = kind(6, **settings).to(torch.promote_types(dtype, torch.float32))
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2, generator=torch.Generator().manual_seed(3))
    start = sum(rows[:rank]) if world > 1 else 0
    mine = slice(start, start + rows[rank]) if world > 1 else slice(None)
    outputs, gradients = [], []
    for x, grad in batches(rows, size, dtype, last):
        x = x[mine].detach().requires_grad_(not frozen)
        y = norm(x)
        if y.requires_grad:
            y.backward(grad[mine])
        outputs.append(y.detach())
        gradients.append(torch.empty(0) if frozen else x.grad)
    return dict(
        outputs=outputs,
        gradients=gradients,
        parameters=[p.grad for p in norm.parameters()],
        buffers=[b.clone() for b in norm.buffers()],
        layout=outputs[0].is_contiguous(memory_format=torch.channels_last) if last else None,
    )


def run_all(rank, world):
    return {case: run(case, rank, world) for case in CASES}


@pytest.fixture(scope='module')
def ranks():
    return run_ranks(run_all)


@pytest.mark.parametrize('case', list(CASES))
def test_equals_batch_norm_of_the_joined_batch(ranks, case):
    two, one = [result[case] for result in ranks], run(case, 0, 1)
    dtype = CASES[case].get('dtype', torch.float64)
    close = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2e-2}[dtype]
    for key in ('outputs', 'gradients'):
        for first, second, joined in zip(two[0][key], two[1][key], one[key], strict=True):
            torch.testing.assert_close(torch.cat([first, second]), joined, atol=close, rtol=close)
    everyone = [*two, one]
    # Distributed training averages them; here each rank has its share of the sum.
    for first, second, joined in zip(*(r['parameters'] for r in everyone), strict=True):
        torch.testing.assert_close(first + second, joined, atol=20 * close, rtol=close)
    for first, second, joined in zip(*(r['buffers'] for r in everyone), strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, joined, atol=close, rtol=close)
    assert two[0]['layout'] == one['layout']


def test_takes_the_place_of_torch_s_class():
    named = build_norm_layer(dict(type='SyncBN'), 4)[1]  # mmengine's subclass of torch's class
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4, eps=1e-3), named)
    model.append(nn.BatchNorm2d(4))
    weight, keys = model[1].weight, list(model.state_dict())
    assert use_weighted_sync_batch_norm(model) is model
    assert [type(layer) for layer in model[1:]] == [SyncBatchNorm, SyncBatchNorm, nn.BatchNorm2d]
    assert (model[1].weight is weight, model[1].eps, list(model.state_dict())) == (True, 1e-3, keys)
    # Without other processes: plain batch norm.
    plain = nn.BatchNorm2d(4, eps=1e-3)
    x = torch.randn(3, 4, 2, 2)
    assert torch.equal(model[1](x), plain(x))
    assert torch.equal(model[1].running_var, plain.running_var)
    assert torch.equal(model[1].eval()(x), plain.eval()(x))
