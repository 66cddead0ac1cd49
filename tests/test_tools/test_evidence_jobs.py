"""Commands in their order, side by side, stopped by a failure, gone on with."""

import sys
from pathlib import Path

import pytest

from orl_mm.engine.cli import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))
from _evidence.jobs import Job, run_jobs  # noqa: E402

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
