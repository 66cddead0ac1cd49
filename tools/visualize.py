#!/usr/bin/env python
"""Show what a checkpoint has learned: refined objects beside the prior masks.

    tools/visualize.py configs/r2o/demo.py work_dirs/demo/iter_100.pth
    tools/visualize.py configs/r2o/r50_in1k.py r2o.pth --images photos --k 4 16 --random

All images are clustered together, so one colour is one cluster in all of them;
across columns a colour follows the cluster that overlaps it most. --random adds
the same network with random weights, for comparison. The checkpoint may be a
whole training state or a backbone alone.
"""

import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

try:
    import orl_mm  # noqa: F401, E402  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
             f'.venv/bin/python {sys.argv[0]} ...)')
import torch  # noqa: E402
from mmengine.dataset import default_collate  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import set_random_seed  # noqa: E402
from orl_mm.engine import cli  # noqa: E402
from orl_mm.engine.checkpoint import use_safe_loading  # noqa: E402
from orl_mm.engine.load_backbone import load_backbone  # noqa: E402
from orl_mm.registry import MODELS  # noqa: E402
from orl_mm.visualization import (match_ids, objects_panel, rank_by_size,  # noqa: E402
                                  save_figure)
from orl_mm.visualization.checkpoint_report import region_spread, summarise  # noqa: E402
from orl_mm.visualization.fixed_batch import (FixedBatch, load_samples,  # noqa: E402
                                              spread_indices)
from orl_mm.visualization.image_source import build_dataset  # noqa: E402


def parse_args():
    parser = cli.Parser(description='Show what a checkpoint has learned')
    parser.add_argument('config', help='config file of the pretraining')
    parser.add_argument('checkpoint', help='its checkpoint, or a backbone')
    parser.add_argument('--images', nargs='+', metavar='PATH',
                        help="files or folders instead of the config's training data")
    parser.add_argument('--num', type=int, default=8, metavar='N',
                        help='how many images, evenly spread over the data (default: 8)')
    parser.add_argument('--k', nargs='+', type=int, default=[8], metavar='K',
                        help='clusters over all images together, one column each (default: '
                        "8; a config's K is for its batch size, not for a few images)")
    parser.add_argument('--random', action='store_true',
                        help='also the same network with random weights')
    parser.add_argument('--out', metavar='DIR', help='folder of the picture (default: '
                        "the checkpoint's)")
    parser.add_argument('--seed', type=int, default=0, help='of the random weights')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--cfg-options', nargs='+', action=cli.KeyValueAction,
                        metavar='KEY=VALUE', help='override keys of the config')
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)
    args = parser.parse_args()
    if args.num < 1 or min(args.k) < 1:
        parser.error(f'--num and --k must be at least 1, got {args.num} and {args.k}')
    return args


def build_model(cfg):
    """The config's network with its initial weights, in training mode."""
    model = dict(cfg.model)
    if 'data_preprocessor' not in model and 'data_preprocessor' in cfg:
        model['data_preprocessor'] = cfg.data_preprocessor
    model = MODELS.build(model)
    if not hasattr(model, 'find_objects'):
        raise cli.UserError(f'{cfg.filename}: {type(model).__name__} has no refiner and finds '
                            'no objects; take a config of orl_mm.R2O')
    model.init_weights()
    return model.train()  # norms that training freezes are frozen here too


def load_network(model, path):
    """The checkpoint's encoder, and its target's, which is the one that clusters.

    A backbone alone has no target: then its copy clusters.
    """
    found = load_backbone(model.backbone, path)
    if model.target is None:
        return
    if found.prefix != 'backbone.':
        model.copy_online_to_target()
        return
    try:
        load_backbone(model.target['backbone'], path, prefix='target.backbone.')
    except ValueError:
        print('The checkpoint holds no target network; the online one clusters.')
        model.copy_online_to_target()


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


def main():
    args = parse_args()
    with cli.user_errors('visualize.py'):
        use_safe_loading()
        cli.check_file(args.checkpoint, 'checkpoint')
        cfg = cli.load_config(args.config)
        cli.merge_common_arguments(cfg, args)
        cli.check_parts(cfg, 'showing objects', 'train_dataloader')
        init_default_scope(cfg.get('default_scope') or 'mmpretrain')
        set_random_seed(args.seed)
        MMLogger.get_current_instance().setLevel('WARNING')  # no list of initial weights
        with cli.config_errors():
            model = build_model(cfg)
            try:
                dataset = build_dataset(cfg, args.images)
                indices = spread_indices(len(dataset), args.num)
                data = load_samples(dataset, indices, default_collate, args.seed)
                batch = FixedBatch(data, len(indices))
                device = torch.device(args.device)
                columns, lines = [], []
                if args.random:
                    columns, lines = columns_of(model.to(device), batch, args, 'random weights')
                load_network(model, args.checkpoint)
                learned = columns_of(model.to(device), batch, args, 'checkpoint')
            except (ValueError, OSError, RuntimeError) as error:
                raise cli.UserError(' '.join(str(error).split())) from error
        columns, lines = columns + learned[0], lines + learned[1]
        named = [(name, rank_by_size(labels)) for name, labels in columns[:1]]
        named += [(name, match_ids(labels, named[0][1])) for name, labels in columns[1:]]
        out = osp.join(args.out or osp.dirname(args.checkpoint) or '.', 'objects.png')
        save_figure(objects_panel(
            batch.pictures(model.data_preprocessor)[0], batch.priors, named,
            f'Objects of {osp.basename(args.checkpoint)}',
            f'One colour is one cluster in all {len(indices)} images of a column.'), out)
        print(f'{"network":<16}{"K":>4}  objects an image  largest object  spread of regions')
        for name, k, objects, largest, spread in lines:
            print(f'{name:<16}{k:>4}  {objects:>16.1f}  {largest:>14.0%}  {spread:>17.2f}')
        print('(spread: 0 = all regions look alike to the network, 1 = isotropic)')
        print(out)


if __name__ == '__main__':
    main()
