import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from orl_mm.evaluation.results import (
    FILE,
    checkpoint_record,
    config_digest,
    plain,
    read_result,
    write_json,
)
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class ResultHook(Hook):
    """Write the result of a run as ``result.json`` in its work directory.

    tools/train.py and tools/test.py add this hook to every config, stock ones included. A
    training writes the sections ``train`` and ``val`` after each validation and at its end, a
    test writes ``test``; a section replaces that of the run before. See
    :mod:`orl_mm.evaluation.results`.

    A section has ``command``, ``date``, ``config_file``, ``config`` and ``config_digest``,
    ``world_size``, ``checkpoint`` (``file`` and ``digest``; None if the validated weights were
    not saved). ``train`` adds ``progress`` (``by``, ``done``, ``total``); ``val`` and ``test``
    add ``metrics`` and ``images``: their ``count`` and, where intervals are taken from them,
    values of each image: ``ap`` (part -> image -> AP) and ``patients`` of ``AttentionAP``;
    ``iou`` of mmseg's ``IoUMetric``, for each image of the data set, in its order, class ->
    pixels in the intersection and in the union.

    Args:
        command (str): What repeats the run.
        max_images (int): Above this number, no values of each image.
    """

    # After the checkpoint was written, and after every hook that changes the metrics.
    priority = 'LOWEST'

    def __init__(self, command: str = '', max_images: int = 5000) -> None:
        self.command, self.max_images = command, max_images
        self._areas: dict[int, list] = {}  # of each wrapped metric, by its id

    def before_val_epoch(self, runner: Runner) -> None:
        """Keep what mmseg's metric counts of each image."""
        self._keep_areas(runner.val_loop.evaluator)

    def before_test_epoch(self, runner: Runner) -> None:
        """Keep what mmseg's metric counts of each image."""
        self._keep_areas(runner.test_loop.evaluator)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write ``train`` and ``val``; a validation without a training writes ``val``."""
        if not is_main_process():
            return
        loop, sections = runner.val_loop, {}
        if runner._train_loop is not None and not isinstance(runner._train_loop, dict):
            sections['train'] = self._training(runner)
        sections['val'] = self._scores(runner, loop, metrics, _saved_now(runner))
        self._write(runner, sections)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write ``test``."""
        if is_main_process():
            scores = self._scores(runner, runner.test_loop, metrics, runner._load_from)
            self._write(runner, dict(test=scores))

    def after_train(self, runner: Runner) -> None:
        """Write ``train``."""
        if is_main_process():
            self._write(runner, dict(train=self._training(runner)))

    def _write(self, runner: Runner, sections: dict[str, Any]) -> None:
        write_json(Path(runner.work_dir) / FILE, dict(read_result(runner.work_dir), **sections))

    def _section(self, runner: Runner, checkpoint: str | Path | None) -> dict[str, Any]:
        config = plain(runner.cfg.to_dict())
        return dict(
            command=self.command,
            date=time.strftime('%Y-%m-%d'),
            torch=torch.__version__,
            config_file=runner.cfg.filename,
            config=config,
            config_digest=config_digest(config),
            world_size=get_world_size(),
            checkpoint=checkpoint and checkpoint_record(checkpoint),
        )

    def _training(self, runner: Runner) -> dict[str, Any]:
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        done, total = (
            (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
        )
        section = self._section(runner, _saved_now(runner))
        return dict(
            section, progress=dict(by='epoch' if by_epoch else 'iter', done=done, total=total)
        )

    def _scores(
        self, runner: Runner, loop: Any, metrics: dict[str, float] | None, checkpoint: Any
    ) -> dict[str, Any]:
        images: dict[str, Any] = dict(count=len(loop.dataloader.dataset))
        if images['count'] <= self.max_images:
            for metric in loop.evaluator.metrics:
                images.update(self._of_images(metric))
        return dict(
            self._section(runner, checkpoint), metrics=plain(dict(metrics or {})), images=images
        )

    def _of_images(self, metric: BaseMetric) -> dict[str, Any]:
        if getattr(metric, 'details', None):
            return dict(ap=metric.details, patients=getattr(metric, 'patients', {}))
        areas = self._areas.get(id(metric))
        return dict(iou=[_class_areas(*result[:2]) for result in areas]) if areas else {}

    def _keep_areas(self, evaluator: Evaluator) -> None:
        for metric in evaluator.metrics:
            if hasattr(metric, 'intersect_and_union') and id(metric) not in self._areas:
                self._areas[id(metric)] = []
                self._wrap(metric, self._areas[id(metric)])

    @staticmethod
    def _wrap(metric: BaseMetric, kept: list) -> None:
        compute = metric.compute_metrics

        def keep_and_compute(results: list) -> dict[str, float]:
            kept[:] = results
            return compute(results)

        metric.compute_metrics = keep_and_compute


def _class_areas(intersect: torch.Tensor, union: torch.Tensor) -> dict[int, list[int]]:
    """Class -> pixels in intersection and union, of the classes in the image."""
    return {
        c: [int(i), int(u)]
        for c, (i, u) in enumerate(zip(intersect.tolist(), union.tolist(), strict=True))
        if u
    }


def _saved_now(runner: Runner) -> Path | None:
    """The checkpoint of the present weights, where the training has just saved one."""
    by_epoch = isinstance(runner._train_loop, EpochBasedTrainLoop)
    name = f'epoch_{runner.epoch}.pth' if by_epoch else f'iter_{runner.iter}.pth'
    file = Path(runner.work_dir) / name
    return file if file.is_file() else None
