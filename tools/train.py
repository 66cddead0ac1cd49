#!/usr/bin/env python
"""Train any config of mmpretrain, mmdet, mmseg or this project.

    tools/train.py configs/r2o/demo.py --work-dir work_dirs/demo
    tools/train.py mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py

The arguments are those of the three packages' own tools. For several processes
see tools/dist_train.sh.
"""

import shlex
import sys

from orl_tools import (
    Parser,
    add_common_arguments,
    command_errors,
    config_path,
    existing_file,
    start,
)


def parse_args():
    parser = Parser(description='Train a model')
    parser.add_argument('config', type=config_path, help='config file, or package::path of one')
    parser.add_argument(
        '--work-dir',
        help='folder of logs and checkpoints (default: the '
        "config's, else work_dirs/ and the config's name)",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        type=lambda path: path if path == 'auto' else existing_file(path),
        help='go on from this checkpoint; without a name, from the newest whole one of the work '
        'directory',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--precision',
        choices=('bf16', 'fp16'),
        help='that of --amp, which it implies; bf16 needs no loss scaling and runs on a CPU, too '
        '(default: that of the config, else fp16)',
    )
    parser.add_argument('--no-validate', action='store_true', help='no evaluation during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the batch size at hand, linearly '
        'from the base_batch_size of the config',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the data workers anew each epoch',
    )
    add_common_arguments(parser)
    return parser.parse_args()


start(__name__, parse_args)
import torch
from mmengine.registry import RUNNERS

from orl_mm.engine import cli
from orl_mm.engine.cpu_ddp import end_processes, use_cpu_processes
from orl_mm.engine.hooks import NaNGuardHook, ResultHook, SyncBatchNormHook
from orl_mm.engine.resume import choose_checkpoint
from orl_mm.engine.runner import TrainRunner
from orl_mm.weights import checkpoints_must_fit, use_safe_loading


def merge_args(cfg, args):
    cli.merge_common_arguments(cfg, args)
    cli.set_dataloader_defaults(cfg, args)
    use_durable_checkpoints(cfg)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.resume == 'auto':
        cfg.resume, cfg.load_from = True, None
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    if args.amp or args.precision:
        use_amp(cfg, args.precision)
    if args.auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise cli.UserError(
                '--auto-scale-lr needs the batch size that the learning rate '
                'of the config is for; add --cfg-options '
                'auto_scale_lr.base_batch_size=NUMBER'
            )
        cfg.auto_scale_lr.enable = True
    return cfg


def use_durable_checkpoints(cfg):
    """Put this project's checkpoint hook in the place of mmengine's."""
    hooks = cfg.get('default_hooks') or {}
    hook = hooks.setdefault('checkpoint', dict(type='CheckpointHook'))
    if hook and hook['type'] == 'CheckpointHook':
        hook['type'] = 'orl_mm.DurableCheckpointHook'
    cfg.default_hooks = hooks


def use_amp(cfg, precision):
    """Put a mixed-precision wrapper in the plain one's place, in bf16 one without a loss scaler."""
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise cli.UserError(
            f'--amp takes the place of OptimWrapper, but the '
            f'config has {kind}; leave --amp out and set the '
            'precision there'
        )
    dtype = dict(bf16='bfloat16', fp16='float16').get(precision, wrapper.get('dtype'))
    if dtype == 'bfloat16':
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            wrapper.pop(key, None)
        wrapper.type = 'orl_mm.BFloat16OptimWrapper'
        return
    if not torch.cuda.is_available():
        raise cli.UserError(
            '--amp needs a GPU (mmengine trains in fp16 on no CPU); use --precision bf16, or '
            'leave it out here'
        )
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('loss_scale', 'dynamic')
    if dtype is not None:
        wrapper.dtype = dtype


def check_epoch(runner):
    """Check that the training data fill at least one batch."""
    loader = getattr(runner.train_loop, 'dataloader', None)
    if (
        not isinstance(loader, torch.utils.data.DataLoader)
        or isinstance(loader.dataset, torch.utils.data.IterableDataset)
        or len(loader)
    ):
        return
    images = len(loader.dataset)  # type: ignore[arg-type]  # no IterableDataset here
    share = f' for each of {runner.world_size} processes' if runner.world_size > 1 else ''
    raise cli.UserError(
        f'an epoch has 0 iterations: {images} images, batch '
        f'{loader.batch_size}{share}, drop_last={loader.drop_last}; lower '
        'train_dataloader.batch_size'
    )


def count_accumulation(runner):
    """Let auto_scale_lr see the batch of an optimizer step, not of an iteration.

    mmengine scales by images an iteration; with ``accumulative_counts`` = N a
    step sees N times as many. The config keeps its base_batch_size.
    """
    scale = runner.auto_scale_lr or {}
    steps = (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if not scale.get('enable') or 'base_batch_size' not in scale or steps == 1:
        return
    runner.auto_scale_lr = dict(scale, base_batch_size=scale['base_batch_size'] / steps)
    runner.logger.info(
        f'auto_scale_lr: accumulative_counts={steps} iterations make one step, so the base '
        f'batch size {scale["base_batch_size"]} is that of {steps} iterations; the next line '
        'counts images per iteration'
    )


def main():
    args = parse_args()
    with command_errors(
        cli.UserError, stopped='stopped; --resume continues from the last checkpoint'
    ):
        use_safe_loading()
        cfg = merge_args(cli.load_config(args.config), args)
        cli.check_parts(cfg, 'training', 'train_dataloader', 'train_cfg', 'optim_wrapper')
        with (
            cli.config_errors() as setup,
            checkpoints_must_fit(min_match=cfg.get('min_match', 0.99)),
        ):
            use_cpu_processes(cfg)
            # A config may name a runner of its own.
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else TrainRunner.from_cfg(cfg)
            runner.register_hook(setup)
            choose_checkpoint(runner)
            runner.register_hook(SyncBatchNormHook())
            cli.build_loops(runner, 'train', 'val')
            check_epoch(runner)
            count_accumulation(runner)
            runner.register_hook(ResultHook(command=shlex.join(['tools/train.py', *sys.argv[1:]])))
            guard = NaNGuardHook()
            runner.register_hook(guard)
            try:
                runner.train()
            except Exception as error:
                guard.explain(runner, error)
                raise
            end_processes()


if __name__ == '__main__':
    main()
