"""Folders as VOC 2012 and Cityscapes have them, with small drawn images."""

import numpy as np
from PIL import Image

PALETTE = [value for i in range(256) for value in (i, 255 - i, i // 2)]


def draw_pair(seed, size, labels):
    """An image (H, W, 3) whose colors say the label, and its label map (H, W); 255 on the rim."""
    width, height = size
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    chosen = draw.choice(labels, 2, replace=False)
    left = x < draw.integers(width // 4, 3 * width // 4)
    marks = np.where(left, *chosen).astype(np.uint8)
    marks[0], marks[:, -1] = 255, 255
    image = np.stack([marks * 10, 255 - marks * 10, 7 * y % 256], -1).astype(np.uint8)
    return image, marks


def save_labels(path, marks):
    """A palette PNG, as VOC's masks are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(marks)
    picture.putpalette(PALETTE)
    picture.save(path)


def write_voc(root, size=(60, 45), **splits):
    """VOC2012 with lists such as ``train=2``: names train_0, train_1; ``aug`` has masks of SBD."""
    (root / 'JPEGImages').mkdir(parents=True, exist_ok=True)
    lists = root / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True, exist_ok=True)
    for number, (split, count) in enumerate(splits.items()):
        names = [f'{split}_{i}' for i in range(count)]
        (lists / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))
        masks = 'SegmentationClassAug' if split == 'aug' else 'SegmentationClass'
        for i, name in enumerate(names):
            image, marks = draw_pair(100 * number + i, size, range(21))
            Image.fromarray(image).save(root / 'JPEGImages' / f'{name}.jpg', quality=95)
            save_labels(root / masks / f'{name}.png', marks)
    return root


def write_cityscapes(root, size=(96, 48), **splits):
    """Cityscapes with splits such as ``train=2``, all in one city."""
    for number, (split, count) in enumerate(splits.items()):
        images, labels = (root / part / split / 'bonn' for part in ('leftImg8bit', 'gtFine'))
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image, marks = draw_pair(100 * number + i, size, range(19))
            name = f'bonn_{i:06}_000019'
            Image.fromarray(image).save(images / f'{name}_leftImg8bit.png')
            Image.fromarray(marks).save(labels / f'{name}_gtFine_labelTrainIds.png')
    return root
