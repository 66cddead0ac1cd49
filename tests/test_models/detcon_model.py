"""A narrow DetCon, its input, and vectors for its loss."""

import torch

from orl_mm.models import DetCon
from orl_mm.structures import RegionBatch

# Arguments that tell the authors' code from the reproduction's.
CODES = dict(
    authors={},
    reproduction=dict(target_draw='own', views='joined', target_update='before_target_forward'),
)
DRAWS = 5  # regions an image of `some_vectors`


def mlp(in_channels, norm=None):
    if norm is None:
        norm = dict(type='BN1d')
    return dict(
        type='orl_mm.RegionMLP',
        in_channels=in_channels,
        hid_channels=16,
        out_channels=8,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
        norm_cfg=norm,
    )


def build(norm=None, **kwargs):
    torch.manual_seed(0)
    norms = {} if norm is None else dict(norm_cfg=norm)
    model = DetCon(
        backbone=dict(
            type='mmpretrain.ResNet',
            depth=18,
            base_channels=8,
            stem_channels=8,
            zero_init_residual=False,
            **norms,
        ),
        neck=dict(
            type='orl_mm.MaskPoolNeck', min_area=1.0, projector=mlp(64, norm or dict(type='BN1d'))
        ),
        head=dict(
            type='orl_mm.DetConHead',
            predictor=mlp(8, norm or dict(type='BN1d')),
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
