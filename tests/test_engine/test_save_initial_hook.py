"""SaveInitialHook: the weights of step 0, and only of a run that starts there."""

import pytest
import torch
from mmengine.hooks import Hook

from orl_mm.engine.hooks import SaveInitialHook
from orl_mm.weights import load_weights
from tests.small import same
from tests.test_engine.tiny import tiny_runner

SAVE = dict(type='orl_mm.SaveInitialHook')


class Shift(Hook):
    """What no initialisation does, at the start of training."""

    def before_train(self, runner):
        runner.model.online.weight.data.add_(1.0)


def test_weights_before_the_first_step(tmp_path):
    """As `init_weights` left them, also where another hook changes them before the first step."""
    runner = tiny_runner(tmp_path, epochs=1, hooks=[Shift(), SAVE])
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    state = load_weights(tmp_path / 'epoch_0.pth')
    same(state['state_dict'], before)
    assert (state['meta']['epoch'], state['meta']['iter']) == (0, 0)
    assert 'optimizer' not in state
    after = load_weights(tmp_path / 'epoch_1.pth')['state_dict']
    assert not torch.equal(after['online.weight'], before['online.weight'])


def test_no_steps_no_other_checkpoint(tmp_path):
    tiny_runner(tmp_path, epochs=0, hooks=[dict(SAVE, filename='start.pth')]).train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['start.pth']


def test_a_resumed_run_starts_elsewhere(tmp_path):
    tiny_runner(tmp_path / 'a', epochs=2, stop_after=1).train()
    tiny_runner(
        tmp_path / 'b',
        epochs=2,
        hooks=[SAVE],
        resume=True,
        load_from=str(tmp_path / 'a' / 'epoch_1.pth'),
    ).train()
    assert not (tmp_path / 'b' / 'epoch_0.pth').exists()
    assert (tmp_path / 'b' / 'epoch_2.pth').exists()


def test_weights_that_were_loaded(tmp_path):
    """`load_from` without `resume` is where such a run starts."""
    tiny_runner(tmp_path / 'a', epochs=1).train()
    trained = tmp_path / 'a' / 'epoch_1.pth'
    tiny_runner(tmp_path / 'b', epochs=0, hooks=[SAVE], load_from=str(trained)).train()
    same(
        load_weights(tmp_path / 'b' / 'epoch_0.pth')['state_dict'],
        load_weights(trained)['state_dict'],
    )


@pytest.mark.parametrize('filename', ['epoch_0', '/tmp/epoch_0.pth'])
def test_a_filename_is_a_pth_file_of_the_work_directory(filename):
    with pytest.raises(ValueError, match='filename must be the name of a .pth file'):
        SaveInitialHook(filename)
