"""Scenarios of the distributed tests, computed by each process on its share of the batch.

Networks have group norms, whose statistics are those of one image, or batch norms, synchronized
in several processes; what is drawn at random is drawn for all images, and each process takes its
share.
"""

from contextlib import nullcontext
from unittest import mock

import torch
import torch.distributed as dist
from mmengine.dist import all_gather
from mmengine.logging import MessageHub
from mmengine.model import convert_sync_batchnorm
from torch.nn.functional import normalize

from orl_mm.engine.cpu_ddp import CPUDistributedDataParallel
from orl_mm.models import R2O, PixPro
from orl_mm.models.baselines.detcon_loss import DetConLoss
from orl_mm.models.heads.region_contrast_head import RegionContrastHead
from orl_mm.models.positives.nearest_neighbor import NearestNeighbor
from orl_mm.models.utils import RegionPairs
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from tests.small import BATCH_NORM, DIM, ENCODER, infomin, mlp, two_views, vader, views_and_crops
from tests.test_models import detcon_model, knn_model  # noqa: E402

NUM, SIDE = 4, 64
GROUPS = dict(type='GN', num_groups=2)
NEAR = [[0, 0, 0.83, 0.91, 0], [0.11, 0.17, 1, 1, 1.0]]
CORNER = [[0, 0, 0.52, 0.53, 1.0], [0.46, 0.48, 1, 1, 0.0]]  # fewer pixels than are drawn
APART = [[0, 0, 0.25, 0.25, 0], [0.75, 0.75, 1, 1, 0.0]]  # nothing in both views
SCENARIOS = {
    'even': [NEAR, NEAR, NEAR, NEAR],
    'uneven': [NEAR, APART, CORNER, NEAR],
    'empty rank': [NEAR, CORNER, APART, APART],
    'empty job': [APART, APART, APART, APART],
}


def share_of(rank, world):
    return slice(rank * NUM // world, (rank + 1) * NUM // world)


def train(model, batches, world, draws=None, within_step=False):
    """Losses of all ranks, the first gradients, the moving average, and every rank's queue."""
    wrapped = model
    if world > 1:
        wrapped = CPUDistributedDataParallel(convert_sync_batchnorm(model))
    online = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.05)
    losses, grads = [], None
    for inputs, samples in batches:
        optimizer.zero_grad()
        if within_step:
            model.pending_momentum = 0.9
        with mock.patch('torch.rand', draws) if draws else nullcontext():
            loss = sum(wrapped(inputs, samples, mode='loss').values())
        loss.backward()
        mean = loss.detach().clone()
        if world > 1:
            dist.all_reduce(mean)
        losses.append(mean / world)
        grads = grads or [p.grad.clone() for p in online]
        optimizer.step()
        if hasattr(model, 'update_target') and not within_step:
            model.update_target(0.9)
    target = next(
        getattr(model, name)
        for name in ('target', 'target_net', 'encoder_k')
        if hasattr(model, name)
    )
    queue = getattr(model, 'queue', torch.empty(0))
    queue = getattr(queue, 'rows', queue)
    return dict(
        losses=torch.stack(losses),
        grads=grads,
        queues=[q.clone() for q in all_gather(queue.contiguous())],
        target=[p.clone() for p in target.parameters()],
        statistics=[b.clone() for name, b in model.named_buffers() if '.running_' in name],
    )


