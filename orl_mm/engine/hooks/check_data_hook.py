"""A run that cannot succeed on its data does not begin."""

import inspect
import os
from collections.abc import Iterator

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.datasets.layouts import CHECKS, LayoutReport, check_layout
from orl_mm.engine.cli import UserError
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Look at the folders of a run's data loaders before it begins; stop where something is missing.

    Before training it looks at what the training and validation loaders read, before a test at
    what the test loader reads, each as the config finally names it (``data_root``, and where
    the layout's check has ``parts``, ``ann_file`` and ``data_prefix``). The first process
    of each node looks; all processes stop together. It lists folders and opens a few files, a
    second's work; ``tools/check_data.py LAYOUT --all`` opens every file.

    Args:
        layout (str): One of :data:`orl_mm.datasets.layouts.CHECKS`, such as ``'voc'``.
        **options: Of that check.

    Raises:
        ValueError: A layout that is none.
        UserError: Before the run, with the first problems and how to see all of them.
    """

    # Before anything that takes time.
    priority = 'VERY_HIGH'
    SHOWN = 3

    def __init__(self, layout: str, **options) -> None:
        if layout not in CHECKS:
            raise ValueError(f'there is no layout {layout!r}; there are {", ".join(CHECKS)}')
        self.layout, self.options = layout, options
        self._training = False

    def before_train(self, runner: Runner) -> None:
        """Look at the data of training, and of validation if there is one."""
        self._training = True
        self._check(
            runner, ['train_dataloader'] + ['val_dataloader'] * (runner.val_loop is not None)
        )

    def before_val(self, runner: Runner) -> None:
        """Look at the data of a validation by itself."""
        if not self._training:
            self._check(runner, ['val_dataloader'])

    def before_test(self, runner: Runner) -> None:
        """Look at the data of a test."""
        self._check(runner, ['test_dataloader'])

    def _check(self, runner: Runner, loaders: list[str]) -> None:
        problems: list[str] = []
        if os.environ.get('LOCAL_RANK', '0') == '0':
            for report in self._look(runner, loaders):
                for line in report.lines()[: 1 + len(report.notes)]:
                    runner.logger.info(line)
                problems += report.problems
        # A process that stopped alone would leave the others waiting.
        problems = list(dict.fromkeys(sum(all_gather_object(problems), [])))
        if problems:
            more = len(problems) - self.SHOWN
            raise UserError(
                'the data cannot be used: '
                + '; '.join(problems[: self.SHOWN])
                + (
                    f'; and {more} more problems, which tools/check_data.py {self.layout} lists'
                    if more > 0
                    else ''
                )
            )

    def _look(self, runner: Runner, loaders: list[str]) -> Iterator[LayoutReport]:
        roots: dict[str, list[dict]] = {}
        for name in loaders:
            loader = runner.cfg.get(name) or {}
            for root, part in _leaves(loader.get('dataset')):
                roots.setdefault(root, []).append(part)
        takes_parts = 'parts' in inspect.signature(CHECKS[self.layout]).parameters
        for root, parts in roots.items():
            extra = dict(parts=parts) if takes_parts else {}
            yield check_layout(self.layout, root, **extra, **self.options)


def _leaves(dataset) -> Iterator[tuple[str, dict]]:
    """Root and parts of every data set within wrappers; built data sets are passed over."""
    if not isinstance(dataset, dict):
        return
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    for child in inner:
        yield from _leaves(child)
    if not inner:
        yield (
            dataset.get('data_root') or '',
            dict(
                ann_file=dataset.get('ann_file') or '',
                data_prefix=dict(dataset.get('data_prefix') or {}),
            ),
        )
