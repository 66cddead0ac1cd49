#!/usr/bin/env python
"""Show what the network will be shown: views, masks and where they come from.

    tools/browse.py configs/r2o/r50_in1k.py
    tools/browse.py configs/r2o/demo.py --images my_photos --num 4
    tools/browse.py mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py \
        --images my_photos

One row an image: the whole image with the boxes of its views, its superpixels,
and each view after all augmentations, beside the superpixels as seen in it. The
samples come through the config's own pipeline, collate function and data
preprocessor, and the normalisation is then undone. Configs of other
self-supervised methods work too; they have views only.
"""

import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

try:
    import orl_mm  # noqa: F401, E402  (first: mends what the next imports meet)
except ModuleNotFoundError as error:
    sys.exit(f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
             f'.venv/bin/python {sys.argv[0]} ...)')
import numpy as np  # noqa: E402
from mmengine.dataset import default_collate  # noqa: E402
from mmengine.registry import FUNCTIONS, init_default_scope  # noqa: E402
from orl_mm.engine import cli  # noqa: E402
from orl_mm.registry import MODELS  # noqa: E402
from orl_mm.structures import RegionBatch  # noqa: E402
from orl_mm.visualization import rank_by_size, save_figure, views_panel  # noqa: E402
from orl_mm.visualization.fixed_batch import load_samples, spread_indices  # noqa: E402
from orl_mm.visualization.image_source import build_dataset  # noqa: E402
from orl_mm.visualization.probe import to_rgb  # noqa: E402


def parse_args():
    parser = cli.Parser(description='Show what the network will be shown')
    parser.add_argument('config', help='config file, or package::path of one')
    parser.add_argument('--images', nargs='+', metavar='PATH',
                        help="files or folders instead of the config's training data")
    parser.add_argument('--num', type=int, default=8, metavar='N',
                        help='how many images, evenly spread over the data (default: 8)')
    parser.add_argument('--out', metavar='DIR',
                        help="folder of the picture (default: work_dirs/ and the config's "
                        'name and /browse)')
    parser.add_argument('--seed', type=int, default=0,
                        help='other views (a pipeline with SeedSample: the epoch)')
    parser.add_argument('--cfg-options', nargs='+', action=cli.KeyValueAction,
                        metavar='KEY=VALUE', help='override keys of the config')
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)
    args = parser.parse_args()
    if args.num < 1:
        parser.error(f'--num must be at least 1, got {args.num}')
    return args


def load(cfg, args):
    """The first batch, as a loader would give it, and the preprocessor."""
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    try:
        dataset = build_dataset(cfg, args.images)
        for epoch_aware in getattr(getattr(dataset, 'pipeline', None), 'transforms', []):
            if hasattr(epoch_aware, 'set_epoch'):
                epoch_aware.set_epoch(args.seed)
        collate = cfg.train_dataloader.get('collate_fn')
        collate = FUNCTIONS.get(collate['type']) if collate else default_collate
        indices = spread_indices(len(dataset), args.num)
        data = load_samples(dataset, indices, collate, args.seed)
    except (ValueError, OSError) as error:
        raise cli.UserError(' '.join(str(error).split())) from error
    preprocessor = dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    preprocessor.setdefault('type', 'SelfSupDataPreprocessor')
    return data, MODELS.build(preprocessor)


def draw(data, preprocessor):
    """The contact sheet, and a line of numbers."""
    data = preprocessor(data, False)
    inputs, samples = data['inputs'], data['data_samples']
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    pictures = [to_rgb(x, preprocessor) for x in inputs]
    regions = samples if isinstance(samples, RegionBatch) else None
    if regions is None and all('views' in s for s in samples):
        regions = RegionBatch.from_samples(samples)
    if regions is None:
        return views_panel(None, None, pictures, None), f'{len(pictures)} views an image'
    views, labels = regions.views.cpu().numpy(), regions.labels
    whole = pictures.pop() if len(pictures) > views.shape[1] else None
    numbers = f'{views.shape[1]} views an image'
    if labels is not None:
        # Ids by size, so that neighbours differ clearly in colour.
        labels = np.stack([rank_by_size(m) for m in labels.cpu().numpy()])
        counts = np.array(regions.counts)
        numbers += (f', {counts.mean():.0f} superpixels ({counts.min()} to {counts.max()})')
    return views_panel(whole, views, pictures, labels, 'What the network is shown',
                       'Colours trace a superpixel from the image into its views.'
                       if labels is not None else '', 'superpixel'), numbers


def main():
    args = parse_args()
    with cli.user_errors('browse.py'):
        cfg = cli.load_config(args.config)
        cli.merge_common_arguments(cfg, args)
        cli.check_parts(cfg, 'browsing', 'train_dataloader')
        with cli.config_errors():
            data, preprocessor = load(cfg, args)
            figure, numbers = draw(data, preprocessor)
        out = osp.join(args.out or osp.join(cfg.work_dir, 'browse'), 'views.png')
        save_figure(figure, out)
        print(f'{numbers}\n{out}')


if __name__ == '__main__':
    main()
