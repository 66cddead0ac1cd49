#!/usr/bin/env python
"""Average a segmenter's predictions over many images into one template (thesis 3.2).

    tools/average_template.py configs/transfer/jsrt/deeplabv3_r101.py best.pth \\
        --config configs/medino/vits16_chexpert_dino.py --out data/average.npz
    tools/average_template.py --masks data/jsrt --list jsrt_segmenter --out data/masks.npz

The first form predicts over the pretraining images with any segmenter of mmseg whose
classes are the parts (one called "background" is left out); a pixel counts as part where its
probability is 0.5 or more. The second averages existing masks and needs no network.
If it is stopped, the same command continues. Then train with
RegisteredTemplate(source='data/average.npz').
"""

import os
import sys
import time
from pathlib import Path

from orl_tools import (
    CONTINUES,
    Parser,
    add_image_arguments,
    command_errors,
    config_path,
    existing_file,
    existing_folder,
    positive,
    start,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument(
        'segmenter', nargs='?', type=config_path, metavar='CONFIG', help="the segmenter's config"
    )
    parser.add_argument(
        'checkpoint', nargs='?', type=existing_file, metavar='CHECKPOINT', help='its weights'
    )
    parser.add_argument(
        '--masks',
        type=existing_folder,
        metavar='DIR',
        help='average the masks of this folder (see '
        'orl_mm.ChestXRayParts) instead; --list then names ids',
    )
    add_image_arguments(parser, required=False)
    parser.add_argument('--out', required=True, metavar='FILE.npz', help='the template')
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        '--threshold',
        type=float,
        default=0.5,
        help='least probability of a pixel that belongs to the part (default 0.5)',
    )
    how.add_argument('--soft', action='store_true', help='average the probabilities themselves')
    parser.add_argument(
        '--parts', nargs='+', metavar='NAME', help='which, in which order (default: all)'
    )
    parser.add_argument('--size', type=positive, default=256, help='side of the maps (default 256)')
    parser.add_argument(
        '--batch-size', type=positive, default=16, help='images at a time (default 16)'
    )
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that load images (default 2)'
    )
    parser.add_argument('--device', help='default: a GPU where there is one')
    parser.add_argument(
        '--overwrite', action='store_true', help='start over, whatever --out contains'
    )
    args = parser.parse_args(argv)
    if bool(args.masks) == bool(args.checkpoint):
        parser.error('give either CONFIG CHECKPOINT or --masks DIR')
    if args.masks and (args.folder or args.config):
        parser.error('--masks takes its images from DIR; only --list chooses among them')
    if not args.masks and not (args.folder or args.list or args.config):
        parser.error('which images? --folder, --list or --config')
    if args.workers < 0:
        parser.error(f'--workers={args.workers} must be at least 0')
    if not args.out.endswith('.npz'):
        parser.error(f'--out must end in .npz, got {args.out}')
    return args


start(__name__, parse_args)
from mmengine.device import get_device
from tqdm import tqdm

from orl_mm.engine import cli
from orl_mm.engine.image_arguments import image_source
from orl_mm.engine.part_maps import MaskMaps, SegmenterMaps
from orl_mm.io.image_list import XRAY_EXTENSIONS
from orl_mm.registration.average import PartsAverage, job_key
from orl_mm.registration.template import read_template, write_template
from orl_mm.weights import use_safe_loading

SAVE_EVERY = 30.0  # seconds


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors(stopped=CONTINUES):
        use_safe_loading()
        with cli.config_errors():
            run(args, sys.argv[1:] if argv is None else argv)


def maps_of(args, argv):
    """The segmenter's predictions, or the masks."""
    if args.masks:
        return MaskMaps(args.masks, args.list, args.parts, args.size)
    images = image_source(args, argv, XRAY_EXTENSIONS)
    cfg = cli.load_config(args.segmenter)
    cli.check_parts(cfg, 'predicting', 'test_dataloader')
    return SegmenterMaps(
        cfg,
        args.checkpoint,
        images,
        args.parts,
        args.size,
        args.batch_size,
        args.workers,
        args.device or get_device(),
    )


def run(args, argv) -> None:
    maps = maps_of(args, argv)
    average = PartsAverage(maps.parts, args.size, None if args.soft else args.threshold)
    key = job_key(dict(maps.job, parts=average.parts, size=args.size, threshold=average.threshold))
    begun = f'{args.out}.partial'
    if args.overwrite:
        Path(begun).unlink(missing_ok=True)
    elif os.path.exists(args.out):
        if read_template(args.out).provenance.get('key') == key:
            print(f'{args.out} is finished already')
            return
        raise cli.UserError(f'{args.out} exists with other settings; --overwrite replaces it')
    if average.resume(begun, key):
        print(f'going on after {average.position} of {maps.total} images')
    accumulate(maps, average, begun, key)
    template = average.template(dict(maps.provenance, key=key))
    write_template(args.out, template)
    Path(begun).unlink(missing_ok=True)
    print(
        f'{args.out}: {average.count} images, '
        + ', '.join(
            f'{part} {share:.1%} of the area'
            for part, share in zip(template.parts, template.maps.mean((1, 2)), strict=False)
        )
    )
    if average.skipped:
        print(f'{len(average.skipped)} images could not be read, first {average.skipped[0]}')


def accumulate(maps, average, begun, key) -> None:
    """Average the remaining images, saving the state every :data:`SAVE_EVERY` seconds.

    The state is saved between two batches, so that no image counts twice after an interruption.
    """
    last = time.monotonic()
    with tqdm(total=maps.total, initial=average.position, unit='img', smoothing=0.05) as bar:
        for part_maps, skipped, images in maps.batches(average.position):
            average.add(part_maps)
            average.skipped += skipped
            average.position += images
            bar.update(images)
            if time.monotonic() - last >= SAVE_EVERY:
                average.save(begun, key)
                last = time.monotonic()


if __name__ == '__main__':
    main()
