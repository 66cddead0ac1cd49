"""Run a function in several processes that form one group."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes


def _rank(rank, folder, function, world, args):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/group', rank=rank, world_size=world)
    torch.save(function(*args, rank, world), f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def run_ranks(function, *args, world=2):
    """Results of ``function(*args, rank, world)`` in ``world`` processes of one gloo group.

    The processes are forked, so that they need not import anything again, unless there is a GPU:
    autograd cannot run in a fork there.
    """
    method = 'spawn' if torch.cuda.is_available() else 'fork'
    with TemporaryDirectory() as folder:
        start_processes(_rank, (folder, function, world, args), world, start_method=method)
        return [torch.load(Path(folder) / f'{rank}.pth') for rank in range(world)]
