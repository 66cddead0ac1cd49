"""R2O: find the objects of an image, then learn to represent each of them.

Chapter 2 of the thesis; also "Refine and Represent" (arXiv 2208.11821).
"""

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from orl_mm.models.utils import RegionPairs, crop_masks
from orl_mm.models.utils.channels import fit, projection_channels
from orl_mm.models.utils.stages import check_stage
from orl_mm.models.utils.timer import StepTimer
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch

from .siamese import SiameseModel


@MODELS.register_module()
class R2O(SiameseModel):
    """Refine regions to objects and enforce BYOL's invariance on every object.

    With a target network (equations 2.2 to 2.5 on BYOL, or on MoCo v3 by its head), or
    without one (SimSiam). ``MomentumUpdateHook`` updates the target, ``KMeansRefineHook``
    sets K.

    Args:
        backbone, neck, head (dict): The online network: encoder f, a
            ``MaskPoolNeck`` with the projector g, a region head with the predictor q.
        refiner (dict): Finds the objects, such as ``KMeansRefiner``.
        target (str): ``'momentum'``: a moving average of the online network.
            ``'stop-gradient'``: the online network itself.
        target_update (str): ``'after_step'``: clustering and views use one target, which
            is updated after the optimizer step. ``'before_target_forward'``: clusters
            with the target of the last step, updates it, then encodes the views
            (the public code, row 6 of projects/r2o/README.md).
        views (str): ``'separate'``: each view has its own batch statistics (BYOL).
            ``'joined'``: both views normalize together (the public code).
        rows (str): Regions that projector and predictor see: ``'valid'`` pairs or
            ``'all'`` (row 19).
        min_area (float): A region is present in a view if its mask sums to more, in
            cells of the view's features.
        grid (int, optional): Side of the masks in the views. None: that of the features;
            another value than theirs is an error.
        aligned (bool): ROIAlign with pixel centers at half-integers (row 18).
        positives (dict, optional): Replaces each target by another one, such as
            ``NearestNeighbor``.
        **kwargs: See ``SiameseModel``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        refiner: dict,
        target: str = 'momentum',
        target_update: str = 'after_step',
        views: str = 'separate',
        rows: str = 'valid',
        min_area: float = 1e-3,
        grid: int | None = None,
        aligned: bool = True,
        positives: dict | None = None,
        **kwargs,
    ) -> None:
        for name, value, legal in (
            ('target', target, ('momentum', 'stop-gradient')),
            ('target_update', target_update, ('after_step', 'before_target_forward')),
            ('views', views, ('separate', 'joined')),
            ('rows', rows, ('valid', 'all')),
        ):
            if value not in legal:
                raise ValueError(f'{name} must be one of {legal}, got {value!r}')
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.refiner = MODELS.build(refiner)
        check_stage(self.backbone, self.refiner.stage)
        if positives is not None:
            width = projection_channels(neck)
            positives = fit(positives, 'dim', width, 'the projection') if width else positives
        self.positives = None if positives is None else MODELS.build(positives)
        self.joined = views == 'joined'
        self.rows, self.min_area = rows, min_area
        self.grid, self.aligned = grid, aligned
        self.target_update = target_update
        self.timer = StepTimer()
        self.last: SimpleNamespace | None = None
        if target == 'momentum':
            self.make_target()

    def loss(
        self, inputs: list[Tensor], data_samples: RegionBatch | list, **kwargs
    ) -> dict[str, Tensor]:
        """One training step on two views x1, x2 and the whole image x0.

        Args:
            inputs (list): Three (B, 3, H, W), normalized: x1, x2, x0.
            data_samples (RegionBatch or list): Superpixels of x0 and view boxes.

        Returns:
            dict: ``loss``.
        """
        x1, x2, x0 = self.take_inputs(
            inputs,
            3,
            'two views and the whole image x0',
            'put orl_mm.GenerateSuperpixels before orl_mm.MultiViewWithGeometry',
        )
        batch = self.take_batch(data_samples, x0)

        # Features of the views, h = f(x1) and f(x2). They need no masks, and come
        # first so that a GPU is busy while the host launches the clustering.
        feats = self.per_view(lambda x: self.backbone(x)[-1], [x1, x2])

        # Object segmentation by mask refinement: m0 of x0, from the target's features.
        with self.timer('clustering', x0.device):
            encoder = self.target_part('backbone')
            objects = self.refiner(encoder, x0, batch)
            # m1 and m2: the same objects in the views (ROIAlign), and which are in both.
            grids = [self._grid_of(f) for f in feats]
            m1, m2 = (
                crop_masks(objects.masks, batch.views[:, :2], grids[0], self.aligned).unbind(1)
                if grids[0] == grids[1]
                else (
                    crop_masks(objects.masks, batch.views[:, v], grids[v], self.aligned)
                    for v in (0, 1)
                )
            )
            # Not finite, if one of the features is not.
            checksums = [objects.checksum, *(f.sum(dtype=torch.float32) for f in feats)]
            clustered = self.refiner.num_clusters is not None
            pairs = RegionPairs(m1, m2, self.min_area, self.rows, checksums, clustered)

        # Features of the views by the target, after its update if that is due.
        target_feats = feats
        if self.target is not None:
            self.update_target_if_pending()
            with torch.no_grad():
                target_feats = self.per_view(lambda x: encoder(x)[-1], [x1, x2])

        # Object-level representation: pool, project, predict (2.2, 2.3).
        online = target = self._project(self.neck, feats, [m1, m2], pairs)
        num_views = 2 if self.joined else 1
        predictions = self.per_view(lambda z: self.head.predict(z, pairs, num_views), online)
        with torch.no_grad():
            if self.target is not None:
                target = self._project(self.target_part('neck'), target_feats, [m1, m2], pairs)
            target = [z.detach() for z in target]
            embeddings = target[0]
            if self.positives is not None:
                target = self.positives(target, pairs)

        # Each view predicts the other, over the M' regions in both (2.4, 2.5).
        loss = self.head.loss(predictions, target[::-1], pairs)
        self.last = SimpleNamespace(
            labels0=objects.labels,
            num_clusters=objects.masks.shape[1],
            valid=pairs.valid,
            embeddings=embeddings,
            timers=self.timer.readings(),
        )
        return dict(loss=loss)

    def _grid_of(self, feats: Tensor) -> torch.Size:
        size = feats.shape[-2:]
        if self.grid is not None and tuple(size) != (self.grid, self.grid):
            raise ValueError(
                f'grid={self.grid}, but the features of the views are {size[0]} x {size[1]}; '
                'leave grid out, or change the size of the views'
            )
        return size

    def find_objects(
        self, x0: Tensor, regions: Tensor | None = None, num_regions: Sequence[int] | None = None
    ) -> Tensor:
        """Object ids (B, S, S) of whole images; changes neither statistics nor generator.

        Args:
            x0 (Tensor): (B, 3, H, W), normalized.
            regions (Tensor, optional): (B, H, W) superpixels; None: no prior.
            num_regions (sequence, optional): Superpixels of each image.
        """
        if num_regions is None:
            num_regions = [] if regions is None else [int(m.max()) + 1 for m in regions]
        batch = RegionBatch(x0.new_zeros(len(x0), 2, 5), regions, list(num_regions))
        return self.refiner.refine(self.target_part('backbone'), x0, batch).labels

    def _project(
        self, neck: nn.Module, feats: list[Tensor], masks: list[Tensor], pairs: RegionPairs
    ) -> list[Tensor]:
        """Pooled and projected regions of each view, (R, D) twice."""
        return self.per_view(lambda f, m: neck(f, m, pairs)[0], feats, masks)
