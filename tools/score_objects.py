#!/usr/bin/env python
"""How well the objects that R2O finds agree with the real ones of VOC and COCO.

    tools/score_objects.py configs/r2o/r50_in1k.py R2O=work_dirs/r50_in1k BYOL=byol.pth \\
        --voc data/VOCdevkit/VOC2012 --coco data/coco --json objects.json --figure objects.png

NAME=PATH is a checkpoint, or a work directory: then each of its checkpoints, a curve over
training. A NAME given several times is one network with several trainings. The config sets how
objects are found (superpixels, K, images per mini-batch); the encoder may be that of any method,
since only its features are used. The prior masks and K-means on the features of random weights
are scored for comparison. Best overlap is the IoU of each object with the region that fits it
best, whatever its class; ARI is the adjusted Rand index over all pixels, and over those of
objects. Intervals: 95%, over images and trainings.
"""

import os.path as osp

from orl_tools import Parser, add_cfg_options, command_errors, config_path, existing_folder, start


def parse_args(argv=None):
    parser = Parser(description='Score the objects that R2O finds against real ones')
    parser.add_argument('config', type=config_path, help='of R2O: superpixels, K, mini-batch')
    parser.add_argument(
        'networks',
        nargs='*',
        metavar='NAME=PATH',
        help='a checkpoint, or a work directory for a curve over training',
    )
    parser.add_argument('--voc', type=existing_folder, metavar='DIR', help='VOC2012')
    parser.add_argument('--split', default='val', help='of VOC (default: val)')
    parser.add_argument(
        '--coco', type=existing_folder, metavar='DIR', help='folder with annotations and val2017'
    )
    parser.add_argument(
        '--batch', type=int, help="images clustered together (default: the config's batch size)"
    )
    parser.add_argument('--k', type=int, help="clusters of a mini-batch (default: the config's)")
    parser.add_argument(
        '--seeds',
        type=int,
        default=1,
        help='how often each is clustered, in '
        'other mini-batches, by random networks of other weights (default: 1)',
    )
    parser.add_argument('--json', metavar='FILE', help='all numbers')
    parser.add_argument('--markdown', metavar='FILE', help='the table as printed')
    parser.add_argument('--figure', metavar='FILE', help='curves over training')
    parser.add_argument('--picture', metavar='FILE', help='objects of a few images')
    parser.add_argument('--num', type=int, default=6, help='images of the picture (default: 6)')
    parser.add_argument('--device', help='default: a GPU where there is one')
    add_cfg_options(parser)
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)
    args = parser.parse_args(argv)
    for name in args.networks:
        if '=' not in name:
            parser.error(f'a network is NAME=PATH, got {name!r}')
    if not args.voc and not args.coco:
        parser.error('give --voc DIR, --coco DIR, or both')
    return args


start(__name__, parse_args)
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from orl_mm.datasets.object_masks import coco_objects, voc_objects
from orl_mm.engine import cli
from orl_mm.engine.object_finder import build_finder, load_features
from orl_mm.evaluation.results import write_json
from orl_mm.io.atomic import write_atomic
from orl_mm.tables import objects
from orl_mm.tables.markdown import markdown_table
from orl_mm.tables.records import checkpoints_of
from orl_mm.visualization import save_figure
from orl_mm.weights import use_safe_loading


def read_data(args, size):
    """Name -> objects of its images."""
    found = {}
    if args.voc:
        found['VOC'] = voc_objects(args.voc, args.split, size)
    if args.coco:
        found['COCO'] = coco_objects(
            osp.join(args.coco, 'annotations/instances_val2017.json'),
            osp.join(args.coco, 'val2017'),
            size,
        )
    return found


def score(cfg, args):
    """Score every network on every data set."""
    scorer = objects.Scorer(cfg, args.batch, args.k, args.device or get_device())
    scorer.load(read_data(args, scorer.size))
    scorer.add('prior masks', None)
    for seed in range(args.seeds):
        set_random_seed(seed)
        scorer.add('random network', build_finder(cfg), seed=seed)
    for name, path in (item.split('=', 1) for item in args.networks):
        for step, checkpoint in checkpoints_of(path):
            for seed in range(args.seeds):
                set_random_seed(seed)
                model = build_finder(cfg)
                load_features(model, checkpoint)
                scorer.add(name, model, step, seed, str(checkpoint))
    return scorer


def main(argv=None):
    args = parse_args(argv)
    with command_errors():
        use_safe_loading()
        cfg = cli.load_config(args.config)
        cli.merge_common_arguments(cfg, args)
        cli.check_parts(cfg, 'finding objects', 'train_dataloader')
        init_default_scope(cfg.get('default_scope') or 'mmpretrain')
        MMLogger.get_current_instance().setLevel('WARNING')  # no list of initial weights
        with cli.config_errors():
            scorer = score(cfg, args)
        table = objects.object_table(scorer)
        body = markdown_table(objects.object_cells(table))
        text = f'{body}\n\n{objects.object_note(table)}'
        if args.json:
            write_json(args.json, table)
        if args.markdown:
            write_atomic(args.markdown, f'{text}\n'.encode())
        if args.figure:
            save_figure(objects.object_curves(table), args.figure)
        if args.picture:
            save_figure(objects.object_picture(scorer, args.num), args.picture)
        print(text)


if __name__ == '__main__':
    main()
