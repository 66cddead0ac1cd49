#!/usr/bin/env python
"""The thesis's tables beside what was measured, as Markdown, JSON and a forest plot.

    tools/tables.py 2.1 work_dirs/coco_*
    tools/tables.py 2.2 work_dirs/voc_* work_dirs/cityscapes_* --plot table22.svg
    tools/tables.py 2.3 work_dirs/voc_*
    tools/tables.py 3.1 work_dirs/vits16_chexpert_* --template average=average.npz --test
    tools/tables.py 3.2 work_dirs/linear_vits16_* --json table32.json

Numbers come from the result.json that tools/train.py and tools/test.py leave in a work directory:
a test of the last checkpoint, else its validation during the training. With --test, what has no
such result is tested. 3.1 needs tests on JSRT and Montgomery with the network of each training;
their results lie beside the checkpoint, in <checkpoint>_jsrt and <checkpoint>_montgomery.

Which row a run belongs to follows from its name (<transfer>_<config of pretraining>; for 3.1 and
3.2 ..._dino, dino-cxr-aug, triangular, average, deformable, random, dino-in1k) and from the
checkpoint it started from, or from --row. Numbers on part of the data, of other settings or of an
unfinished run are marked.
"""

import os
from pathlib import Path

from orl_tools import Parser, add_cfg_options, command_errors, start


def parse_args(argv=None):
    parser = Parser(description="The thesis's tables beside what was measured")
    parser.add_argument(
        'table',
        choices=('2.1', '2.2', '2.3', '3.1', '3.2'),
        metavar='TABLE',
        help='2.1: COCO; 2.2: VOC and Cityscapes; 2.3: K; 3.1: attention AP; 3.2: linear probes',
    )
    parser.add_argument('runs', nargs='*', metavar='RUN', help='work directory, or checkpoint')
    parser.add_argument(
        '--row',
        action='append',
        default=[],
        metavar='NAME=RUN',
        help='a run for a row by name: byol, detcon-b_100e, r2o, r50_in100_k4 ... (configs of '
        'pretraining, with or without _r50_in1k); for 3.1 and 3.2 dino-in1k, dino, '
        'dino-cxr-aug, triangular, average, deformable, random; or a new row',
    )
    parser.add_argument(
        '--template',
        action='append',
        default=[],
        metavar='NAME=PATH',
        help='3.1: score the template of a row itself: .json, .npz, or a folder of '
        'tools/register_templates.py for the test images (once for each folder). Templates that '
        'are files are found through the config of the run',
    )
    parser.add_argument(
        '--data', metavar='DIR', help='3.1: folder of jsrt and montgomery (default: $ORL_CXR, data)'
    )
    parser.add_argument('--json', metavar='FILE', help='all numbers')
    parser.add_argument('--markdown', metavar='FILE', help='the table as printed')
    parser.add_argument('--plot', metavar='FILE', help='a forest plot: .png, .svg or .pdf')
    parser.add_argument('--test', action='store_true', help='test what has no result')
    parser.add_argument('--again', action='store_true', help='test everything')
    add_cfg_options(parser, {})
    args = parser.parse_args(argv)
    for option in ('row', 'template'):
        if bad := [pair for pair in getattr(args, option) if '=' not in pair]:
            parser.error(f'--{option} takes NAME=PATH, got {bad[0]!r}')
    if args.table != '3.1' and (args.template or args.data):
        parser.error('--template and --data belong to table 3.1')
    if args.plot and Path(args.plot).suffix.lower() not in ('.png', '.svg', '.pdf'):
        parser.error(f'--plot takes a file ending with .png, .svg or .pdf, got {args.plot!r}')
    return args


start(__name__, parse_args)
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from orl_mm.evaluation.results import write_json
from orl_mm.io.atomic import write_atomic
from orl_mm.tables import natural, records, xrays
from orl_mm.tables.markdown import markdown_table
from orl_mm.visualization import save_figure
from orl_mm.visualization.forest import forest_plot
from orl_mm.weights import use_safe_loading


def make(args):
    """The table, its cells, and the lines below it."""
    named = [tuple(pair.split('=', 1)) for pair in args.row]
    tests = records.Tests(args.cfg_options, args.test, args.again)
    if args.table.startswith('2'):
        table = natural.natural_table(args.table, args.runs, named, tests)
        return table, natural.natural_cells(table), natural.natural_notes(table)
    if args.data:
        os.environ['ORL_CXR'] = args.data
    rows = xrays.find_rows(args.runs, named)
    if args.table == '3.2':
        table = xrays.probe_table(rows, tests)
        return table, xrays.probe_cells(table), []
    templates: dict[str, list[str]] = {}
    for name, path in (pair.split('=', 1) for pair in args.template):
        templates.setdefault(name, []).append(path)
    table = xrays.attention_table(rows, templates, tests)
    return table, xrays.attention_cells(table), xrays.attention_notes(table)


def main(argv=None):
    args = parse_args(argv)
    with command_errors():
        use_safe_loading()
        init_default_scope('mmpretrain')
        MMLogger.get_current_instance().setLevel('WARNING')
        table, cells, notes = make(args)
        title = f'Table {args.table}: {table["title"]}'
        head = f'**{title}**\n\n{markdown_table(cells)}\n\n{table["note"]}\n'
        text = '\n'.join([head, *notes, ''])
        if args.json:
            write_json(args.json, table)
        if args.markdown:
            write_atomic(args.markdown, text.encode())
        if args.plot:
            names = [row.get('label', row['name']) for row in table['rows']]
            save_figure(forest_plot(names, records.table_panels(table), title), args.plot)
        print(f'\n{text}')


if __name__ == '__main__':
    main()
