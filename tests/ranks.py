"""Run a script in several processes that form one group, as torchrun does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def run_ranks(script, out, world=2):
    """Run ``script OUT`` as ranks 0 to ``world`` - 1; all must end without an error."""
    address = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), OMP_NUM_THREADS='1')
    path = f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    env = dict(os.environ, WORLD_SIZE=str(world), PYTHONPATH=path, **address)
    command = [sys.executable, str(script), str(out)]
    jobs = [
        subprocess.Popen(command, env=dict(env, RANK=str(rank)), stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    for job in jobs:
        _, error = job.communicate(timeout=400)
        assert job.returncode == 0, error[-3000:]
