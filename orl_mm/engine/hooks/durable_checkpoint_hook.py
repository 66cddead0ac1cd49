"""Checkpoints of which one is always whole on the disk, whenever the run ends."""

import os
from collections import deque
from pathlib import Path
from typing import Any
from unittest import mock

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from orl_mm.errors import UserError
from orl_mm.io.atomic import TEMP_SUFFIX, write_atomic
from orl_mm.io.checksum import with_checksum
from orl_mm.registry import HOOKS


@register_backend('orl_mm.durable', force=True)
class DurableBackend(LocalBackend):
    """mmengine's local files, written beside their final name, synced and renamed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Raises:
            UserError: The disk is full or the folder not writable; the old file is unchanged.
        """
        try:
            write_atomic(filepath, with_checksum(obj), sync=True)
        except OSError as error:
            raise UserError(
                f'the checkpoint {filepath} cannot be written: {error.strerror}. Earlier '
                'checkpoints are whole; free some space or make the folder writable, then '
                'continue with --resume'
            ) from error


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` in an order that a kill or a full disk cannot hurt.

    mmengine deletes the oldest checkpoint before it writes the next one, in place; with
    ``max_keep_ckpts=1`` a kill meanwhile leaves nothing. Here the new one is written, synced and
    renamed, ``last_checkpoint`` names it, and only then the outdated ones are deleted. If the
    run is killed before that, the next one that resumes deletes them. Only files that this run
    or those it resumes wrote into this folder are deleted.

    Before each save the hook calls ``before_checkpoint(runner)`` of every hook that has it, on
    every process.

    Args:
        args, kwargs: Those of mmengine's hook. A ``backend_args`` or an ``out_dir`` on another
            storage than the local disk is left to mmengine's own writing.
    """

    file_backend: Any
    keep_ckpt_ids: deque
    backend_args: dict | None

    def before_train(self, runner: Runner) -> None:
        """Find the folder, and delete what a killed run did not come to delete."""
        local = '://' not in str(self.out_dir or runner.work_dir)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend='orl_mm.durable')
        info = runner.message_hub.runtime_info
        folder = Path(self.out_dir or runner.work_dir)
        if self.out_dir is not None and self.out_dir != runner.work_dir:
            folder /= Path(runner.work_dir).name
        resumed = runner._load_from if runner._resume else None
        elsewhere = resumed and os.path.realpath(os.path.dirname(resumed)) != os.path.realpath(
            folder
        )
        if local and elsewhere:
            info.pop('keep_ckpt_ids', None)  # those are in another folder
        for key in [key for key in info if key.startswith('best_ckpt') and info[key]]:
            if local and elsewhere:
                info.pop(key)  # a file of that name here may be another run's
            elif local:
                info[key] = str(folder / Path(info[key]).name)  # the folder may have been moved
        super().before_train(runner)
        if local and is_main_process():
            for left in Path(self.out_dir).glob(f'.*{TEMP_SUFFIX}'):
                left.unlink()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write, point, delete."""
        runner.call_hook('before_checkpoint')
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [one for one in self.keep_ckpt_ids if one != step] + [step]
            outdated = kept[: -self.max_keep_ckpts]
            # With the outdated ones, so that a run that resumes from this file deletes them.
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        pointer = Path(runner.work_dir) / 'last_checkpoint'
        write_atomic(pointer, str(self.last_ckpt).encode(), sync=True)
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Delete the best checkpoint so far after the new one is written."""
        if not self.save_best:
            return
        runner.call_hook('before_checkpoint')
        backend, replaced = self.file_backend, list[str]()
        with mock.patch.object(backend, 'remove', replaced.append):
            super()._save_best_checkpoint(runner, metrics)
        current = {
            value for key, value in runner.message_hub.runtime_info.items() if 'best_ckpt' in key
        }
        for path in set(replaced) - current:
            backend.remove(path)
