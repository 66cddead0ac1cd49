"""The shell scripts as a user types them; only slow tests start process groups."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.small import set_k, small, write_photographs

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'r2o' / 'r50_in1k.py'


def shell(command, path=None, **env):
    """Run a command outside of any process group; ``path`` is searched first."""
    ranks = ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    kept = {k: v for k, v in os.environ.items() if not k.startswith('SLURM_') and k not in ranks}
    kept['PATH'] = (f'{path}:' if path else '') + kept['PATH']
    env = {**kept, 'PYTHON': sys.executable, **env}
    words = command.split()
    return subprocess.run(words, cwd=ROOT, text=True, capture_output=True, env=env, timeout=900)


@pytest.fixture
def srun(tmp_path):
    """A folder with an srun that prints what it was asked."""
    command = tmp_path / 'bin' / 'srun'
    command.parent.mkdir()
    command.write_text('#!/bin/sh\necho srun "$@"\n')
    command.chmod(0o755)
    return command.parent


def test_more_processes_than_fit_stop_with_the_commands():
    done = shell(f'tools/dist_train.sh {CONFIG} 100000')
    assert done.returncode == 2
    assert done.stdout == ''
    lines = done.stderr.splitlines()
    assert lines[0].startswith('tools/dist_train.sh: 100000 processes cannot run here')
    assert sum('NODE_RANK=' in line for line in lines) >= 3
    assert any(line.startswith('  srun ') for line in lines)
    assert 'Traceback' not in done.stderr


def test_dist_test_needs_its_checkpoint():
    done = shell(f'tools/dist_test.sh {CONFIG} none.pth 1')
    assert done.returncode == 2
    assert done.stderr == "tools/dist_test.sh: checkpoint 'none.pth' does not exist\n"


def test_slurm_train_requests_one_task_a_node(srun):
    env = dict(GPUS='128', SRUN_ARGS='--time=1:00 --qos=x')
    done = shell(f'tools/slurm_train.sh gpu r2o {CONFIG} out --amp', srun, **env)
    assert done.returncode == 0, done.stderr
    expected = (
        'srun --partition=gpu --job-name=r2o --nodes=16 --ntasks=16 --ntasks-per-node=1 '
        '--gres=gpu:8 --cpus-per-task=40 --kill-on-bad-exit=1 --time=1:00 --qos=x '
        f'tools/dist_train.sh {CONFIG} 128 --work-dir out --amp'
    )
    assert done.stdout.split() == expected.split()
    name = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'
    done = shell(f'tools/slurm_train.sh gpu byol {name} out', srun)
    assert done.returncode == 0, done.stderr
    assert f'tools/dist_train.sh {name} 8' in done.stdout


@pytest.mark.parametrize(
    ('words', 'env', 'message'),
    [
        ('gpu r2o', {}, 'usage:'),
        ('gpu r2o none.py out', {}, "'none.py' does not exist"),
        (f'gpu r2o {CONFIG} out', dict(GPUS='12'), 'not a multiple'),
    ],
)
def test_slurm_train_errors(srun, words, env, message):
    done = shell(f'tools/slurm_train.sh {words}', srun, **env)
    assert done.returncode == 2
    assert message in done.stderr


WATCH = """
import os
from mmengine.hooks import Hook
from orl_mm.models.refiners import kmeans_refiner
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class WatchKMeans(Hook):
    # One line a clustering: step, seed of its generator, K, sum of its points.

    def before_train(self, runner):
        fit, rank = kmeans_refiner.fit_kmeans, os.environ['RANK']

        def watched(points, num_clusters, generator, **kwargs):
            seed, result = generator.initial_seed(), fit(points, num_clusters, generator, **kwargs)
            with open(os.path.join(runner.work_dir, f'rank{rank}.txt'), 'a') as file:
                print(runner.iter, seed, num_clusters, float(points.sum()), file=file)
            return result

        kmeans_refiner.fit_kmeans = watched

    def after_train(self, runner):
        total = sum(float(p.double().sum()) for p in runner.model.module.parameters())
        with open(os.path.join(runner.work_dir, f'weights{os.environ["RANK"]}.txt'), 'w') as file:
            print(total, file=file)
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')
def test_r2o_trains_and_resumes_in_two_gloo_processes(tmp_path):
    """Each rank clusters its own images; the weights stay equal, and a resumed run continues."""
    images = write_photographs(tmp_path / 'images', 8)
    out = tmp_path / 'out'
    cfg = small('r50_in1k', images, out, batch_size=2, epochs=2)
    set_k(cfg, type='piecewise', epochs=[1, 2], values=[3, 5])
    (tmp_path / 'watch_kmeans.py').write_text(WATCH)
    cfg.custom_imports.imports.append('watch_kmeans')
    cfg.custom_hooks.append(dict(type='orl_mm.WatchKMeans'))
    cfg.log_level = 'INFO'
    cfg.dump(tmp_path / 'config.py')

    def train(words):
        command = f'tools/dist_train.sh {tmp_path}/config.py 2 --work-dir {out} {words}'
        done = shell(command, OMP_NUM_THREADS='1', PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        calls = [
            [line.split() for line in (out / f'rank{rank}.txt').read_text().splitlines()]
            for rank in (0, 1)
        ]
        weights = [(out / f'weights{rank}.txt').read_text() for rank in (0, 1)]
        assert weights[0] == weights[1]
        return done.stdout, calls, weights[0]

    said, calls, weights = train('--cfg-options train_cfg.max_epochs=1')
    assert '2 processes communicate through gloo' in said
    assert 'plain BN' not in said
    assert (out / 'epoch_1.pth').is_file()
    assert not (out / 'epoch_2.pth').exists()
    assert [len(c) for c in calls] == [2, 2]  # eight images, two ranks of two

    said, calls, later = train('--resume')
    assert 'resumed epoch: 1, iter: 2' in said
    assert later != weights
    assert (out / 'epoch_2.pth').is_file()
    for steps in calls:  # the clusterings go on, with the second epoch's K
        assert [(int(step), int(k)) for step, _, k, _ in steps] == [(0, 3), (1, 3), (2, 5), (3, 5)]
    seeds = [seed for steps in calls for _, seed, _, _ in steps]
    assert len(set(seeds)) == 8  # by rank and by clustering, the resumed ones included
    assert all(a[3] != b[3] for a, b in zip(*calls, strict=False))  # each rank its own images


DIE = """
import os
from mmengine.hooks import Hook
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class DieHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if os.environ['RANK'] == '1' and batch_idx == 1:
            os._exit(7)  # the other rank waits for it in the first collective of the step
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')
def test_a_rank_that_dies_ends_the_others(tmp_path):
    """torchrun stops the ranks that wait in a collective, and names the one that died."""
    images = write_photographs(tmp_path / 'images', 8)
    cfg = small('r50_in1k', images, tmp_path / 'out', batch_size=2)
    set_k(cfg, type='constant', values=[3])
    (tmp_path / 'die.py').write_text(DIE)
    cfg.custom_imports.imports.append('die')
    cfg.custom_hooks.append(dict(type='orl_mm.DieHook'))
    cfg.dump(tmp_path / 'config.py')
    command = f'tools/dist_train.sh {tmp_path}/config.py 2 --work-dir {tmp_path}/out'
    start = time.monotonic()
    done = shell(command, OMP_NUM_THREADS='1', PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert re.search(r'rank +: 1 .*\n +exitcode +: 7', done.stderr)
    assert time.monotonic() - start < 300  # the time-out of a collective is 1800 s
