"""Replacement of SyncBN, which needs a GPU."""

from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn

from orl_mm.registry import HOOKS


@HOOKS.register_module()
class PlainBNOnCPUHook(Hook):
    """Replace SyncBN by plain BN if the model is on a CPU, and log it.

    torch's SyncBatchNorm raises on a CPU as soon as a process group exists, even
    of one process. Each process then normalises with the statistics of its own
    images. Parameters and buffers stay the same objects, so optimiser and
    data-parallel wrapper keep their references. Nothing happens on a GPU.

    With several CPU processes torch's wrapper raises for SyncBN before any hook runs;
    ``CPUDistributedDataParallel``, which ``tools/train.py`` uses there, replaces it itself.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Replace the layers in place, before weights are initialised or loaded."""
        model = runner.model
        synced = sum(_is_synced(module) for module in model.modules())
        if not synced or any(p.device.type != 'cpu' for p in model.parameters()):
            return
        replaced = revert_sync_batchnorm(model)
        if replaced is not model:
            raise ValueError(
                'the model is a single SyncBN layer, which cannot be replaced in '
                'place: use BN in its config'
            )
        runner.logger.info(
            f'{synced} SyncBN layers became plain BN, since SyncBN needs a GPU: each process '
            'normalises with the statistics of its own images.'
        )


def _is_synced(module: nn.Module) -> bool:
    # By name as well, for the class of mmcv.ops, which may not be there to import.
    return isinstance(module, nn.SyncBatchNorm) or type(module).__name__ == 'SyncBatchNorm'
