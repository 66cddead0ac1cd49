#!/usr/bin/env python
"""The thesis's tables with what was run here, as Markdown and JSON.

    tools/tables.py 3.1 work_dirs/vits16_chexpert_* --template average=average.npz
    tools/tables.py 3.2 work_dirs/linear_vits16_* --json table32.json

3.1 tests the last checkpoint of each work directory on JSRT and Montgomery, by
configs/transfer, with the network and image size of its training. 3.2 tests linear probes by
their own configs. A result is stored beside its checkpoint and taken from there the next time.
Which row a run is follows from its names (..._dino, dino-cxr-aug, triangular, average,
deformable, random, dino-in1k), or from --row. Rows that nothing is given for say so.
"""

import os
import os.path as osp
import sys
from pathlib import Path

HERE = osp.dirname(osp.abspath(__file__))
for folder in (HERE, osp.dirname(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

try:
    import orl_mm  # noqa: F401  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
             f'.venv/bin/python {sys.argv[0]} ...)')
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from orl_mm.engine import cli  # noqa: E402
from orl_mm.engine.checkpoint import use_safe_loading  # noqa: E402

from _tables import table31, table32  # noqa: E402
from _tables.evaluate import write_json  # noqa: E402
from _tables.runs import find_run  # noqa: E402

LATER = {'2.1': 'COCO', '2.2': 'VOC and Cityscapes', '2.3': 'VOC'}


def parse_args(argv=None):
    parser = cli.Parser(description="The thesis's tables with what was run here")
    parser.add_argument('table', choices=('3.1', '3.2', *LATER), metavar='TABLE',
                        help='3.1: attention AP; 3.2: linear probes')
    parser.add_argument('runs', nargs='*', metavar='RUN',
                        help='work directory, of which the last checkpoint counts, or checkpoint')
    parser.add_argument('--row', action='append', default=[], metavar='NAME=RUN',
                        help='a run for a row by name: dino-in1k, dino, dino-cxr-aug, '
                        'triangular, average, deformable, random, or a row of its own')
    parser.add_argument('--template', action='append', default=[], metavar='NAME=PATH',
                        help='3.1: the template of a row, scored itself: .json, .npz, or a '
                        "folder of tools/register_templates.py for the test images (several "
                        'for several sets). Templates that are files are found by themselves')
    parser.add_argument('--data', metavar='DIR', help='3.1: folder with jsrt and montgomery in it '
                        '(default: $ORL_CXR, else data)')
    parser.add_argument('--json', metavar='FILE', help='all numbers')
    parser.add_argument('--markdown', metavar='FILE', help='the table as printed')
    parser.add_argument('--again', action='store_true', help='test anew whatever is stored')
    parser.add_argument('--cfg-options', nargs='+', action=cli.KeyValueAction, default={},
                        metavar='KEY=VALUE', help='override keys of the evaluation configs')
    args = parser.parse_args(argv)
    for option in ('row', 'template'):
        for pair in getattr(args, option):
            if '=' not in pair:
                parser.error(f'--{option} takes NAME=PATH, got {pair!r}')
    return args


def make(args):
    """The table as numbers, and as text."""
    if args.table in LATER:
        raise cli.UserError(f'table {args.table} needs the transfer to {LATER[args.table]}, which '
                            'is not in this repository yet; tables that are: 3.1, 3.2')
    if args.data:
        os.environ['ORL_CXR'] = args.data
    named = [pair.split('=', 1) for pair in args.row]
    runs = [find_run(path) for path in args.runs] + [find_run(path, row) for row, path in named]
    templates = {}
    for name, path in (pair.split('=', 1) for pair in args.template):
        templates.setdefault(name, []).append(path)
    if args.table == '3.2':
        if templates:
            raise cli.UserError('--template belongs to table 3.1')
        if args.data:  # a dumped config names its folder
            raise cli.UserError('--data belongs to table 3.1; probes are tested on the data of '
                                'their configs: --cfg-options '
                                'test_dataloader.dataset.data_root=DIR')
        table = table32.build(runs, args.cfg_options, args.again)
        return table, table32.to_markdown(table)
    table = table31.build(runs, templates, args.cfg_options, args.again)
    return table, table31.to_markdown(table)


def main(argv=None):
    args = parse_args(argv)
    with cli.user_errors('tables.py'):
        use_safe_loading()
        init_default_scope('mmpretrain')
        MMLogger.get_current_instance().setLevel('WARNING')  # each score is in the table
        with cli.config_errors():
            table, text = make(args)
        if args.json:
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(args.json), table)
        if args.markdown:
            Path(args.markdown).parent.mkdir(parents=True, exist_ok=True)
            Path(args.markdown).write_text(text, encoding='utf-8')
        print(f'\n{text}')


if __name__ == '__main__':
    main()
