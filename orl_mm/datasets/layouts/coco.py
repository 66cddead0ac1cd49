"""COCO 2017: images in folders, annotations of instances as JSON."""

import json
import os
from collections import Counter
from collections.abc import Sequence

from .checker import Checker, some, unreadable


def coco_categories() -> dict[int, str]:
    """COCO's 80 categories by id, as torchvision's detectors list them."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
    return {i: name for i, name in enumerate(names) if i and name != 'N/A'}


def check_coco(check: Checker, parts: Sequence[dict] | None = None) -> None:
    """Annotations must be consistent and COCO's, and every image that they list must exist.

    Args:
        check (Checker): Where to report.
        parts (sequence, optional): See :class:`~.checker.Layout`; ``data_prefix`` has ``img``.
    """
    if not check.has_root():
        return
    sizes = {}
    for part in check.layout.parts if parts is None else parts:
        path = os.path.join(check.root, part['ann_file'])
        folder = os.path.normpath(os.path.join(check.root, part['data_prefix'].get('img', '')))
        name = os.path.basename(folder)
        content = _read(check, path)
        if content is None:
            continue
        images, annotations = content['images'], content['annotations']
        sizes[name] = len(images)
        check.report.counts[f'{name} annotations'] = len(annotations)
        if not images or not annotations:
            check.problem(
                f'{path} has {len(images):,} images and {len(annotations):,} annotations: '
                'nothing to train or score on',
                path=path,
            )
            continue
        _check_annotations(check, path, content)
        by_path = {os.path.join(folder, str(image.get('file_name'))): image for image in images}
        found = check.existing(list(by_path), f'images of {path}')

        def find_fault(file, by_path=by_path):
            return unreadable(file, (by_path[file].get('width'), by_path[file].get('height')))

        check.open_files([file for file in by_path if file in found], find_fault, f'{name} images')
    check.compare_counts(sizes)


def _read(check: Checker, path: str) -> dict | None:
    if not os.path.isfile(path):
        check.problem(f'there is no file {path}', path=path)
        return None
    if check.progress and os.path.getsize(path) > 2**26:
        print(f'reading {path} ({os.path.getsize(path) / 2**20:.0f} MB)', flush=True)
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        check.problem(f'{path} is not valid JSON ({error})', path=path)
        return None
    lacking = [
        key
        for key in ('images', 'annotations', 'categories')
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if lacking:
        text = f'{path} has no list of {", ".join(lacking)}: it is not a file of instances'
        check.problem(text, path=path)
        return None
    return content


def _check_annotations(check: Checker, path: str, content: dict) -> None:
    given = {c.get('id'): c.get('name') for c in content['categories']}
    # mmdet finds classes by name and orders them by id, so both must be COCO's.
    off = [f'{i}: {name!r}' for i, name in coco_categories().items() if given.get(i) != name]
    if off:
        text = f"{path} lacks {len(off)} of COCO's 80 categories ({some(off)})"
        check.problem(f'{text}: labels would be wrong', path=path)
    images = Counter(image.get('id') for image in content['images'])
    annotations = content['annotations']
    ids = Counter(a.get('id') for a in annotations)
    faults: dict[str, list] = {
        'annotations of an image that is not listed': [
            a.get('id') for a in annotations if a.get('image_id') not in images
        ],
        'annotations of a category that is not listed': [
            a.get('id') for a in annotations if a.get('category_id') not in given
        ],
        'annotations without a box or a mask': [
            a.get('id') for a in annotations if not a.get('bbox') or not a.get('segmentation')
        ],
        'annotations that share their id': [i for i, count in ids.items() if count > 1],
        'images that share their id': [i for i, count in images.items() if count > 1],
    }
    for fault, which in faults.items():
        if which:
            check.problem(f'{path} has {len(which):,} {fault}: id {some(which)}', path=path)
