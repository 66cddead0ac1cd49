"""DetCon_B: tell each region of an image from all others, by masks of a segmentation.

Henaff et al. 2021, "Efficient Visual Pretraining with Contrastive Detection" (arXiv
2103.10957), on BYOL's networks.
"""

import torch
from torch import Tensor, nn

from orl_mm.models.utils.region_draws import crop_labels, draw_regions, majority_regions
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch

from .momentum_target import MomentumTarget


@MODELS.register_module()
class DetCon(MomentumTarget):
    """Contrast of mask-pooled regions between two views (section 3.1 of the paper).

    The label map of the whole image is cut for both views on the device: like R2O's
    superpixels it comes through the loader as it is, and can be read from a cache. The
    whole image itself is not looked at. Regions are drawn by torch's global generator, so a
    run that is to be resumed bit for bit needs ``SeedStepHook``. The target is updated
    by ``MomentumUpdateHook``.

    Args:
        backbone, neck, head (dict): The online network: encoder f, a ``MaskPoolNeck``
            with the projector g, a ``DetConHead`` with the predictor q.
        num_masks (int): R, regions drawn in each view, with replacement, among those that
            own a cell of the feature map there.
        target_draw (str): ``'shared'``: both networks see the same regions of a view (the
            authors' code). ``'own'``: the target draws for itself (the reproduction).
        target_update (str): ``'after_step'``: after the optimiser step (the authors).
            ``'before_target_forward'``: between both networks (the reproduction).
        views (str): ``'separate'``: each view has its own batch statistics (the authors).
            ``'joined'``: both views normalise together (the reproduction).
        pretrained, data_preprocessor, init_cfg: See ``BaseSelfSupervisor``; the default
            preprocessor is ``RegionDataPreprocessor``.

    Raises:
        ValueError: An unknown word, or fewer than one mask.

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
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: list[dict] | dict | None = None,
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
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.num_masks, self.target_draw = num_masks, target_draw
        self.target_update, self.joined = target_update, views == 'joined'
        self.make_target(('backbone', 'neck'))

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on two views.

        Args:
            inputs (list): Two (B, 3, H, W), normalised.
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
            for v, (x, f) in enumerate(zip(views, feats, strict=False))
        ]
        ids = target_ids = self.draw(cells)
        online = self._project(self.neck, feats, cells, ids)
        predictions = self.per_view(self.head.predict, online)

        with torch.no_grad():
            self.update_target_if_pending()
            feats = self.per_view(lambda x: self.target['backbone'](x)[-1], views)
            if self.target_draw == 'own':
                target_ids = self.draw(cells)
            target = self._project(self.target['neck'], feats, cells, target_ids)
        return dict(loss=self.head.loss(predictions, target, ids, target_ids))

    @staticmethod
    def view_regions(batch: RegionBatch, view: int, image: Tensor, grid: torch.Size) -> Tensor:
        """The region of each cell of ``grid`` in a view, (B, h, w) int64.

        Args:
            batch (RegionBatch): Label maps and boxes.
            view (int): Which of the boxes.
            image (Tensor): (B, 3, H, W), of which the size counts: masks are cut at the
                resolution of the view, then averaged down.
            grid (torch.Size): (h, w).
        """
        labels = crop_labels(batch.labels, batch.views[:, view], image.shape[-2:])
        return majority_regions(labels, batch.max_count, grid)

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
            for i, c, f in zip(ids, cells, feats, strict=False)
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
