"""COCO 2017: images in folders, annotations of instances as json."""

import json
import os
from collections import Counter
from collections.abc import Sequence

from orl_mm.io.image import UnreadableImageError, decode_image

from .files import in_threads, list_names, spread
from .report import LayoutReport, some

IMAGES = dict(train2017=118_287, val2017=5_000)
PARTS = [
    dict(ann_file=f'annotations/instances_{name}.json', data_prefix=dict(img=f'{name}/'))
    for name in IMAGES
]
SPOTS = 32  # images opened of each part unless all are
ANNOTATIONS = 'extract annotations_trainval2017.zip of https://cocodataset.org/#download anew'

# The 80 classes in the order of their ids; ids left out were never released.
LEFT_OUT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
NAMES = (
    'person',
    'bicycle',
    'car',
    'motorcycle',
    'airplane',
    'bus',
    'train',
    'truck',
    'boat',
    'traffic light',
    'fire hydrant',
    'stop sign',
    'parking meter',
    'bench',
    'bird',
    'cat',
    'dog',
    'horse',
    'sheep',
    'cow',
    'elephant',
    'bear',
    'zebra',
    'giraffe',
    'backpack',
    'umbrella',
    'handbag',
    'tie',
    'suitcase',
    'frisbee',
    'skis',
    'snowboard',
    'sports ball',
    'kite',
    'baseball bat',
    'baseball glove',
    'skateboard',
    'surfboard',
    'tennis racket',
    'bottle',
    'wine glass',
    'cup',
    'fork',
    'knife',
    'spoon',
    'bowl',
    'banana',
    'apple',
    'sandwich',
    'orange',
    'broccoli',
    'carrot',
    'hot dog',
    'pizza',
    'donut',
    'cake',
    'chair',
    'couch',
    'potted plant',
    'bed',
    'dining table',
    'toilet',
    'tv',
    'laptop',
    'mouse',
    'remote',
    'keyboard',
    'cell phone',
    'microwave',
    'oven',
    'toaster',
    'sink',
    'refrigerator',
    'book',
    'clock',
    'vase',
    'scissors',
    'teddy bear',
    'hair drier',
    'toothbrush',
)
CATEGORIES = dict(zip((i for i in range(1, 91) if i not in LEFT_OUT), NAMES, strict=False))


def check_coco(
    root: str, parts: Sequence[dict] = PARTS, every_file: bool = False, progress: bool = False
) -> LayoutReport:
    """Look at ``annotations/instances_{train,val}2017.json`` and ``{train,val}2017/*.jpg``.

    Every image that a json names must be there; a json of fewer images than COCO's is a
    sample, which is noted. A few images are opened and their size compared.

    Args:
        root (str): The folder that holds the three.
        parts (Sequence[dict]): What to look at, in the words of a dataset's config:
            ``ann_file``, and ``data_prefix`` with ``img``, relative to ``root``.
        every_file (bool): Open every image.
        progress (bool): Show bars.
    """
    report = LayoutReport('coco', root)
    if not os.path.isdir(root):
        report.problems.append(f'{root} is no folder; see projects/data/README.md for the download')
        return report
    for part in parts:
        path = os.path.join(root, part['ann_file'])
        folder = os.path.join(root, part['data_prefix'].get('img', ''))
        name = os.path.basename(os.path.normpath(folder))
        content = _read(path, report, progress)
        if content is None:
            continue
        images, annotations = content['images'], content['annotations']
        report.counts.update(
            {f'{name} images': len(images), f'{name} annotations': len(annotations)}
        )
        if not images or not annotations:
            report.problems.append(
                f'{path} has {len(images):,} images and {len(annotations):,} '
                f'annotations: nothing to train or score on; {ANNOTATIONS}'
            )
            continue
        _check_categories(path, content['categories'], report)
        _check_annotations(path, images, annotations, content['categories'], report)
        _check_images(folder, path, images, every_file, progress, report)
        if len(images) != IMAGES.get(name, len(images)):
            report.notes.append(
                f'a sample: {path} has {len(images):,} images, COCO 2017 has {IMAGES[name]:,}'
            )
    return report


