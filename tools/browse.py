#!/usr/bin/env python
"""Draw what a network sees in training: views, superpixels or templates, and their origin.

    tools/browse.py configs/r2o/r50_in1k.py
    tools/browse.py configs/r2o/demo.py --images my_photos --num 4
    tools/browse.py mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py \
        --images my_photos
    tools/browse.py --images xrays --templates triangles=cxr_triangles \
        average=data/average.npz registered=data/registered

One row per image: the whole image with its views outlined, its superpixels, and each view after
all augmentations, beside the superpixels as seen in it. Samples come through the config's own
pipeline, collate function and data preprocessor, and the normalization is then undone. Configs
of other self-supervised methods work too; they have views only.

If the config guides attention by templates, each row is the whole image with its template and
each view with the template as the loss gets it. --templates NAME=SOURCE shows templates side by
side (thesis, figure 3.3); a SOURCE is anything that RegisteredTemplate accepts: a file of
polygons, an average, or a folder of registered templates.
"""

import os.path as osp

from orl_tools import (
    KeyValueAction,
    Parser,
    add_drawing_arguments,
    command_errors,
    config_path,
    start,
)


def parse_args():
    parser = Parser(description='Draw what a network sees in training')
    parser.add_argument(
        'config', nargs='?', type=config_path, help='config file, or package::path of one'
    )
    out = "work_dirs/ and the config's name and /browse"
    add_drawing_arguments(parser, '8', out, 'views (for a pipeline with SeedSample: the epoch)')
    parser.add_argument(
        '--templates',
        nargs='+',
        action=KeyValueAction,
        metavar='NAME=SOURCE',
        help='templates side by side, a column each; with --images instead of a config',
    )
    parser.add_argument(
        '--root',
        help='root of the relative paths of registered templates, if the images were moved',
    )
    args = parser.parse_args()
    args.num = 8 if args.num is None else args.num
    if args.num < 1:
        parser.error(f'--num must be at least 1, got {args.num}')
    if args.config is None and not (args.templates and args.images):
        parser.error('give a config, or --templates with --images')
    return args


start(__name__, parse_args)
import numpy as np
from mmengine.registry import TRANSFORMS, init_default_scope

from orl_mm.engine import cli
from orl_mm.map_cache.entry import CacheError
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from orl_mm.visualization import panels, rank_by_size, samples, save_figure
from orl_mm.visualization.probe import preprocessor_config, to_rgb


def draw_views(cfg, args):
    """The contact sheet of the views in training, and a line of numbers."""
    data_cfg = samples.training_dataset_config(cfg)
    names = [samples.short_name(step) for step in data_cfg.get('pipeline', ())]
    if 'RegisteredTemplate' in names:
        data_cfg['pipeline'] = samples.with_whole_image(data_cfg['pipeline'])
    data = samples.training_batch(cfg, args.images, args.num, args.seed)
    preprocessor = MODELS.build(
        dict(dict(type='SelfSupDataPreprocessor'), **preprocessor_config(cfg))
    )
    data = preprocessor(data, False)
    inputs, found = data['inputs'], data['data_samples']
    inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    pictures = [to_rgb(x, preprocessor) for x in inputs]
    title = 'What the network is shown'
    if not isinstance(found, RegionBatch):
        if 'whole_template' in found[0]:
            return draw_template_views(found, pictures, title)
        if not all('views' in sample for sample in found):
            return panels.views_panel(None, None, pictures, None), f'{len(pictures)} views an image'
        found = RegionBatch.from_samples(found)
    views, labels, note = found.views.cpu().numpy(), None, ''
    whole = pictures.pop() if len(pictures) > views.shape[1] else None
    numbers = f'{views.shape[1]} views an image'
    if found.labels is not None:
        # Ids by size, so that neighbors differ clearly in color.
        labels = np.stack([rank_by_size(m) for m in found.labels.cpu().numpy()])
        counts = np.array(found.counts)
        numbers += f', {counts.mean():.0f} superpixels ({counts.min()} to {counts.max()})'
        note = 'A superpixel has the same color in the image and in its views.'
    figure = panels.views_panel(whole, views, pictures, labels, title, note, 'superpixel')
    return figure, numbers


def draw_template_views(found, pictures, title):
    """Views of the whole images with their templates, and a line of numbers."""
    shown = [
        panels.TemplateViews(
            sample.whole_image,
            sample.whole_template,
            sample.views.cpu().numpy(),
            sample.motions.cpu().numpy() if 'motions' in sample else None,
            sample.ori_shape[:2],
            [view[b] for view in pictures],
            sample.template.cpu().numpy(),
        )
        for b, sample in enumerate(found)
    ]
    (guided, _, size, _), parts = found[0].template.shape, found[0].parts
    note = (
        f'White: the views. Over a view: the template on the grid of {size} x {size} patches '
        'that guides attention, outlined where it covers at least half of a patch.'
    )
    return (
        panels.template_views_panel(shown, parts, title, note),
        f'{len(pictures)} views an image, {guided} of them guided by {", ".join(parts)}',
    )


def draw_templates(cfg, args):
    """Templates of several sources beside one another, and a line of numbers."""
    load = dict(type='orl_mm.LoadXray')
    if cfg is None:
        paths = samples.image_paths(args.images)
    else:
        steps = samples.training_dataset_config(cfg)['pipeline']
        load = next((s for s in steps if samples.short_name(s).startswith('Load')), load)
        dataset = samples.build_dataset(cfg, args.images)
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    paths = [paths[i] for i in samples.spread_indices(len(paths), args.num)]
    load = TRANSFORMS.build(load)
    found = [load(dict(img_path=path)) for path in paths]
    if None in found:
        raise ValueError(f'{paths[found.index(None)]} cannot be read')
    columns, missing = [], []
    for name, source in args.templates.items():
        template = TRANSFORMS.build(
            dict(
                type='orl_mm.RegisteredTemplate', source=str(source), root=args.root, threshold=None
            )
        )
        maps = []
        for sample in found:
            try:
                maps.append(template(dict(sample))['template'])
            except CacheError as error:
                maps.append(None)
                missing.append(error)
        columns.append(panels.TemplateColumn(name, template.parts, maps))
    if missing:
        print(f'{len(missing)} templates are missing, first: {missing[0]}')
    names = [osp.splitext(osp.basename(path))[0] for path in paths]
    images = [samples.keep_whole(sample)['whole_image'] for sample in found]
    note = 'Opacity is the value of the template; outlined at one half.'
    return (
        panels.templates_panel(images, columns, names, 'Templates', note),
        f'{len(images)} images, {len(columns)} templates',
    )


def main():
    args = parse_args()
    with command_errors():
        cfg = None
        if args.config is not None:
            cfg = cli.load_config(args.config)
            cli.merge_common_arguments(cfg, args)
            cli.check_parts(cfg, 'browsing', 'train_dataloader')
            init_default_scope(cfg.get('default_scope') or 'mmpretrain')
        with cli.config_errors():
            figure, numbers = (draw_templates if args.templates else draw_views)(cfg, args)
        folder = args.out or osp.join(cfg.work_dir if cfg else 'work_dirs', 'browse')
        out = osp.join(folder, 'templates.png' if args.templates else 'views.png')
        save_figure(figure, out)
        print(f'{numbers}\n{out}')


if __name__ == '__main__':
    main()
