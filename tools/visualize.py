#!/usr/bin/env python
"""Show what checkpoints have learned: objects (R2O), or what attention heads look at (ViTs).

    tools/visualize.py configs/r2o/demo.py work_dirs/demo/iter_100.pth
    tools/visualize.py configs/r2o/r50_in1k.py r2o.pth --images photos --k 4 16 --random
    tools/visualize.py configs/transfer/jsrt/attention_vits16.py dino.pth medino.pth --num 1
    tools/visualize.py configs/medino/small/average.py a.pth b.pth --heads all

R2O: refined objects beside the prior masks. All images are clustered together, so one colour
is one cluster in all of them; across columns a colour follows the cluster that overlaps it
most. The checkpoint may be a whole training state, whose target network
clusters, or a backbone alone.

ViTs, of any pretraining: one row a part of an image, one column a checkpoint: the head that
the checkpoint assigned to the part, else the head with the best score (thesis, figures 3.1
and 3.4). A config of evaluation gives images with their masks; one of pretraining, its
training images with its template. --heads all draws every head, a picture a checkpoint.

--random adds the same network with random weights, for comparison.
"""

import os.path as osp
import re
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

try:
    import orl_mm  # noqa: F401, E402  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(
        f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
        f'.venv/bin/python {sys.argv[0]} ...)'
    )
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.dataset import default_collate  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import set_random_seed  # noqa: E402

from orl_mm.engine import cli  # noqa: E402
from orl_mm.engine.checkpoint import use_safe_loading  # noqa: E402
from orl_mm.engine.checkpoint_fit import checkpoints_must_fit  # noqa: E402
from orl_mm.engine.object_finder import build_finder, load_features  # noqa: E402
from orl_mm.visualization import (
    AttentionColumn,
    attention_panel,
    match_ids,  # noqa: E402
    objects_panel,
    rank_by_size,
    save_figure,
)
from orl_mm.visualization.attention_report import (
    SCORES,
    comparison_panel,  # noqa: E402
    part_heads,
)
from orl_mm.visualization.attention_samples import (
    attention_of,
    build_probe,  # noqa: E402
    has_attention,
    load_attention_samples,
    parts_and_masks,
    take_checkpoint,
)
from orl_mm.visualization.checkpoint_report import region_spread, summarise  # noqa: E402
from orl_mm.visualization.fixed_batch import (
    FixedBatch,
    load_samples,  # noqa: E402
    spread_indices,
)
from orl_mm.visualization.image_source import build_dataset  # noqa: E402
from orl_mm.visualization.panels import plural  # noqa: E402


def parse_args():
    parser = cli.Parser(description='Show what a checkpoint has learned')
    parser.add_argument('config', help='config file of the pretraining, or of an evaluation')
    parser.add_argument(
        'checkpoints',
        nargs='+',
        metavar='checkpoint',
        help='of that network; several where it is a ViT',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='PATH',
        help="files or folders instead of the config's training data",
    )
    parser.add_argument(
        '--num',
        type=int,
        metavar='N',
        help='how many images, evenly spread over the data (default: 8; ViT: 3)',
    )
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
        choices=SCORES,
        default='ap',
        help='ViT: by which unassigned heads are chosen: average precision, or '
        "intersection over union at the map's best threshold (default: ap)",
    )
    parser.add_argument(
        '--shade',
        choices=('value', 'rank'),
        default='value',
        help='ViT: patches by their attention, or by its order in the map, which '
        'is all that the scores see (default: value)',
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
        help='R2O: clusters over all images together, one column each (default: '
        "8; a config's K is for its batch size, not for a few images)",
    )
    parser.add_argument(
        '--random', action='store_true', help='also the same network with random weights'
    )
    parser.add_argument(
        '--out', metavar='DIR', help="folder of the picture (default: the first checkpoint's)"
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random weights')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=cli.KeyValueAction,
        metavar='KEY=VALUE',
        help='override keys of the config',
    )
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)
    args = parser.parse_args()
    if min(value for value in (args.num, args.size, *args.k) if value is not None) < 1:
        parser.error(
            f'--num, --k and --size must be at least 1, got {args.num}, {args.k} and {args.size}'
        )
    if args.names and len(args.names) != len(args.checkpoints):
        parser.error(f'{len(args.names)} --names for {len(args.checkpoints)} checkpoints')
    return args


def columns_of(model, batch, args, name):
    """One column and one table line for each K."""
    columns, lines = [], []
    spread = region_spread(model, batch)
    for k in args.k:
        model.refiner.num_clusters = k
        labels = batch.objects(model)
        columns.append((f'{name}, K = {k}', labels))
        lines.append((name, k, *summarise(labels), spread))
    return columns, lines


