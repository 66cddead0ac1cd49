"""One region that fills the image: R2O equals mmpretrain's image-level algorithm.

Both models get the same weights and see the same two views; K = 1, views that are
the whole image, batch norm in training mode. What R2O adds must then change nothing.
"""

import pytest
import torch
from mmengine.logging import MessageHub

from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from tests.small import NARROW

NUM, SIDE = 8, 64
BACKBONE = dict(type='mmpretrain.ResNet', norm_cfg=dict(type='BN'), **NARROW)


def mlp(in_channels, hid_channels, out_channels, region, **kwargs):
    extra = dict(type='orl_mm.RegionMLP') if region else dict(type='mmpretrain.NonLinearNeck')
    return dict(
        extra,
        in_channels=in_channels,
        hid_channels=hid_channels,
        out_channels=out_channels,
        norm_cfg=dict(type='BN1d'),
        **kwargs,
    )


# What projector and predictor of each algorithm's config look like, made small.
PROJECTOR = dict(
    BYOL=((64, 64, 32), dict(num_layers=2, with_bias=True, with_last_bn=False)),
    SimSiam=((64, 64, 64), dict(num_layers=3, with_last_bn_affine=False)),
    MoCoV3=((64, 64, 32), dict(num_layers=2, with_last_bn=True, with_last_bn_affine=False)),
)
PREDICTOR = dict(
    BYOL=((32, 64, 32), dict(num_layers=2, with_bias=True, with_last_bn=False)),
    SimSiam=((64, 16, 64), dict(num_layers=2, with_last_bn=False, with_last_bias=True)),
    MoCoV3=((32, 64, 32), dict(num_layers=2, with_last_bn=False, with_last_bn_affine=False)),
)
TEMPERATURE = 0.2


def stock(name):
    """mmpretrain's model, its target apart from its online network and kept there."""
    (sizes, options), (inner, inner_options) = PROJECTOR[name], PREDICTOR[name]
    predictor = mlp(*inner, False, with_avg_pool=False, **inner_options)
    head = dict(
        type='mmpretrain.LatentPredictHead',
        predictor=predictor,
        loss=dict(type='mmpretrain.CosineSimilarityLoss'),
    )
    if name == 'MoCoV3':
        head = dict(
            type='mmpretrain.MoCoV3Head',
            predictor=predictor,
            temperature=TEMPERATURE,
            loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=2 * TEMPERATURE),
        )
    model = MODELS.build(
        dict(
            type=f'mmpretrain.{name}',
            backbone=dict(BACKBONE),
            neck=mlp(*sizes, False, **options),
            head=head,
            data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
        )
    )
    if name != 'SimSiam':
        # CosineEMA copies at its first step and moves the target in each loss().
        average = model.target_net if name == 'BYOL' else model.momentum_encoder
        average.steps.fill_(1)
        average.momentum = average.end_momentum = 0.0
        with torch.no_grad():
            for parameter in average.module.parameters():
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
    return model.train()


def object_level(name):
    (sizes, options), (inner, inner_options) = PROJECTOR[name], PREDICTOR[name]
    predictor = mlp(*inner, True, **inner_options)
    head = {
        'BYOL': dict(
            type='orl_mm.RegionPredictHead',
            symmetric='sum',
            loss=dict(type='orl_mm.RegionCosineLoss', shift=2.0, scale=2.0),
        ),
        'SimSiam': dict(
            type='orl_mm.RegionPredictHead',
            symmetric='mean',
            loss=dict(type='orl_mm.RegionCosineLoss', shift=0.0, scale=1.0),
        ),
        'MoCoV3': dict(type='orl_mm.RegionContrastHead', temperature=TEMPERATURE),
    }[name]
    return MODELS.build(
        dict(
            type='orl_mm.R2O',
            backbone=dict(BACKBONE),
            head=dict(head, predictor=predictor),
            neck=dict(type='orl_mm.MaskPoolNeck', projector=mlp(*sizes, True, **options)),
            grid=2,
            target='stop-gradient' if name == 'SimSiam' else 'momentum',
            refiner=dict(type='orl_mm.KMeansRefiner', num_clusters=1),
        )
    ).train()


def same_weights(ours, theirs, name):
    ours.backbone.load_state_dict(theirs.backbone.state_dict())
    ours.neck.projector.load_state_dict(theirs.neck.state_dict())
    ours.head.predictor.load_state_dict(theirs.head.predictor.state_dict())
    if name != 'SimSiam':
        average = theirs.target_net if name == 'BYOL' else theirs.momentum_encoder
        ours.target['backbone'].load_state_dict(average.module[0].state_dict())
        ours.target['neck'].projector.load_state_dict(average.module[1].state_dict())


def inputs():
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(NUM, 3, SIDE, SIDE, generator=generator) for _ in range(3)]
    labels = torch.randint(0, 9, (NUM, SIDE, SIDE), generator=generator)
    views = torch.tensor([0, 0, 1, 1, 0.0]).expand(NUM, 2, 5)
    return images, RegionBatch(views, labels, [9] * NUM)


def gradients(ours, theirs):
    """(name, ours, mmpretrain's) of every parameter that is trained."""
    for mine, yours in (
        (ours.backbone, theirs.backbone),
        (ours.neck.projector, theirs.neck),
        (ours.head.predictor, theirs.head.predictor),
    ):
        other = dict(yours.named_parameters())
        for name, parameter in mine.named_parameters():
            yield name, parameter.grad, other[name].grad


@pytest.mark.parametrize(('name', 'constant'), [('BYOL', 4.0), ('SimSiam', 0.0), ('MoCoV3', 0.0)])
def test_one_whole_region_is_the_image_level_algorithm(name, constant):
    """BYOL of mmpretrain leaves out the constant of 2 - 2 cos, 2 in each direction."""
    MessageHub.get_instance('equality').update_info('max_iters', 100)
    torch.manual_seed(0)
    theirs, ours = stock(name), object_level(name)
    same_weights(ours, theirs, name)
    images, batch = inputs()
    found = ours.loss(images, batch)['loss']
    expected = theirs.loss(images[:2], None)['loss']
    found.backward()
    expected.backward()
    assert ours.last.valid.all()
    assert abs(expected.item()) > 0.01
    torch.testing.assert_close(found - constant, expected, atol=1e-5, rtol=0)
    compared = 0
    for key, mine, yours in gradients(ours, theirs):
        torch.testing.assert_close(mine, yours, atol=1e-5, rtol=0, msg=key)
        compared += bool(yours.abs().max() > 1e-3)
    assert compared > 40
    # The running statistics moved alike: the pass over x0 left no trace in them.
    for key, value in theirs.backbone.named_buffers():
        torch.testing.assert_close(dict(ours.backbone.named_buffers())[key], value, msg=key)
