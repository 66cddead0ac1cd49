#!/usr/bin/env python
"""Write PHANTOM images: analytic chest-like pictures with known masks, for tests and first runs.

    tools/make_phantom.py data/phantom --num 200
    tools/browse.py configs/medino/CONFIG.py --images data/phantom/images

No X-ray is needed or used. The folder has the layout that orl_mm.ChestXRayParts reads
(images/, masks/left_lung, masks/right_lung, masks/heart), splits/{exemplar,segmenter,score}.txt
as for JSRT, and labels.csv with two findings for orl_mm.ImageLabelCsv. Each picture says PHANTOM.
Stop it whenever you like; the same command goes on, and a larger --num adds to it.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # as many processes as cores: one thread each
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    import orl_mm  # noqa: E402, F401  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(
        f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
        f'.venv/bin/python {sys.argv[0]} ...)'
    )
from orl_mm.datasets.phantom_folder import (
    phantom_job,
    write_lists,  # noqa: E402
    write_phantoms,
)
from orl_mm.datasets.xray_folder import fill_folder, prepare_folder  # noqa: E402
from orl_mm.engine import cli, workers  # noqa: E402


def parse_args(argv=None):
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--num', type=int, default=100, help='how many (default 100)')
    parser.add_argument('--size', type=int, default=256, help='side in pixels (default 256)')
    parser.add_argument('--seed', type=int, default=0, help='other patients (default 0)')
    parser.add_argument(
        '--overwrite', action='store_true', help='write over phantoms of another size or seed'
    )
    workers.add_worker_arguments(parser, chunk=8)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    with cli.user_errors('make_phantom.py'):
        try:
            run(args)
        except cli.UserError:
            raise
        except ValueError as error:
            raise cli.UserError(' '.join(str(error).split())) from error
        except KeyboardInterrupt:
            sys.exit('\nstopped; the same command goes on from here')


def run(args) -> None:
    workers.check_worker_arguments(args)
    job = phantom_job(os.path.abspath(args.out), args.num, args.size, args.seed)
    prepare_folder(job, args.overwrite)  # refuse before a bar is drawn
    counts = workers.execute(
        partial(fill_folder, job, write_phantoms, range(args.num), chunk=args.chunk),
        lambda counts: dict(made=counts.written, there=counts.skipped),
        args.num,
        args,
    )
    write_lists(job, args.num)
    print(
        f'{counts.written} PHANTOM images made, {counts.skipped} were there: {job.out}\n'
        'No X-rays; for tests and first runs.'
    )


if __name__ == '__main__':
    main()
