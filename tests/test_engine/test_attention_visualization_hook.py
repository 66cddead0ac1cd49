"""Pictures of attention while training; the run itself must not notice."""

import numpy as np
import pytest
import torch
from PIL import Image

from orl_mm.engine.hooks import AttentionVisualizationHook

from .guided import build, dino, guided_runner, mocov3

REG = dict(type='orl_mm.AttentionRegHook', heads={2: 'left', 0: 'right'})
DRAW = dict(type='orl_mm.AttentionVisualizationHook', interval=2, num_images=1)


@pytest.mark.parametrize('model', [dino, mocov3])
def test_pictures_at_start_interval_and_end(model, tmp_path):
    guided_runner(tmp_path, build(model()), REG, hooks=[DRAW], epochs=3).train()
    folder = tmp_path / 'attention'
    assert sorted(p.name for p in folder.iterdir()) == ['latest.png'] + [
        f'step_{s:07d}.png' for s in (0, 2, 4, 6)
    ]
    start, end, last = (
        np.asarray(Image.open(folder / n))
        for n in ('step_0000000.png', 'step_0000006.png', 'latest.png')
    )
    assert (end == last).all()
    assert (start != end).any()


def test_the_run_does_not_notice(tmp_path):
    def weights(folder, hooks):
        runner = guided_runner(tmp_path / folder, build(dino()), REG, hooks=hooks)
        runner.train()
        return runner.model

    drawn, plain = weights('a', [DRAW]), weights('b', [])
    for mine, its in zip(drawn.state_dict().values(), plain.state_dict().values(), strict=False):
        assert torch.equal(mine, its)
    assert drawn.teacher.training
    assert drawn.backbone.training


def test_student_without_guidance(tmp_path):
    hook = dict(DRAW, network='backbone', indices=[1], num_images=0)
    timer = dict(type='IterTimerHook')
    guided_runner(tmp_path, build(dino()), timer, hooks=[hook], epochs=1).train()
    assert (tmp_path / 'attention' / 'latest.png').is_file()


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match='at least one image'):
        AttentionVisualizationHook(num_images=0)
    with pytest.raises(AttributeError, match='momentum'):
        guided_runner(tmp_path, build(dino()), REG, hooks=[dict(DRAW, network='momentum')]).train()