def r2o(scenario, average, norm, rank, world):
    """Two steps on superpixels of 4 x 4 as the objects."""
    torch.manual_seed(0)
    model = R2O(
        backbone=dict(ENCODER, norm_cfg=norm or BATCH_NORM),
        neck=dict(type='orl_mm.MaskPoolNeck', projector=mlp(64, norm)),
        head=dict(
            type='orl_mm.RegionPredictHead',
            predictor=mlp(8, norm),
            loss=dict(type='orl_mm.RegionCosineLoss', average=average),
        ),
        refiner=dict(type='orl_mm.KMeansRefiner', num_clusters=None, mask_size=16),
        grid=2,
    )
    for p in model.parameters():
        if p.requires_grad and p.dim() > 1:
            torch.nn.init.normal_(p, std=0.2)
    model.target.copy_from(model)
    generator, mine = torch.Generator().manual_seed(2), share_of(rank, world)
    inputs = [torch.randn(NUM, 3, SIDE, SIDE, generator=generator)[mine] for _ in range(3)]
    cell = torch.arange(SIDE) * 4 // SIDE
    labels = (cell[:, None] * 4 + cell).expand(NUM, -1, -1).to(torch.uint8)
    views = torch.tensor(SCENARIOS[scenario])
    batch = RegionBatch(views[mine], labels[mine], [16] * len(views[mine]))
    return train(model.train(), [(inputs, batch)] * 2, world)


def detcon(code, norm, rank, world):
    model, mine = detcon_model.build(norm, **detcon_model.CODES[code]), share_of(rank, world)
    inputs, batch = detcon_model.sample(NUM)
    batch = RegionBatch(batch.views[mine], batch.labels[mine], batch.counts[mine])
    generator = torch.Generator().manual_seed(0)

    def draws(count, num_draws, **kwargs):
        shares = torch.randn(2, NUM, num_draws, generator=generator).sigmoid()
        return shares[:, mine].flatten(0, 1)

    batches = [([x[mine] for x in inputs], batch)] * 2
    return train(model, batches, world, draws, within_step=code == 'reproduction')


def detcon_loss(own, rank, world):
    """The loss on given vectors; gradients of all images, as training sees them."""
    predictions, targets, ids, others = (
        [t[share_of(rank, world)] for t in x] for x in detcon_model.some_vectors()
    )
    leaves = [p.clone().requires_grad_() for p in predictions]
    loss = DetConLoss(0.3)(leaves, targets, ids, others if own else None)
    loss.backward()
    loss, grads = loss.detach(), torch.cat([p.grad for p in leaves], 1)
    grads = torch.cat(all_gather(grads)) / world
    if world > 1:
        dist.all_reduce(loss)
    return dict(losses=loss / world, grads=[grads], target=[], queues=[torch.empty(0)] * world)


