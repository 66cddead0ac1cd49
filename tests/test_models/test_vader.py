"""VADeR's step against loops over images and pixels, its queue against a list."""

import math
from collections import deque
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from torch import nn

from orl_mm.models.baselines.vader_head import PixelContrastHead
from orl_mm.structures import RegionBatch, ViewGeometry
from tests.small import two_views, vader

SIZE = (60, 80)
# Overlapping, one flipped; nearly the same, both flipped; apart; the overlap is small.
VIEWS = [
    [ViewGeometry(3, 5, 63, 41, *SIZE), ViewGeometry(20, 11, 80, 60, *SIZE, True)],
    [ViewGeometry(0, 0, 71, 59, *SIZE, True), ViewGeometry(4, 1, 77, 58, *SIZE, True)],
    [ViewGeometry(0, 0, 33, 30, *SIZE), ViewGeometry(41, 22, 80, 60, *SIZE)],
    [ViewGeometry(0, 0, 41, 37, *SIZE), ViewGeometry(30, 26, 77, 60, *SIZE)],
]
BOXES = torch.stack([torch.stack([v.to_tensor() for v in pair]) for pair in VIEWS])
EVERY = 16 * 16  # as many pairs as cells: then all that are shared are drawn


def matches(first, second, cells=16):
    """(row, column) in both views of every cell of view 1 that view 2 shows."""
    for i in range(cells):
        for j in range(cells):
            place = first.invert_points([[j + 0.5, i + 0.5]], cells)
            ((x, y),) = second.apply_points(place, cells)
            assert min(abs(x - round(x)), abs(y - round(y))) > 1e-5, 'choose other boxes'
            if 0 <= x < cells and 0 <= y < cells:
                yield (i, j), (int(y), int(x))


def unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


def naive(online, target, negatives, temperature, weight):
    """The loss, and the keys image by image, in double precision without tensors."""
    losses, keys = [], []
    for b, (first, second) in enumerate(VIEWS):
        for (i, j), (k, m) in matches(first, second):
            query = unit(online[b, :, i, j].tolist())
            key = unit(target[b, :, k, m].tolist())
            scores = [
                sum(x * y for x, y in zip(query, other, strict=False)) / temperature
                for other in [key, *negatives]
            ]
            top = max(scores)
            losses.append(top + math.log(sum(math.exp(s - top) for s in scores)) - scores[0])
            keys.append(key)
    return weight * sum(losses) / len(losses), keys


@pytest.fixture
def stepped():
    """A model whose target differs, its input, and the features of both networks."""
    torch.manual_seed(0)
    model = vader(num_pairs=EVERY, queue_len=700)
    with torch.no_grad():
        for p in model.target.parameters():
            p += 0.05 * torch.randn_like(p)
    inputs, batch = two_views(BOXES)
    copy = deepcopy(model)
    with torch.no_grad():
        (online,) = copy.neck(copy.backbone(inputs[0]))
        (target,) = copy.target['neck'](copy.target['backbone'](inputs[1]))
    return model, inputs, batch, online, target


def test_loss_equals_loops_over_pixels(stepped):
    model, inputs, batch, online, target = stepped
    negatives = model.queue.rows.tolist()
    loss = model.loss(inputs, batch)['loss']
    expected, keys = naive(online.double(), target.double(), negatives, 0.3, 2.0)
    assert 100 < len(keys) < 700
    assert not any(True for _ in matches(*VIEWS[2]))
    assert loss.item() == pytest.approx(expected, rel=2e-5)
    # The keys of this step stand at the queue's begin, in any order within an image.
    entered = model.queue.rows[: len(keys)]
    assert int(model.queue.pointer) == len(keys)
    torch.testing.assert_close(sorted(entered.tolist()), sorted(keys), atol=1e-5, rtol=0)
    assert model.queue.rows[len(keys) :].tolist() == negatives[len(keys) :]
    # The next step sees them as negatives.
    copy = deepcopy(model)
    with torch.no_grad():
        (online,) = copy.neck(copy.backbone(inputs[0]))
        (target,) = copy.target['neck'](copy.target['backbone'](inputs[1]))
    expected, _ = naive(online.double(), target.double(), model.queue.rows.tolist(), 0.3, 2.0)
    assert model.loss(inputs, batch)['loss'].item() == pytest.approx(expected, rel=2e-5)


def test_gradient_reaches_encoder_and_decoder_but_not_the_target(stepped):
    model, inputs, batch, _, _ = stepped
    model.loss(inputs, batch)['loss'].backward()
    online = [*model.backbone.named_parameters(), *model.neck.named_parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in online)
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        *(f'backbone.{n}' for n, _ in model.backbone.named_parameters()),
        *(f'neck.{n}' for n, _ in model.neck.named_parameters()),
    }


