"""A run that was killed and resumed equals the unbroken run bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from orl_mm.weights import load_weights
from tests.small import same, set_k, small, train, write_photographs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('photographs'), 6, patch=32)


def _small(preset, photographs, work_dir, epochs=3):
    """Epochs of two steps, one worker process that draws, another K each epoch."""
    cfg = small(preset, photographs, work_dir, batch_size=3, epochs=epochs, warmup=1)
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
    set_k(cfg, type='linear', epochs=[1, epochs], values=[3, 3 + 2 * (epochs - 1)])
    return cfg


def _run(preset, photographs, work_dir, kill=False, **changes):
    cfg = _small(preset, photographs, work_dir)
    cfg.update(changes)
    train(cfg, kill)
    return load_weights(work_dir / ('epoch_1.pth' if kill else 'epoch_3.pth'))


@pytest.mark.parametrize(
    'preset', ['r50_in1k', pytest.param('r50_in1k_official', marks=pytest.mark.slow)]
)
def test_killed_and_resumed_equals_unbroken(preset, photographs, tmp_path):
    whole = _run(preset, photographs, tmp_path / 'whole')
    broken = _run(preset, photographs, tmp_path / 'broken', kill=True)
    resume = dict(resume=True, load_from=str(tmp_path / 'broken' / 'epoch_1.pth'))
    resumed = _run(preset, photographs, tmp_path / 'resumed', **resume)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(whole[part], resumed[part], part)
    # All of these change after the checkpoint, so the equality above is not trivial.
    moving = ('backbone.conv1.weight', 'target.backbone.layer4.1.conv2.weight')
    for key in (*moving, 'refiner.clusterings'):
        assert not torch.equal(broken['state_dict'][key], whole['state_dict'][key]), key
    first, second = (
        state['message_hub']['log_scalars']['train/lr'].data[0].tolist()
        for state in (whole, resumed)
    )
    assert first == second
    assert len(first) == 6


def _train(work_dir, *words, wait=True):
    """tools/train.py on the config beside the work directory."""
    tool = [sys.executable, 'tools/train.py', work_dir.parent / 'config.py']
    env = dict(os.environ, OMP_NUM_THREADS='1')
    work_dir.mkdir(exist_ok=True)
    with open(work_dir / 'output.txt', 'a') as output:
        command = [*tool, '--work-dir', work_dir, *words]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=env)
    if wait:
        assert process.wait(400) == 0, (work_dir / 'output.txt').read_text()[-3000:]
    return process


@pytest.mark.slow
def test_sigkill_and_resume_equal_the_unbroken_run(photographs, tmp_path):
    """The process is killed by SIGKILL; `--resume` finds the checkpoint and continues."""
    epochs = 8
    cfg = _small('r50_in1k', photographs, tmp_path / 'none', epochs=epochs)
    cfg.log_level = 'INFO'
    cfg.dump(tmp_path / 'config.py')
    _train(tmp_path / 'whole')
    broken = tmp_path / 'broken'
    process = _train(broken, wait=False)
    try:
        deadline = time.monotonic() + 300
        while not (broken / 'epoch_2.pth').is_file() and time.monotonic() < deadline:
            assert process.poll() is None, (broken / 'output.txt').read_text()[-3000:]
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (broken / f'epoch_{epochs}.pth').exists()
    before = (broken / 'last_checkpoint').read_text()
    assert before.endswith(('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'))
    _train(broken, '--resume')
    text = (broken / 'output.txt').read_text()
    assert f'resumed epoch: {before[-5]}' in text
    whole, resumed = (
        load_weights(tmp_path / name / f'epoch_{epochs}.pth') for name in ('whole', 'broken')
    )
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        same(whole[part], resumed[part], part)
