"""Save the network as it is before its first training step."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.registry import HOOKS


@HOOKS.register_module()
class SaveInitialHook(Hook):
    """Write the weights with which training starts to ``epoch_0.pth`` of the work directory.

    They are those of ``init_cfg``, ``load_from`` or the run's seed. A resumed run writes nothing.
    With ``max_epochs=0`` the run consists of this only: the row "Random" of a table.

    Args:
        filename (str): The file's name.

    Raises:
        ValueError: Not the name of a ``.pth`` file.
    """

    # Before hooks that may change the model at the start of training.
    priority = 'VERY_HIGH'

    def __init__(self, filename: str = 'epoch_0.pth') -> None:
        if not filename.endswith('.pth') or '/' in filename:
            raise ValueError(
                f'filename must be the name of a .pth file, got {filename!r}; the '
                'folder is the work directory'
            )
        self.filename = filename

    def before_train(self, runner: Runner) -> None:
        """Save, after weights were initialized or loaded."""
        if runner.iter > 0:
            return
        # On every process: the runner writes on the first one and lets the others wait.
        runner.save_checkpoint(
            runner.work_dir,
            self.filename,
            save_optimizer=False,
            save_param_scheduler=False,
            meta=dict(epoch=0, iter=0),
            backend_args=dict(backend='orl_mm.durable'),
        )
        runner.logger.info(
            f'The network before its first step is in {runner.work_dir}/{self.filename}'
        )
