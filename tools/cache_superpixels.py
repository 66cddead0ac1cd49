#!/usr/bin/env python
"""Compute the superpixels of all images once and keep them as PNG.

    python tools/cache_superpixels.py --folder data/imagenet/train \\
        --out data/imagenet_slic
    python tools/cache_superpixels.py --config configs/r2o/r50_in1k.py \\
        --out data/imagenet_slic

then train with ``GenerateSuperpixels(..., cache='data/imagenet_slic')``. Stop
it whenever you like; the same command goes on. With --scheduler it runs on a
Dask cluster (its workers need this package and the same paths), for example
one started by ``dask scheduler`` and ``dask worker``, or dask-jobqueue on
Slurm. ImageNet (1.28 million images, SLIC) takes about 15 core-hours and
6 GB in 1.28 million files of about 4 kB; put it on a disk that has the inodes.
"""

import os
import sys
from functools import partial

from orl_command import (
    KeyValueAction,
    Parser,
    add_image_arguments,
    add_worker_arguments,
    command_errors,
    start,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_image_arguments(
        parser,
        '; its GenerateSuperpixels gives --method, --size and --params where they are not given',
    )
    parser.add_argument('--out', help='folder of the cache')
    parser.add_argument('--method', help='slic (default) or another prior')
    parser.add_argument('--size', type=int, help='side of x0 (default 224)')
    parser.add_argument(
        '--params',
        nargs='*',
        action=KeyValueAction,
        default=None,
        metavar='KEY=VALUE',
        help='parameters of the method, key=value',
    )
    add_worker_arguments(parser, chunk=64)
    parser.add_argument(
        '--verify',
        action='store_true',
        help='decode every image and mask again instead of trusting file sizes and times',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='rebuild a cache that was made otherwise'
    )
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.engine import workers
from orl_mm.engine.image_arguments import image_source
from orl_mm.map_cache.entry import relative_path
from orl_mm.superpixels.build import BuildJob, build, prepare
from orl_mm.superpixels.priors import METHODS
from orl_mm.superpixels.spec import PriorSpec, parameters


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors():
        run(args, argv or sys.argv[1:])


def run(args, argv) -> None:
    workers.check_worker_arguments(args)
    images = image_source(args, argv)
    stock = images.transforms.get('GenerateSuperpixels', {})
    out = args.out or stock.get('cache')
    if not out:
        raise ValueError('--out=FOLDER says where the masks go')
    method = args.method or stock.get('method', 'slic')
    if method not in METHODS:
        raise ValueError(
            f'method={method!r} computes nothing to keep; choose --method from {sorted(METHODS)}'
        )
    params = {k: v for k, v in stock.items() if k in parameters(method)}
    params.update(args.params or {})
    loader = images.transforms.get('LoadImage', {})
    job = BuildJob(
        spec=PriorSpec(method, params, args.size or stock.get('size', 224)),
        root=os.path.abspath(images.root),
        out=os.path.abspath(out),
        background=loader.get('background', 255),
        apply_exif=loader.get('apply_exif', False),
        verify=args.verify,
        source=images.words,
    )

    total = len(images)
    print(
        f'{total} images below {job.root} -> {job.out}\n'
        f'{method} {job.spec.params}, {job.spec.library}'
    )
    relative = (relative_path(images.path(i), job.root) for i in range(total))
    prepare(job, args.overwrite)  # refuse before a bar is drawn
    counts = workers.execute(
        partial(build, job, relative, chunk=args.chunk, overwrite=args.overwrite),
        lambda counts: dict(made=counts.written, there=counts.skipped, bad=len(counts.unreadable)),
        total,
        args,
    )
    print(f'{counts.written} masks made, {counts.skipped} were there')
    if counts.unreadable:
        print(
            f'{len(counts.unreadable)} images could not be read and have no '
            f'mask: see {os.path.join(job.out, "unreadable.txt")}'
        )


if __name__ == '__main__':
    main()
