"""InfoMin's step against loops over images and crops; its queue and its neck."""

import math
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from orl_mm.models.baselines.infomin_neck import JigsawNeck
from tests.small import infomin, views_and_crops

NUM, CROPS = 3, 9


def unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


def contrast(query, key, negatives, temperature):
    scores = [
        sum(x * y for x, y in zip(query, other, strict=False)) / temperature
        for other in [key, *negatives]
    ]
    return math.log(sum(math.exp(s) for s in scores)) - scores[0]


def projected(neck, feats):
    """MoCo v2's neck written out: average, linear, ReLU, linear."""
    weights = dict(neck.named_parameters())
    x = feats.mean((2, 3))
    x = F.relu(x @ weights['mlp.0.weight'].t() + weights['mlp.0.bias'])
    return x @ weights['mlp.2.weight'].t() + weights['mlp.2.bias']


def naive(model, inputs, temperature):
    """Loss of the views, of the crops, and the keys; the momentum encoder moved already."""
    first, second, stack = inputs
    online, keys_of = model.backbone, model.encoder_k.module
    queries = projected(model.neck, online(first)[-1]).tolist()
    keys = [unit(k) for k in projected(keys_of[1], keys_of[0](second)[-1]).tolist()]
    negatives = model.queue.t().tolist()
    crops = [stack[b, :, i * 32 : (i + 1) * 32] for b in range(NUM) for i in range(CROPS)]
    parts = projected(model.jigsaw_neck.crop_neck, online(torch.stack(crops))[-1])
    views = jigsaw = 0.0
    for b in range(NUM):
        row = torch.cat([parts[b * CROPS + i] for i in range(CROPS)])
        merged = (model.jigsaw_neck.merge.weight @ row + model.jigsaw_neck.merge.bias).tolist()
        views += contrast(unit(queries[b]), keys[b], negatives, temperature) / NUM
        jigsaw += contrast(unit(merged), keys[b], negatives, temperature) / NUM
    return views, jigsaw, keys


@pytest.mark.parametrize('weight', [0.5, 0.2])
def test_loss_equals_loops_over_images(weight):
    torch.manual_seed(0)
    model = infomin(momentum=0.1, jigsaw_weight=weight)
    with torch.no_grad():  # a momentum encoder that differs
        for p in model.encoder_k.module.parameters():
            p += 0.05 * torch.randn_like(p)
    moved = dict(
        model.encoder_k.state_dict(), steps=torch.tensor(1)
    )  # the first update only copies
    model.encoder_k.load_state_dict(moved)
    inputs, copy = views_and_crops(NUM), deepcopy(model)
    with torch.no_grad():
        for p, q in zip(
            copy.encoder_k.module.parameters(),
            [*copy.backbone.parameters(), *copy.neck.parameters()],
            strict=False,
        ):
            p.copy_(0.9 * p + 0.1 * q)
        views, jigsaw, keys = naive(copy, inputs, 0.3)
    losses = model.loss(inputs)
    assert set(losses) == {'loss_views', 'loss_jigsaw'}
    assert losses['loss_views'].item() == pytest.approx((1 - weight) * views, rel=1e-4)
    assert losses['loss_jigsaw'].item() == pytest.approx(weight * jigsaw, rel=1e-4)
    assert views != pytest.approx(jigsaw, rel=1e-3)
    # The keys entered once, after both losses.
    torch.testing.assert_close(model.queue[:, :NUM].t(), torch.tensor(keys), atol=1e-5, rtol=1e-4)
    assert torch.equal(model.queue[:, NUM:], copy.queue[:, NUM:])
    assert model.queue_ptr.tolist() == [NUM]


def test_gradient_reaches_all_but_the_momentum_encoder():
    torch.manual_seed(0)
    model, inputs = infomin(), views_and_crops(NUM)
    for x in inputs:
        x.requires_grad_()
    sum(model.loss(inputs).values()).backward()
    for part in (model.backbone, model.neck, model.jigsaw_neck):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None for p in model.encoder_k.parameters())
    # Keys have no gradient: view 2 is seen by the momentum encoder alone.
    assert inputs[1].grad is None
    assert inputs[0].grad.abs().sum() > 0
    crops = inputs[2].grad.unflatten(2, (CROPS, -1)).abs().sum((1, 3, 4))
    assert crops.shape == (NUM, CROPS)
    assert (crops > 0).all()


def test_queue_goes_on_at_its_begin():
    """10 slots, 3 keys a step: MoCo's own would refuse it."""
    torch.manual_seed(0)
    model = infomin(queue_len=10)
    before = model.queue.clone()
    entered = []
    for step in range(4):
        inputs = views_and_crops(NUM, seed=step)
        model.loss(inputs)
        entered += [model.queue[:, (step * NUM + i) % 10].clone() for i in range(NUM)]
        assert model.queue_ptr.item() == (step + 1) * NUM % 10
    assert torch.equal(model.queue[:, 2:], torch.stack(entered[2:10], 1))
    assert torch.equal(model.queue[:, :2], torch.stack(entered[10:], 1))
    assert not (model.queue == before).any(0).all()
    torch.testing.assert_close(model.queue.norm(dim=0), torch.ones(10))


def test_learns_to_tell_images_apart():
    """Both losses fall on fixed images against random directions."""
    torch.manual_seed(0)
    model, inputs = infomin(momentum=0.01), views_and_crops(4)
    queue = model.queue.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.05, 0.9)
    history = []
    for _ in range(12):
        model.queue.copy_(queue)
        losses = model.loss(inputs)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append([losses['loss_views'].item(), losses['loss_jigsaw'].item()])
    (views, jigsaw), (last_views, last_jigsaw) = history[0], history[-1]
    assert last_views < views - 0.05
    assert last_jigsaw < jigsaw - 1


def test_neck_keeps_the_images_apart_and_the_crops_in_order():
    torch.manual_seed(0)
    neck = JigsawNeck(nn_neck(), crop_channels=4, out_channels=5, num_crops=3)
    feats = torch.randn(2 * 3, 6, 2, 2)
    (out,) = neck((torch.zeros(1), feats))
    assert out.shape == (2, 5)
    parts = projected(neck.crop_neck, feats)
    weight = neck.merge.weight
    for b in range(2):
        expected = sum(weight[:, 4 * i : 4 * i + 4] @ parts[3 * b + i] for i in range(3))
        torch.testing.assert_close(out[b], expected + neck.merge.bias)


def nn_neck():
    return dict(type='mmpretrain.MoCoV2Neck', in_channels=6, hid_channels=7, out_channels=4)


def test_bad_input():
    model, inputs = infomin(), views_and_crops(NUM)
    with pytest.raises(ValueError, match='two views and the crops of the image, got 2'):
        model.loss(inputs[:2])
    with pytest.raises(ValueError, match='got a single tensor'):
        model.loss(inputs[0])
    with pytest.raises(ValueError, match=r'9 square crops.*\(3, 3, 128, 32\)'):
        model.loss(views_and_crops(NUM, crops=4))
    for weight in (-0.1, 1.5):
        with pytest.raises(ValueError, match=rf'jigsaw_weight must lie in \[0, 1\], got {weight}'):
            infomin(jigsaw_weight=weight)
    with pytest.raises(ValueError, match='at least 1'):
        JigsawNeck(nn_neck(), num_crops=0)
