"""Some parameters keep their learning rate while the others follow the schedule."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.registry import HOOKS


@HOOKS.register_module()
class FixedLRHook(Hook):
    """Keep the rate of the groups marked ``fix_lr`` at its start (SimSiam's predictor).

    mmpretrain's ``SimSiamHook`` does the same from a number in the config, which
    ``--auto-scale-lr`` does not reach, and once an epoch; here the rate is the
    group's own ``initial_lr``, scaled like that of the others, and holds under
    schedules by iteration, too. Mark parameters by
    ``paramwise_cfg=dict(custom_keys={'head.predictor': dict(fix_lr=True)})``.

    Raises:
        ValueError: No group is marked.
    """

    # After the schedule's hook of the iteration before, whatever its priority.
    priority = 'NORMAL'

    def before_train(self, runner: Runner) -> None:
        self._groups = [
            group
            for group in runner.optim_wrapper.optimizer.param_groups
            if group.get('fix_lr', False)
        ]
        if not self._groups:
            raise ValueError(
                'FixedLRHook finds no parameter group with fix_lr=True: mark some '
                "with optim_wrapper.paramwise_cfg=dict(custom_keys={'predictor': "
                'dict(fix_lr=True)}), or drop the hook'
            )
        for group in self._groups:
            group.setdefault('initial_lr', group['lr'])  # schedulers set it before

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        for group in self._groups:
            group['lr'] = group['initial_lr']
