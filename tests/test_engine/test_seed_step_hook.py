"""Draws within a step: different in every step and rank, the same whenever the step is done."""

from types import SimpleNamespace

import pytest
import torch

from orl_mm.engine.hooks import SeedStepHook, seed_step_hook

from .tiny import TinyModel, tiny_runner


class Drawing(TinyModel):
    def train_step(self, data, optim_wrapper):
        self.drawn = getattr(self, 'drawn', []) + [torch.rand(1).item()]
        return super().train_step(data, optim_wrapper)


@pytest.mark.parametrize('loop', [dict(epochs=3), dict(iters=12)])
def test_resumed_draws_are_those_of_the_unbroken_run(tmp_path, loop):
    hook = dict(type='orl_mm.SeedStepHook')
    whole = tiny_runner(tmp_path / 'a', Drawing(), hooks=[hook], **loop)
    whole.train()
    assert len(set(whole.model.drawn)) == 12
    point = tmp_path / 'a' / ('epoch_1.pth' if 'epochs' in loop else 'iter_5.pth')
    resumed = tiny_runner(
        tmp_path / 'b', Drawing(), hooks=[hook], resume=True, load_from=str(point), **loop
    )
    resumed.train()
    assert resumed.model.drawn == whole.model.drawn[-len(resumed.model.drawn) :]
    assert len(resumed.model.drawn) == (8 if 'epochs' in loop else 7)


def test_ranks_and_seeds_draw_on_their_own(monkeypatch):
    monkeypatch.setattr(seed_step_hook, 'iteration', lambda runner, batch_idx: batch_idx)
    drawn = set()
    for seed in (0, 1):
        for rank in (0, 1):
            monkeypatch.setattr(seed_step_hook, 'get_rank', lambda rank=rank: rank)
            for step in (0, 1):
                SeedStepHook().before_train_iter(SimpleNamespace(seed=seed), step)
                drawn.add(torch.rand(1).item())
    assert len(drawn) == 8
