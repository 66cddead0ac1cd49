"""Training with several processes on a machine without a GPU.

mmengine binds each process of a group to a GPU, and torch's SyncBN needs one. This module starts
the group with gloo and wraps the model in a class whose SyncBN runs anywhere.
"""

import datetime
import os
from collections.abc import MutableMapping

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel
from torch import nn

from orl_mm.models.utils.sync_batch_norm import use_weighted_sync_batch_norm
from orl_mm.registry import MODEL_WRAPPERS

from .launch import first_host


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's data-parallel wrapper for processes without a GPU.

    torch's SyncBN layers become :class:`~orl_mm.models.utils.SyncBatchNorm`, so a step equals that
    of one process with the joined batch.

    Args:
        module (nn.Module): The model.
        device_ids (list, optional): Ignored; mmengine passes GPU numbers.
        kwargs: Those of :class:`mmengine.model.MMDistributedDataParallel`.
    """

    def __init__(self, module: nn.Module, device_ids=None, **kwargs):
        super().__init__(module=use_weighted_sync_batch_norm(module), device_ids=None, **kwargs)
        print_log(
            f'No GPU: {dist.get_world_size()} processes communicate through gloo.', logger='current'
        )

    def _passing_sync_batchnorm_handle(self, module: nn.Module) -> None:
        """Do not raise for SyncBN on a CPU, as torch does."""


def use_cpu_processes(cfg: Config) -> None:
    """Start the process group of ``cfg.launcher`` on a machine without a GPU.

    Does nothing for one process (``launcher='none'``) or where torch has a GPU.
    Otherwise the group starts with gloo, and ``cfg`` names gloo and the wrapper
    above for the runner.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    cfg.setdefault('env_cfg', {})
    dist_cfg = cfg.env_cfg.setdefault('dist_cfg', {})
    dist_cfg['backend'] = 'gloo'
    wrapper = dict(
        cfg.get('model_wrapper_cfg')
        or dict(
            broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False)
        )
    )
    wrapper['type'] = 'orl_mm.CPUDistributedDataParallel'
    cfg.model_wrapper_cfg = wrapper
    if dist.is_initialized():
        return
    set_rendezvous(cfg.launcher, os.environ)
    dist.init_process_group(
        'gloo', timeout=datetime.timedelta(seconds=dist_cfg.get('timeout', 1800))
    )


def end_processes() -> None:
    """Close the process group of a run that ended well, if there is one.

    Left to the interpreter's exit, a process may abort while gloo's threads
    still run, and torchrun would report a finished run as failed.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def set_rendezvous(launcher: str, env: MutableMapping[str, str]) -> None:
    """Set torch's rendezvous variables in ``env`` from those of Slurm or Open MPI."""
    names = {
        'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
        'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    }
    if launcher not in names:
        return
    rank, size, local = names[launcher]
    env.update(RANK=env[rank], WORLD_SIZE=env[size], LOCAL_RANK=env.get(local, '0'))
    env.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in env and 'SLURM_NODELIST' in env:
        env['MASTER_ADDR'] = first_host(env['SLURM_NODELIST'])
