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
        try:
            images, annotations, categories = _read(path, check.progress)
        except ValueError as error:
            check.problem(str(error), path=path)
            continue
        sizes[name] = len(images)
        check.counts[f'{name} annotations'] = len(annotations)
        if not images or not annotations:
            check.problem(
                f'{path} has {len(images):,} images and {len(annotations):,} annotations: '
                'nothing to train or score on',
                path=path,
            )
            continue
        _check_annotations(check, path, images, annotations, categories)
        files = {os.path.join(folder, str(image.get('file_name'))): image for image in images}
        found = check.existing(list(files), f'images of {path}')

        def find_fault(file, files=files):
            return unreadable(file, (files[file].get('width'), files[file].get('height')))

        check.open_files([file for file in files if file in found], find_fault, f'{name} images')
    check.compare_counts(sizes)


def _read(path: str, progress: bool) -> tuple[list, list, list]:
    """Images, annotations and categories of a file."""
    if not os.path.isfile(path):
        raise ValueError(f'there is no file {path}')
    if progress and os.path.getsize(path) > 2**26:
        print(f'reading {path} ({os.path.getsize(path) / 2**20:.0f} MB)', flush=True)
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not valid JSON ({error})') from error
    content = content if isinstance(content, dict) else {}
    lists = {key: content.get(key) for key in ('images', 'annotations', 'categories')}
    lacking = [key for key, value in lists.items() if not isinstance(value, list)]
    if lacking:
        raise ValueError(f'{path} has no list of {some(lacking)}: it is not a file of instances')
    return tuple(lists.values())  # type: ignore[return-value]  # three lists


def _check_annotations(
    check: Checker, path: str, images: list, annotations: list, categories: list
) -> None:
    given = {c.get('id'): c.get('name') for c in categories}
    # mmdet finds classes by name and orders them by id, so both must be COCO's.
    off = [f'{i}: {name!r}' for i, name in coco_categories().items() if given.get(i) != name]
    if off:
        text = f"{path} lacks {len(off)} of COCO's 80 categories ({some(off)})"
        check.problem(f'{text}: labels would be wrong', path=path)
    image_ids = Counter(image.get('id') for image in images)
    ids = Counter(a.get('id') for a in annotations)
    faults: dict[str, list] = {
        'annotations of an image that is not listed': [
            a.get('id') for a in annotations if a.get('image_id') not in image_ids
        ],
        'annotations of a category that is not listed': [
            a.get('id') for a in annotations if a.get('category_id') not in given
        ],
        'annotations without a box or a mask': [
            a.get('id') for a in annotations if not a.get('bbox') or not a.get('segmentation')
        ],
        'annotations that share their id': [i for i, count in ids.items() if count > 1],
        'images that share their id': [i for i, count in image_ids.items() if count > 1],
    }
    for fault, which in faults.items():
        check.problem_of(which, f'{fault} in {path}, ids', path=path)
