"""A model of a few parameters that follows the contract of the hooks, and a runner for it."""

import logging
from types import SimpleNamespace

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from orl_mm.registry import HOOKS


class TinyData(Dataset):
    """Eight fixed vectors."""

    metainfo = dict(classes=())

    def __init__(self, length=8):
        self.x = torch.randn(length, 3, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index]


class TinyModel(BaseModel):
    """Online and target network, refiner, and the record of the last step."""

    def __init__(self, target_update='after_step', norm='BatchNorm1d'):
        super().__init__()
        torch.manual_seed(0)
        self.online = nn.Linear(3, 4)
        self.norm = getattr(nn, norm)(4)
        self.target = nn.Linear(3, 4).requires_grad_(False)
        self.target_update = target_update
        self.pending_momentum = None
        self.refiner = SimpleNamespace(num_clusters=1)
        self.last = None
        self.rates, self.momenta, self.pending, self.clusters = [], [], [], []
        self.steps = 0

    def update_target(self, momentum):
        self.momenta.append((self.steps, momentum))
        with torch.no_grad():
            for t, o in zip(self.target.parameters(), self.online.parameters(), strict=False):
                t.mul_(momentum).add_(o, alpha=1 - momentum)

    def forward(self, x, mode='loss'):
        self.pending.append(self.pending_momentum)
        self.pending_momentum = None
        self.clusters.append(self.refiner.num_clusters)
        out = self.norm(self.online(x))
        self.last = self.record(out)
        return dict(loss=(out - self.target(x)).pow(2).mean())

    def record(self, out):
        labels = torch.tensor([[0, 0, 1, 2], [0, 0, 0, 0]]).view(2, 2, 2)
        valid = torch.tensor([[True, True, False, False], [True, False, False, False]])
        return SimpleNamespace(
            labels0=labels,
            valid=valid,
            embeddings=out.detach(),
            num_clusters=4,
            timers=dict(clustering=lambda: 0.25, network=lambda: 0.5),
        )

    def train_step(self, data, optim_wrapper):
        self.rates.append([group['lr'] for group in optim_wrapper.param_groups])
        with optim_wrapper.optim_context(self):
            loss = self(data)['loss']
        optim_wrapper.update_params(loss)
        self.steps += 1
        return dict(loss=loss.detach())


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """End training after some epochs, as a kill between two checkpoints would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = runner.epoch + 1 >= self.epochs


def listen(runner):
    """A list that receives what the runner logs; mmengine's logger does not propagate."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    runner.logger.addHandler(handler)
    return messages


def loader(data, batch_size, shuffle=False, **options):
    """A loader in this process."""
    sampler, collate = dict(type='DefaultSampler', shuffle=shuffle), dict(type='default_collate')
    options.update(dataset=data, sampler=sampler, collate_fn=collate)
    return dict(batch_size=batch_size, num_workers=0, **options)


SAVE_AND_LOG = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1)
)


def tiny_runner(
    work_dir,
    model=None,
    epochs=3,
    iters=None,
    lr=1.0,
    accumulate=1,
    hooks=(),
    stop_after=None,
    param_scheduler=None,
    checkpoint=(),
    **kwargs,
):
    """Runner of ``TinyModel``: 4 iterations an epoch, a checkpoint after each."""
    hooks = [*hooks, *([dict(type='orl_mm.StopAfter', epochs=stop_after)] if stop_after else [])]
    loop = dict(max_epochs=epochs) if iters is None else dict(max_iters=iters)
    by_epoch = iters is None
    checkpoint = dict(type='CheckpointHook', interval=1, by_epoch=by_epoch) | dict(checkpoint)
    return Runner(
        TinyModel() if model is None else model,
        str(work_dir),
        experiment_name=f'{work_dir}'.replace('/', '_'),
        train_dataloader=loader(TinyData(), 2, shuffle=True),
        train_cfg=dict(by_epoch=by_epoch, **loop),
        optim_wrapper=dict(
            type='OptimWrapper',
            accumulative_counts=accumulate,
            constructor='orl_mm.LARSConstructor',
            optimizer=dict(type='orl_mm.LARS', lr=lr, momentum=0.9),
        ),
        param_scheduler=param_scheduler,
        custom_hooks=hooks,
        default_hooks=dict(SAVE_AND_LOG, checkpoint=checkpoint),
        log_processor=dict(by_epoch=by_epoch),
        default_scope='mmpretrain',
        randomness=dict(seed=0),
        **kwargs,
    )
