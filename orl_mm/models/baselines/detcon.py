"""DetCon_B: contrast of each region of a segmented image with all other regions.

Henaff et al. 2021, "Efficient Visual Pretraining with Contrastive Detection" (arXiv
2103.10957), on BYOL's networks.
"""

import torch
from torch import Tensor, nn

from orl_mm.models.selfsup.siamese import SiameseModel
from orl_mm.models.utils import crop_labels, downsample_regions
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch


@MODELS.register_module()
class DetCon(SiameseModel):
    """Contrast of mask-pooled regions between two views (section 3.1 of the paper).

    The label map of the whole image is cropped to both views on the device: like R2O's
    superpixels it passes the loader unchanged and can be cached. The whole image itself is
    not used. Regions are drawn by torch's global generator, so bit-equal resuming needs
    ``SeedStepHook``. ``MomentumUpdateHook`` updates the target.

    Args:
        backbone, neck, head (dict): The online network: encoder f, a ``MaskPoolNeck``
            with the projector g, a ``DetConHead`` with the predictor q.
        num_masks (int): R, regions drawn in each view, with replacement, among those that
            own a cell of the view's feature map.
        target_draw (str): ``'shared'``: both networks see the same regions of a view (the
            authors' code). ``'own'``: the target draws for itself (the reproduction).
        target_update (str): ``'after_step'``: after the optimizer step (the authors).
            ``'before_target_forward'``: between both networks (the reproduction).
        views (str): ``'separate'``: each view has its own batch statistics (the authors).
            ``'joined'``: both views normalize together (the reproduction).
        **kwargs: See ``SiameseModel``.

    Raises:
        ValueError: An unknown option, or fewer than one mask.

    Source: ``detcon_b.py`` of github.com/deepmind/detcon (the authors' code) and
    github.com/KKallidromitis/detcon-pytorch (the reproduction).
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        num_masks: int = 16,
        target_draw: str = 'shared',
        target_update: str = 'after_step',
        views: str = 'separate',
        **kwargs,
    ) -> None:
        for name, value, legal in (
            ('target_draw', target_draw, ('shared', 'own')),
            ('target_update', target_update, ('after_step', 'before_target_forward')),
            ('views', views, ('separate', 'joined')),
        ):
            if value not in legal:
                raise ValueError(f'{name} must be one of {legal}, got {value!r}')
        if num_masks < 1:
            raise ValueError(f'num_masks must be at least 1, got {num_masks}')
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.num_masks, self.target_draw = num_masks, target_draw
        self.target_update, self.joined = target_update, views == 'joined'
        self.make_target()

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on two views.

        Args:
            inputs (list): Two (B, 3, H, W), normalized.
            data_samples (RegionBatch or list): Label maps of the whole images and view
                boxes.

        Returns:
            dict: ``loss``.
        """
        views = self.take_inputs(
            inputs,
            2,
            'two views',
            'with orl_mm.GenerateSuperpixels(keep_image=False) the whole image does not come along',
        )
        batch = self._batch(data_samples, views[0])

        feats = self.per_view(lambda x: self.backbone(x)[-1], views)
        # Each cell of the features belongs to one region; R of these regions are drawn.
        cells = [
            self.view_regions(batch, v, x, f.shape[-2:])
            for v, (x, f) in enumerate(zip(views, feats, strict=True))
        ]
        ids = target_ids = self.draw(cells)
        online = self._project(self.neck, feats, cells, ids)
        predictions = self.per_view(self.head.predict, online)

        with torch.no_grad():
            self.update_target_if_pending()
            feats = self.per_view(lambda x: self.target_part('backbone')(x)[-1], views)
            if self.target_draw == 'own':
                target_ids = self.draw(cells)
            target = self._project(self.target_part('neck'), feats, cells, target_ids)
        return dict(loss=self.head.loss(predictions, target, ids, target_ids))

    @staticmethod
    def view_regions(batch: RegionBatch, view: int, image: Tensor, grid: torch.Size) -> Tensor:
        """The region of each cell of ``grid`` in a view, (B, h, w) int64.

        Args:
            batch (RegionBatch): Label maps and boxes.
            view (int): Which of the boxes.
            image (Tensor): (B, 3, H, W), used for its size: masks are cropped at the
                resolution of the view, then averaged down. The region that covers most of
                a cell owns it; of equal shares the lowest id.
            grid (torch.Size): (h, w).
        """
        assert batch.labels is not None  # see _batch
        labels = crop_labels(batch.labels, batch.views[:, view], image.shape[-2:])
        return downsample_regions(labels, batch.max_count, grid).argmax(1)

    def draw(self, cells: list[Tensor]) -> list[Tensor]:
        """Regions of each view, from torch's generator: (B, h, w) twice -> (B, R) twice."""
        both = torch.cat(cells).flatten(1)
        return list(draw_regions(both, self.num_masks).chunk(2))

    def _project(
        self, neck: nn.Module, feats: list[Tensor], cells: list[Tensor], ids: list[Tensor]
    ) -> list[Tensor]:
        """Pooled and projected regions of each view, (B * R, D) twice."""
        masks = [
            (i[:, :, None, None] == c[:, None]).to(f.dtype)
            for i, c, f in zip(ids, cells, feats, strict=True)
        ]
        return self.per_view(lambda f, m: neck(f, m)[0], feats, masks)

    def _batch(self, data_samples: RegionBatch | list, view: Tensor) -> RegionBatch:
        batch = self.take_batch(data_samples, view)
        if batch.labels is None or batch.views.shape[1] != 2:
            labels = None if batch.labels is None else tuple(batch.labels.shape)
            raise ValueError(
                'DetCon needs label maps and the boxes of two views, got label maps of shape '
                f'{labels} and {batch.views.shape[1]} boxes an image; put orl_mm.Generate'
                'Superpixels (another method than "none") before orl_mm.MultiViewWithGeometry'
            )
        return batch


def draw_regions(cells: Tensor, num_draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw from the regions that own a cell, uniformly and with replacement.

    The probability does not depend on the number of cells of a region.

    Args:
        cells (Tensor): (B, N) integers, the region of each cell.
        num_draws (int): R.
        generator (torch.Generator, optional): On the device of ``cells``. None: the
            device's global one.

    Returns:
        Tensor: (B, R), ids of ``cells``, same dtype.
    """
    ordered = cells.sort(1).values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    number = first.cumsum(1)  # (B, N): 1 for the cells of the lowest id, 2 of the next ...
    share = torch.rand(len(cells), num_draws, generator=generator, device=cells.device)
    wanted = (share * number[:, -1:]).long() + 1
    # Where a number begins; rounding must not lead beyond the last one.
    return ordered.gather(1, torch.searchsorted(number, wanted.minimum(number[:, -1:])))
