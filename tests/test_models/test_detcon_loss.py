"""DetCon's loss: the public code's numbers, a loop over regions, hand values.

Two processes: test_distributed.py.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from orl_mm.models.baselines.detcon_loss import DetConLoss
from tests.test_models.detcon_model import DRAWS as R
from tests.test_models.detcon_model import some_vectors as some

GOLDEN = Path(__file__).parents[1] / 'data' / 'detcon.npz'


def by_hand(predictions, targets, ids, target_ids, temperature):
    """Equation 3, one region after another, in plain numbers."""

    def unit(vector):
        norm = math.sqrt(sum(x * x for x in vector))
        return [x / norm for x in vector]

    def score(q, k):
        return sum(a * b for a, b in zip(unit(q), unit(k), strict=False)) / temperature

    predictions, targets = [p.tolist() for p in predictions], [t.tolist() for t in targets]
    ids, target_ids = [i.tolist() for i in ids], [i.tolist() for i in target_ids]
    total, images, draws = 0.0, len(ids[0]), len(ids[0][0])
    for view in (0, 1):
        for b in range(images):
            for r in range(draws):
                region, scores, positives = ids[view][b][r], [], []
                for other_view in (0, 1):
                    for c in range(images):
                        for s in range(draws):
                            same = c == b and target_ids[other_view][c][s] == region
                            if same and other_view == view:
                                continue
                            value = score(predictions[view][b][r], targets[other_view][c][s])
                            scores.append(value)
                            if same:
                                positives.append(value)
                if positives:
                    everything = math.log(sum(math.exp(x) for x in scores))
                    cross_entropy = sum(everything - x for x in positives) / len(positives)
                    total += cross_entropy / ids[view][b].count(region) / (images * draws)
    return total


def test_equals_the_public_code():
    """The loss and gradients recorded from deepmind/detcon, to 1e-5."""
    arrays = np.load(GOLDEN, allow_pickle=False)

    def views(name):
        return [torch.from_numpy(arrays[f'{name}_view{v}']) for v in (1, 2)]

    predictions = [p.requires_grad_() for p in views('pred')]
    loss = DetConLoss(float(arrays['temperature']))(predictions, views('target'), views('mask_ids'))
    loss.backward()
    assert abs(loss.item() - float(arrays['loss'])) < 1e-5
    for pred, grad in zip(predictions, views('grad_pred'), strict=False):
        assert grad.abs().max() > 1e-2  # 1e-5 is small beside it
        torch.testing.assert_close(pred.grad, grad, atol=1e-5, rtol=0)


@pytest.mark.parametrize('own', [False, True])
@pytest.mark.parametrize('regions', [2, 4, 100])
def test_against_a_loop(regions, own):
    """Few regions (much excluded), many (few positives), a draw of the target's own."""
    predictions, targets, ids, others = some(regions=regions)
    if regions == 100:  # so many that hardly any would be positive by chance
        ids[1][0] = others[1][0] = ids[0][0]
    found = DetConLoss(0.3)(predictions, targets, ids, others if own else None)
    expected = by_hand(predictions, targets, ids, others if own else ids, 0.3)
    assert expected > 0
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_gradient_against_finite_differences():
    predictions, targets, ids, _ = some(images=2)
    leaf = predictions[0].requires_grad_()
    DetConLoss(0.3)(predictions, targets, ids).backward()
    for b, r, d in ((0, 0, 0), (0, 3, 2), (1, 4, 5)):
        step = torch.zeros_like(leaf)
        step[b, r, d] = 1e-3
        plus, minus = (
            by_hand([leaf.detach() + s * step, predictions[1]], targets, ids, ids, 0.3)
            for s in (1, -1)
        )
        assert leaf.grad[b, r, d].item() == pytest.approx((plus - minus) / 2e-3, abs=1e-5)


def test_by_hand_two_regions():
    """One image; region 7 drawn twice and region 8 once in view 1, region 7 alone in view 2."""
    east, north = [1.0, 0.0], [0.0, 1.0]
    predictions = [torch.tensor([[east, north, north]]), torch.tensor([[east, east, east]])]
    targets = [torch.tensor([[east, east, north]]), torch.tensor([[east, north, north]])]
    ids = [torch.tensor([[7, 7, 8]]), torch.tensor([[7, 7, 7]])]
    # View 1, region 7: against view 2 (1, 0, 0 or 0, 1, 1) and region 8 of view 1.
    first = math.log(math.e + 1 + 1 + 1) - 1 / 3
    second = math.log(1 + math.e + math.e + math.e) - 2 / 3
    # Region 8 is not in view 2: no positive. View 2: against view 1, whose 7s are positive.
    third = math.log(math.e + math.e + 1) - 1
    expected = (first / 2 + second / 2) / 3 + 3 * (third / 3) / 3
    assert DetConLoss(1.0)(predictions, targets, ids).item() == pytest.approx(expected, abs=1e-6)


def test_nothing_in_common_is_a_connected_zero():
    predictions, targets, ids, _ = some()
    leaf = predictions[0].requires_grad_()
    loss = DetConLoss(0.1)(predictions, targets, [ids[0], ids[1] + 50])
    loss.backward()
    assert loss == 0
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_one_region_in_the_whole_batch_is_finite():
    """All keys of the own view are excluded."""
    predictions, targets, _, _ = some(images=1)
    leaf, ids = predictions[0].requires_grad_(), torch.zeros(1, R, dtype=torch.long)
    loss = DetConLoss(0.1)(predictions, targets, [ids, ids])
    loss.backward()
    assert loss.item() == pytest.approx(
        by_hand([p.detach() for p in predictions], targets, [ids, ids], [ids, ids], 0.1), rel=1e-5
    )
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad.any()


def test_no_gradient_to_the_targets():
    predictions, targets, ids, _ = some()
    leaf = targets[0].requires_grad_()
    DetConLoss()(predictions, targets, ids)  # no graph at all: neither side asks for one
    predictions[0].requires_grad_()
    DetConLoss()(predictions, targets, ids).backward()
    assert leaf.grad is None


def test_half_precision_is_compared_in_fp32():
    predictions, targets, ids, _ = some()
    halves = [[t.bfloat16() for t in x] for x in (predictions, targets)]
    with torch.autocast('cpu', torch.bfloat16):
        found = DetConLoss()(*halves, ids)
    expected = DetConLoss()(*[[t.float() for t in x] for x in halves], ids)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_bad_input_is_named():
    predictions, targets, ids, _ = some()
    for temperature in (0.0, -1.0):
        with pytest.raises(ValueError, match=f'temperature must be above 0, got {temperature}'):
            DetConLoss(temperature)
    for wrong in (
        (predictions[:1], targets, ids),
        (predictions, [t[:, 1:] for t in targets], ids),
        (predictions, targets, [i[1:] for i in ids]),
        ([p.flatten(0, 1) for p in predictions], targets, ids),
        (predictions, targets, ids, [ids[0], ids[1][:, 1:]]),
    ):
        with pytest.raises(ValueError, match='predictions and targets must be two'):
            DetConLoss()(*wrong)
