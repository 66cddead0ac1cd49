#!/usr/bin/env python
"""Compute the superpixels of all images once and keep them as PNG.

    python tools/cache_superpixels.py --folder data/imagenet/train \\
        --out data/imagenet_slic
    python tools/cache_superpixels.py --config configs/r2o/r50_in1k.py \\
        --out data/imagenet_slic

then train with ``GenerateSuperpixels(..., cache='data/imagenet_slic')``. Stop it whenever you like;
the same command continues. The folder may be moved, with the images or without them. With
--scheduler it runs on a Dask cluster (its workers need this package and the same paths), for
example one started by ``dask scheduler`` and ``dask worker``, or dask-jobqueue on Slurm. A prior
of your own needs --import MODULE, see orl_mm/superpixels/priors.py. ImageNet (1.28 million images,
SLIC) takes about 15 core-hours and 6 GB in 1.28 million files of about 4 kB. On disks that are slow
with many files, --to lmdb then copies them into the database OUT.lmdb: train with
``cache='OUT.lmdb'``, and delete OUT if you like.
"""

import importlib
import os
import sys

from orl_tools import (
    CONTINUES,
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
    parser.add_argument(
        '--import',
        dest='modules',
        action='append',
        default=[],
        metavar='MODULE',
        help='import a module that registers a prior',
    )
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
        '--to', choices=('files', 'lmdb'), default='files', help='lmdb: also write OUT.lmdb'
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='decode every image and mask again instead of trusting file sizes and times',
    )
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.engine import workers
from orl_mm.engine.image_arguments import image_source
from orl_mm.map_cache.build import BuildJob, pack_cache
from orl_mm.map_cache.provenance import LMDB_SUFFIX
from orl_mm.superpixels.cache import PriorSpec
from orl_mm.superpixels.priors import parameters, prior_names


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors(stopped=CONTINUES):
        run(args, sys.argv[1:] if argv is None else argv)


def run(args, argv) -> None:
    for module in args.modules:
        importlib.import_module(module)
    images = image_source(args, argv)
    stock = images.transforms.get('GenerateSuperpixels', {})
    out = args.out or stock.get('cache')
    if not out:
        raise ValueError('--out=FOLDER says where the masks go')
    method = args.method or stock.get('method', 'slic')
    if method in ('files', 'none'):
        raise ValueError(
            f"the config's method={method!r} computes nothing to keep; choose --method from "
            f'{prior_names()}'
        )
    params = {k: v for k, v in stock.items() if k in parameters(method)}
    params.update(args.params or {})
    size = stock.get('size', 224) if args.size is None else args.size
    words = [word for module in args.modules for word in ('--import', module)]
    spec = PriorSpec(method, params, size, images.loader(type='LoadImage'))
    job = BuildJob(
        spec,
        root=images.root if '://' in images.root else os.path.abspath(images.root),
        out=os.path.abspath(out),
        verify=args.verify,
        source=(*images.words, *words),
        backend_args=images.backend_args,
    )
    total = len(images)
    print(f'{total} images below {job.root} -> {job.out}\n{method} {spec.params}, {spec.library}')
    counts = workers.execute(job, images.relative_paths(), total, args)
    print(f'{counts.written} masks made, {counts.skipped} were there')
    workers.report_lists(job, counts)
    if args.to == 'lmdb':
        with workers.progress_bar(counts.total - len(counts.unreadable), 'map') as bar:
            packed = pack_cache(job, bar.update)
        print(f'{packed.written} entries copied to {job.out}{LMDB_SUFFIX}')


if __name__ == '__main__':
    main()
