from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import find_latest_checkpoint

from orl_mm.registry import HOOKS


@HOOKS.register_module()
class SayWhereHook(Hook):
    """Log where the checkpoint, the log and the pictures are when training has ended.

    Files that do not exist are left out.

    Args:
        picture (str): Path of the picture in the work directory.
    """

    # After the checkpoint was written and the last picture drawn.
    priority = 'LOWEST'

    def __init__(self, picture: str = 'objects/latest.png') -> None:
        self.picture = picture

    def after_train(self, runner: Runner) -> None:
        """Log one line per file."""
        if not is_main_process():
            return
        folder = Path(runner.work_dir)
        log = Path(runner.log_dir) / f'{runner.timestamp}.log'
        places = [('picture', folder / self.picture), ('log', log)]
        checkpoint = find_latest_checkpoint(runner.work_dir)
        if checkpoint is not None:
            places.insert(0, ('checkpoint', Path(checkpoint)))
        lines = [f'  {name + ":":<12}{path}' for name, path in places if path.is_file()]
        runner.logger.info('\n'.join(['Done.', *lines]))
