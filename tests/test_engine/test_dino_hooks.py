"""Clipping and frozen prototypes, seen from within the optimizer's step."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from orl_mm.engine.hooks import ClipEachGradHook, FreezeLastLayerHook

from .tiny import TinyModel, tiny_runner


class Watch(Hook):
    """Record gradients at the optimizer's step and parameters after it."""

    priority = 'LOWEST'

    def __init__(self):
        self.grads, self.weights = [], []

    def before_train(self, runner):
        model = runner.model
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: self.grads.append(
                {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
            )
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append({n: p.detach().clone() for n, p in runner.model.named_parameters()})


def run(folder, hooks, wrapper=None, **kwargs):
    watch = Watch()
    runner = tiny_runner(folder, hooks=[*hooks, watch], **kwargs)
    if wrapper:
        runner.optim_wrapper = runner.build_optim_wrapper(wrapper)
    runner.train()
    return runner, watch


def loud(factor=1e3):
    model = TinyModel()
    with torch.no_grad():
        model.target.weight.mul_(factor)
    return model


def test_each_gradient_is_clipped_on_its_own(tmp_path):
    def clipped(name, *norms):
        hooks = [dict(type='orl_mm.ClipEachGradHook', max_norm=norm) for norm in norms]
        return run(tmp_path / name, hooks, model=loud(), epochs=1)[1]

    free, held = clipped('a'), clipped('b', 2.0)
    count = 0
    for name, grad in free.grads[0].items():
        if grad is None:
            continue
        norm = grad.norm().item()
        expected = grad * min(1.0, 2.0 / (norm + 1e-6))
        torch.testing.assert_close(held.grads[0][name], expected, atol=1e-6, rtol=1e-5)
        count += norm > 2
    assert count > 0
    torch.testing.assert_close(clipped('c', 1e9).weights[-1], free.weights[-1])


def test_a_loss_scaler_is_undone_before_clipping():
    """Gradients scaled by 65536 would all be clipped; unscaled ones below the norm are not."""
    scaler = torch.amp.GradScaler('cpu')
    model = TinyModel()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    hook, seen = ClipEachGradHook(1e3), []
    hook.before_train(
        SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=optimizer, loss_scaler=scaler))
    )
    optimizer.register_step_pre_hook(lambda *_: seen.append(model.online.weight.grad.clone()))
    x = torch.randn(2, 3)
    loss = model(x)['loss']
    expected = torch.autograd.grad(loss, model.online.weight, retain_graph=True)[0]
    scaler.scale(loss).backward()
    assert model.online.weight.grad.norm() > 1e3 > expected.norm()
    scaler.step(optimizer)
    torch.testing.assert_close(seen[0], expected, atol=1e-6, rtol=1e-5)


def test_layer_is_frozen_in_the_first_epoch_only(tmp_path):
    freeze = dict(type='orl_mm.FreezeLastLayerHook', epochs=1, name='online')
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.5))
    start = {n: p.detach().clone() for n, p in TinyModel().named_parameters()}
    runner, watch = run(tmp_path, [freeze], wrapper, epochs=2)
    for step in range(8):
        held = step < 4
        assert (watch.grads[step]['online.weight'] is None) == held
        assert torch.equal(watch.weights[step]['online.weight'], start['online.weight']) == held
        assert not torch.equal(watch.weights[step]['norm.weight'], start['norm.weight'])
    # Four steps counted, as those of a layer that joined late.
    state = runner.optim_wrapper.optimizer.state[runner.model.online.weight]
    assert int(state['step']) == 4
    assert all(p.requires_grad for p in runner.model.online.parameters())


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match='max_norm'):
        ClipEachGradHook(0)
    with pytest.raises(ValueError, match='epochs'):
        FreezeLastLayerHook(-1)
    with pytest.raises(ValueError, match="'last_layer'"):
        run(tmp_path / 'a', [dict(type='orl_mm.FreezeLastLayerHook')], epochs=1)


def test_fused_optimizer_under_a_scaler_raises():
    param = nn.Parameter(torch.zeros(2))
    wrapper = SimpleNamespace(
        optimizer=torch.optim.AdamW([param], fused=True), loss_scaler=torch.amp.GradScaler('cpu')
    )
    with pytest.raises(ValueError, match='fused'):
        ClipEachGradHook().before_train(SimpleNamespace(optim_wrapper=wrapper))
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', enabled=False)
    ClipEachGradHook().before_train(SimpleNamespace(optim_wrapper=wrapper))


def test_hooks_remove_their_own_hooks(tmp_path):
    freeze = dict(type='orl_mm.FreezeLastLayerHook', name='online')
    runner, _ = run(tmp_path, [dict(type='orl_mm.ClipEachGradHook'), freeze], epochs=1)
    assert len(runner.optim_wrapper.optimizer._optimizer_step_pre_hooks) == 1  # Watch's own
