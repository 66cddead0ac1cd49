"""A training held in its middle, which takes one step whenever it is called."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from orl_mm.engine import cli

from .base_plan import ROOT


class HeldLoop(EpochBasedTrainLoop):
    """mmengine's loop, stopped at the start of its middle epoch; a call is one iteration.

    All hooks of the config run as in training, with the schedules half-way (K, momentum, the
    prototypes of DINO, which are free after the first epoch) and fresh weights. Held batches take
    turns, so loading is not in it.
    """

    batches: list[dict] = []

    def run(self) -> nn.Module:
        """Everything before the first iteration. Nothing after: hooks stay attached."""
        self._epoch = self.max_epochs // 2
        self._iter = self._epoch * len(self.dataloader)
        self._turn = count()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        return self.runner.model

    def __call__(self) -> None:
        turn = next(self._turn)
        # Not the first of an epoch, which AttentionRegHook logs more of.
        place = 1 + turn % max(1, len(self.dataloader) - 1)
        self.run_iter(place, self.batches[turn % len(self.batches)])


def read_config(path: str, change: Callable[[Config], None] | None = None) -> Config:
    """A config whose loader works in this process, without pictures and TensorBoard."""
    cfg = Config.fromfile(str(ROOT / path))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    cli.set_dataloader_defaults(cfg, SimpleNamespace(no_pin_memory=True))
    cfg.custom_hooks = [
        hook for hook in cfg.custom_hooks if not hook.type.endswith('VisualizationHook')
    ]
    cfg.vis_backends = cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.log_level, cfg.launcher = 'WARNING', 'none'
    if change is not None:
        change(cfg)
    return cfg


def hold(cfg: Config, name: str, folder: Path) -> HeldLoop:
    """Build a config's runner and train it up to its middle epoch, without the epochs before.

    Args:
        cfg (Config): See :func:`read_config`.
        name (str): Unique in this process.
        folder (Path): Of its logs.

    Returns:
        HeldLoop: Needs ``batches`` before it is called.
    """
    cfg.work_dir, cfg.experiment_name = str(folder / name), f'cost_{name}_{id(cfg)}'
    runner = Runner.from_cfg(cfg)
    runner._train_loop = HeldLoop(runner, runner._train_dataloader, cfg.train_cfg.max_epochs)
    runner.train()
    return runner.train_loop


def held_bytes(loop: HeldLoop) -> int:
    """Bytes of weights, buffers (queues, too) and the optimiser's state between two steps."""
    model = loop.runner.model
    tensors = [*model.parameters(), *model.buffers()]
    for state in loop.runner.optim_wrapper.optimizer.state.values():
        tensors += [value for value in state.values() if hasattr(value, 'element_size')]
    return sum(t.element_size() * t.nelement() for t in {id(t): t for t in tensors}.values())
