"""Operators, waits and copies of a training step of each method, on a GPU that does not exist."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .timing import Report
from .training import ROOT

STAND_IN = ROOT / 'tests' / 'fake_gpu' / 'step.py'
METHODS = {
    'R2O': 'r2o/r50_in1k',
    'BYOL': 'baselines/byol_r50_in1k',
    'DetCon': 'baselines/detcon-b_r50_in1k',
    'PixPro': 'baselines/pixpro_r50_in1k',
    'VADeR': 'baselines/vader_r50_in1k',
    'InfoMin': 'baselines/infomin_r50_in1k',
    'DINO': 'baselines/dino_vits16_in1k',
    'MeDINO': 'medino/vits16_chexpert_triangular',
}
# What is counted, ranks -> method -> at most.
TARGETS = {1: dict(R2O=2600), 128: dict(R2O=4600)}
CLUSTERING = ('rest of the refiner', 'k-means++', 'Lloyd', 'masks and pairs')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--methods``."""
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))


def run(args: argparse.Namespace) -> Report:
    """1 rank in fp32, and one of 128 in bf16 and channels-last; B = 32, K = 64 (``--batch``)."""
    if not STAND_IN.exists():
        raise SystemExit(f'launches needs {STAND_IN}, which is in the source tree only')
    report = Report('launches', args, batch=args.batch or 32)
    for ranks, options in ((1, []), (128, ['--dtype', 'bfloat16', '--channels-last'])):
        for name in args.methods:
            found = count(METHODS[name], ranks, args.batch or 32, options)
            operators = {region: sum(n.values()) for region, n in found['operators'].items()}
            clustering = sum(operators.get(region, 0) for region in CLUSTERING)
            report.details[f'{name}, {ranks}'] = found
            report.add(
                f'operators, {name}, {ranks} rank{"s" * (ranks > 1)}',
                sum(operators.values()),
                unit='launches',
                target=TARGETS[ranks].get(name),
                note=f'clustering, masks and pairs: {clustering}' if clustering else '',
            )
            report.add(
                f'waits, {name}, {ranks} rank{"s" * (ranks > 1)}',
                sum(found['waits'].values()),
                unit='waits',
                target=0,
            )
    return report


def count(config: str, ranks: int, batch: int, options: list[str]) -> dict:
    """Counts of ``tests/fake_gpu/step.py``, in a process where the stand-in takes CUDA's place."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'found.json')
        command = [sys.executable, str(STAND_IN), str(ROOT / f'configs/{config}.py')]
        command += ['--world', str(ranks), '--batch', str(batch), '--json', str(file), *options]
        env = dict(os.environ, OMP_NUM_THREADS='1')
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'{" ".join(command)} failed:\n{done.stderr[-2000:]}')
        return json.loads(file.read_text())
