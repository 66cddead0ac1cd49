"""Small data sets in COCO's layout: colored rectangles on grey, where the json says."""

import json

import numpy as np
from PIL import Image

from orl_mm.datasets.layouts.coco import coco_categories

COLOUR = (240, 40, 10)


def write_coco(root, train=4, val=2, size=(64, 48), box=(10, 12, 30, 20)):
    """Images ``1.jpg`` and so on, one object (x, y, width, height) each; the folder."""
    (root / 'annotations').mkdir(parents=True)
    for split, count, first in (('train2017', train, 1), ('val2017', val, 101)):
        (root / split).mkdir()
        ids = range(first, first + count)
        for i in ids:
            write_picture(root / split / f'{i:012}.jpg', size, box)
        write_json(
            root,
            split,
            dict(
                images=[
                    dict(id=i, file_name=f'{i:012}.jpg', width=size[0], height=size[1]) for i in ids
                ],
                annotations=[annotation(i, box, category=1 + i % 3) for i in ids],
                categories=[dict(id=i, name=name) for i, name in coco_categories().items()],
            ),
        )
    return root


def write_picture(path, size, box):
    x, y, width, height = box
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    pixels[y : y + height, x : x + width] = COLOUR
    Image.fromarray(pixels).save(path, quality=95)


def annotation(image, box, category=1):
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return dict(
        id=image,
        image_id=image,
        category_id=category,
        iscrowd=0,
        bbox=list(box),
        area=width * height,
        segmentation=[corners],
    )


def json_of(root, split):
    return root / 'annotations' / f'instances_{split}.json'


def read_json(root, split):
    return json.loads(json_of(root, split).read_text())


def write_json(root, split, content):
    json_of(root, split).write_text(json.dumps(content))
