"""One R2O training step as the public code writes it, on the networks of an ``R2O`` model.

Rewritten from reading github.com/KKallidromitis/r2o (MIT): ``model/r2o_model.py``,
``utils/mask_utils.py``, ``utils/kmeans``, ``trainer/r2o_trainer.py`` and
``optimizer/LARSSGD.py``, without its logging and Apex.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orl_mm.models.utils import crop_masks


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (n, p) of (n, d) and (p, d)."""
    return ((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2.0 * torch.mm(x, y.T)).clamp(min=0)


def plus_plus(x: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """k-means++ with 2 + floor(ln K) local trials."""
    trials = 2 + int(math.log(k))
    first = torch.randint(len(x), (1,), generator=generator, device=x.device)
    centers = torch.zeros(k, x.shape[1], dtype=x.dtype, device=x.device)
    centers[0] = x[first[0]]
    norm = (x**2).sum(1)
    nearest = distances(x[first], x)
    potential = nearest.sum(1)
    for c in range(1, k):
        draw = torch.rand(trials, generator=generator, device=x.device) * potential
        ids = torch.searchsorted(nearest[0].cumsum(0), draw).clamp_(max=len(x) - 1)
        found = (norm[ids][:, None] + norm[None] - 2.0 * torch.mm(x[ids], x.T)).clamp(min=0)
        found = torch.minimum(found, nearest)
        best = found.sum(1).argmin()
        potential, nearest = found.sum(1)[best], found[best][None]
        centers[c] = x[ids[best]]
    return centers


def published_kmeans(
    x: Tensor,
    k: int,
    generator: torch.Generator | None = None,
    max_iters: int = 200,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor, int]:
    """Labels (N,), centers (K, D) and the number of iterations.

    One difference: an empty cluster keeps its center. The public code takes the mean of
    no points there, and the NaN spreads to every center and label.
    """
    centers = plus_plus(x, k, generator)
    last = None
    for iteration in range(1, max_iters + 1):  # noqa: B007  (returned)
        nearest, labels = distances(x, centers).min(1)
        inertia = nearest.sum()
        if last is not None and abs(last - inertia) < eps:  # waits for the device
            break
        last = inertia
        for c in range(k):
            rows = torch.where(labels == c)[0]  # waits for the device
            if len(rows):
                centers[c] = x.index_select(0, rows).mean(0)
    return labels, centers, iteration


def binary_masks(labels: Tensor, channels: int, size: int | None = None) -> Tensor:
    """Label maps (B, H, W) int64 to one-hot masks (B, M, H, W), resized bilinearly."""
    masks = F.one_hot(labels, channels).permute(0, 3, 1, 2).float()
    if size is not None:
        masks = F.interpolate(masks, (size, size), mode='bilinear', align_corners=False)
        torch.argmax(masks, 1)  # computed there as well, and not used
    return masks


def pool(masks: Tensor, feats: Tensor) -> Tensor:
    """Masks (B, M, n) and features (B, C, h, w) to (B, M, C), divided by max(area, 1)."""
    area = masks.sum(-1, keepdim=True)
    masks = masks / torch.maximum(area, torch.ones_like(area))
    return torch.matmul(masks, feats.flatten(2).transpose(1, 2))


def find_roi_align(device: str = 'cpu') -> tuple[Callable | None, str]:
    """A compiled ``roi_align(masks, rois, size, aligned)`` that runs on ``device``; its name."""

    def from_mmcv() -> Callable:
        from mmcv.ops import roi_align

        return lambda x, rois, size, aligned: roi_align(
            x.contiguous(), rois, size, 1.0, 0, 'avg', aligned
        )

    def from_torchvision() -> Callable:
        from torchvision.ops import roi_align

        return lambda x, rois, size, aligned: roi_align(x, rois, size, aligned=aligned)

    masks = torch.ones(1, 1, 4, 4, device=device)
    roi = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]], device=device)
    for name, load in (('mmcv.ops', from_mmcv), ('torchvision.ops', from_torchvision)):
        try:
            function = load()
            function(masks, roi, 2, True)
            return function, name
        except Exception:  # noqa: BLE001  (an extension can be missing in many ways)
            continue
    return None, 'no compiled roi_align, crop_masks instead'


def crops(masks: Tensor, views: Tensor, roi_align: Callable | None, aligned: bool) -> Tensor:
    """Masks (B, K, S, S) in views (B, 5), resized to (B, K, 7, 7)."""
    if roi_align is None:
        return crop_masks(masks, views, 7, aligned=aligned)
    image = torch.arange(len(masks), device=masks.device, dtype=masks.dtype)
    rois = torch.cat([image[:, None], views[:, :4] * masks.shape[-1]], 1)
    found = roi_align(masks, rois, 7, aligned)
    return torch.where(views[:, 4, None, None, None] == 1, found.flip(-1), found)


