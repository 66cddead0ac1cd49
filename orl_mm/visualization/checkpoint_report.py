"""Numbers beside the pictures of a checkpoint."""

import numpy as np
import torch
from torch import nn

from orl_mm.models.utils import downsample_regions, mask_pool
from orl_mm.models.utils.diagnostics import embedding_spread
from orl_mm.models.utils.stages import forward_stage

from .fixed_batch import FixedBatch
from .probe import batch_statistics


def summarise(labels: np.ndarray) -> tuple[float, float]:
    """Objects an image, and the largest object's share of an image; means over images.

    Args:
        labels (np.ndarray): (B, S, S) ids.
    """
    counts = [np.unique(image, return_counts=True)[1] for image in labels]
    return (
        float(np.mean([len(c) for c in counts])),
        float(np.mean([c.max() / c.sum() for c in counts])),
    )


@torch.no_grad()
def region_spread(model: nn.Module, batch: FixedBatch) -> float:
    """How different the regions look to the network that clusters them.

    The spread of the vectors that K-means would get, as
    :func:`~orl_mm.models.utils.diagnostics.embedding_spread`: 0 where all are
    equal and there is nothing to cluster, 1 where they are isotropic.

    Args:
        model (nn.Module): R2O.
        batch (FixedBatch): Its superpixels, or without any the feature cells.
    """
    data = model.data_preprocessor(dict(inputs=[batch.x0], data_samples=batch.batch), False)
    encoder = model.backbone if model.target is None else model.target['backbone']
    with batch_statistics(encoder):
        feats = forward_stage(encoder, data['inputs'][0], model.refiner.stage)
    regions = data['data_samples']
    if regions.labels is None:
        points = feats.flatten(2).transpose(1, 2).flatten(0, 1)
    else:
        masks = downsample_regions(regions.labels, regions.max_count, feats.shape[-2:])
        points = mask_pool(feats, masks).flatten(0, 1)[regions.rows]
    return embedding_spread(points)
