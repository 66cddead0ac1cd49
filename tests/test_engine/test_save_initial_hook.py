"""SaveInitialHook saves the weights before the first step."""

import pytest
import torch
from mmengine.hooks import Hook

from orl_mm.engine.hooks import SaveInitialHook
from orl_mm.weights import load_weights
from tests.small import same
from tests.test_engine.tiny import tiny_runner

SAVE = dict(type='orl_mm.SaveInitialHook')


class Shift(Hook):
    """Change the weights at the start of training."""

    def before_train(self, runner):
        runner.model.online.weight.data.add_(1.0)


def test_weights_before_the_first_step(tmp_path):
    """As `init_weights` left them, also if another hook changes them before the first step."""
    runner = tiny_runner(tmp_path, epochs=1, hooks=[Shift(), SAVE])
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    state = load_weights(tmp_path / 'epoch_0.pth')
    same(state['state_dict'], before)
    assert (state['meta']['epoch'], state['meta']['iter']) == (0, 0)
    assert 'optimizer' not in state
    after = load_weights(tmp_path / 'epoch_1.pth')['state_dict']
    assert not torch.equal(after['online.weight'], before['online.weight'])


def test_a_resumed_run_saves_nothing_and_loaded_weights_are_saved(tmp_path):
    """`load_from` without `resume` is the start of a run; with `max_epochs=0` it is all of it."""
    tiny_runner(tmp_path / 'a', epochs=2, stop_after=1).train()
    trained = str(tmp_path / 'a' / 'epoch_1.pth')
    tiny_runner(tmp_path / 'b', epochs=2, hooks=[SAVE], resume=True, load_from=trained).train()
    assert [path.name for path in (tmp_path / 'b').glob('*.pth')] == ['epoch_2.pth']
    start = dict(SAVE, filename='start.pth')
    tiny_runner(tmp_path / 'c', epochs=0, hooks=[start], load_from=trained).train()
    assert [path.name for path in (tmp_path / 'c').glob('*.pth')] == ['start.pth']
    saved = load_weights(tmp_path / 'c' / 'start.pth')['state_dict']
    same(saved, load_weights(trained)['state_dict'])


@pytest.mark.parametrize('filename', ['epoch_0', '/tmp/epoch_0.pth'])
def test_a_filename_is_a_pth_file_of_the_work_directory(filename):
    with pytest.raises(ValueError, match='filename must be the name of a .pth file'):
        SaveInitialHook(filename)
