#!/usr/bin/env python
"""Draw what checkpoints have learned: objects (R2O), or the attention of every head (ViTs).

    tools/visualize.py configs/r2o/demo.py work_dirs/demo/iter_100.pth
    tools/visualize.py configs/r2o/r50_in1k.py r2o.pth --images photos --k 4 16 --random
    tools/visualize.py configs/transfer/jsrt/attention_vits16.py dino.pth medino.pth --num 1
    tools/visualize.py configs/medino/small/average.py a.pth b.pth --heads all

R2O: refined objects beside the prior masks. All images are clustered together, so one color is
one cluster in all of them, and across columns a color follows the cluster that overlaps it
most. The checkpoint may be a whole training state, whose target network clusters, or a backbone.

ViTs, of any pretraining: one row per part of an image and one column per checkpoint, with the
head that the checkpoint assigned to the part, else the head with the best score (thesis, figures
3.1 and 3.4). A config of evaluation gives images with their masks; one of pretraining, its
training images with its template. --heads all draws every head, one picture per checkpoint.

--random adds the same network with random weights for comparison.
"""

import os.path as osp
import re

from orl_tools import (
    Parser,
    add_drawing_arguments,
    command_errors,
    config_path,
    existing_file,
    start,
)


def parse_args():
    parser = Parser(description='Draw what a checkpoint has learned')
    parser.add_argument(
        'config', type=config_path, help='config file of the pretraining, or of an evaluation'
    )
    parser.add_argument(
        'checkpoints',
        nargs='+',
        type=existing_file,
        metavar='checkpoint',
        help='of that network; several where it is a ViT',
    )
    add_drawing_arguments(parser, '8; ViT: 3', "the first checkpoint's", 'random weights')
    parser.add_argument(
        '--names',
        nargs='+',
        metavar='NAME',
        help='of the checkpoints, above their columns (default: their folders)',
    )
    parser.add_argument(
        '--heads',
        choices=('parts', 'all'),
        default='parts',
        help='ViT: the head of each part, or every head (default: parts)',
    )
    parser.add_argument(
        '--score',
        choices=('ap', 'iou'),
        default='ap',
        help='ViT: by which unassigned heads are chosen: average precision, or '
        "intersection over union at the map's best threshold (default: ap)",
    )
    parser.add_argument(
        '--shade',
        choices=('value', 'rank'),
        default='value',
        help='ViT: color patches by their attention, or by its rank in the map, which is all that '
        'the scores depend on (default: value)',
    )
    parser.add_argument(
        '--size',
        type=int,
        metavar='PIXELS',
        help="ViT: side of the images (default: the network's)",
    )
    parser.add_argument(
        '--k',
        nargs='+',
        type=int,
        default=[8],
        metavar='K',
        help='R2O: clusters over all images together, one column each (default: 8, because '
        "a config's K is meant for its batch size)",
    )
    parser.add_argument(
        '--random', action='store_true', help='also the same network with random weights'
    )
    parser.add_argument('--device', help='default: a GPU where there is one')
    args = parser.parse_args()
    if min(value for value in (args.num, args.size, *args.k) if value is not None) < 1:
        parser.error(
            f'--num, --k and --size must be at least 1, got {args.num}, {args.k} and {args.size}'
        )
    if args.names and len(args.names) != len(args.checkpoints):
        parser.error(f'{len(args.names)} --names for {len(args.checkpoints)} checkpoints')
    return args


start(__name__, parse_args)
import numpy as np
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint, set_random_seed

from orl_mm.engine import cli
from orl_mm.engine.object_finder import build_finder, load_features
from orl_mm.visualization import attention, match_ids, objects_panel, rank_by_size, save_figure
from orl_mm.visualization.panels import plural
from orl_mm.visualization.probe import FixedBatch, attention_of, build_probe, has_attention
from orl_mm.visualization.samples import load_part_samples, parts_and_masks, training_batch
from orl_mm.weights import checkpoints_must_fit, use_safe_loading


def columns_of(model, batch, args, name):
    """One column and one table line for each K."""
    columns, lines = [], []
    spread = batch.region_spread(model)
    for k in args.k:
        model.refiner.num_clusters = k
        labels = batch.objects(model)
        sizes = [np.unique(image, return_counts=True)[1] for image in labels]
        objects = np.mean([len(size) for size in sizes])
        largest = np.mean([size.max() / size.sum() for size in sizes])
        columns.append((f'{name}, K = {k}', labels))
        lines.append(f'{name:<16}{k:>4}  {objects:>16.1f}  {largest:>14.0%}  {spread:>17.2f}')
    return columns, lines


