#!/usr/bin/env python
"""Show what the network will be shown: views, masks and where they come from.

    tools/browse.py configs/r2o/r50_in1k.py
    tools/browse.py configs/r2o/demo.py --images my_photos --num 4
    tools/browse.py mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py \
        --images my_photos
    tools/browse.py --images xrays --templates triangles=cxr_triangles \
        average=data/average.npz registered=data/registered

One row an image: the whole image with the boxes of its views, its superpixels,
and each view after all augmentations, beside the superpixels as seen in it. The
samples come through the config's own pipeline, collate function and data
preprocessor, and the normalisation is then undone. Configs of other
self-supervised methods work too; they have views only.

Where the config guides attention by templates, each row is the whole image with its template
and each view with the template as the network gets it. --templates NAME=SOURCE shows templates
beside one another (thesis, figure 3.3); a SOURCE is what RegisteredTemplate takes: a
file of polygons, an average, or a folder of registered templates.
"""

import os.path as osp
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
from mmengine.dataset import default_collate  # noqa: E402
from mmengine.registry import FUNCTIONS, TRANSFORMS, init_default_scope  # noqa: E402

from orl_mm.engine import cli  # noqa: E402
from orl_mm.map_cache.entry import CacheError  # noqa: E402
from orl_mm.registry import MODELS  # noqa: E402
from orl_mm.structures import RegionBatch  # noqa: E402
from orl_mm.visualization import rank_by_size, save_figure, views_panel  # noqa: E402
from orl_mm.visualization.fixed_batch import load_samples, spread_indices  # noqa: E402
from orl_mm.visualization.image_source import (
    build_dataset,
    image_paths,  # noqa: E402
    training_dataset_config,
)
from orl_mm.visualization.probe import to_rgb  # noqa: E402
from orl_mm.visualization.templates import (
    TemplateColumn,
    TemplateViews,  # noqa: E402
    template_views_panel,
    templates_panel,
)
from orl_mm.visualization.whole_image import (
    keep_whole,
    short_name,  # noqa: E402
    with_whole_image,
)


def parse_args():
    parser = cli.Parser(description='Show what the network will be shown')
    parser.add_argument('config', nargs='?', help='config file, or package::path of one')
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='PATH',
        help="files or folders instead of the config's training data",
    )
    parser.add_argument(
        '--templates',
        nargs='+',
        action=cli.KeyValueAction,
        metavar='NAME=SOURCE',
        help='templates beside one another, a column each; with --images instead of a config',
    )
    parser.add_argument(
        '--root',
        help='folder that relative paths of registered templates begin '
        'at, if the images were moved',
    )
    parser.add_argument(
        '--num',
        type=int,
        default=8,
        metavar='N',
        help='how many images, evenly spread over the data (default: 8)',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        help="folder of the picture (default: work_dirs/ and the config's name and /browse)",
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='other views (a pipeline with SeedSample: the epoch)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=cli.KeyValueAction,
        metavar='KEY=VALUE',
        help='override keys of the config',
    )
    parser.set_defaults(launcher='none', local_rank=0, work_dir=None)
    args = parser.parse_args()
    if args.num < 1:
        parser.error(f'--num must be at least 1, got {args.num}')
    if args.config is None and not (args.templates and args.images):
        parser.error('give a config, or --templates with --images')
    return args


def load(cfg, args):
    """The first batch, as a loader would give it, and the preprocessor."""
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    try:
        data_cfg = training_dataset_config(cfg)
        if has_template(data_cfg.get('pipeline', ())):
            data_cfg['pipeline'] = with_whole_image(data_cfg['pipeline'])
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
    if not isinstance(samples, RegionBatch) and 'whole_template' in samples[0]:
        return draw_template_views(samples, pictures)
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
        numbers += f', {counts.mean():.0f} superpixels ({counts.min()} to {counts.max()})'
    return views_panel(
        whole,
        views,
        pictures,
        labels,
        'What the network is shown',
        'Colours trace a superpixel from the image into its views.' if labels is not None else '',
        'superpixel',
    ), numbers


def has_template(pipeline):
    """Whether a pipeline guides by templates."""
    return any(short_name(step) == 'RegisteredTemplate' for step in pipeline)


def draw_template_views(samples, pictures):
    """Views of the whole images and their templates, and a line of numbers."""
    shown = [
        TemplateViews(
            sample.whole_image,
            sample.whole_template,
            sample.views.cpu().numpy(),
            sample.motions.cpu().numpy() if 'motions' in sample else None,
            sample.ori_shape[:2],
            [view[b] for view in pictures],
            sample.template.cpu().numpy(),
        )
        for b, sample in enumerate(samples)
    ]
    (guided, _, size, _), parts = samples[0].template.shape, samples[0].parts
    note = (
        f'White: where views were cut. In a view, the template on the grid of {size} x {size} '
        'that guides attention, outlined where it covers half of a patch.'
    )
    return (
        template_views_panel(shown, parts, 'What the network is shown', note),
        f'{len(pictures)} views an image, {guided} of them guided by {", ".join(parts)}',
    )


def draw_templates(cfg, args):
    """Templates beside one another, and a line of numbers."""
    load = dict(type='orl_mm.LoadXray')
    if cfg is None:
        paths = image_paths(args.images)
    else:
        init_default_scope(cfg.get('default_scope') or 'mmpretrain')
        load = next(
            (
                step
                for step in training_dataset_config(cfg)['pipeline']
                if short_name(step).startswith('Load')
            ),
            load,
        )
        dataset = build_dataset(cfg, args.images)
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    paths = [paths[i] for i in spread_indices(len(paths), args.num)]
    load = TRANSFORMS.build(load)
    samples = [load(dict(img_path=path)) for path in paths]
    if None in samples:
        raise ValueError(f'{paths[samples.index(None)]} cannot be read')
    columns, lacking = [], []
    for name, source in args.templates.items():
        template = TRANSFORMS.build(
            dict(
                type='orl_mm.RegisteredTemplate', source=str(source), root=args.root, threshold=None
            )
        )
        maps = []
        for sample in samples:
            try:
                maps.append(template(dict(sample))['template'])
            except CacheError as error:
                maps.append(None)
                lacking.append(error)
        columns.append(TemplateColumn(name, template.parts, maps))
    if lacking:
        print(f'{len(lacking)} templates are missing, first: {lacking[0]}')
    names = [osp.splitext(osp.basename(path))[0] for path in paths]
    images = [keep_whole(dict(img=sample['img']))['whole_image'] for sample in samples]
    note = 'The stronger a colour, the nearer the template to 1; outlined at one half.'
    return (
        templates_panel(images, columns, names, 'Templates', note),
        f'{len(images)} images, {len(columns)} templates',
    )


def main():
    args = parse_args()
    with cli.user_errors('browse.py'):
        cfg = None
        if args.config is not None:
            cfg = cli.load_config(args.config)
            cli.merge_common_arguments(cfg, args)
            cli.check_parts(cfg, 'browsing', 'train_dataloader')
        with cli.config_errors():
            if args.templates:
                try:
                    figure, numbers = draw_templates(cfg, args)
                except (ValueError, OSError) as error:
                    raise cli.UserError(' '.join(str(error).split())) from error
            else:
                figure, numbers = draw(*load(cfg, args))
        folder = args.out or osp.join(cfg.work_dir if cfg else 'work_dirs', 'browse')
        out = osp.join(folder, 'templates.png' if args.templates else 'views.png')
        save_figure(figure, out)
        print(f'{numbers}\n{out}')


if __name__ == '__main__':
    main()
