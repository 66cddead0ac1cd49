#!/usr/bin/env python
"""Copy images into one LMDB database, for disks that are slow with many small files.

    tools/pack_images.py --folder data/imagenet/train --out data/imagenet_train.lmdb

then train with ``data_root='data/imagenet_train.lmdb'`` of ``orl_mm.ImageList``, or with
``backend_args=dict(backend='lmdb', db_path=...)`` of any data set of mmengine. The files' bytes are
copied as they are; a key is the path below the folder. Stop it whenever you like; the same command
continues. A superpixel cache is packed by ``cache_superpixels.py --to lmdb``.
"""

import os
import sys

from orl_tools import CONTINUES, Parser, add_image_arguments, command_errors, start


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_image_arguments(parser)
    parser.add_argument('--out', required=True, help='folder of the database')
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.engine.image_arguments import image_source
from orl_mm.engine.workers import progress_bar
from orl_mm.io.files import is_local, read_file
from orl_mm.io.lmdb_files import pack


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors(stopped=CONTINUES):
        run(args, sys.argv[1:] if argv is None else argv)


def run(args, argv) -> None:
    images = image_source(args, argv)
    local = is_local(images.root, images.backend_args)

    def path_of(key: str) -> str:
        if images.backend_args is not None:
            return key
        return os.path.join(images.root, key) if local else f'{images.root}/{key}'

    with progress_bar(len(images), 'img') as bar:
        packed = pack(
            images.relative_paths(),
            lambda key: read_file(path_of(key), images.backend_args),
            lambda key, stored: not local or len(stored) == os.path.getsize(path_of(key)),
            args.out,
            bar.update,
        )
    print(f'{packed.written} images copied to {args.out}, {packed.unchanged} were there')
    for key, reason in packed.failed:
        print(f'not copied: {key} ({reason})', file=sys.stderr)
    if packed.failed:
        sys.exit(1)


if __name__ == '__main__':
    main()
