"""LARS against mmpretrain's class and the published formula; parameter groups; bfloat16."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.engine.optimizers import LARS as StockLARS
from torch import nn

from orl_mm.engine.optimizers import LARS


def lars_pair(**kwargs):
    """Ours and mmpretrain's on equal parameters, the last one excluded."""
    optimizers = []
    for cls in (LARS, StockLARS):
        draw = torch.Generator().manual_seed(0)
        shapes = [(8, 4), (5,), (3, 2, 3, 3), (7,)]
        params = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes]
        excluded = dict(params=params[-1:], weight_decay=0.0, lars_exclude=True)
        optimizers.append(cls([dict(params=params[:-1]), excluded], **kwargs))
    return optimizers


def params_of(optimizer):
    return [p for group in optimizer.param_groups for p in group['params']]


def step(optimizer, i, lr=None):
    draw = torch.Generator().manual_seed(100 + i)
    for group in optimizer.param_groups:
        group['lr'] = lr or group['lr']
    for p in params_of(optimizer):
        p.grad = torch.randn(p.shape, generator=draw)
    if i == 2:  # a tensor without gradient, and one whose gradient is zero
        params_of(optimizer)[0].grad = None
        params_of(optimizer)[1].grad.zero_()
    optimizer.step()


def equal(a, b):
    for p, q in zip(params_of(a), params_of(b), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    'options',
    [
        dict(momentum=0.9, weight_decay=1e-6),
        dict(momentum=0.9, weight_decay=1e-2, nesterov=True),
        dict(momentum=0.9, weight_decay=1e-2, dampening=0.3),
        dict(momentum=0.0, weight_decay=1e-2),
    ],
)
def test_lars_equals_mmpretrain(options):
    ours, theirs = lars_pair(lr=4.8, **options)
    for i in range(6):
        step(ours, i, lr=4.8 / (i + 1))
        step(theirs, i, lr=4.8 / (i + 1))
        equal(ours, theirs)


def test_lars_resumes_from_the_state_of_mmpretrain():
    ours, theirs = lars_pair(lr=0.3, momentum=0.9, weight_decay=1e-6)
    for i in range(2):
        step(theirs, i)
    ours.load_state_dict(deepcopy(theirs.state_dict()))
    for p, q in zip(params_of(ours), params_of(theirs), strict=True):
        p.data.copy_(q.data)
    for i in range(2, 4):
        step(ours, i)
        step(theirs, i)
    equal(ours, theirs)


def test_two_steps_of_lars_by_hand():
    w = np.array([3.0, 4.0])  # norm 5
    p = nn.Parameter(torch.tensor(w, dtype=torch.float64))
    optimizer = LARS([p], lr=2.0, momentum=0.5, weight_decay=0.1, eta=0.01, eps=0.0)
    v = 0.0
    for g in (np.array([0.0, 2.0]), np.array([1.0, -1.0])):
        trust = 0.01 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.1 * np.linalg.norm(w))
        v = 0.5 * v + 2.0 * trust * (g + 0.1 * w)
        w = w - v
        p.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-12)


@pytest.mark.parametrize(
    ('weight', 'grad', 'exclude'),
    [
        ([0.0, 0.0], [1.0, 2.0], False),
        ([3.0, 4.0], [0.0, 0.0], False),
        ([3.0, 4.0], [1.0, 1.0], True),
    ],
)
def test_where_lars_is_plain_sgd(weight, grad, exclude):
    """A zero weight or gradient, and excluded groups."""
    p, g = nn.Parameter(torch.tensor(weight)), torch.tensor(grad)
    p.grad = g.clone()
    LARS([dict(params=[p], lars_exclude=exclude)], lr=0.5, weight_decay=0.1).step()
    expected = torch.tensor(weight) - 0.5 * (g + 0.1 * torch.tensor(weight))
    torch.testing.assert_close(p.detach(), expected)


def test_lars_never_synchronizes_the_device(monkeypatch):
    optimizer, _ = lars_pair(lr=0.3, momentum=0.9, weight_decay=1e-6)

    def forbidden(*args, **kwargs):
        raise AssertionError('the step reads a value to the host')

    for name in ('item', '__bool__', '__float__', 'tolist', 'cpu', 'numpy'):
        monkeypatch.setattr(torch.Tensor, name, forbidden)
    for i in range(2):
        step(optimizer, i)


@pytest.mark.parametrize(
    'options',
    [dict(lr=-1.0), dict(momentum=-0.1), dict(eta=-1.0), dict(eps=-1.0), dict(nesterov=True)],
)
def test_wrong_arguments_of_lars(options):
    with pytest.raises(ValueError, match='got'):
        LARS([nn.Parameter(torch.zeros(1))], **dict(dict(lr=1.0), **options))


