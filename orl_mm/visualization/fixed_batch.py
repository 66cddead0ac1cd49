"""The same few samples of a data set, every time they are looked at."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from orl_mm.structures import RegionBatch

from .probe import find_objects, preserved_rng, to_rgb


def spread_indices(length: int, num: int) -> list[int]:
    """``num`` places spread evenly over ``length``, from 0; all of them if there are fewer."""
    return sorted({i * length // num for i in range(num)})


def load_samples(dataset, indices: Sequence[int], collate: Callable, seed: int = 0) -> dict:
    """Samples through the data set's own pipeline, as a loader would hand them over.

    The generators are seeded for each sample and put back afterwards: the views
    are the same each time, and a training run does not notice.

    Args:
        dataset: Anything with ``len`` and ``[]``.
        indices (sequence): Which samples.
        collate (callable): Makes them a batch.
        seed (int): For the draws of the pipeline.

    Raises:
        ValueError: An index outside the data set.
    """
    wrong = [i for i in indices if not 0 <= i < len(dataset)]
    if wrong:
        raise ValueError(
            f'indices {wrong} lie outside the data set of {len(dataset)} images '
            f'(0..{len(dataset) - 1})'
        )
    samples = []
    for index in indices:
        with preserved_rng(seed + index):
            samples.append(dataset[index])
    return collate(samples)


class FixedBatch:
    """A batch whose first samples are drawn and whose others make it a batch.

    K-means shares its clusters, and batch norm its statistics, among all images
    of a batch. Four images alone would be cut into finer objects than in
    training, so they are clustered among as many as training has.

    Args:
        data (dict): ``inputs``, a list of (B, 3, H, W) uint8: views, then x0; and
            ``data_samples``.
        num_drawn (int): How many of the samples are drawn.

    Raises:
        ValueError: The data have no whole image beside the views.
    """

    def __init__(self, data: dict, num_drawn: int) -> None:
        samples, inputs = data['data_samples'], data['inputs']
        self.batch = (
            samples if isinstance(samples, RegionBatch) else RegionBatch.from_samples(samples)
        )
        if not isinstance(inputs, (list, tuple)) or len(inputs) != self.batch.views.shape[1] + 1:
            raise ValueError(
                'the pipeline gives no whole image x0 beside its views; put '
                'orl_mm.GenerateSuperpixels before orl_mm.MultiViewWithGeometry'
            )
        self.num_drawn = num_drawn
        self.x0 = inputs[-1]
        # Views of the other images are never looked at.
        self.view_inputs = [view[:num_drawn].clone() for view in inputs[:-1]]

    @property
    def priors(self) -> np.ndarray | None:
        """(num_drawn, H, W) superpixels, or None."""
        labels = self.batch.labels
        return None if labels is None else labels[: self.num_drawn].cpu().numpy().astype(np.int64)

    @property
    def views(self) -> np.ndarray:
        """(num_drawn, V, 5)."""
        return self.batch.views[: self.num_drawn].cpu().numpy()

    def pictures(self, preprocessor: nn.Module) -> list[np.ndarray]:
        """Whole images, then each view, as the network gets them; (num_drawn, H, W, 3) RGB."""
        n = self.num_drawn
        shown = RegionBatch(self.batch.views[:n])
        inputs = [self.x0[:n], *self.view_inputs]
        inputs = preprocessor(dict(inputs=inputs, data_samples=shown), False)['inputs']
        return [to_rgb(x, preprocessor) for x in inputs]

    def objects(self, model: nn.Module) -> np.ndarray:
        """Ids of the objects of the whole batch, (B, S, S); see :func:`find_objects`."""
        data = model.data_preprocessor(dict(inputs=[self.x0], data_samples=self.batch), False)
        batch: RegionBatch = data['data_samples']
        return find_objects(model, data['inputs'][0], batch.labels, list(batch.counts) or None)
