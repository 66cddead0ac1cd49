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

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    import orl_mm  # noqa: E402, F401  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(
        f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
        f'.venv/bin/python {sys.argv[0]} ...)'
    )
from orl_mm.engine import cli, workers  # noqa: E402
from orl_mm.engine.image_arguments import add_image_arguments, image_source  # noqa: E402
from orl_mm.map_cache.entry import relative_path  # noqa: E402
from orl_mm.superpixels.build import BuildJob, build, prepare  # noqa: E402
from orl_mm.superpixels.priors import METHODS  # noqa: E402
from orl_mm.superpixels.spec import PriorSpec, parameters  # noqa: E402


def parse_args(argv=None):
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_image_arguments(
        parser,
        '; its GenerateSuperpixels gives --method, --size and --params where they are not given',
    )
    parser.add_argument('--out', help='folder of the cache')
    parser.add_argument('--method', choices=sorted(METHODS))
    parser.add_argument('--size', type=int, help='side of x0 (default 224)')
    parser.add_argument(
        '--params',
        nargs='*',
        action=cli.KeyValueAction,
        default=None,
        metavar='KEY=VALUE',
        help='parameters of the method, key=value',
    )
    workers.add_worker_arguments(parser, chunk=64)
    parser.add_argument(
        '--verify',
        action='store_true',
        help='decode every image and mask again instead of trusting file sizes and times',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='rebuild a cache that was made otherwise'
    )
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    with cli.user_errors('cache_superpixels.py'):
        try:
            run(args, argv or sys.argv[1:])
        except cli.UserError:
            raise
        except ValueError as error:  # CacheError and its like: the user's to mend
            raise cli.UserError(' '.join(str(error).split())) from error
        except KeyboardInterrupt:
            sys.exit('\nstopped; the same command goes on from here')


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
            f"the config's method={method!r} computes nothing "
            f'to keep; choose --method from {sorted(METHODS)}'
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