def test_gradient_is_that_of_the_loss(stepped):
    """Against the change of the loss along a direction, with the draws held."""
    model, inputs, batch, _, _ = stepped
    model.eval()  # batch norms of both networks stand still
    state = deepcopy(model.queue.state_dict())

    def loss():
        model.queue.load_state_dict(state)
        return model.loss(inputs, batch)['loss']

    weight = model.neck.last.weight
    direction = torch.randn_like(weight)
    loss().backward()
    slope = (weight.grad * direction).sum().item()
    values = []
    for step in (1e-3, -1e-3):
        with torch.no_grad():
            weight += step * direction
            values.append(loss().item())
            weight -= step * direction
    assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=2e-2)


def test_queue_over_steps_equals_a_list():
    """Keys are what the target says of the drawn pixels; the oldest leave first."""
    torch.manual_seed(0)
    model = vader(num_pairs=5, queue_len=23)
    expected = deque(model.queue.rows.clone().unbind(), maxlen=23)
    entering = []
    push = model.queue.push

    def watched(rows, valid):
        entering.extend(row for row, ok in zip(rows, valid, strict=False) if ok)
        push(rows, valid)

    model.queue.push = watched
    for step in range(4):
        inputs, batch = two_views(BOXES, seed=step)
        entering.clear()
        model.loss(inputs, batch)
        # Image 2 shares nothing, the others have more than five pixels.
        assert len(entering) == 15
        expected.extend(entering)
        pointer = int(model.queue.pointer)
        rows = torch.cat([model.queue.rows[pointer:], model.queue.rows[:pointer]])
        assert torch.equal(rows, torch.stack(list(expected)))
    torch.testing.assert_close(model.queue.rows.norm(dim=1), torch.ones(23))


def test_views_apart_give_a_connected_zero():
    torch.manual_seed(0)
    model = vader()
    inputs, batch = two_views(BOXES[2:3].expand(2, -1, -1))
    before = model.queue().clone()
    loss = model.loss(inputs, batch)['loss']
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(model.queue.rows, before)
    assert all((p.grad == 0).all() for p in model.neck.parameters())
    assert int(model.queue.pointer) == 0


def test_an_image_apart_changes_nothing_for_the_others():
    """With norms of each image alone."""
    torch.manual_seed(0)
    model = vader(norm=dict(type='GN', num_groups=2), num_pairs=EVERY)
    inputs, batch = two_views(BOXES)
    keep = [0, 1, 3]
    fewer = deepcopy(model)
    loss = model.loss(inputs, batch)['loss']
    other = fewer.loss([x[keep] for x in inputs], RegionBatch(batch.views[keep]))['loss']
    torch.testing.assert_close(loss, other)


def test_step_reads_nothing_back(monkeypatch):
    """Tensors without values: a step that asked for one, and so waited for a GPU, would raise."""
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: nullcontext())  # not for meta
    model = vader(num_pairs=8).to('meta')
    inputs, batch = two_views(BOXES)
    loss = model.loss([x.to('meta') for x in inputs], batch.to('meta'))['loss']
    loss.backward()
    model.update_target(0.999)
    assert loss.shape == ()
    with pytest.raises((RuntimeError, NotImplementedError)):
        loss.item()


def test_head_by_hand():
    """Two pixels, one negative, cosines 0.6 and 0 against 0 and 0.8."""
    head = PixelContrastHead(temperature=0.5, loss_weight=10.0)
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    keys = torch.tensor([[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0]])
    negatives = torch.tensor([[0.0, 1.0]])
    valid = torch.tensor([True, True, False])
    first = math.log(math.exp(1.2) + math.exp(0)) - 1.2
    second = math.log(math.exp(0) + math.exp(2.0)) - 0
    loss = head.loss(queries, keys, negatives, valid, valid.sum())
    assert loss.item() == pytest.approx(10 * (first + second) / 2, rel=1e-6)


def test_head_is_stable_at_a_low_temperature():
    head = PixelContrastHead(temperature=1e-3)
    query = nn.functional.normalize(torch.randn(4, 6), dim=1).requires_grad_()
    loss = head.loss(
        query, query.detach(), -query.detach(), torch.ones(4, dtype=torch.bool), torch.tensor(4)
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(query.grad).all()


def test_bad_input():
    model = vader()
    inputs, batch = two_views(BOXES)
    with pytest.raises(ValueError, match='needs two views, got 3'):
        model.loss([*inputs, inputs[0]], batch)
    with pytest.raises(ValueError, match='needs two views, got a single tensor'):
        model.loss(inputs[0], batch)
    with pytest.raises(ValueError, match=r'boxes of two views of 4 images.*\(4, 1, 5\)'):
        model.loss(inputs, RegionBatch(batch.views[:, :1]))
    for wrong in (dict(num_pairs=0), dict(queue_len=0), dict(temperature=0.0)):
        with pytest.raises(ValueError, match='must be|at least 1'):
            vader(**wrong)
