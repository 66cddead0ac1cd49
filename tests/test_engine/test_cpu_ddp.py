"""Several processes without a GPU: gloo, and SyncBN that needs no GPU."""

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
from orl_mm.models.utils.sync_batch_norm import SyncBatchNorm
from orl_mm.registry import MODEL_WRAPPERS

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')


TYPE = dict(type='orl_mm.CPUDistributedDataParallel')


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.body(inputs)[0].sum())


@pytest.fixture
def one_process(monkeypatch):
    """The environment of a single process under torchrun."""
    env = 'RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=0'
    for word in env.split():
        monkeypatch.setenv(*word.split('='))
    yield
    end_processes()
    assert not dist.is_initialized()


def test_torch_rejects_sync_bn_on_cpu(one_process):
    """The error that the wrapper avoids."""
    use_cpu_processes(Config(dict(launcher='pytorch')))
    with pytest.raises(ValueError, match='SyncBatchNorm'):
        nn.parallel.DistributedDataParallel(Model())


def test_group_is_gloo_and_sync_bn_is_ours(one_process, monkeypatch):
    lines = []
    monkeypatch.setattr('orl_mm.engine.cpu_ddp.print_log', lambda text, logger: lines.append(text))
    backend = dict(dist_cfg=dict(backend='nccl'))
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True, env_cfg=backend))
    use_cpu_processes(cfg)
    assert dist.get_backend() == 'gloo'
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    wrapper = dict(cfg.model_wrapper_cfg)
    assert wrapper == dict(TYPE, broadcast_buffers=False, find_unused_parameters=True)
    # As the runner builds it, with the number of a GPU.
    model = MODEL_WRAPPERS.build(dict(wrapper, device_ids=[0], module=Model()))
    assert isinstance(model, CPUDistributedDataParallel)
    assert type(model.module.body[1]) is SyncBatchNorm
    model(torch.randn(5, 3))['loss'].backward()
    assert model.module.body[0].weight.grad.abs().sum() > 0.01
    assert '1 processes communicate through gloo' in lines[0]


def test_settings_of_the_config_stay(one_process):
    cfg = Config(dict(launcher='none', model_wrapper_cfg=dict(type='X')))
    use_cpu_processes(cfg)
    assert cfg.model_wrapper_cfg.type == 'X'
    assert not dist.is_initialized()
    wrapper = dict(type='MMDistributedDataParallel', static_graph=True)
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=wrapper))
    use_cpu_processes(cfg)
    assert dict(cfg.model_wrapper_cfg) == dict(TYPE, static_graph=True)


@pytest.mark.parametrize(
    ('launcher', 'env', 'expected'),
    [
        (
            'slurm',
            'SLURM_PROCID=5 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_NODELIST=n[2-5]',
            'RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 MASTER_ADDR=n2 MASTER_PORT=29500',
        ),
        (
            'mpi',
            'OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 '
            'MASTER_ADDR=node',
            'RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=node MASTER_PORT=29500',
        ),
        ('pytorch', 'RANK=3', 'RANK=3'),
    ],
)
def test_rendezvous(launcher, env, expected):
    given, expected = (dict(word.split('=') for word in text.split()) for text in (env, expected))
    found = dict(given)
    set_rendezvous(launcher, found)
    assert found == {**given, **expected}
