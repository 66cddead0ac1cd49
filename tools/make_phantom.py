#!/usr/bin/env python
"""Write PHANTOM images: analytic chest-like pictures with known masks, for tests and first runs.

    tools/make_phantom.py data/phantom --num 200
    tools/browse.py configs/medino/CONFIG.py --images data/phantom/images

No X-ray is needed or used. The folder has the layout that orl_mm.ChestXRayParts reads
(images/, masks/left_lung, masks/right_lung, masks/heart), splits/{exemplar,segmenter,score}.txt
as for JSRT, and labels.csv with two findings for orl_mm.ImageLabelCsv. Each picture says PHANTOM.
Stop it whenever you like; the same command goes on, and a larger --num adds to it.
"""

import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')  # as many processes as cores: one thread each
from orl_tools import CONTINUES, Parser, add_worker_arguments, command_errors, start


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--num', type=int, default=100, help='how many (default 100)')
    parser.add_argument('--size', type=int, default=256, help='side in pixels (default 256)')
    parser.add_argument('--seed', type=int, default=0, help='other patients (default 0)')
    add_worker_arguments(parser, chunk=8)
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.datasets.phantom_folder import PhantomSpec, write_lists
from orl_mm.engine import workers
from orl_mm.map_cache.build import BuildJob


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors(stopped=CONTINUES):
        run(args, sys.argv[1:] if argv is None else argv)


def run(args, argv) -> None:
    if args.num < 4:
        raise ValueError(
            f'num={args.num} must be at least 4: an exemplar, others to train on and to score'
        )
    out = os.path.abspath(args.out)
    job = BuildJob(PhantomSpec(args.size, args.seed), out, out, source=tuple(argv))
    counts = workers.execute(job, range(args.num), args.num, args)
    write_lists(job, args.num)
    print(
        f'{counts.written} PHANTOM images made, {counts.skipped} were there: {job.out}\n'
        'They are not X-rays; use them for tests and first runs only.'
    )


if __name__ == '__main__':
    main()
