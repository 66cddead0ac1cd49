"""Agreement of regions found without labels with the objects of an image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score


class ObjectAgreement(NamedTuple):
    """One image.

    Attributes:
        best_overlap (list[float]): Of each object, the IoU with the region that fits it best.
        area (list[float]): Of each object, its share of the image.
        ari (float): Adjusted Rand index over all pixels, background one more object.
        foreground_ari (float): Over the pixels of objects alone; NaN without any.
        num_regions (int): Regions of the image.
    """

    best_overlap: list[float]
    area: list[float]
    ari: float
    foreground_ari: float
    num_regions: int


def object_agreement(
    regions: np.ndarray, objects: np.ndarray, ignore: np.ndarray | None = None
) -> ObjectAgreement:
    """Compare a partition of an image with the masks of its objects.

    Best overlap is that of Uijlings et al. 2013 ("Selective search", section 5.2): an object
    cut into several regions scores with the best of them, one inside a larger region
    with its share of it. The adjusted Rand index (Hubert and Arabie 1985) is 1 for equal
    partitions and 0 on average for random ones.

    Args:
        regions (np.ndarray): (H, W) integer ids, any numbers.
        objects (np.ndarray): (N, H, W) bool; where objects overlap the smaller one counts for
            the Rand index. N may be 0.
        ignore (np.ndarray, optional): (H, W) bool: pixels that count for nothing (VOC's 255,
            COCO's crowds).

    Raises:
        ValueError: Shapes that do not agree.

    Returns:
        ObjectAgreement: An object wholly within ``ignore`` is left out.
    """
    objects = np.asarray(objects, dtype=bool)
    if (
        objects.ndim != 3
        or objects.shape[1:] != regions.shape
        or (ignore is not None and ignore.shape != regions.shape)
    ):
        raise ValueError(
            f'regions {regions.shape}, objects {objects.shape} and ignore '
            f'{None if ignore is None else ignore.shape} must be (H, W), (N, H, W) '
            'and (H, W) of one image'
        )
    keep = np.ones(regions.shape, bool) if ignore is None else ~np.asarray(ignore, bool)
    _, ids = np.unique(regions[keep], return_inverse=True)
    masks = objects[:, keep]
    areas = masks.sum(1)
    masks, areas = masks[areas > 0], areas[areas > 0]
    sizes = np.bincount(ids)
    best = []
    for mask, area in zip(masks, areas, strict=False):
        shared = np.bincount(ids[mask], minlength=len(sizes))
        best.append(float((shared / (sizes + area - shared)).max()))
    truth = np.zeros(len(ids), int)
    for number in np.argsort(-areas, kind='stable'):
        truth[masks[number]] = number + 1
    seen = truth > 0
    return ObjectAgreement(
        best,
        [float(a) / max(len(ids), 1) for a in areas],
        float(adjusted_rand_score(truth, ids)),
        float(adjusted_rand_score(truth[seen], ids[seen])) if seen.any() else float('nan'),
        len(sizes),
    )


def summarize(images: Sequence[ObjectAgreement], small: float = 0.02) -> dict[str, float]:
    """Means over a data set.

    Args:
        images (sequence): Images without objects count for nothing.
        small (float): Objects of a smaller share of their image are also left out of
            ``best_overlap_large``: on a coarse grid they fit no region.

    Returns:
        dict: ``best_overlap`` (mean over objects), ``best_overlap_large``, ``ari``,
        ``foreground_ari`` (means over images), ``objects``, ``images``, ``regions``.
    """
    images = [image for image in images if image.best_overlap]
    overlap = np.array([x for image in images for x in image.best_overlap])
    area = np.array([x for image in images for x in image.area])

    def mean(values) -> float:
        return float(np.mean(values)) if len(values) else float('nan')

    return dict(
        best_overlap=mean(overlap),
        best_overlap_large=mean(overlap[area >= small]),
        ari=mean([image.ari for image in images]),
        foreground_ari=mean([image.foreground_ari for image in images]),
        regions=mean([image.num_regions for image in images]),
        objects=len(overlap),
        images=len(images),
    )
