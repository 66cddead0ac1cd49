"""What :mod:`.carry` needs of this machine: counts of full networks, seconds of full loading."""

import os
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from _bench.clock import interleave, median, use_clock

from .carry import Assumption, Recipe, kmeans_flops
from .carry_count import CONFIGS, count_config, kmeans_kernels
from .cost_loading import Loader, keep_superpixels, superpixel_seconds, superpixel_step
from .cost_sides import read_config

# projects/medino/README.md, Registration and DINO underneath.
REGISTRATION_SECONDS, GUIDING_AT_FULL_SIZE = 0.28, 1.007
DIMS, CLUSTERS = 1024, 64  # C4 of a ResNet-50, the thesis's K
# Family -> a small config that lists images, and the usual (width, height) of the full data set:
# ImageNet's JPEGs, and CheXpert-small's.
SMALL = dict(r2o=('configs/r2o/small/r2o.py', (500, 375)),
             medino=('configs/medino/small/dino.py', (390, 320)))
PIPELINES = dict({key: path for key, (path, _) in CONFIGS.items()},
                 dino_chest='configs/medino/vits16_chexpert_dino-cxr-aug.py')


def measure_inputs(folder: Path, templates: Path, photographs: str, turns: int = 3) -> Dict:
    """Run each full step once, and load full-size batches of this machine's images.

    Args:
        folder (Path): For the superpixels of the images used.
        templates (Path): Has ``registered``, the templates of the X-rays.
        photographs (str): Folder of images for R2O's regions.
        turns (int): Batches that each pipeline loads.

    Returns:
        dict: ``counts`` of each config; ``load``, processor seconds an image of each pipeline,
        from JPEGs of the full data set's size; ``superpixels``, of SLIC on 30 images.
    """
    use_clock('process')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    counts = {key: count_config(key, 8 if key == 'r2o' else 2, photographs) for key in CONFIGS}
    lists = {family: resized_copies(family, turns * 32, folder) for family in SMALL}
    loads: Dict[str, Loader] = {}
    for key, path in PIPELINES.items():
        cfg = on_copies(path, lists['r2o' if key in ('byol', 'r2o') else 'medino'])
        prior = superpixel_step(cfg)
        if prior is not None:
            loads[f'{key}_anew'] = Loader(cfg, turns)
            paths = loads[f'{key}_anew'].paths()
            seconds = superpixel_seconds(paths[::max(1, len(paths) // 30)][:30], prior)
            prior.cache = str(keep_superpixels(paths, prior, folder))
        if key == 'medino':  # made for the images that these are copies of
            cfg.train_dataloader.dataset.pipeline[2].update(
                source=str(templates / 'registered'), check='none',
                root=cfg.train_dataloader.dataset.data_root)
        loads[key] = Loader(cfg, turns)
    spent = interleave(loads, turns, 1, progress='full-size batches')
    return dict(counts=counts, superpixels=seconds,
                load={key: median(s) / loads[key].size for key, s in spent.items()})


def resized_copies(family: str, count: int, folder: Path) -> Path:
    """JPEGs of the size that the full data set has, of images that are at hand.

    Args:
        family (str): Of :data:`SMALL`.
        count (int): How many, spread evenly over the list of the small config.
        folder (Path): Gets a folder of copies, under their own relative names.

    Returns:
        Path: A list of them.
    """
    config, size = SMALL[family]
    dataset = Loader(read_config(config), 1).dataset
    out = folder / f'{family}_{size[0]}x{size[1]}_{count}'
    names = []
    for place in np.linspace(0, len(dataset), count, endpoint=False).astype(int):
        path = dataset.get_data_info(int(place))['img_path']
        names.append(os.path.relpath(path, dataset.data_root))
        copy = out / names[-1]
        copy.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert('RGB').resize(size, Image.Resampling.BICUBIC).save(
                copy, format='JPEG', quality=92)
    listing = out / 'list.txt'
    listing.write_text('\n'.join(sorted(set(names))) + '\n', encoding='utf-8')
    return listing


def on_copies(config: str, listing: Path) -> Config:
    """A full-size config whose data are those of a list."""
    cfg = read_config(config)
    cfg.train_dataloader.dataset = dict(
        type='orl_mm.ImageList', data_root=str(listing.parent), list_file=str(listing),
        pipeline=cfg.train_dataloader.dataset.pipeline)
    return cfg


def measured_assumptions(inputs: Dict[str, Any], guiding: float) -> List[Assumption]:
    """What enters and was measured here, in the form of what is assumed.

    Args:
        inputs (dict): Of :func:`measure_inputs`.
        guiding (float): Step of MeDINO triangular / that of DINO on the same crops, small.
    """
    names = dict(byol="BYOL's pipeline", r2o="R2O's, superpixels from the cache",
                 r2o_anew="R2O's, SLIC anew", dino="DINO's, ten crops",
                 dino_chest="the chest's, two crops",
                 medino="MeDINO's, registered templates from the cache")
    found = [Assumption(f'load_{key}', seconds, seconds, 's',
                        f'{names[key]}: an image on a core, from a JPEG of '
                        + ('500 x 375' if key in ('byol', 'r2o', 'r2o_anew') else '390 x 320'),
                        True)
             for key, seconds in inputs['load'].items()]
    ends = sorted((GUIDING_AT_FULL_SIZE, guiding))
    return [*found,
            Assumption('superpixels', *(inputs['superpixels'], ) * 2, 's',
                       'SLIC of one x0 of 224 pixels, 100 segments', True),
            Assumption('registration', *(REGISTRATION_SECONDS, ) * 2, 's',
                       'projects/medino/README.md, measured 2026-11-25', True),
            Assumption('guiding', *ends, 'x', 'AttentionRegHook on / off: full size in fp32 '
                       '(projects/medino/README.md), and the small table', True)]


def recipes(inputs: Dict[str, Any], kmeans: Dict[str, float]) -> List[Recipe]:
    """The runs to carry to.

    Args:
        inputs (dict): Of :func:`measure_inputs`.
        kmeans (dict): Of the small table: Lloyd iterations of a step.
    """
    counts = inputs['counts']

    def recipe(key: str, name: str, count: str, family: str, load: str, **more) -> Recipe:
        c = counts[count]
        return Recipe(key, name, family, c['epochs'], c['batch'], c['forward'] + c['backward'],
                      c['gradient_bytes'], c['norm_calls'], load=f'load_{load}', **more)

    r2o = counts['r2o']
    clustering = dict(
        kmeans_flops=kmeans_flops(round(r2o['batch'] * r2o['superpixels']), DIMS, CLUSTERS,
                                  kmeans['iterations']),
        kmeans_kernels=kmeans_kernels(CLUSTERS, kmeans['iterations']))
    return [
        recipe('byol', 'BYOL', 'byol', 'r2o', 'byol'),
        recipe('r2o', 'R2O, superpixels once', 'r2o', 'r2o', 'r2o', prepare=('superpixels', ),
               **clustering),
        recipe('r2o-anew', 'R2O, superpixels each epoch', 'r2o', 'r2o', 'r2o_anew',
               **clustering),
        recipe('dino', 'DINO, generic augmentation, 10 crops', 'dino', 'medino', 'dino'),
        recipe('dino-cxr-aug', 'DINO, chest augmentation, 2 crops', 'medino', 'medino',
               'dino_chest'),
        recipe('medino', 'MeDINO, deformable', 'medino', 'medino', 'medino', factor='guiding',
               prepare=('registration', )),
    ]
