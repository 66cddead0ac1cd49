"""Commands in their order, side by side, stopped by a failure, gone on with."""

import sys
import time
from pathlib import Path

import pytest

from orl_mm.engine.cli import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))
from _evidence import base_plan  # noqa: E402
from _evidence.chest_plan import ROWS as CHEST_ROWS  # noqa: E402
from _evidence.chest_plan import ChestPlan  # noqa: E402
from _evidence.jobs import Job, alone, run_jobs  # noqa: E402
from _evidence.plan import ROWS, Plan  # noqa: E402

WRITE = 'import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(sys.argv[2]); '


def job(folder, name, after=(), code='', **kwargs):
    done = folder / name
    return Job(name, [sys.executable, '-c', WRITE + code, str(done), name], done, after, **kwargs)


def test_each_after_those_it_needs_and_nothing_twice(tmp_path):
    reads = (
        'assert pathlib.Path(sys.argv[1]).with_name("first").read_text() == "first"; '
        'import os; p.write_text(os.environ["OMP_NUM_THREADS"] + os.environ["MINE"])'
    )
    jobs = [
        job(tmp_path, 'last', ['first'], reads, environment=dict(MINE='!')),
        job(tmp_path, 'first'),
    ]
    run_jobs(jobs, tmp_path / 'logs')
    assert (tmp_path / 'last').read_text() == '1!'
    before = (tmp_path / 'logs' / 'first.log').read_text()
    (tmp_path / 'last').unlink()
    run_jobs(jobs, tmp_path / 'logs')
    assert (tmp_path / 'last').exists()
    assert (tmp_path / 'logs' / 'first.log').read_text() == before


def test_half_a_file_is_not_done(tmp_path):
    """What a killed command has left is there, but no command has ended well."""
    broken = job(tmp_path, 'one', code='p.write_text("on"); sys.exit("killed")')
    with pytest.raises(UserError, match='killed'):
        run_jobs([broken], tmp_path / 'logs')
    run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')
    assert (tmp_path / 'one').read_text() == 'one'
    # Done once, deleted, and killed while it was made anew.
    (tmp_path / 'one').unlink()
    with pytest.raises(UserError, match='killed'):
        run_jobs([broken], tmp_path / 'logs')
    run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')
    assert (tmp_path / 'one').read_text() == 'one'


def test_two_run_side_by_side(tmp_path):
    """Each waits for the other's file."""
    code = (
        'import time; other = p.with_name(sys.argv[2].translate({97: 98, 98: 97}))\n'
        'for _ in range(500): time.sleep(.02) if not other.exists() else sys.exit(0)\n'
        'sys.exit(1)'
    )
    run_jobs([job(tmp_path, 'a', code=code), job(tmp_path, 'b', code=code)], tmp_path / 'logs', 2)


def test_a_failure_names_itself_and_starts_nothing_else(tmp_path):
    jobs = [
        job(tmp_path, 'good'),
        job(tmp_path, 'bad', ['good'], 'sys.exit("no luck")'),
        job(tmp_path, 'never', ['bad']),
        job(tmp_path, 'later', ['good']),
    ]
    with pytest.raises(UserError, match=r'bad ended with status 1: .*no luck.*bad\.log'):
        run_jobs(jobs, tmp_path / 'logs', 1)
    assert (tmp_path / 'good').exists()
    assert not (tmp_path / 'never').exists()
    assert not (tmp_path / 'later').exists()


def test_mistakes_of_the_plan(tmp_path):
    with pytest.raises(UserError, match='left no'):
        run_jobs([job(tmp_path, 'a', code='p.unlink()')], tmp_path)
    with pytest.raises(UserError, match='know each other'):
        run_jobs([job(tmp_path, 'b', ['c'])], tmp_path)
    with pytest.raises(UserError, match='wait for each other: b, c'):
        run_jobs([job(tmp_path, 'b', ['c']), job(tmp_path, 'c', ['b'])], tmp_path)


def test_what_was_made_with_other_settings_is_not_taken(tmp_path):
    """Neither it, nor what was made from it; --redo deletes both, and the folder to go on from."""
    logs, folder = tmp_path / 'logs', tmp_path / 'run'
    begun = 'begun = p.parent / "begun"\nwith open(begun, "a") as file: file.write("x")'

    def jobs(rate):
        return [
            Job(
                'train',
                [sys.executable, '-c', WRITE + begun, str(folder / 'last'), rate],
                folder / 'last',
                settings=rate,
                folder=folder,
            ),
            job(tmp_path, 'test', ['train']),
            job(tmp_path, 'other', settings='same'),
        ]

    run_jobs(jobs('0.1'), logs)
    run_jobs(jobs('0.1'), logs)
    assert (folder / 'begun').read_text() == 'x'
    with pytest.raises(UserError, match='other settings than now: train, test. --redo'):
        run_jobs(jobs('0.2'), logs)
    assert (folder / 'last').read_text() == '0.1'
    other = (logs / 'other.log').read_text()
    run_jobs(jobs('0.2'), logs, redo=True)
    assert ((folder / 'last').read_text(), (folder / 'begun').read_text()) == ('0.2', 'x')
    assert (logs / 'other.log').read_text() == other
    assert (logs / 'test.log').read_text().count('$ ') == 2
    run_jobs(jobs('0.2'), logs)


