#!/usr/bin/env python
"""The thesis's tables with what was run here, as Markdown, JSON and a picture.

    tools/tables.py 2.1 work_dirs/coco_*
    tools/tables.py 2.2 work_dirs/voc_* work_dirs/cityscapes_* --plot table22.svg
    tools/tables.py 2.3 work_dirs/voc_*
    tools/tables.py 3.1 work_dirs/vits16_chexpert_* --template average=average.npz
    tools/tables.py 3.2 work_dirs/linear_vits16_* --json table32.json

2.1 to 2.3 read what the work directories of configs/transfer have recorded of their last
checkpoint, a test or else the validation of the training, and test where nothing is. Which row
a run is follows from its name, <transfer>_<config of pretraining>, and the checkpoint it started
from. Numbers on part of the data, of other settings or of an unfinished run are marked.

3.1 tests the last checkpoint of each work directory on JSRT and Montgomery, by
configs/transfer, with the network and image size of its training. 3.2 tests linear probes by
their own configs. A result is stored beside its checkpoint and taken from there the next time.
Which row a run is follows from its names (..._dino, dino-cxr-aug, triangular, average,
deformable, random, dino-in1k), or from --row. Rows that nothing is given for say so.
"""

import os
from pathlib import Path

from orl_tools import Parser, add_cfg_options, command_errors, start


def parse_args(argv=None):
    parser = Parser(description="The thesis's tables with what was run here")
    parser.add_argument(
        'table',
        choices=('2.1', '2.2', '2.3', '3.1', '3.2'),
        metavar='TABLE',
        help='2.1: COCO; 2.2: VOC and Cityscapes; 2.3: K; 3.1: attention AP; 3.2: linear probes',
    )
    parser.add_argument(
        'runs',
        nargs='*',
        metavar='RUN',
        help='work directory, of which the last checkpoint counts, or checkpoint',
    )
    parser.add_argument(
        '--row',
        action='append',
        default=[],
        metavar='NAME=RUN',
        help='a run for a row by name: byol, detcon-b_100e, r2o, r50_in100_k4 ... '
        '(configs of pretraining, with or without _r50_in1k); for 3.1 and 3.2 '
        'dino-in1k, dino, dino-cxr-aug, triangular, average, deformable, random; '
        'or a row of its own',
    )
    parser.add_argument(
        '--template',
        action='append',
        default=[],
        metavar='NAME=PATH',
        help='3.1: the template of a row, scored itself: .json, .npz, or a '
        'folder of tools/register_templates.py for the test images (several '
        'for several sets). Templates that are files are found by themselves',
    )
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='3.1: folder with jsrt and montgomery in it (default: $ORL_CXR, else data)',
    )
    parser.add_argument('--json', metavar='FILE', help='all numbers')
    parser.add_argument('--markdown', metavar='FILE', help='the table as printed')
    parser.add_argument('--plot', metavar='FILE', help='a picture: .png, .svg or .pdf')
    parser.add_argument(
        '--test',
        action='store_true',
        default=None,
        help='2.x: test each last checkpoint, whatever its work directory has recorded',
    )
    parser.add_argument(
        '--no-test',
        dest='test',
        action='store_false',
        help='2.x: test nothing, also where nothing is recorded',
    )
    parser.add_argument('--again', action='store_true', help='test anew whatever is stored')
    add_cfg_options(parser, {})
    args = parser.parse_args(argv)
    for option in ('row', 'template'):
        for pair in getattr(args, option):
            if '=' not in pair:
                parser.error(f'--{option} takes NAME=PATH, got {pair!r}')
    return args


start(__name__, parse_args)
from _tables import natural, plot, table31, table32
from _tables.evaluate import write_json
from _tables.runs import find_run
from _tables.thesis import NATURAL
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from orl_mm.engine import cli
from orl_mm.weights import use_safe_loading


def make(args):
    """The table as numbers, as text, and as what is drawn."""
    named = [tuple(pair.split('=', 1)) for pair in args.row]
    if args.table in NATURAL:
        refuse(args, 'template', 'data')
        if args.again and args.test is False:
            raise cli.UserError('--again tests and --no-test does not: leave one out')
        table = natural.build(args.table, args.runs, named, args.cfg_options, args.test, args.again)
        return table, natural
    if args.test is not None:
        raise cli.UserError(
            '--test and --no-test belong to tables 2.1 to 2.3; 3.1 and 3.2 test '
            'whatever is not stored'
        )
    if args.data:
        os.environ['ORL_CXR'] = args.data
    runs = [find_run(path) for path in args.runs] + [find_run(path, row) for row, path in named]
    templates = {}
    for name, path in (pair.split('=', 1) for pair in args.template):
        templates.setdefault(name, []).append(path)
    if args.table == '3.2':
        refuse(args, 'template', 'data')
        return table32.build(runs, args.cfg_options, args.again), table32
    return table31.build(runs, templates, args.cfg_options, args.again), table31


def refuse(args, *options):
    """Those that would do nothing."""
    for option in options:
        if getattr(args, option):
            where = (
                ''
                if option == 'template'
                # a dumped config names its folder
                else (
                    '; others are tested on the data of their configs: --cfg-options '
                    'test_dataloader.dataset.data_root=DIR'
                )
            )
            raise cli.UserError(f'--{option} belongs to table 3.1{where}')


def main(argv=None):
    args = parse_args(argv)
    with command_errors():
        if args.plot:
            plot.check_suffix(Path(args.plot))
        use_safe_loading()
        init_default_scope('mmpretrain')
        MMLogger.get_current_instance().setLevel('WARNING')  # each score is in the table
        with cli.config_errors():
            table, layout = make(args)
        text = layout.to_markdown(table)
        if args.json:
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(args.json), table)
        if args.markdown:
            Path(args.markdown).parent.mkdir(parents=True, exist_ok=True)
            Path(args.markdown).write_text(text, encoding='utf-8')
        if args.plot:
            figure = plot.plot(text.splitlines()[0].strip('*'), *layout.panels(table))
            plot.save(figure, Path(args.plot))
        print(f'\n{text}')


if __name__ == '__main__':
    main()
