"""Several processes without a GPU: gloo, and plain BN for SyncBN."""

import os

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from orl_mm.engine.cpu_ddp import (
    CPUDistributedDataParallel,
    end_processes,
    set_rendezvous,
    use_cpu_processes,
)
from orl_mm.registry import MODEL_WRAPPERS

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.body(inputs)[0].sum())


@pytest.fixture
def one_process(monkeypatch):
    """What torchrun would set for a single process."""
    for key, value in dict(
        RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='0'
    ).items():
        monkeypatch.setenv(key, value)
    yield
    end_processes()
    assert not dist.is_initialized()


def test_torch_itself_refuses(one_process):
    """The fault that the wrapper is for."""
    use_cpu_processes(Config(dict(launcher='pytorch')))
    with pytest.raises(ValueError, match='SyncBatchNorm'):
        nn.parallel.DistributedDataParallel(Model())


def test_group_is_gloo_and_model_has_plain_bn(one_process, monkeypatch):
    said = []
    monkeypatch.setattr('orl_mm.engine.cpu_ddp.print_log', lambda text, logger: said.append(text))
    cfg = Config(
        dict(
            launcher='pytorch',
            find_unused_parameters=True,
            env_cfg=dict(dist_cfg=dict(backend='nccl')),
        )
    )
    use_cpu_processes(cfg)
    assert dist.get_backend() == 'gloo'
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    wrapper = dict(cfg.model_wrapper_cfg)
    assert wrapper == dict(
        type='orl_mm.CPUDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
    # As the runner builds it, GPU number and all.
    model = MODEL_WRAPPERS.build(dict(wrapper, device_ids=[0], module=Model()))
    assert isinstance(model, CPUDistributedDataParallel)
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules())
    model(torch.randn(5, 3))['loss'].backward()
    assert model.module.body[0].weight.grad.abs().sum() > 0.01
    assert '1 SyncBN layers became plain BN' in said[0]


def test_settings_of_the_config_stay():
    cfg = Config(dict(launcher='none', model_wrapper_cfg=dict(type='X')))
    use_cpu_processes(cfg)
    assert cfg.model_wrapper_cfg.type == 'X'
    assert not dist.is_initialized()


def test_wrapper_arguments_of_the_config_stay(one_process):
    cfg = Config(
        dict(
            launcher='pytorch',
            model_wrapper_cfg=dict(type='MMDistributedDataParallel', static_graph=True),
        )
    )
    use_cpu_processes(cfg)
    assert dict(cfg.model_wrapper_cfg) == dict(
        type='orl_mm.CPUDistributedDataParallel', static_graph=True
    )


def test_rendezvous_from_slurm_and_mpi():
    env = dict(SLURM_PROCID='5', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_NODELIST='n[2-5]')
    set_rendezvous('slurm', env)
    assert (
        env['RANK'],
        env['WORLD_SIZE'],
        env['LOCAL_RANK'],
        env['MASTER_ADDR'],
        env['MASTER_PORT'],
    ) == ('5', '8', '1', 'n2', '29500')
    env = dict(
        OMPI_COMM_WORLD_RANK='1',
        OMPI_COMM_WORLD_SIZE='2',
        OMPI_COMM_WORLD_LOCAL_RANK='1',
        MASTER_ADDR='here',
    )
    set_rendezvous('mpi', env)
    assert (env['RANK'], env['WORLD_SIZE'], env['MASTER_ADDR']) == ('1', '2', 'here')
    before = dict(os.environ)
    set_rendezvous('pytorch', os.environ)
    assert dict(os.environ) == before
