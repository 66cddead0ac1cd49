"""Commands in their order, side by side, stopped by a failure, gone on with."""

import sys
from pathlib import Path

import pytest

from orl_mm.engine.cli import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))
from _evidence.jobs import Job, run_jobs  # noqa: E402
from _evidence.plan import ROWS, Plan  # noqa: E402

WRITE = 'import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(sys.argv[2]); '


def job(folder, name, after=(), code='', **kwargs):
    done = folder / name
    return Job(name, [sys.executable, '-c', WRITE + code, str(done), name], done, after, **kwargs)


def test_each_after_those_it_needs_and_nothing_twice(tmp_path):
    reads = ('assert pathlib.Path(sys.argv[1]).with_name("first").read_text() == "first"; '
             'import os; p.write_text(os.environ["OMP_NUM_THREADS"] + os.environ["MINE"])')
    jobs = [job(tmp_path, 'last', ['first'], reads, environment=dict(MINE='!')),
            job(tmp_path, 'first')]
    run_jobs(jobs, tmp_path / 'logs')
    assert (tmp_path / 'last').read_text() == '1!'
    before = (tmp_path / 'logs' / 'first.log').read_text()
    (tmp_path / 'last').unlink()
    run_jobs(jobs, tmp_path / 'logs')
    assert (tmp_path / 'last').exists()
    assert (tmp_path / 'logs' / 'first.log').read_text() == before


def test_half_a_file_is_not_done(tmp_path):
    """What a killed command has left is there, but no command has ended well."""
    (tmp_path / 'one').write_text('on')
    run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')
    assert (tmp_path / 'one').read_text() == 'one'
    # Done once, deleted, and killed while it was made anew.
    (tmp_path / 'one').unlink()
    broken = job(tmp_path, 'one', code='p.write_text("on"); sys.exit("killed")')
    with pytest.raises(UserError, match='killed'):
        run_jobs([broken], tmp_path / 'logs')
    run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')
    assert (tmp_path / 'one').read_text() == 'one'


def test_two_run_side_by_side(tmp_path):
    """Each waits for the other's file."""
    code = ('import time; other = p.with_name(sys.argv[2].translate({97: 98, 98: 97}))\n'
            'for _ in range(500): time.sleep(.02) if not other.exists() else sys.exit(0)\n'
            'sys.exit(1)')
    run_jobs([job(tmp_path, 'a', code=code), job(tmp_path, 'b', code=code)], tmp_path / 'logs', 2)


def test_a_failure_names_itself_and_starts_nothing_else(tmp_path):
    jobs = [job(tmp_path, 'good'), job(tmp_path, 'bad', ['good'], 'sys.exit("no luck")'),
            job(tmp_path, 'never', ['bad']), job(tmp_path, 'later', ['good'])]
    with pytest.raises(UserError, match=r'bad ended with status 1: .*no luck.*bad\.log'):
        run_jobs(jobs, tmp_path / 'logs', 1)
    assert (tmp_path / 'good').exists() and not (tmp_path / 'never').exists()
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
    begun = ('begun = p.parent / "begun"\n'
             'with open(begun, "a") as file: file.write("x")')

    def jobs(rate):
        return [Job('train', [sys.executable, '-c', WRITE + begun, str(folder / 'last'), rate],
                    folder / 'last', settings=rate, folder=folder),
                job(tmp_path, 'test', ['train']), job(tmp_path, 'other', settings='same')]

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
    stops = job(tmp_path, 'one', code='sys.exit("killed")', settings='0.1')
    with pytest.raises(UserError, match='killed'):
        run_jobs([stops], tmp_path / 'logs')
    with pytest.raises(UserError, match='other settings'):
        run_jobs([job(tmp_path, 'one', settings='0.2')], tmp_path / 'logs')


def test_results_of_before_settings_were_kept_are_taken(tmp_path):
    run_jobs([job(tmp_path, 'one')], tmp_path / 'logs')
    (tmp_path / 'logs' / 'one.settings').unlink()
    (tmp_path / 'one').write_text('of before')
    run_jobs([job(tmp_path, 'one', settings='0.2')], tmp_path / 'logs')
    assert (tmp_path / 'one').read_text() == 'of before'


def test_two_commands_in_one_folder(tmp_path):
    """The job starts a second command, which is refused; afterwards the folder is free."""
    second = ('import sys; sys.path.insert(0, sys.argv[3])\nfrom _evidence.jobs import run_jobs\n'
              'run_jobs([], pathlib.Path(sys.argv[4]))')
    first = job(tmp_path, 'one', code=second)
    first.command += [str(Path(__file__).parents[2] / 'tools'), str(tmp_path / 'logs')]
    with pytest.raises(UserError, match=f'another command is at work in {tmp_path}'):
        run_jobs([first], tmp_path / 'logs')
    run_jobs([job(tmp_path, 'two')], tmp_path / 'logs')


def test_settings_are_configs_and_commands_wherever_things_lie(tmp_path):
    def settings(folder, epochs=None):
        plan = Plan(folder / 'out', folder / 'data', epochs)
        plan.transfer(ROWS['r2o'], 0, 'linear')
        return {name: job.settings for name, job in plan.jobs.items()}

    here, there = settings(tmp_path / 'a'), settings(tmp_path / 'b')
    assert here == there
    assert '"lr": 0.001' in here['r2o_seed0']
    assert str(tmp_path) not in ''.join(here.values())
    assert settings(tmp_path, 2)['r2o_seed0_2epochs'] != here['r2o_seed0']