def test_a_begun_job_of_other_settings_is_not_gone_on_with(tmp_path):
    """It has left a folder to go on from, and not its last file."""

    def train(rate, code=''):
        made = job(tmp_path / 'run', 'last', code=code, settings=rate)
        made.folder = tmp_path / 'run'
        made.done = tmp_path / 'run' / 'last.pth'
        return made

    with pytest.raises(UserError, match='killed'):
        run_jobs([train('0.1', 'sys.exit("killed")')], tmp_path / 'logs')
    with pytest.raises(UserError, match='other settings than now: last'):
        run_jobs([train('0.2')], tmp_path / 'logs')
    with pytest.raises(UserError, match='left no'):
        run_jobs([train('0.1')], tmp_path / 'logs')


def test_redo_forgets_that_it_was_done(tmp_path):
    """Stopped after the deletion, before anything was made anew."""
    run_jobs([job(tmp_path, 'one', settings='0.1')], tmp_path / 'logs')
    with pytest.raises(UserError, match='bad ended'):
        run_jobs(
            [job(tmp_path, 'bad', code='sys.exit(1)'), job(tmp_path, 'one', settings='0.2')],
            tmp_path / 'logs',
            1,
            redo=True,
        )
    assert not (tmp_path / 'one').exists()
    assert not (tmp_path / 'logs' / 'one.done').exists()


def test_results_of_before_settings_were_kept_are_not_taken(tmp_path):
    run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')
    (tmp_path / 'logs' / 'one.settings').unlink()
    with pytest.raises(UserError, match='other settings than now: one'):
        run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')


def test_again_is_made_anew_and_a_refusal_leaves_it(tmp_path):
    run_jobs([job(tmp_path, 'one', again=True, settings='a')], tmp_path / 'logs')
    run_jobs([job(tmp_path, 'one', again=True, settings='b')], tmp_path / 'logs')
    assert (tmp_path / 'logs' / 'one.log').read_text().count('$ ') == 2
    run_jobs([job(tmp_path, 'two', settings='a')], tmp_path / 'logs')
    with pytest.raises(UserError, match='other settings'):
        run_jobs(
            [job(tmp_path, 'two', settings='b'), job(tmp_path, 'one', again=True)],
            tmp_path / 'logs',
        )
    assert (tmp_path / 'one').exists()


def test_a_folder_is_held_by_its_jobs_too(tmp_path):
    """A killed command leaves its training running; the folder is free when that ends."""
    with alone(tmp_path / 'logs') as lock:
        with pytest.raises(UserError, match=f'at work in {tmp_path}'), alone(tmp_path / 'logs'):
            pass
    release, held = tmp_path / 'release', tmp_path / 'held'
    code = (
        'import os, time\nif os.fork(): os._exit(0)\np.with_name("held").touch()\n'
        'while not p.with_name("release").exists(): time.sleep(.01)\nos._exit(0)'
    )
    with alone(tmp_path / 'logs') as lock:
        run_jobs([job(tmp_path, 'orphan', code=code)], tmp_path / 'logs', lock=lock)
    while not held.exists():
        time.sleep(0.01)
    with pytest.raises(UserError, match='a job that one has left'), alone(tmp_path / 'logs'):
        pass
    release.touch()
    wait_until_free(tmp_path / 'logs')


def wait_until_free(logs):
    for _ in range(500):
        try:
            with alone(logs):
                return
        except UserError:
            time.sleep(0.02)
    raise AssertionError('never free')


def test_settings_are_configs_and_commands_wherever_things_lie(tmp_path, monkeypatch):
    def settings(folder, epochs=None):
        plan = Plan(folder / 'out', folder / 'data', epochs)
        plan.transfer(ROWS['r2o'], 0, 'linear')
        return {name: job.settings for name, job in plan.jobs.items()}

    here, there = settings(tmp_path / 'a'), settings(tmp_path / 'b')
    assert here == there
    assert '"lr": 0.001' in here['r2o_seed0']
    assert str(tmp_path) not in ''.join(here.values())
    assert settings(tmp_path, 2)['r2o_seed0_2epochs'] != here['r2o_seed0']
    assert 'imagenet_sample/train/' in here['r2o_seed0']  # the images, not their list's name
    monkeypatch.setenv('ORL_NATURAL', str(tmp_path))
    monkeypatch.setenv('ORL_VOC', str(tmp_path))
    base_plan._contents.cache_clear()
    assert settings(tmp_path / 'a') == here


def test_superpixels_are_one_job_whichever_row_asks(tmp_path):
    """Two tables share R2O's row: what it is made from must not depend on the table."""

    def superpixels(*keys):
        plan = Plan(tmp_path, tmp_path)
        for key in keys:
            plan.pretrain(ROWS[key], 0)
        return {name: job.settings for name, job in plan.jobs.items() if 'superpixels' in name}

    assert superpixels('k4', 'r2o') == superpixels('r2o') == superpixels('k16')
    assert len(superpixels('r2o', 'official', 'detcon-b', 'no-prior', 'mocov2')) == 3


def test_trainings_and_caches_have_a_folder_to_delete(tmp_path):
    plan = Plan(tmp_path, tmp_path)
    plan.transfer(ROWS['r2o'], 0, 'linear')
    chest = ChestPlan(tmp_path, tmp_path)
    chest.features(CHEST_ROWS['deformable'], 0)
    folders = {name: job.folder for name, job in [*plan.jobs.items(), *chest.jobs.items()]}
    assert {name for name, folder in folders.items() if folder is None} == {
        'average',
        'deformable_seed0_features',
        'linear_r2o_seed0_test',
    }
    for name, folder in folders.items():
        assert folder is None or folder.is_relative_to(tmp_path) and folder != tmp_path, name
    assert '"mean"' in chest.jobs['deformable_seed0_features'].settings  # the probe's config
