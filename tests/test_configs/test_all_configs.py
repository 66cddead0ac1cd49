"""Every config of the metafiles: its parts are built, and a sample passes its preprocessor.

The data are drawn, as small as their layouts allow, and lie where the config looks for them.
"""

import csv
import os
import re
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATASETS,
    FUNCTIONS,
    HOOKS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    init_default_scope,
)
from mmengine.visualization import Visualizer
from PIL import Image

from orl_mm.datasets.chexpert import FOURTEEN
from orl_mm.datasets.phantom_folder import PhantomSpec, phantom_name, write_lists
from orl_mm.io.image_list import CLASS_LISTS, SPLITS, read_lines
from orl_mm.map_cache.build import BuildJob, build
from orl_mm.registration.template import read_template, write_template
from tests.coco_files import write_coco
from tests.segmentation_files import write_cityscapes, write_voc
from tests.small import without_init

ROOT = Path(__file__).resolve().parents[2]
# Those of the metafiles: what a user puts beside them is not tested.
CONFIGS = sorted(
    model['Config']
    for file in (ROOT / 'projects').glob('*/metafile.yml')
    for model in yaml.safe_load(file.read_text())['Models']
)
VARIABLES = sorted(
    {
        name
        for path in (ROOT / 'configs').rglob('*.py')
        for name in re.findall(r'{{\$(\w+):', path.read_text())
    }
)
HEADER = ['Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA', *FOURTEEN]


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def write_photographs(root):
    """ImageNet's thousand classes with an image each, and the small tables' list of images."""
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).repeat(8, 0).repeat(8, 1)
    photo = root / 'photo.jpg'
    Image.fromarray(image.astype(np.uint8)).save(photo)
    mask = root / 'mask.png'
    Image.fromarray((np.mgrid[:72, :96][1] // 32).astype(np.uint8)).save(mask)
    for name in read_lines(CLASS_LISTS / 'imagenet.txt', 'classes'):
        for split in ('train', 'val'):
            link(photo, root / 'data' / 'imagenet' / split / name / 'a.JPEG')
        link(mask, root / 'data' / 'masks' / 'train' / name / 'a.png')
    for name in read_lines(SPLITS / 'natural_small.txt', 'list'):
        link(photo, root / 'data' / 'natural' / name)


def write_xrays(root):
    """Drawn chests in the places of JSRT, Montgomery, Shenzhen and CheXpert."""
    phantom = root / 'work_dirs' / 'phantom'
    job = BuildJob(PhantomSpec(128), str(phantom), str(phantom))
    with ThreadPoolExecutor(1) as executor:
        build(job, range(8), executor)
    write_lists(job, 8)
    first = phantom_name(0)
    files = [f for f in phantom.rglob('*') if f.stem == Path(first).stem and f.is_file()]
    assert len(files) == 4  # the image and the masks of three parts
    ids = [
        *read_lines(SPLITS / 'jsrt_score.txt', 'list'),
        *read_lines(SPLITS / 'jsrt_segmenter.txt', 'list'),
    ]
    places = {'jsrt': ids, 'montgomery': ['MCUCXR_0001_0'], 'shenzhen': ['CHNCXR_0001_0']}
    for name, stems in places.items():
        for stem in stems:
            for file in files:  # X-rays are listed as .jpg; what they are is read from the file
                target = root / 'data' / name / file.relative_to(phantom).with_stem(stem)
                link(file, target.with_suffix('.jpg') if file.parent.name == 'images' else target)
    for name in ('montgomery', 'shenzhen'):
        (stem,) = places[name]
        (root / 'data' / name / 'labels.csv').write_text(f'image,tb\n{stem}.jpg,1\n')
    image = next(f for f in files if f.parent.name == 'images')
    for name in read_lines(SPLITS / 'cxr_small.txt', 'list'):
        if not (root / 'data' / name).exists():
            link(image, root / 'data' / name)
    for split in ('train', 'valid'):
        path = f'CheXpert-v1.0-small/{split}/patient00001/study1/view1_frontal.jpg'
        target = root / 'data' / 'chexpert' / path
        target.parent.mkdir(parents=True)
        Image.open(image).convert('L').save(target)
        with open(root / 'data' / 'chexpert' / f'{split}.csv', 'w', newline='') as file:
            csv.writer(file).writerows(
                [HEADER, [path, 'Female', '50', 'Frontal', 'AP', *['1.0'] * len(FOURTEEN)]]
            )
    for name in ('chexpert', 'cxr_small'):
        write_template(
            root / 'data' / 'templates' / f'{name}_average.npz', read_template('cxr_triangles')
        )


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder to start commands in, with all data in ``data``."""
    root = tmp_path_factory.mktemp('place')
    Visualizer.get_instance('all_configs')  # hooks that draw ask for it
    write_photographs(root)
    write_xrays(root)
    write_voc(root / 'data' / 'VOCdevkit' / 'VOC2012', train=2, aug=2, val=2)
    write_cityscapes(root / 'data' / 'cityscapes', train=2, val=2)
    write_coco(root / 'data' / 'coco')
    return root


def loaders(cfg):
    """The data sets that are read, by loops and by hooks, each once."""
    found = []
    for loader in [
        *(cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')),
        *(hook.get('dataloader') for hook in cfg.get('custom_hooks') or ()),
    ]:
        if loader and loader not in found:
            found.append(loader)
    return found


def build_the_rest(cfg, model):
    """Parts that a run builds before its first step; what a part does not take, it refuses."""
    hooks = [*(cfg.get('custom_hooks') or ()), *cfg.default_hooks.values()]
    for hook in hooks:
        HOOKS.build(dict(hook))
    for name in ('val', 'test'):
        evaluators = cfg.get(f'{name}_evaluator') or []
        for metric in evaluators if isinstance(evaluators, list) else [evaluators]:
            METRICS.build(dict(metric))
    if not cfg.get('optim_wrapper'):
        return len(hooks)
    wrapper = deepcopy(cfg.optim_wrapper)
    if wrapper.get('type') == 'AmpOptimWrapper' and not torch.cuda.is_available():
        wrapper = {
            key: value
            for key, value in wrapper.items()
            if key not in ('type', 'loss_scale', 'dtype')
        }
    optimizer = build_optim_wrapper(model, wrapper)
    schedules = cfg.get('param_scheduler') or []
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        default = dict(optimizer=optimizer, end=1000)  # the runner fills it in
        if schedule.get('convert_to_iter_based'):
            default['epoch_length'] = 10
        PARAM_SCHEDULERS.build(dict(schedule), default_args=default)
    return len(hooks)


def test_no_two_pretraining_configs_share_a_work_directory():
    """It is named after the file; tools/tables.py knows a row by it."""
    names = [
        Config.fromfile(str(ROOT / config)).get('work_dir') or Path(config).stem
        for config in CONFIGS
        if 'transfer' not in config and 'demo' not in config
    ]
    assert len(names) > 50
    assert sorted(set(names)) == sorted(names)


def without_registered_templates(dataset):
    """Templates registered to each image are made by a tool; one for all takes their place."""
    for step in dataset.get('pipeline', ()):
        if (
            step.type == 'orl_mm.RegisteredTemplate'
            and Path(step.source).suffix == ''
            and step.source != 'cxr_triangles'
        ):
            step.source = 'cxr_triangles'


@pytest.mark.parametrize('config', CONFIGS)
def test_config(config, place, monkeypatch):
    if config.startswith('configs/transfer/coco'):
        pytest.importorskip('mmcv.ops', reason='mmdet needs the compiled ops of mmcv (make ops)')
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(place)
    cfg = Config.fromfile(str(ROOT / config))
    init_default_scope(cfg.default_scope)

    model = deepcopy(cfg.model)
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with without_init():
        model = MODELS.build(model)
    assert sum(p.numel() for p in model.parameters()) > 1e5
    assert build_the_rest(cfg, model) >= 5

    read = loaders(cfg)
    assert read
    for loader in read:
        without_registered_templates(loader.dataset)
        dataset = DATASETS.build(loader.dataset)
        sample = dataset[0]
        assert {'inputs', 'data_samples'} <= set(sample)
        collate = dict(loader.get('collate_fn') or dict(type='default_collate'))
        collate.pop('_scope_', None)
        if cfg.default_scope != 'mmpretrain':
            collate = dict(type='pseudo_collate')
        collate = FUNCTIONS.get(collate['type'])
        ready = model.data_preprocessor(collate([sample, deepcopy(sample)]), True)
        inputs = ready['inputs']
        for tensor in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            assert tensor.is_floating_point()
            assert len(tensor) == 2
            assert tensor.shape[1] == 3
            assert tensor.std() > 0.01  # normalized pixels, not an empty view
