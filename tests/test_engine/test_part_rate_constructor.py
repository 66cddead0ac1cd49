"""Rates by part: which parameters get which, also scaled to another batch."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(dict(stem=nn.Linear(2, 3), last=nn.Linear(3, 3)))
        self.backbone_like = nn.Linear(3, 1)  # another part, whose name begins alike
        self.neck = nn.Linear(3, 3)
        self.target = nn.Linear(3, 3).requires_grad_(False)


def build(model, lr=0.3, **factors):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='orl_mm.PartRateConstructor',
            optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=0.01),
            paramwise_cfg=dict(lr_mult=factors),
        ),
    )


def rates(model, wrapper):
    found = {id(p): group['lr'] for group in wrapper.param_groups for p in group['params']}
    return {name: found[id(p)] for name, p in model.named_parameters() if id(p) in found}


def test_each_parameter_has_the_rate_of_its_part():
    model = Net()
    wrapper = build(model, **{'backbone': 0.1, 'backbone.last': 0.5})
    expected = {'backbone.stem': 0.03, 'backbone.last': 0.15, 'backbone_like': 0.3, 'neck': 0.3}
    assert rates(model, wrapper) == {
        f'{part}.{kind}': pytest.approx(rate)
        for part, rate in expected.items()
        for kind in ('weight', 'bias')
    }  # and none of the target
    assert len(wrapper.param_groups) == 3
    assert all((g['momentum'], g['weight_decay']) == (0.9, 0.01) for g in wrapper.param_groups)
    assert wrapper.get_lr()['lr'][0] == 0.3  # what the log shows


def test_a_step_moves_each_part_by_its_rate():
    model = Net()
    wrapper = build(model, backbone=1e-2)
    for group in wrapper.param_groups:
        group['weight_decay'] = 0.0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.ones_like(p)
    wrapper.optimizer.step()
    for name, p in model.named_parameters():
        moved = 0.0 if name.startswith('target') else 3e-3 if name.startswith('backbone.') else 0.3
        torch.testing.assert_close(
            before[name] - p, torch.full_like(p, moved), atol=1e-6, rtol=1e-4
        )


def test_bad_input():
    with pytest.raises(ValueError, match=r"lr_mult names \['bakbone'\].*Net has no parameter"):
        build(Net(), bakbone=0.1)
    with pytest.raises(ValueError, match=r"lr_mult names \['target'\]"):
        build(Net(), target=0.1)
    with pytest.raises(ValueError, match='at least 0'):
        build(Net(), backbone=-1.0)
    with pytest.raises(ValueError, match='lr_mult=dict'):
        build(Net())
    with pytest.raises(ValueError, match='custom_keys'):
        build_optim_wrapper(
            Net(),
            dict(
                type='OptimWrapper',
                constructor='orl_mm.PartRateConstructor',
                optimizer=dict(type='SGD', lr=0.1),
                paramwise_cfg=dict(lr_mult=dict(neck=1.0), custom_keys={}),
            ),
        )
    with pytest.raises(ValueError, match='optimizer needs lr'):
        build_optim_wrapper(
            Net(),
            dict(
                type='OptimWrapper',
                constructor='orl_mm.PartRateConstructor',
                optimizer=dict(type='SGD'),
                paramwise_cfg=dict(lr_mult=dict(neck=1.0)),
            ),
        )