class PublishedStep:
    """Forward, backward, LARS and target update of the public code.

    Args:
        model (R2O): Only its networks are used.
        num_clusters (int): K.
        momentum (float): Of the target.
        cluster (Callable, optional): Points (N, D) to labels (N,), in place of
            :func:`published_kmeans`.
    """

    def __init__(
        self,
        model: Any,
        num_clusters: int = 64,
        momentum: float = 0.99,
        cluster: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model, self.k, self.momentum = model, num_clusters, momentum
        self.cluster = cluster or (lambda points: published_kmeans(points, num_clusters)[0])
        self.roi_align, self.roi_align_name = find_roi_align(next(model.parameters()).device.type)
        parts = (model.backbone, model.neck, model.head)
        self.optimizer = PublishedLARS([p for part in parts for p in part.parameters()], 0.01)

    def objects(self, x0: Tensor, labels: Tensor) -> Tensor:
        """Cluster ids (B, 56, 56), averaged at borders."""
        backbone, count = self.model.target['backbone'], int(labels.max()) + 1
        indices = backbone.out_indices
        try:
            backbone.out_indices = (2, 3)  # C5 is computed and dropped
            c4 = backbone(x0)[0]
        finally:
            backbone.out_indices = indices
        regions = binary_masks(labels, count, 14)
        points = pool(regions.flatten(2), c4).flatten(0, 1)
        clusters = self.cluster(F.normalize(points, dim=-1)).view(len(x0), -1)
        fine = binary_masks(labels, count, 56)
        return torch.einsum('bchw,bc->bchw', fine, clusters.to(fine.dtype)).sum(1).long()

    def loss(self, x1: Tensor, x2: Tensor, x0: Tensor, labels: Tensor, views: Tensor) -> Tensor:
        """The loss; updates the target between clustering and its forward pass over the views.

        Args:
            x1, x2, x0 (Tensor): (B, 3, 224, 224).
            labels (Tensor): (B, 224, 224) int64.
            views (Tensor): (B, 2, 5).
        """
        model, target = self.model, self.model.target
        with torch.no_grad():
            masks = binary_masks(self.objects(x0, labels), self.k)
            m1, m2 = (crops(masks, views[:, v], self.roi_align, False).flatten(2) for v in (0, 1))
        online = self.encode(model.backbone, model.neck, [x1, x2], [m1, m2])
        b, k = m1.shape[:2]
        pred = model.head.predictor((online,))[0].view(2 * b, k, -1)
        with torch.no_grad():
            self.update_target()
            goal = self.encode(target['backbone'], target['neck'], [x2, x1], [m2, m1])
            goal = goal.view(2 * b, k, -1)
        seen = ((m1.sum(-1) > 1e-3) & (m2.sum(-1) > 1e-3)).float().repeat(2, 1)
        pred, goal = F.normalize(pred, dim=-1), F.normalize(goal, dim=-1)
        return (((pred - goal) ** 2).sum(-1) * seen).sum() / seen.sum()

    @staticmethod
    def encode(backbone: nn.Module, neck: Any, views: list[Tensor], masks: list[Tensor]) -> Tensor:
        """All B * K rows of both views, projected together."""
        pooled = pool(torch.cat(masks), backbone(torch.cat(views))[-1])
        return neck.projector((pooled.flatten(0, 1),))[0]

    def update_target(self) -> None:
        """Moving average, one parameter at a time."""
        for name in ('backbone', 'neck'):
            online, target = getattr(self.model, name), self.model.target[name]
            for p, q in zip(online.parameters(), target.parameters(), strict=True):
                q.data.mul_(self.momentum).add_(p.data, alpha=1.0 - self.momentum)

    def __call__(self, x1: Tensor, x2: Tensor, x0: Tensor, labels: Tensor, views: Tensor) -> None:
        loss = self.loss(x1, x2, x0, labels, views)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class PublishedLARS(torch.optim.Optimizer):
    """LARS with a loop over parameters; norms and biases are neither decayed nor adapted."""

    def __init__(self, params: list[nn.Parameter], lr: float) -> None:
        super().__init__(params, dict(lr=lr, momentum=0.9, weight_decay=1e-6, eta=1e-3))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # takes no closure
        (group,) = self.param_groups
        for p in group['params']:
            if p.grad is None:
                continue
            rate, decay = torch.ones((), device=p.device), 0.0
            if p.dim() > 1:
                decay = group['weight_decay']
                weight, grad = torch.norm(p), torch.norm(p.grad)
                update = grad + decay * weight
                found = (weight > 0) & (update > 0)
                rate = torch.where(found, group['eta'] * weight / update, 1.0)
            change = p.grad.add(p, alpha=decay).mul(rate * group['lr'])
            if 'momentum' in self.state[p]:
                self.state[p]['momentum'].mul_(group['momentum']).add_(change)
            else:
                self.state[p]['momentum'] = change.clone()
            p.add_(-self.state[p]['momentum'])
