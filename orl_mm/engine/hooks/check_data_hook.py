import os
from collections.abc import Iterator

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.datasets.layouts import LAYOUTS, Checker, check_layout
from orl_mm.engine.cli import UserError
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check the data of a run before its first step, and stop where something is missing.

    Before training it checks what the training and validation data loaders read, before a test
    what the test data loader reads, as the config finally names it: ``data_root``, and where
    the layout has parts, ``ann_file`` and ``data_prefix``. The first process of each node
    checks; all processes stop together. It takes about a second, as folders are listed and only
    a few files opened; ``tools/check_data.py LAYOUT --all`` opens every file.

    Args:
        layout (str): One of :data:`orl_mm.datasets.layouts.LAYOUTS`, such as ``'voc'``.
        **options: Of that check.

    Raises:
        ValueError: An unknown layout.
        UserError: Before the run, with the first problems and how to see all of them.
    """

    # Before anything that takes time.
    priority = 'VERY_HIGH'
    SHOWN = 3

    def __init__(self, layout: str, **options) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f'there is no layout {layout!r}; choose one of {", ".join(LAYOUTS)}')
        self.layout, self.options = layout, options

    def before_train(self, runner: Runner) -> None:
        """Check the data of training, and of validation if there is one."""
        self._check(runner, ['train'] + ['val'] * (runner.val_loop is not None))

    def before_test(self, runner: Runner) -> None:
        """Check the data of a test."""
        self._check(runner, ['test'])

    def _check(self, runner: Runner, splits: list[str]) -> None:
        problems: list[str] = []
        if os.environ.get('LOCAL_RANK', '0') == '0':
            for report in self._reports(runner, splits):
                for line in report.lines()[: 1 + len(report.notes)]:
                    runner.logger.info(line)
                problems += report.problems
        # If only one process stopped, the others would wait for it.
        gathered: list[list[str]] = all_gather_object(problems)
        problems = list(dict.fromkeys(sum(gathered, [])))
        if problems:
            more = len(problems) - self.SHOWN
            last = f'; and {more} more problems, which tools/check_data.py {self.layout} lists'
            shown = '; '.join(problems[: self.SHOWN]) + last * (more > 0)
            raise UserError(f'the data cannot be used: {shown}')

    def _reports(self, runner: Runner, splits: list[str]) -> Iterator[Checker]:
        roots: dict[str, list[dict]] = {}
        for split in splits:
            loader = runner.cfg.get(f'{split}_dataloader') or {}
            for dataset in _innermost(loader.get('dataset')):
                part = dict(
                    ann_file=dataset.get('ann_file') or '',
                    data_prefix=dict(dataset.get('data_prefix') or {}),
                )
                roots.setdefault(dataset.get('data_root') or '.', []).append(part)
        for root, parts in roots.items():
            options: dict = dict(self.options)
            if LAYOUTS[self.layout].parts:
                options['parts'] = parts
            yield check_layout(self.layout, root, **options)


def _innermost(dataset) -> Iterator[dict]:
    """Every data set config inside wrappers; data sets that are already built are skipped."""
    if not isinstance(dataset, dict):
        return
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for child in inner:
        yield from _innermost(child)
    if not inner:
        yield dataset
