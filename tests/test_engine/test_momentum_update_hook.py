"""The target's momentum: its curve, its moment, accumulation, both orders, resume."""

import math

import pytest
import torch
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from orl_mm.engine.hooks import MomentumUpdateHook

from .tiny import TinyModel, tiny_runner

HOOK = dict(type='orl_mm.MomentumUpdateHook', momentum=0.9, end_momentum=1.0)


def _byol(step, total, m0=0.9):
    """As the authors' trainer writes it."""
    return 1 - (1 - m0) * (math.cos(math.pi * step / total) + 1) / 2


def test_once_a_step_after_the_optimizer(tmp_path):
    model = TinyModel()
    runner = tiny_runner(tmp_path, model, hooks=[HOOK])
    seen = []
    update = model.update_target

    def spy(momentum):
        seen.append((model.online.weight.detach().clone(), model.target.weight.clone()))
        update(momentum)

    model.update_target = spy
    runner.train()
    steps, momenta = zip(*model.momenta, strict=False)
    assert list(steps) == list(range(1, 13))
    assert list(momenta) == pytest.approx([_byol(t, 12) for t in range(12)])
    assert model.pending == [None] * 12
    expected = seen[0][1] * momenta[0] + seen[0][0] * (1 - momenta[0])
    torch.testing.assert_close(seen[1][1], expected)
    assert not torch.equal(seen[0][0], seen[1][0])  # the optimizer had stepped in between


@pytest.mark.parametrize(('accumulate', 'updates'), [(4, [4, 8, 12]), (5, [5, 10, 12])])
def test_once_an_optimizer_step_with_accumulation(tmp_path, accumulate, updates):
    runner = tiny_runner(tmp_path, hooks=[HOOK], accumulate=accumulate)
    runner.train()
    steps, momenta = zip(*runner.model.momenta, strict=False)
    assert list(steps) == updates
    assert list(momenta) == pytest.approx([_byol(t, 3) for t in range(3)])


@pytest.mark.parametrize('accumulate', [1, 4])
def test_official_order_hands_the_momentum_to_the_step(tmp_path, accumulate):
    model = TinyModel(target_update='before_target_forward')
    tiny_runner(tmp_path, model, hooks=[HOOK], accumulate=accumulate).train()
    assert model.momenta == []
    total = 12 // accumulate
    for i, pending in enumerate(model.pending):
        if i % accumulate:
            assert pending is None
        else:
            assert pending == pytest.approx(_byol(i // accumulate, total))


@pytest.mark.parametrize('order', ['after_step', 'before_target_forward'])
def test_resume_continues_the_curve(tmp_path, order):
    def run(name, **kwargs):
        model = TinyModel(target_update=order)
        tiny_runner(tmp_path / name, model, hooks=[HOOK], **kwargs).train()
        return model

    whole = run('whole')
    run('broken', stop_after=1)
    rest = run('rest', load_from=str(tmp_path / 'broken/epoch_1.pth'), resume=True)
    assert rest.pending == whole.pending[4:]
    assert [m for _, m in rest.momenta] == [m for _, m in whole.momenta[4:]]
    assert torch.equal(rest.target.weight, whole.target.weight)


def test_wrapped_model_and_log(tmp_path):
    runner = tiny_runner(tmp_path, hooks=[dict(HOOK, interval=4)])

    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def train_step(self, *args, **kwargs):
            return self.module.train_step(*args, **kwargs)

    MODEL_WRAPPERS.register_module(module=Wrapper, force=True)
    model = runner.model
    runner.model = Wrapper(model)
    runner.train()
    assert len(model.momenta) == 12
    logged, _ = runner.message_hub.get_scalar('train/momentum').data
    assert list(logged) == pytest.approx([_byol(t, 12) for t in (0, 3, 4, 7, 8, 11)])


def test_wrong_momenta_and_models(tmp_path, monkeypatch):
    for momenta in ((1.5,), (0.9, -0.1)):
        with pytest.raises(ValueError, match=f'got {momenta[-1]}'):
            MomentumUpdateHook(*momenta)
    model = TinyModel()
    model.target = None
    with pytest.raises(ValueError, match='remove MomentumUpdateHook'):
        tiny_runner(tmp_path / 'a', model, hooks=[HOOK]).train()
    monkeypatch.delattr(TinyModel, 'update_target')
    with pytest.raises(TypeError, match='update_target'):
        tiny_runner(tmp_path / 'b', hooks=[HOOK]).train()