def _read(path: str, report: LayoutReport, progress: bool) -> dict | None:
    if not os.path.isfile(path):
        report.problems.append(f'there is no file {path}; {ANNOTATIONS}')
        return None
    if progress and os.path.getsize(path) > 2**26:
        print(f'reading {path} ({os.path.getsize(path) / 2**20:.0f} MB)', flush=True)
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        report.problems.append(f'{path} is cut short or no json ({error}); {ANNOTATIONS}')
        return None
    lacking = [
        key
        for key in ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if lacking:
        report.problems.append(
            f'{path} has no list of {", ".join(lacking)}: it is no file of instances; {ANNOTATIONS}'
        )
        return None
    return content


def _check_categories(path: str, categories: list[dict], report: LayoutReport) -> None:
    """mmdet finds classes by name and orders them by id: both must be COCO's."""
    given = {c.get('id'): c.get('name') for c in categories}
    off = [f'{i}: {CATEGORIES[i]!r}' for i in CATEGORIES if given.get(i) != CATEGORIES[i]]
    if off:
        report.problems.append(
            f"{path} lacks {len(off)} of COCO's 80 categories ({some(off)}): "
            f'labels would be wrong; {ANNOTATIONS}'
        )


def _check_annotations(
    path: str,
    images: list[dict],
    annotations: list[dict],
    categories: list[dict],
    report: LayoutReport,
) -> None:
    known = {image.get('id') for image in images}
    named = {c.get('id') for c in categories}
    ids = Counter(a.get('id') for a in annotations)
    faults: dict[str, list] = {
        'belong to an image that it does not list': [
            a.get('id') for a in annotations if a.get('image_id') not in known
        ],
        'are of a category that it does not list': [
            a.get('id') for a in annotations if a.get('category_id') not in named
        ],
        'have no box or no mask': [
            a.get('id') for a in annotations if not a.get('bbox') or not a.get('segmentation')
        ],
        'share their id with another': [i for i, count in ids.items() if count > 1],
    }
    for fault, which in faults.items():
        if which:
            report.problems.append(
                f'{len(which):,} annotations of {path} {fault}: id {some(which)}; {ANNOTATIONS}'
            )
    if len(known) < len(images):
        report.problems.append(
            f'{len(images) - len(known):,} images of {path} share their id with '
            f'another; {ANNOTATIONS}'
        )


def _check_images(
    folder: str,
    path: str,
    images: list[dict],
    every_file: bool,
    progress: bool,
    report: LayoutReport,
) -> None:
    folder = os.path.normpath(folder)
    outer, name = os.path.split(folder)
    fix = f'extract {name}.zip of https://cocodataset.org/#download into {outer}'
    here = list_names(folder)
    if not here:
        report.problems.append(
            f'{folder} is no folder or empty, and {path} names {len(images):,} images in it; {fix}'
        )
        return
    # COCO's own names are flat; only others need to be asked for one by one.
    absent = [
        name
        for name in (str(image.get('file_name')) for image in images)
        if not (name in here or '/' in name and os.path.isfile(os.path.join(folder, name)))
    ]
    if absent:
        report.problems.append(
            f'{len(absent):,} of {len(images):,} images of {path} are not in '
            f'{folder}: {some(absent)}; {fix} again'
        )
    left = set(absent)
    there = [image for image in images if str(image.get('file_name')) not in left]
    looked = there if every_file else spread(there, SPOTS)
    report.counts[f'{name} images opened'] = len(looked)
    bad = [
        f'{image["file_name"]} ({why})'
        for image, why in in_threads(lambda image: _wrong(folder, image), looked, progress)
    ]
    if bad:
        report.problems.append(
            f'{len(bad):,} of {len(looked):,} images opened in {folder} are not '
            f'as {path} says: {some(bad)}; {fix} again'
            + ('' if every_file else ', and look at all with --all')
        )


def _wrong(folder: str, image: dict) -> str:
    """Why an image is not what the json says; empty if it is."""
    try:
        with open(os.path.join(folder, image['file_name']), 'rb') as file:
            data = file.read()
        if not data:
            return 'an empty file'
        height, width = decode_image(data).shape[:2]
    except (UnreadableImageError, OSError) as error:
        return ' '.join(str(error).split()) or type(error).__name__
    if (height, width) != (image.get('height'), image.get('width')):
        return f'{width} x {height}, not {image.get("width")} x {image.get("height")}'
    return ''
