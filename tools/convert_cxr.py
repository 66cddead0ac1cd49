#!/usr/bin/env python
"""Convert chest X-rays to small 8-bit images: CheXpert, JSRT, Montgomery, or any folder of
JPEG, PNG, TIFF, DICOM and .IMG files.

    tools/convert_cxr.py data/CheXpert-v1.0 data/chexpert_256 --size 256
    tools/convert_cxr.py data/jsrt data/jsrt_512
    tools/convert_cxr.py data/dicom data/dicom_512 --polarity mend

SOURCE is the folder of the download: with train.csv; with All247images and SCR's scratch; with
CXR_png and ManualMask; with images and masks; or any other. OUT has
images/ and masks/<part>/, which orl_mm.ChestXRayParts reads, or CheXpert's own folders, and the csv
files with the new names.

Stop it whenever you like; the same command goes on. What cannot be read, and images whose masks
do not fit, are listed in OUT/unreadable.txt; with --polarity, what looks inverted in
OUT/inverted.txt.
"""

import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')  # as many processes as cores: one thread each
from orl_tools import (
    CONTINUES,
    Parser,
    add_worker_arguments,
    command_errors,
    existing_folder,
    start,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('source', type=existing_folder, help='folder of the download')
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--kind',
        choices=('chexpert', 'jsrt', 'montgomery', 'parts', 'folder'),
        help='what SOURCE is (default: by its content)',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=512,
        help='shorter side in pixels; nothing is enlarged (default 512)',
    )
    parser.add_argument('--square', action='store_true', help='squash to SIZE x SIZE instead')
    parser.add_argument(
        '--format',
        choices=('jpg', 'png'),
        default='jpg',
        help='of the images (default jpg); masks are 1-bit png',
    )
    parser.add_argument('--quality', type=int, default=95, help='of jpg (default 95)')
    parser.add_argument(
        '--polarity',
        choices=('as_stored', 'check', 'mend'),
        default='as_stored',
        help='check: list images that look inverted; mend: invert them too',
    )
    parser.add_argument(
        '--window',
        default='bits',
        help='for samples of more than 8 bits: bits (default), range, or '
        'BLACK,WHITE in stored values',
    )
    parser.add_argument(
        '--every-file',
        action='store_true',
        help='in a folder every file is an image, whatever its suffix',
    )
    add_worker_arguments(parser, chunk=16)
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.datasets.convert import ConvertSpec, find_items, find_kind, write_tables
from orl_mm.engine import workers
from orl_mm.map_cache.build import BuildJob


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors(stopped=CONTINUES):
        run(args, sys.argv[1:] if argv is None else argv)


def run(args, argv) -> None:
    window = args.window
    if window not in ('bits', 'range'):
        try:
            window = tuple(float(part) for part in window.split(','))
        except ValueError as error:
            raise ValueError(f'--window={args.window}: bits, range or BLACK,WHITE') from error
    root, out = os.path.abspath(args.source), os.path.abspath(args.out)
    if out == root or out.startswith(root + os.sep):
        raise ValueError(f'OUT={out} must not lie in SOURCE')
    spec = ConvertSpec(
        args.kind or find_kind(root),
        args.size,
        args.square,
        args.format,
        args.quality,
        args.polarity,
        window,
    )
    items = find_items(root, spec.kind, f'.{spec.format}', args.every_file)
    job = BuildJob(spec, root, out, source=tuple(argv))
    print(f'{len(items)} images ({spec.kind}): {root} -> {out}')
    counts = workers.execute(job, items, len(items), args)
    tables = write_tables(job, spec.kind, items)
    print(
        f'{counts.written} images made, {counts.skipped} were there'
        + f'; {", ".join(tables)}' * bool(tables)
    )
    workers.report_lists(job, counts)


if __name__ == '__main__':
    main()
