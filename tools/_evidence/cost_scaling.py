"""Images a second of two processes over one: needs a machine that does nothing else.

    tools/evidence.py cost --natural DIR --xrays DIR --steps scaling

By the wall clock, which is what scaling is about. Each process has one thread.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from _bench.steps import plain_norms
from mmengine.config import Config
from mmengine.registry import init_default_scope

from orl_mm.engine.cli import UserError
from orl_mm.registry import MODELS

from .base_plan import ROOT

CONFIGS = {
    'R2O, K = 64': 'configs/r2o/small/r2o.py',
    'MeDINO, triangular': 'configs/medino/small/triangular.py',
}
WARMUP = 8


def scaling(folder: Path, steps: int = 30) -> list[dict[str, Any]]:
    """One and two processes of each config, the batch of a process the same.

    Without loader workers a process loads its own data and has one core; with one worker each,
    two processes and their workers share the two cores that one process and its worker have.

    Args:
        folder (Path): For logs.
        steps (int): After the warm-up; medians are taken over them.

    Returns:
        list: ``name``, ``workers``, ``one`` and ``two`` (images a second), ``speedup`` and the
        seconds of a step, and ``loading``, what of it waits for data.
    """
    rows = []
    for name, config in CONFIGS.items():
        batch = Config.fromfile(str(ROOT / config)).train_dataloader.batch_size
        for workers in (0, 1):
            found = {}
            for processes in (1, 2):
                work_dir = folder / f'scaling_{Path(config).stem}_{workers}_{processes}'
                found[processes] = _train(config, work_dir, processes, workers, WARMUP + steps)
            one, two = (n * batch / found[n]['step'] for n in (1, 2))
            rows.append(
                dict(
                    name=name,
                    config=config,
                    workers=workers,
                    batch=batch,
                    one=one,
                    two=two,
                    speedup=two / one,
                    seconds={str(n): found[n] for n in (1, 2)},
                )
            )
            print(f'  {name}, {workers} worker(s): {one:.1f} to {two:.1f} images/s', flush=True)
    return rows


def _train(
    config: str, work_dir: Path, processes: int, workers: int, steps: int
) -> dict[str, float]:
    """Train for some steps. Returns median seconds of a step, and of its wait for data."""
    options = [
        'train_cfg.max_epochs=1000',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        f'train_dataloader.num_workers={workers}',
        f'train_dataloader.persistent_workers={bool(workers)}',
        'default_hooks.checkpoint.interval=1000000',
    ]
    start = (
        [sys.executable, str(ROOT / 'tools/train.py'), config]
        if processes == 1
        else [str(ROOT / 'tools/dist_train.sh'), config, str(processes)]
    )
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHON=sys.executable)
    before = time.time()
    log = work_dir.with_suffix('.log')
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'w', encoding='utf-8') as out:
        process = subprocess.Popen(
            [*start, '--work-dir', str(work_dir), '--cfg-options', *options],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and len(_records(work_dir, before)) < steps:
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 15)
            process.wait()
    records = _records(work_dir, before)[:steps]
    if len(records) < steps:
        tail = ' | '.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-3:])
        raise UserError(
            f'{config} on {processes} process(es) ended after {len(records)} of '
            f'{steps} steps: {tail} (whole log: {log})'
        )
    return summarise(records)


def summarise(records: list[dict[str, float]]) -> dict[str, float]:
    """Median ``time`` and ``data_time`` after the warm-up."""
    kept = records[WARMUP:]
    return dict(
        step=statistics.median(r['time'] for r in kept),
        loading=statistics.median(r['data_time'] for r in kept),
    )


def _records(work_dir: Path, since: float) -> list[dict[str, float]]:
    """What mmengine has logged of each step in the newest run of a folder."""
    files = [f for f in work_dir.glob('*/vis_data/scalars.json') if f.stat().st_mtime >= since]
    if not files:
        return []
    lines = max(files, key=lambda f: f.stat().st_mtime).read_text(encoding='utf-8').splitlines()
    # The last line may still be in writing.
    return [json.loads(line) for line in lines if re.match(r'.*"time".*}$', line)]


def gradient_bytes(config: str) -> int:
    """Of all that a config trains, in fp32."""
    cfg = Config.fromfile(str(ROOT / config))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(plain_norms(cfg.model.to_dict()))
    return sum(4 * p.numel() for p in model.parameters() if p.requires_grad)


def all_reduce_seconds(size: int, processes: int = 2, rounds: int = 15) -> float:
    """Median wall-clock seconds in which processes of this machine add ``size`` bytes by gloo."""
    folder = Path(os.environ.get('TMPDIR', '/tmp')) / f'all_reduce_{os.getpid()}_{time.time_ns()}'
    context = torch.multiprocessing.get_context('spawn')
    queue = context.SimpleQueue()
    workers = [
        context.Process(target=_reduce, args=(rank, processes, size, rounds, str(folder), queue))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    seconds = queue.get()
    for worker in workers:
        worker.join()
    folder.unlink(missing_ok=True)
    return seconds


def _reduce(rank: int, processes: int, size: int, rounds: int, folder: str, queue) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}', rank=rank, world_size=processes)
    gradient, seconds = torch.ones(size // 4), []
    for _ in range(3 + rounds):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(gradient)
        seconds.append(time.perf_counter() - start)
        gradient.fill_(1.0)
    if rank == 0:
        queue.put(statistics.median(seconds[3:]))
    dist.destroy_process_group()