class Net(nn.Module):
    """Norms under names that no pattern would find, a shared weight, and a frozen target."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4))
        self.downsample = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.ln1 = nn.LayerNorm(4)
        self.gn = nn.GroupNorm(2, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.tied = nn.Conv2d(4, 4, 1, bias=False)
        self.tied.weight = self.downsample[0].weight
        self.target = nn.Linear(4, 4).requires_grad_(False)


MATRICES = {
    'stem.0.weight',
    'downsample.0.weight',
    'attention.in_proj_weight',
    'attention.out_proj.weight',
    'token',
}
VECTORS = {name for name, p in Net().named_parameters() if p.requires_grad and name not in MATRICES}


def build(model, constructor, paramwise=None, **optimizer):
    cfg = dict(type='OptimWrapper', constructor=f'orl_mm.{constructor}', paramwise_cfg=paramwise)
    cfg['optimizer'] = optimizer or dict(type='orl_mm.LARS', lr=4.8, weight_decay=1e-6)
    return build_optim_wrapper(model, cfg)


def names_of(model, wrapper):
    names = {id(p): name for name, p in model.named_parameters()}
    found = [[names[id(p)] for p in group['params']] for group in wrapper.param_groups]
    assert all(len(group) == len(set(group)) for group in found)
    return [set(group) for group in found]


@pytest.mark.parametrize('include', [set(), {'stem.1.weight'}])
def test_lars_excludes_norms_and_biases(include):
    model = Net()
    wrapper = build(model, 'LARSConstructor', dict(include=tuple(include)))
    assert isinstance(wrapper.optimizer, LARS)
    assert names_of(model, wrapper) == [MATRICES | include, VECTORS - include]
    adapted, excluded = wrapper.param_groups
    assert (adapted['weight_decay'], adapted['lars_exclude']) == (1e-6, False)
    assert (excluded['weight_decay'], excluded['lars_exclude']) == (0.0, True)


def test_wrapped_model_and_logged_rate():
    wrapper = build(nn.DataParallel(nn.Linear(2, 2)), 'LARSConstructor')
    assert [len(g['params']) for g in wrapper.param_groups] == [1, 1]
    assert wrapper.get_lr() == dict(lr=[4.8, 4.8])


def test_only_matrices_are_decayed():
    model = Net()
    wrapper = build(model, 'MatrixDecayConstructor', type='AdamW', lr=1.0, weight_decay=0.3)
    assert names_of(model, wrapper) == [MATRICES, VECTORS]
    assert [g['weight_decay'] for g in wrapper.param_groups] == [0.3, 0.0]


def test_rates_of_parts():
    """The longest name that fits decides; a part's name ends at a dot."""
    model = nn.ModuleDict(
        dict(
            backbone=nn.ModuleDict(dict(stem=nn.Linear(2, 3), last=nn.Linear(3, 3))),
            backbone_like=nn.Linear(3, 1),
            target=nn.Linear(3, 3).requires_grad_(False),
        )
    )
    factors = {'backbone': 0.1, 'backbone.last': 0.5}
    sgd = dict(type='SGD', lr=0.3, momentum=0.9, weight_decay=0.01)
    wrapper = build(model, 'PartRateConstructor', dict(lr_mult=factors), **sgd)
    parts = [{name.rpartition('.')[0] for name in group} for group in names_of(model, wrapper)]
    assert parts == [{'backbone_like'}, {'backbone.stem'}, {'backbone.last'}]
    assert [g['lr'] for g in wrapper.param_groups] == pytest.approx([0.3, 0.03, 0.15])
    assert all((g['momentum'], g['weight_decay']) == (0.9, 0.01) for g in wrapper.param_groups)
    assert wrapper.get_lr()['lr'][0] == 0.3  # what the log shows


@pytest.mark.parametrize(
    ('constructor', 'paramwise', 'message'),
    [
        ('LARS', dict(include=('stem.9.weight',)), 'stem.9.weight'),
        ('LARS', dict(include=('stem.0.weight',)), 'no trainable norm or bias'),  # is adapted
        ('LARS', dict(norm_decay_mult=0.0), 'norm_decay_mult'),
        ('MatrixDecay', dict(bias_decay_mult=0), 'paramwise_cfg'),
        ('PartRate', dict(lr_mult=dict(stemm=0.1)), r"names \['stemm'\].*Net has no parameter"),
        ('PartRate', dict(lr_mult=dict(target=0.1)), r"lr_mult names \['target'\]"),
        ('PartRate', dict(lr_mult=dict(stem=-1.0)), 'at least 0'),
        ('PartRate', dict(lr_mult={}), 'needs paramwise_cfg'),
        ('PartRate', dict(lr_mult=dict(stem=1.0), custom_keys={}), 'custom_keys'),
    ],
)
def test_wrong_options_of_constructors(constructor, paramwise, message):
    with pytest.raises(ValueError, match=message):
        build(Net(), f'{constructor}Constructor', paramwise)


def test_wrong_optimizers_and_models():
    with pytest.raises(ValueError, match='optimizer needs lr'):
        build(Net(), 'PartRateConstructor', dict(lr_mult=dict(stem=1.0)), type='SGD')
    with pytest.raises(ValueError, match='no parameter'):
        build(nn.Linear(2, 2).requires_grad_(False), 'LARSConstructor')
    with pytest.raises(ValueError, match='needs optimizer'):
        build_optim_wrapper(Net(), dict(constructor='orl_mm.MatrixDecayConstructor'))


class Half(nn.Module):
    """A linear layer that records the type of its output."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x):
        out = self.layer(x)
        self.dtype = out.dtype
        return out.float().sum()


@pytest.mark.parametrize(
    ('count', 'expected'), [(1, [-0.5, -1.0, -1.5, -2.0]), (2, [0.0, -0.5, -0.5, -1.0])]
)
def test_bfloat16_forward_passes(count, expected):
    """The gradient of w x is x as bfloat16 holds it: 8 bits, so 1 + 2^-9 is 1."""
    cfg = dict(type='orl_mm.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.5))
    model = Half()
    wrapper = build_optim_wrapper(model, dict(cfg, accumulative_counts=count))
    wrapper.initialize_count_status(model, 0, 4)
    steps = []
    for _ in range(4):
        with wrapper.optim_context(model):
            loss = model(torch.tensor([[1 + 2**-9, 2.0, 3.0]]))
        wrapper.update_params(loss)
        steps.append(model.layer.weight[0, 0].item())
    assert steps == expected
    assert (model.dtype, model.layer.weight.dtype) == (torch.bfloat16, torch.float32)
    model(torch.ones(1, 3))
    assert model.dtype == torch.float32  # nothing is cast outside
