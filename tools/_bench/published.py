"""One R2O training step as the public code writes it, on the networks of an ``R2O`` model.

Written anew from reading github.com/KKallidromitis/r2o, ``model/r2o_model.py``,
``utils/mask_utils.py``, ``trainer/r2o_trainer.py`` and ``optimizer/LARSSGD.py``
(MIT). Left out: its logging, and Apex.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .published_kmeans import published_kmeans


def binary_masks(labels: Tensor, channels: int = -1, size: int | None = None) -> Tensor:
    """Label maps (B, H, W) int64 to one-hot masks (B, M, H, W), resized bilinearly."""
    if channels == -1:
        channels = int(labels.max()) + 1
    masks = F.one_hot(labels, channels).permute(0, 3, 1, 2).float()
    if size is not None:
        masks = F.interpolate(masks, (size, size), mode='bilinear', align_corners=False)
        torch.argmax(masks, 1)  # computed there as well, and not used
    return masks


def pool(masks: Tensor, feats: Tensor) -> Tensor:
    """Masks (B, M, n) and features (B, C, h, w) to (B, M, C), divided by max(area, 1)."""
    area = masks.sum(-1, keepdim=True)
    masks = masks / torch.maximum(area, torch.ones_like(area))
    b, c, h, w = feats.shape
    return torch.matmul(masks, feats.permute(0, 2, 3, 1).reshape(b, h * w, c))


def find_roi_align(device: str = 'cpu') -> tuple[Callable | None, str]:
    """A compiled ``roi_align(masks, boxes with image ids, size, aligned)`` that runs on
    ``device``, and its name."""
    probe = (
        torch.ones(1, 1, 4, 4, device=device),
        torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]], device=device),
    )
    for name, load in (('mmcv.ops', _from_mmcv), ('torchvision.ops', _from_torchvision)):
        try:
            function = load()
            function(*probe, 2, True)
            return function, name
        # An extension that is missing or of another torch fails in many ways.
        except Exception:  # noqa: BLE001
            continue
    return None, 'no compiled roi_align; crop_masks in its place'


def _from_mmcv() -> Callable:
    from mmcv.ops import roi_align

    return lambda x, rois, size, aligned: roi_align(
        x.contiguous(), rois, size, 1.0, 0, 'avg', aligned
    )


def _from_torchvision() -> Callable:
    from torchvision.ops import roi_align

    return lambda x, rois, size, aligned: roi_align(x, rois, size, aligned=aligned)


def crops(masks: Tensor, views: Tensor, roi_align: Callable | None) -> Tensor:
    """Masks (B, K, S, S) in views (B, 5), shifted by half a cell; (B, K, 49)."""
    if roi_align is None:
        from orl_mm.models.utils import crop_masks

        return crop_masks(masks, views, 7, aligned=False).flatten(2)
    image = torch.arange(len(masks), device=masks.device, dtype=masks.dtype)
    rois = torch.cat([image[:, None], views[:, :4] * masks.shape[-1]], 1)
    found = roi_align(masks, rois, 7, False)
    return torch.where(views[:, 4, None, None, None] == 1, found.flip(-1), found).flatten(2)


class PublishedStep:
    """Forward, backward, LARS and EMA of the public code.

    Args:
        model (nn.Module): An ``R2O`` model, of which only the networks are used.
        num_clusters (int): K.
        momentum (float): m of the target.
        lr (float): Of LARS.
        cluster (Callable, optional): Points (N, D) to labels (N,); default
            :func:`published_kmeans`.
    """

    def __init__(
        self,
        model: nn.Module,
        num_clusters: int = 64,
        momentum: float = 0.99,
        lr: float = 0.01,
        cluster: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model, self.k, self.momentum = model, num_clusters, momentum
        self.cluster = cluster or (lambda points: published_kmeans(points, num_clusters)[0])
        self.roi_align, self.roi_align_name = find_roi_align(next(model.parameters()).device.type)
        online = [model.backbone, model.neck, model.head]
        named = [(name, p) for part in online for name, p in part.named_parameters()]
        self.optimizer = PublishedLARS(named, lr)

    def objects(self, x0: Tensor, labels: Tensor) -> Tensor:
        """Cluster ids (B, 56, 56), blended at borders as there."""
        backbone = self.model.target['backbone']
        indices = backbone.out_indices
        try:
            backbone.out_indices = (2, 3)  # C5 is computed and dropped
            c4 = backbone(x0)[0]
        finally:
            backbone.out_indices = indices
        regions = binary_masks(labels, size=14)
        points = pool(regions.flatten(2), c4).flatten(0, 1)
        clusters = self.cluster(F.normalize(points, dim=-1)).view(len(x0), -1)
        fine = binary_masks(labels, size=56)
        return torch.einsum('bchw,bc->bchw', fine, clusters.to(fine.dtype)).sum(1).long()

    def loss(self, x1: Tensor, x2: Tensor, x0: Tensor, labels: Tensor, views: Tensor) -> Tensor:
        """The loss; updates the target before its forward pass over the views.

        Args:
            x1, x2, x0 (Tensor): (B, 3, 224, 224).
            labels (Tensor): (B, 224, 224) int64.
            views (Tensor): (B, 2, 5).
        """
        with torch.no_grad():
            masks = binary_masks(self.objects(x0, labels), self.k)
            m1, m2 = (crops(masks, views[:, v], self.roi_align) for v in (0, 1))
        online = self.encode(self.model.backbone, self.model.neck, [x1, x2], [m1, m2])
        b, k = m1.shape[:2]
        pred = self.model.head.predictor((online,))[0].view(2 * b, k, -1)
        with torch.no_grad():
            self.update_target()
            target = self.encode(
                self.model.target['backbone'], self.model.target['neck'], [x2, x1], [m2, m1]
            ).view(2 * b, k, -1)
        seen = ((m1.sum(-1) > 1e-3) & (m2.sum(-1) > 1e-3)).float().repeat(2, 1)
        pred, target = F.normalize(pred, dim=-1), F.normalize(target, dim=-1)
        return (((pred - target) ** 2).sum(-1) * seen).sum() / seen.sum()

    @staticmethod
    def encode(
        backbone: nn.Module, neck: nn.Module, views: list[Tensor], masks: list[Tensor]
    ) -> Tensor:
        """All B * K rows of both views, projected together."""
        pooled = pool(torch.cat(masks), backbone(torch.cat(views))[-1])
        return neck.projector((pooled.flatten(0, 1),))[0]

    def update_target(self) -> None:
        """Parameter by parameter."""
        for name in ('backbone', 'neck'):
            for p, q in zip(
                getattr(self.model, name).parameters(),
                self.model.target[name].parameters(),
                strict=False,
            ):
                q.data.mul_(self.momentum).add_(p.data, alpha=1.0 - self.momentum)

    def __call__(self, x1: Tensor, x2: Tensor, x0: Tensor, labels: Tensor, views: Tensor) -> None:
        """One whole training step."""
        loss = self.loss(x1, x2, x0, labels, views)
        for parameter in self.optimizer.parameters():
            parameter.grad = None
        loss.backward()
        self.optimizer.step()


class PublishedLARS:
    """LARS with a loop over parameters; norms and biases are neither decayed nor adapted."""

    def __init__(
        self,
        named: list[tuple[str, nn.Parameter]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        eta: float = 1e-3,
    ) -> None:
        self.named, self.lr, self.momentum = named, lr, momentum
        self.weight_decay, self.eta, self.state = weight_decay, eta, {}

    def parameters(self) -> list[nn.Parameter]:
        """Those it updates."""
        return [p for _, p in self.named]

    @torch.no_grad()
    def step(self) -> None:
        """One update."""
        for _name, p in self.named:
            if p.grad is None:
                continue
            rate, decay = 1.0, 0.0
            if p.dim() > 1:
                decay = self.weight_decay
                weight, grad = torch.norm(p), torch.norm(p.grad)
                update = grad + decay * weight
                rate = torch.where((weight > 0) & (update > 0), self.eta * weight / update, 1.0)
            change = p.grad.add(p, alpha=decay).mul(rate * self.lr)
            if p in self.state:
                self.state[p].mul_(self.momentum).add_(change)
            else:
                self.state[p] = change.clone()
            p.add_(-self.state[p])
