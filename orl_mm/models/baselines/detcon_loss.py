"""DetCon's contrastive loss over all sampled regions of the batch of all ranks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModule
from torch import Tensor

from orl_mm.models.utils import gather_rows
from orl_mm.registry import MODELS

_EXCLUDED = -1e9  # finite, as in the public code: -inf gives NaN if all keys are excluded


@MODELS.register_module()
class DetConLoss(BaseModule):
    r"""DetCon_B's cross-entropy (arXiv 2103.10957, equation 3).

    A prediction q of region i of an image, in one view, is compared with the targets k
    of all sampled regions of all images of all ranks in both views, all L2-normalized:

    .. math:: l = \frac{1}{n} \Big(\log \sum_{k \in K} \exp(q k / T)
              - \frac{1}{|P|} \sum_{k \in P} q k / T \Big)

    n is how often region i was drawn in q's view. P are the targets of the same region
    in the other view, K all targets but those of the same region in q's own view. A
    region without any P counts 0, and stays a negative to others. The loss is the mean
    over the R sampled regions of the images, summed over both directions.

    Every rank must hold the same number of images. The mean of the loss over ranks,
    which distributed training takes, is that of the joined batch. Logits are B R x 2 S R
    floats a direction, S the images of all ranks (32 images of 4096: 268 MB), in fp32.

    Args:
        temperature (float): T > 0.

    Raises:
        ValueError: ``temperature`` is not above 0.

    Source: ``utils/losses.py`` of github.com/deepmind/detcon.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'temperature must be above 0, got {temperature}')
        self.temperature = temperature

    def forward(
        self,
        predictions: Sequence[Tensor],
        targets: Sequence[Tensor],
        ids: Sequence[Tensor],
        target_ids: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """
        Args:
            predictions (sequence): Two (B, R, D), view 1 and view 2, any float type.
            targets (sequence): Two (B, R, D); no gradient.
            ids (sequence): Two (B, R) integers, the regions of the predictions; equal
                numbers in one image are one region.
            target_ids (sequence, optional): The same of the targets. None: ``ids``.

        Returns:
            Tensor: Scalar, fp32.

        Raises:
            ValueError: Shapes that do not belong together.
        """
        target_ids = ids if target_ids is None else target_ids
        _check(predictions, targets, ids, target_ids)
        with torch.autocast(predictions[0].device.type, enabled=False):
            queries = [F.normalize(p.float(), dim=-1) / self.temperature for p in predictions]
            keys = torch.stack([F.normalize(t.detach().float(), dim=-1) for t in targets], 1)
            # (S, 2, R, D): both views in one collective.
            everywhere = gather_rows(keys, [len(keys)] * get_world_size())
            first = get_rank() * len(keys)
            one, two = (
                _direction(queries[v], v, keys, everywhere, first, ids[v], target_ids)
                for v in (0, 1)
            )
            return one + two


def _direction(
    queries: Tensor,
    view: int,
    keys: Tensor,
    everywhere: Tensor,
    first: int,
    ids: Tensor,
    target_ids: Sequence[Tensor],
) -> Tensor:
    """Mean loss of the predictions of one view.

    Args:
        queries (Tensor): (B, R, D), unit vectors divided by the temperature.
        view (int): Theirs, 0 or 1.
        keys (Tensor): (B, 2, R, D), unit vectors of both views of the same images.
        everywhere (Tensor): (S, 2, R, D), those of all ranks.
        first (int): Row of ``everywhere`` where ``keys`` begin.
        ids (Tensor): (B, R) of the queries.
        target_ids (sequence): Two (B, R) of the keys.
    """
    num, draws = ids.shape
    logits = queries.flatten(0, 1) @ everywhere.flatten(0, 2).t()
    # The keys of the query's own image and view, as (R of keys, B, R of queries). They are
    # overwritten without autograd, which would copy all logits: the gradient at an
    # excluded key is its softmax, 0, either way.
    own = logits.detach().view(num, draws, -1, 2, draws)[:, :, first : first + num, view]
    own = own.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    own.masked_fill_(_same(ids, target_ids[view]), _EXCLUDED)
    total = logits.logsumexp(1).view(num, draws)

    match = _same(ids, target_ids[1 - view])
    positive = (queries @ keys[:, 1 - view].transpose(1, 2) * match).sum(2)
    count, drawn = match.sum(2), _same(ids, ids).sum(2)
    losses = (total - positive / count.clamp(min=1)) * (count > 0) / drawn
    return losses.mean()


def _same(ids: Tensor, others: Tensor) -> Tensor:
    """(B, R), (B, R') -> (B, R, R') bool."""
    return ids[:, :, None] == others[:, None]


def _check(predictions, targets, ids, target_ids) -> None:
    groups = dict(predictions=predictions, targets=targets, ids=ids, target_ids=target_ids)
    shapes = {name: [tuple(t.shape) for t in group] for name, group in groups.items()}
    vectors = tuple(predictions[0].shape)
    wanted = dict(predictions=vectors, targets=vectors, ids=vectors[:2], target_ids=vectors[:2])
    if len(vectors) != 3 or any(shapes[name] != [wanted[name]] * 2 for name in groups):
        raise ValueError(
            'predictions and targets must be two (B, R, D), one of each view, and ids two '
            f'(B, R), got {shapes}'
        )
