"""SyncBN gives way on a CPU; parameters stay the same objects."""

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper
from torch import nn

from .tiny import TinyModel, listen, tiny_runner

HOOK = dict(type='orl_mm.PlainBNOnCPUHook')


def test_replaces_in_place_and_trains_in_a_process_group(tmp_path):
    """One gloo process: torch's SyncBN would raise in the first step."""
    model = TinyModel()
    runner = tiny_runner(tmp_path, model, hooks=[HOOK], epochs=1)
    model.norm = nn.SyncBatchNorm(4, eps=1e-3, momentum=0.3)  # mmengine reverts earlier ones
    weight, mean = model.norm.weight, model.norm.running_mean
    messages = listen(runner)
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    try:
        runner.train()
    finally:
        dist.destroy_process_group()
    norm = runner.model.norm
    assert runner.model is model
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    assert not isinstance(norm, nn.SyncBatchNorm)
    assert (norm.eps, norm.momentum) == (1e-3, 0.3)
    assert norm.weight is weight
    assert norm.running_mean is mean
    assert any(weight is p for g in runner.optim_wrapper.param_groups for p in g['params'])
    assert not torch.equal(weight, torch.ones(4))  # the optimiser moved it
    assert sum('1 SyncBN layers became plain BN' in m for m in messages) == 1


def test_says_nothing_without_sync_bn(tmp_path):
    runner = tiny_runner(tmp_path, hooks=[HOOK], epochs=1)
    messages = listen(runner)
    norm = runner.model.norm
    runner.train()
    assert runner.model.norm is norm
    assert isinstance(runner.optim_wrapper, OptimWrapper)
    assert not any('became plain BN' in m for m in messages)
