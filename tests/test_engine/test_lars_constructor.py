"""Every norm and bias is excluded by type; the official preset keeps the stem's weight."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from orl_mm.engine.optimizers import LARS


class Net(nn.Module):
    """Norms under names that no pattern would find, and a frozen target."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4))
        self.downsample = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.ln1 = nn.LayerNorm(4)
        self.gn = nn.GroupNorm(2, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.tied = self.downsample[0]
        self.target = nn.Linear(4, 4).requires_grad_(False)


ADAPTED = {
    'stem.0.weight',
    'downsample.0.weight',
    'attention.in_proj_weight',
    'attention.out_proj.weight',
}
EXCLUDED = {
    'stem.0.bias',
    'stem.1.weight',
    'stem.1.bias',
    'downsample.1.weight',
    'downsample.1.bias',
    'ln1.weight',
    'ln1.bias',
    'gn.weight',
    'gn.bias',
    'attention.in_proj_bias',
    'attention.out_proj.bias',
}


def _build(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='orl_mm.LARSConstructor',
            optimizer=dict(type='orl_mm.LARS', lr=4.8, momentum=0.9, weight_decay=1e-6),
            paramwise_cfg=paramwise or None,
        ),
    )


def _names(model, group):
    members = {id(p) for p in group['params']}
    return {name for name, p in model.named_parameters() if id(p) in members}


def test_groups_by_type_and_without_frozen_parameters():
    model = Net()
    wrapper = _build(model)
    assert isinstance(wrapper.optimizer, LARS)
    adapted, excluded = wrapper.param_groups
    assert _names(model, adapted) == ADAPTED
    assert (adapted['weight_decay'], adapted['lars_exclude']) == (1e-6, False)
    assert _names(model, excluded) == EXCLUDED
    assert (excluded['weight_decay'], excluded['lars_exclude']) == (0.0, True)
    assert sum(len(g['params']) for g in wrapper.param_groups) == len(ADAPTED | EXCLUDED)


def test_official_preset_keeps_one_norm_weight():
    model = Net()
    adapted, excluded = _build(model, include=('stem.1.weight',)).param_groups
    assert _names(model, adapted) == ADAPTED | {'stem.1.weight'}
    assert _names(model, excluded) == EXCLUDED - {'stem.1.weight'}


def test_resnet_of_mmpretrain_has_53_norms():
    from mmpretrain.registry import MODELS

    model = MODELS.build(dict(type='mmpretrain.ResNet', depth=50, norm_cfg=dict(type='SyncBN')))
    adapted, excluded = _build(model).param_groups
    assert len(adapted['params']) == 53  # convolutions of ResNet-50, fc not counted
    assert len(excluded['params']) == 2 * 53
    assert all(p.ndim == 4 for p in adapted['params'])


def test_wrapped_model_and_logged_rate():
    class Wrapped(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    wrapper = _build(Wrapped(nn.Linear(2, 2)))
    assert [len(g['params']) for g in wrapper.param_groups] == [1, 1]
    assert wrapper.get_lr() == dict(lr=[4.8, 4.8])
    state = wrapper.state_dict()
    wrapper.load_state_dict(state)
    assert len(wrapper.param_groups) == 2


@pytest.mark.parametrize(
    ('paramwise', 'word'),
    [
        (dict(include=('stem.9.weight',)), 'stem.9.weight'),
        (dict(include=('stem.0.weight',)), 'no trainable norm or bias'),  # adapted already
        (dict(norm_decay_mult=0.0), 'norm_decay_mult'),
    ],
)
def test_wrong_settings_are_named(paramwise, word):
    with pytest.raises(ValueError, match=word):
        _build(Net(), **paramwise)


def test_model_without_trainable_parameters_is_refused():
    with pytest.raises(ValueError, match='no parameter'):
        _build(nn.Linear(2, 2).requires_grad_(False))


def test_excluded_parameters_see_no_decay():
    model = nn.BatchNorm1d(3)
    wrapper = _build(model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    wrapper.step()
    assert torch.equal(model.weight, torch.ones(3))
