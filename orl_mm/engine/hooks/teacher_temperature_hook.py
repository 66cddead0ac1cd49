"""The temperature of DINO's teacher, by epoch."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.engine.progress import epoch_at, iteration, unwrapped_model
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class TeacherTemperatureHook(Hook):
    """Set ``model.teacher_temp``: linear over the first epochs, then constant.

    Epoch e, from 0, of W warm-up epochs has ``warmup_temp + (temp - warmup_temp) e / (W -
    1)``: the first warm-up epoch has ``warmup_temp``, the last one ``temp``. A function of
    the epoch alone, so resuming continues exactly.

    Args:
        temp (float): After the warm-up; above 0.07 most trainings are unstable.
        warmup_temp (float): In the first epoch.
        warmup_epochs (int): W. 0: none.
        interval (int): Iterations between two values in the log.

    Raises:
        ValueError: A temperature that is not positive, or a negative warm-up.
        TypeError: The model has no ``teacher_temp``; at the start of training.

    Source: ``main_dino.py`` of github.com/facebookresearch/dino.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        temp: float = 0.04,
        warmup_temp: float = 0.04,
        warmup_epochs: int = 0,
        interval: int = 10,
    ) -> None:
        if temp <= 0 or warmup_temp <= 0 or warmup_epochs < 0:
            raise ValueError(
                'temp and warmup_temp must be positive and warmup_epochs not negative, '
                f'got {temp}, {warmup_temp} and {warmup_epochs}'
            )
        self.temp, self.warmup_temp, self.warmup_epochs = temp, warmup_temp, warmup_epochs
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Refuse a model without temperature."""
        model = unwrapped_model(runner)
        if not hasattr(model, 'teacher_temp'):
            raise TypeError(
                f'{type(model).__name__} has no teacher_temp: TeacherTemperatureHook is '
                'for orl_mm.DINO; take it out of custom_hooks'
            )

    def temp_at(self, epoch: int) -> float:
        """The temperature of an epoch, counted from 0."""
        if epoch >= self.warmup_epochs:
            return self.temp
        part = epoch / max(self.warmup_epochs - 1, 1)
        return self.warmup_temp + (self.temp - self.warmup_temp) * part

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Set it, in loops by epochs and by iterations alike."""
        model = unwrapped_model(runner)
        model.teacher_temp = self.temp_at(epoch_at(runner, iteration(runner, batch_idx)))
        if batch_idx == 0 or self.every_n_inner_iters(batch_idx, self.interval):
            runner.message_hub.update_scalar('train/teacher_temp', model.teacher_temp)
