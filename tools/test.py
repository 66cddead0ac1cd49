#!/usr/bin/env python
"""Test a checkpoint with any config of mmpretrain, mmdet, mmseg or this project.

    tools/test.py mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py \
        work_dirs/fcn/iter_20000.pth

The arguments are those of the three packages' own tools; where these differ,
the config's ``default_scope`` decides. For several processes see
tools/dist_test.sh.
"""

import shlex
import sys
from copy import deepcopy

from orl_tools import (
    Parser,
    add_common_arguments,
    command_errors,
    config_path,
    existing_file,
    start,
)


def parse_args():
    parser = Parser(description='Test a model')
    parser.add_argument('config', type=config_path, help='config file, or package::path of one')
    parser.add_argument('checkpoint', type=existing_file, help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the log and the metrics')
    parser.add_argument(
        '--out',
        help='mmpretrain: file of predictions or metrics '
        '(--out-item); mmdet: file of predictions (.pkl); mmseg: folder of '
        'predicted label maps',
    )
    parser.add_argument(
        '--out-item', choices=['metrics', 'pred'], help='what --out holds (default: pred)'
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--show-dir', help='folder of pictures of the results')
    parser.add_argument('--show', action='store_true', help='show the results in a window')
    parser.add_argument(
        '--interval', type=int, default=1, help='draw every N-th sample (mmpretrain)'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that a window stays')
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_model and tta_pipeline of the config, else flips',
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    if args.out is None and args.out_item is not None:
        parser.error('--out-item needs the file, --out FILE')
    return args


start(__name__, parse_args)
import mmengine
from mmengine.config import ConfigDict
from mmengine.dist import is_main_process
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner

from orl_mm.engine import cli
from orl_mm.engine.cpu_ddp import end_processes, use_cpu_processes
from orl_mm.engine.hooks import ResultHook
from orl_mm.weights import checkpoints_must_fit, use_safe_loading


def merge_args(cfg, args):
    cli.merge_common_arguments(cfg, args)
    cli.set_dataloader_defaults(cfg, args)
    cfg.load_from = args.checkpoint
    scope = cfg.get('default_scope')
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        draw(cfg, args, scope)
    if args.tta:
        use_tta(cfg, scope)
    if args.out and scope == 'mmseg':
        cfg.test_evaluator.update(output_dir=args.out, keep_results=True)
    if args.out and scope == 'mmdet' and not args.out.endswith(('.pkl', '.pickle')):
        raise cli.UserError(f'--out of an mmdet config is a .pkl file, got {args.out!r}')
    return cfg


def draw(cfg, args, scope):
    """Switch the scope's visualization hook on."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise cli.UserError(
            '--show and --show-dir need the visualization hook; add '
            "visualization=dict(type='...VisualizationHook') to default_hooks"
        )
    hook.update(show=args.show, wait_time=args.wait_time)
    if scope in ('mmdet', 'mmseg'):
        hook.draw = True
    else:
        hook.update(enable=True, interval=args.interval)
    if args.show_dir and scope == 'mmdet':
        hook.test_out_dir = args.show_dir
    elif args.show_dir and scope == 'mmseg':
        cfg.visualizer.save_dir = args.show_dir
    elif args.show_dir:
        hook.out_dir = args.show_dir


def use_tta(cfg, scope):
    """Wrap the model for test-time augmentation, by default of flips."""
    if scope == 'mmseg' and not ('tta_model' in cfg and 'tta_pipeline' in cfg):
        raise cli.UserError(
            '--tta of an mmseg config needs tta_model and tta_pipeline in the config'
        )
    if 'tta_model' not in cfg:
        cfg.tta_model = (
            dict(
                type='DetTTAModel',
                tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
            )
            if scope == 'mmdet'
            else dict(type='mmpretrain.AverageClsScoreTTA')
        )
    data = cfg.test_dataloader.dataset
    while 'dataset' in data:
        data = data.dataset
    if 'tta_pipeline' not in cfg:
        pack = (
            data.pipeline[-1]
            if scope != 'mmdet'
            else dict(
                type='PackDetInputs',
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                ),
            )
        )
        cfg.tta_pipeline = deepcopy(data.pipeline[:-1]) + [
            dict(
                type='TestTimeAug',
                transforms=[
                    [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
                    [pack],
                ],
            )
        ]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    data.pipeline = cfg.tta_pipeline


def main():
    args = parse_args()
    with command_errors(cli.UserError):
        use_safe_loading()
        cfg = cli.load_config(args.config)
        cli.check_parts(cfg, 'testing', 'test_dataloader', 'test_cfg', 'test_evaluator')
        cfg = merge_args(cfg, args)
        dump_predictions = args.out and args.out_item != 'metrics'
        scope = cfg.get('default_scope')
        with (
            cli.config_errors() as setup,
            checkpoints_must_fit(whole=True, min_match=cfg.get('min_match', 0.99)),
        ):
            use_cpu_processes(cfg)
            # A config may name a runner of its own.
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            runner.register_hook(setup)
            cli.build_loops(runner, 'test')
            runner.register_hook(ResultHook(command=shlex.join(['tools/test.py', *sys.argv[1:]])))
            if dump_predictions and scope != 'mmseg':
                kind = 'mmdet.DumpDetResults' if scope == 'mmdet' else 'DumpResults'
                runner.test_evaluator.metrics.append(
                    METRICS.build(dict(type=kind, out_file_path=args.out))
                )
            metrics = runner.test()
            if args.out and args.out_item == 'metrics' and is_main_process():
                mmengine.dump(metrics, args.out)
            end_processes()


if __name__ == '__main__':
    main()
