"""A narrow DetCon, its input, and vectors for its loss."""

import torch

from orl_mm.models import DetCon
from orl_mm.structures import RegionBatch
from tests.small import ENCODER, mlp

# Arguments that tell the authors' code from the reproduction's.
CODES = dict(
    authors={},
    reproduction=dict(target_draw='own', views='joined', target_update='before_target_forward'),
)
DRAWS = 5  # regions an image of `some_vectors`


def build(norm=None, **kwargs):
    torch.manual_seed(0)
    norms = {} if norm is None else dict(norm_cfg=norm)
    model = DetCon(
        backbone=dict(ENCODER, **norms),
        neck=dict(type='orl_mm.MaskPoolNeck', min_area=1.0, projector=mlp(64, norm)),
        head=dict(
            type='orl_mm.DetConHead',
            predictor=mlp(8, norm),
            loss=dict(type='orl_mm.DetConLoss', temperature=0.1),
        ),
        **kwargs,
    )
    model.init_weights()
    return model.train()


def sample(num=3, side=64, seed=0):
    """Two overlapping views, one flipped, of images of four quarters, a region each."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(num, 3, side, side, generator=generator) for _ in range(2)]
    half = torch.arange(side) * 2 // side
    labels = (half[:, None] * 2 + half).expand(num, -1, -1).to(torch.uint8)
    views = torch.tensor([[[0, 0, 0.8, 0.8, 0], [0.2, 0.1, 1, 1, 1.0]]]).expand(num, -1, -1)
    return inputs, RegionBatch(views, labels, [4] * num)


def some_vectors(seed=0, regions=4, images=4, dims=6):
    """Predictions, targets, ids and other ids for the targets; two of each."""
    generator = torch.Generator().manual_seed(seed)

    def normal():
        return [torch.randn(images, DRAWS, dims, generator=generator) for _ in range(2)]

    def ids():
        return [torch.randint(regions, (images, DRAWS), generator=generator) for _ in range(2)]

    return normal(), normal(), ids(), ids()