def contrast(name, drop, rows, rank, world):
    """RegionContrastHead and the queue of NearestNeighbor on given vectors, 5 regions an image.

    K-means runs per process: in the joined batch the clusters of rank 1 are further channels.
    """
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(NUM, 5, generator=generator) > 0.4
    if name == 'empty':
        valid[NUM // 2 :] = False
    table = [torch.randn(NUM, 5, 6, generator=generator) for _ in range(4)]
    mine = share_of(rank, world)
    leaves = [t[mine].clone().requires_grad_() for t in table[:2]]
    vectors, chosen = [*leaves, *(t[mine] for t in table[2:])], valid[mine]
    if world > 1:
        taken = [t.flatten(0, 1) if rows == 'all' else t[chosen] for t in vectors]
    else:
        first = (torch.arange(NUM) < NUM // 2)[:, None]
        chosen, rows = torch.cat([valid & first, valid & ~first], 1), 'valid'
        taken = [torch.cat([t, t], 1)[chosen] for t in vectors]
    masks = chosen.float()[..., None, None].expand(-1, -1, 2, 2)
    pairs = RegionPairs(masks, masks, rows=rows)
    head = RegionContrastHead(mlp(6, dict(type='BN1d')), 0.3, drop_same_cluster=drop)
    loss, nearest = head.loss(taken[:2], taken[2:], pairs), NearestNeighbor(50, 6)
    loss.backward()
    nearest(taken[2:], pairs)
    loss, grads = loss.detach(), torch.cat([x.grad for x in leaves], 1)
    grads, queues = torch.cat(all_gather(grads)) / world, all_gather(nearest.queue)
    if world > 1:
        dist.all_reduce(loss)
    return dict(losses=loss / world, grads=[grads], target=[nearest.progress], queues=queues)


def vader_case(scenario, norm, rank, world):
    torch.manual_seed(0)
    model = vader(norm=norm or BATCH_NORM, num_pairs=20, queue_len=110)
    generator, mine, batches = torch.Generator().manual_seed(1), share_of(rank, world), []
    for step in range(3):
        inputs, batch = two_views(SCENARIOS[scenario], seed=step)
        batches.append(([x[mine] for x in inputs], RegionBatch(batch.views[mine])))

    def draws(shape, **kwargs):
        return torch.empty(NUM, shape[1]).uniform_(generator=generator)[mine]

    return train(model, batches, world, draws)


def two_view_case(build, rank, world):
    """Two steps of a model on two views, without draws."""
    torch.manual_seed(0)
    model, mine, batches = build(), share_of(rank, world), []
    model.init_weights()
    for step in range(2):
        inputs, batch = two_views(SCENARIOS['uneven'], seed=step)
        batches.append(([x[mine] for x in inputs], RegionBatch(batch.views[mine])))
    return train(model.train(), batches, world)


def pixpro():
    neck = dict(mlp(64), type='orl_mm.PixelMLP', num_layers=2)
    head = dict(type='orl_mm.PixelPropagationHead', channels=DIM)
    return PixPro(backbone=dict(ENCODER, norm_cfg=BATCH_NORM), neck=neck, head=head)


def byol():
    MessageHub.get_instance('byol').update_info('max_iters', 10)
    necks = [
        dict(
            type='mmpretrain.NonLinearNeck',
            in_channels=channels,
            hid_channels=16,
            out_channels=DIM,
            num_layers=2,
            with_last_bn=False,
            with_avg_pool=pool,
            norm_cfg=dict(type='BN1d'),
        )
        for channels, pool in ((64, True), (DIM, False))
    ]
    loss = dict(type='mmpretrain.CosineSimilarityLoss')
    head = dict(type='mmpretrain.LatentPredictHead', predictor=necks[1], loss=loss)
    return MODELS.build(
        dict(
            type='orl_mm.BYOL',
            backbone=dict(ENCODER, norm_cfg=BATCH_NORM),
            neck=necks[0],
            head=head,
            data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
        )
    )


def infomin_case(rank, world):
    torch.manual_seed(rank)  # also what a rank draws for itself
    model = infomin(norm=GROUPS, queue_len=10)
    torch.manual_seed(0)
    for p in model.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.1)
    model.queue.copy_(normalize(torch.randn_like(model.queue), dim=0))
    mine = share_of(rank, world)
    batches = [([x[mine] for x in views_and_crops(NUM, seed=step)], None) for step in range(3)]
    return train(model, batches, world)


CASES = {
    **{
        f'r2o, {name}, {average}': (r2o, name, average, GROUPS)
        for name in SCENARIOS
        for average in ('image', 'region')
    },
    **{f'r2o, {name}, SyncBN': (r2o, name, 'image', None) for name in SCENARIOS},
    **{f'detcon, {code}': (detcon, code, GROUPS) for code in detcon_model.CODES},
    'detcon, SyncBN': (detcon, 'authors', None),
    'pixpro, SyncBN': (two_view_case, pixpro),
    'byol, SyncBN': (two_view_case, byol),
    **{f'detcon loss, own draws {own}': (detcon_loss, own) for own in (False, True)},
    **{
        f'contrast, {name}, drop={drop}, {rows}': (contrast, name, drop, rows)
        for name, drop, rows in (
            ('plain', False, 'valid'),
            ('plain', True, 'valid'),
            ('empty', True, 'valid'),
            ('plain', True, 'all'),
        )
    },
    **{f'vader, {name}': (vader_case, name, GROUPS) for name in SCENARIOS},
    'vader, SyncBN': (vader_case, 'uneven', None),
    'infomin': (infomin_case,),
    'knn': (knn_model.votes,),
}


def run_all(rank, world):
    return {name: case(*args, rank, world) for name, (case, *args) in CASES.items()}
