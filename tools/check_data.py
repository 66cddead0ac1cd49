#!/usr/bin/env python
"""Check that a data set is complete, before a long run starts.

    tools/check_data.py imagenet                     # data/imagenet, for pretraining
    tools/check_data.py imagenet --labels            # also for the linear probe and k-NN
    tools/check_data.py imagenet100 /data/ilsvrc
    tools/check_data.py coco --all                   # open every image: hours for ImageNet

Each problem is one line that names the file or folder and the fix; notes, such as that it is a
sample, do not prevent a run. Exit status: 0 where a run may start, 1 where there are problems, 2
for a mistake in the command. The layouts are described in projects/data/README.md.
"""

import argparse
import sys

from orl_tools import Parser, command_errors, existing_folder, start


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('name', help='the data set, such as imagenet, coco, voc or cityscapes')
    parser.add_argument(
        'root', nargs='?', type=existing_folder, help='its folder (default: as in its configs)'
    )
    parser.add_argument(
        '--all', action='store_true', dest='every_file', help='open every file, not a few of them'
    )
    parser.add_argument(
        '--labels',
        action='store_true',
        default=argparse.SUPPRESS,
        help='imagenet: require what the linear probe and k-NN need',
    )
    parser.add_argument(
        '--classes',
        metavar='FILE',
        default=argparse.SUPPRESS,
        help='imagenet100: another class list, one folder per line',
    )
    return parser.parse_intermixed_args(argv)  # ROOT may follow an option


start(__name__, parse_args)
from orl_mm.datasets.layouts import check_layout


def main(argv=None) -> int:
    report = check_layout(**vars(parse_args(argv)), progress=sys.stderr.isatty())
    print('\n'.join(report.lines()))
    if report.ok:
        print('ok: a run may start')
    return 0 if report.ok else 1


if __name__ == '__main__':
    with command_errors():
        sys.exit(main())
