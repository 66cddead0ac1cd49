#!/usr/bin/env python
"""Backbones from one code's file into another's: ResNets and DINO's ViTs.

    tools/convert_weights.py dino_deitsmall16_pretrain.pth pretrained/dino_vits16.pth
    tools/convert_weights.py resnet50_detcon_b_imagenet_1k.npy pretrained/detcon.pth
    tools/convert_weights.py work_dirs/r50_in1k/epoch_300.pth r2o.pkl --to detectron2

Reads R2O and DetCon-PyTorch, DetCon, PixPro, InfoMin, DenseCL, MoCo, DINO as published,
torchvision, timm, detectron2, mmselfsup 0.x and 1.x, every model of OpenMMLab and every checkpoint
of this project; reports what it has recognized. Writes for OpenMMLab (mmpretrain, mmdet, mmseg),
torchvision, timm or detectron2. Heads are left out. A file that holds less than 99% of a backbone,
or parts of another one, is an error.

Files are read as data: nothing in them is run. All formats: projects/weights/README.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from orl_tools import Parser, command_errors, existing_file, start


def parse_args(argv=None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('source', type=existing_file, help='the file to read')
    parser.add_argument('out', type=Path, help='the file to write; a .pkl for detectron2')
    parser.add_argument(
        '--from',
        dest='source_format',
        default='auto',
        help='whose file it is, such as dino or torchvision (default: recognized by its names)',
    )
    parser.add_argument(
        '--to',
        default='openmmlab',
        help='who reads OUT: torchvision, timm, detectron2 or openmmlab (the default)',
    )
    parser.add_argument(
        '--network',
        choices=('online', 'student', 'target', 'teacher'),
        help='of a file with two: the trained one (online, student) or its moving average '
        '(target, teacher); default: teacher of DINO, else online',
    )
    parser.add_argument(
        '--prefix',
        help="what stands before the backbone's names in SOURCE, for files that are not "
        "recognized, e.g. encoder. or ''",
    )
    parser.add_argument(
        '--arch', help='resnet50 (or another depth) or vit: stop if it is any other network'
    )
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.weights.architecture import RESNETS, is_counter
from orl_mm.weights.convert import TARGETS, Backbone, provenance, read_backbone, write_backbone
from orl_mm.weights.names import ALIASES, KEYS, count_starts, few


def main(argv=None) -> None:
    args = parse_args(argv)
    args.source = Path(args.source)
    with command_errors():
        try:
            run(args)
        except (ValueError, OSError) as error:
            raise ValueError(f'{args.source}: {error}') from error


def run(args: argparse.Namespace) -> None:
    for option, value, known in (
        ('--from', args.source_format, ('auto', *KEYS, *ALIASES)),
        ('--to', args.to, TARGETS),
        ('--arch', args.arch or 'vit', (*(f'resnet{depth}' for depth in RESNETS), 'vit')),
    ):
        if value not in known:
            raise ValueError(f'{option} {value!r} is not one of {", ".join(known)}')
    if args.prefix is not None and args.network is not None:
        raise ValueError('--prefix already chooses the network; leave --network out')
    if args.out.exists() and args.source.exists() and args.out.samefile(args.source):
        raise ValueError('OUT is SOURCE; give another name')
    backbone = read_backbone(args.source, args.source_format, args.network, args.prefix, args.arch)
    write_backbone(backbone, args.out, args.to, provenance(args.source, backbone))
    print('\n'.join(report(args, backbone)))


def report(args: argparse.Namespace, backbone: Backbone) -> Iterator[str]:
    """Lines: what was recognized, left out and written, and what to know before using it."""
    found, total = backbone.found, len(backbone.architecture.shapes)
    which = f'its {found.network} network, ' * bool(found.source.online and found.source.target)
    yield (
        f'{args.source}: {found.source.title}; {which}{found.layout.title} under the prefix '
        f'{found.prefix!r}'
    )
    if backbone.left_out:
        yield f'  left out: {few(count_starts(backbone.left_out), 8)}'
    if backbone.missing:
        yield f'  missing, fewer than 1%: {few(backbone.missing)}'
    counters = sum(map(is_counter, backbone.weights))
    yield (
        f'{args.out}: {total - len(backbone.missing)} of {total} tensors of a '
        f'{backbone.architecture.title}' + f' and {counters} counters' * bool(counters)
    )
    if found.layout.note:
        yield f'  note: {found.layout.note}'
    yield f'  use: {TARGETS[args.to].usage.replace("FILE", str(args.out))}'


if __name__ == '__main__':
    main()