def show_objects(cfg, args):
    """Draw R2O's objects, print the numbers."""
    if len(args.checkpoints) > 1:
        raise cli.UserError(
            f'objects are shown of one checkpoint at a time, got {len(args.checkpoints)}'
        )
    checkpoint = args.checkpoints[0]
    cli.check_parts(cfg, 'showing objects', 'train_dataloader')
    model = build_finder(cfg)
    dataset = build_dataset(cfg, args.images)
    indices = spread_indices(len(dataset), args.num or 8)
    data = load_samples(dataset, indices, default_collate, args.seed)
    batch = FixedBatch(data, len(indices))
    device = torch.device(args.device)
    columns, lines = [], []
    if args.random:
        columns, lines = columns_of(model.to(device), batch, args, 'random weights')
    load_features(model, checkpoint)
    learned = columns_of(model.to(device), batch, args, 'checkpoint')
    columns, lines = columns + learned[0], lines + learned[1]
    named = [(name, rank_by_size(labels)) for name, labels in columns[:1]]
    named += [(name, match_ids(labels, named[0][1])) for name, labels in columns[1:]]
    out = osp.join(args.out or osp.dirname(checkpoint) or '.', 'objects.png')
    save_figure(
        objects_panel(
            batch.pictures(model.data_preprocessor)[0],
            batch.priors,
            named,
            f'Objects of {osp.basename(checkpoint)}',
            f'One colour is one cluster in all {len(indices)} images of a column.',
        ),
        out,
    )
    print(f'{"network":<16}{"K":>4}  objects an image  largest object  spread of regions')
    for name, k, objects, largest, spread in lines:
        print(f'{name:<16}{k:>4}  {objects:>16.1f}  {largest:>14.0%}  {spread:>17.2f}')
    print('(spread: 0 = all regions look alike to the network, 1 = isotropic)')
    print(out)


def show_attention(cfg, args):
    """Draw the attention of a ViT's heads, print how they score."""
    samples = load_attention_samples(cfg, args.images, args.num or 3, args.size)
    parts, masks = parts_and_masks(samples)
    if args.heads == 'parts' and not parts:
        raise cli.UserError(
            'nothing says where the parts are in these images: take a config of '
            'evaluation or with a template, or --heads all'
        )
    probe = build_probe(cfg).to(args.device)
    networks = []
    if args.random:
        networks.append(attention_of(probe, samples, 'random weights'))
    names = args.names or checkpoint_names(args.checkpoints)
    for name, path in zip(names, args.checkpoints, strict=False):
        with checkpoints_must_fit(whole=True):
            heads = take_checkpoint(probe, path)
        networks.append(attention_of(probe, samples, name, heads))
    folder = args.out or osp.dirname(args.checkpoints[0]) or '.'
    images, titles = [sample.image for sample in samples], [sample.name for sample in samples]
    what = 'the template' if 'whole_template' in samples[0].packed['data_samples'] else 'the truth'
    if args.heads == 'all':
        for network in networks:
            columns = head_columns(network, parts)
            out = osp.join(folder, f'attention_{safe_name(network.name)}.png')
            save_figure(
                attention_panel(
                    images,
                    masks if parts else None,
                    columns,
                    f'Attention of {network.name}',
                    parts=parts,
                    names=titles,
                ),
                out,
            )
            print(out)
        return
    out = osp.join(folder, 'attention.png')
    save_figure(
        comparison_panel(
            images,
            masks,
            parts,
            networks,
            titles,
            args.score,
            'Attention of the CLS token',
            f'Outlined: {what}. Below: the head, {args.score.upper()}, and how much of the attention '
            "lies inside of the part. Sides are the patient's."
            + (' Shaded by order.' if args.shade == 'rank' else ''),
            by_rank=args.shade == 'rank',
        ),
        out,
    )
    width = max(len(name) for name in ['network', *(n.name for n in networks)]) + 2
    print(
        f'{"network":<{width}}{"part":<14}head            {args.score.upper()}, mean of '
        f'{plural(len(samples), "image")}'
    )
    for network in networks:
        for part, found in zip(parts, part_heads(network, masks, parts, args.score), strict=False):
            print(
                f'{network.name:<{width}}{part:<14}{found.head:>4} '
                f'{"assigned" if found.assigned else "best":<10} {np.nanmean(found.scores):.3f}'
            )
    print(out)


def checkpoint_names(paths):
    """The folder of each checkpoint, or its own name where folders do not tell them apart."""
    folders = [osp.basename(osp.dirname(osp.abspath(path))) for path in paths]
    stems = [osp.splitext(osp.basename(path))[0] for path in paths]
    if len(set(folders)) == len(paths):
        return folders
    return (
        stems
        if len(set(stems)) == len(paths)
        else [f'{folder}/{stem}' for folder, stem in zip(folders, stems, strict=False)]
    )


def head_columns(network, parts):
    """A column a head, those with a part first."""
    heads = {head: part for head, part in (network.heads or {}).items()}
    order = [*heads, *(h for h in range(network.maps.shape[1]) if h not in heads)]
    return [
        AttentionColumn(
            f'head {h}' + (f': {heads[h]}'.replace('_', ' ') if h in heads else ''),
            network.maps[:, h],
            parts.index(heads[h]) if heads.get(h) in parts else None,
        )
        for h in order
    ]


def safe_name(name):
    """A name as part of a file's."""
    return re.sub(r'[^\w.-]+', '_', name)


def main():
    args = parse_args()
    with cli.user_errors('visualize.py'):
        use_safe_loading()
        for path in args.checkpoints:
            cli.check_file(path, 'checkpoint')
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