def show_objects(cfg, args):
    """Draw R2O's objects, print the numbers."""
    if len(args.checkpoints) > 1:
        raise cli.UserError(
            f'objects are shown of one checkpoint at a time, got {len(args.checkpoints)}'
        )
    checkpoint = args.checkpoints[0]
    cli.check_parts(cfg, 'showing objects', 'train_dataloader')
    model = build_finder(cfg).to(args.device)
    batch = FixedBatch(training_batch(cfg, args.images, args.num or 8, args.seed))
    columns, lines = [], []
    if args.random:
        columns, lines = columns_of(model, batch, args, 'random weights')
    load_features(model, checkpoint)
    learned = columns_of(model.to(args.device), batch, args, 'checkpoint')
    columns, lines = columns + learned[0], lines + learned[1]
    first = rank_by_size(columns[0][1])
    columns = [(name, match_ids(labels, first)) for name, labels in columns]
    figure = objects_panel(
        batch.pictures(model.data_preprocessor)[0],
        batch.priors,
        columns,
        f'Objects of {osp.basename(checkpoint)}',
        f'A color is one cluster in all {batch.num_drawn} images of a column.',
    )
    (out,) = save_figure(
        figure, osp.join(args.out or osp.dirname(checkpoint) or '.', 'objects.png')
    )
    print(f'{"network":<16}{"K":>4}  objects an image  largest object  spread of regions')
    print('\n'.join(lines))
    print('(spread: 0 = all regions look alike to the network, 1 = isotropic)')
    print(out)


def show_attention(cfg, args):
    """Draw the attention of a ViT's heads, print how they score."""
    samples = load_part_samples(cfg, args.images, args.num or 3, args.size)
    parts, masks = parts_and_masks(samples)
    if args.heads == 'parts' and not parts:
        raise cli.UserError(
            'no masks or templates of these images: choose a config of evaluation or one with '
            'a template, or --heads all'
        )
    probe, packed = build_probe(cfg).to(args.device), [sample.packed for sample in samples]
    networks = [attention_of(probe, packed, 'random weights')] if args.random else []
    names = args.names or checkpoint_names(args.checkpoints)
    for name, path in zip(names, args.checkpoints, strict=True):
        with checkpoints_must_fit(whole=True):
            loaded = load_checkpoint(probe, path, map_location='cpu', logger='silent')
        heads = loaded.get('meta', {}).get('attention_heads')
        networks.append(attention_of(probe, packed, name, heads))
    folder = args.out or osp.dirname(args.checkpoints[0]) or '.'
    images, titles = [sample.image for sample in samples], [sample.name for sample in samples]
    if args.heads == 'all':
        for network in networks:
            title = f'Attention of {network.name}'
            figure = attention.heads_panel(
                images, masks if parts else None, network, parts, title, titles
            )
            file = re.sub(r'[^\w.-]+', '_', network.name)
            print(*save_figure(figure, osp.join(folder, f'attention_{file}.png')))
        return
    score = args.score.upper()
    what = 'template' if 'whole_template' in packed[0]['data_samples'] else 'ground truth'
    note = (
        f'Outlined: the {what}. Below: the head, its {score}, and the fraction of its attention '
        "inside the part. Sides are the patient's."
    )
    by_rank = args.shade == 'rank'
    figure = attention.comparison_panel(
        images,
        masks,
        parts,
        networks,
        titles,
        args.score,
        'Attention of the CLS token',
        note + ' Colored by rank.' * by_rank,
        by_rank=by_rank,
    )
    (out,) = save_figure(figure, osp.join(folder, 'attention.png'))
    width = max(len(name) for name in ['network', *(n.name for n in networks)]) + 2
    count = plural(len(samples), 'image')
    print(f'{"network":<{width}}{"part":<14}head            {score}, mean of {count}')
    for network in networks:
        found = attention.part_heads(network, masks, parts, args.score)
        for part, head in zip(parts, found, strict=True):
            print(
                f'{network.name:<{width}}{part:<14}{head.head:>4} '
                f'{"assigned" if head.assigned else "best":<10} {np.nanmean(head.scores):.3f}'
            )
    print(out)


def checkpoint_names(paths):
    """Short names that differ: the checkpoints' folders, their own names, or both."""
    folders = [osp.basename(osp.dirname(osp.abspath(path))) for path in paths]
    stems = [osp.splitext(osp.basename(path))[0] for path in paths]
    for names in (folders, stems):
        if len(set(names)) == len(paths):
            return names
    return [f'{folder}/{stem}' for folder, stem in zip(folders, stems, strict=True)]


def main():
    args = parse_args()
    with command_errors():
        use_safe_loading()
        args.device = args.device or get_device()
        cfg = cli.load_config(args.config)
        cli.merge_common_arguments(cfg, args)
        cli.check_parts(cfg, 'showing what was learned')
        init_default_scope(cfg.get('default_scope') or 'mmpretrain')
        set_random_seed(args.seed)
        MMLogger.get_current_instance().setLevel('WARNING')  # no list of initial weights
        with cli.config_errors():
            try:
                (show_attention if has_attention(cfg.model) else show_objects)(cfg, args)
            except cli.UserError:
                raise
            except (ValueError, OSError, RuntimeError) as error:
                raise cli.UserError(' '.join(str(error).split())) from error


if __name__ == '__main__':
    main()
