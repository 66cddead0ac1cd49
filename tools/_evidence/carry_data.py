"""Images of the size that the full data sets have, made of those that are at hand."""

import os
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from .cost_loading import Loader
from .cost_sides import read_config

# Family -> a small config that lists images, and the usual (width, height) of the full data set:
# ImageNet's JPEGs, and CheXpert-small's.
SMALL = dict(
    r2o=('configs/r2o/small/r2o.py', (500, 375)),
    medino=('configs/medino/small/dino.py', (390, 320)),
)


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
                copy, format='JPEG', quality=92
            )
    listing = out / 'list.txt'
    listing.write_text('\n'.join(sorted(set(names))) + '\n', encoding='utf-8')
    return listing


def on_copies(config: str, listing: Path) -> Config:
    """A full-size config whose data are those of a list."""
    cfg = read_config(config)
    cfg.train_dataloader.dataset = dict(
        type='orl_mm.ImageList',
        data_root=str(listing.parent),
        list_file=str(listing),
        pipeline=cfg.train_dataloader.dataset.pipeline,
    )
    return cfg
