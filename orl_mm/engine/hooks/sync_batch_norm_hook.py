"""SyncBN that needs no GPU and does not wait for one."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.models.utils.sync_batch_norm import use_weighted_sync_batch_norm
from orl_mm.registry import HOOKS


@HOOKS.register_module(name=['SyncBatchNormHook', 'PlainBNOnCPUHook'])  # the second: its old name
class SyncBatchNormHook(Hook):
    """Turn torch's SyncBN layers into :class:`~orl_mm.models.utils.SyncBatchNorm`, in place.

    torch's class makes the host wait for the device three times a call, and raises on a CPU. A
    config can ask for synchronized layers in either way, ``norm_cfg=dict(type='SyncBN')`` or
    ``sync_bn='torch'``. ``tools/train.py`` adds the hook to configs that lack it.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Before weights are initialized or loaded."""
        use_weighted_sync_batch_norm(runner.model)
