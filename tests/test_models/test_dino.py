"""DINO as a whole: crops, teacher, training, resuming, half precision, ResNet."""

from copy import deepcopy

import pytest
import torch
from torch.optim import AdamW

from orl_mm.registry import MODELS

VIT = dict(
    type='mmpretrain.VisionTransformer',
    img_size=32,
    patch_size=8,
    drop_path_rate=0.3,
    arch=dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24),
)
K = 20


def build(backbone=VIT, in_channels=12, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='orl_mm.DINO',
            backbone=backbone,
            loss=dict(type='orl_mm.DINOLoss', out_channels=K),
            head=dict(
                type='orl_mm.DINOHead',
                in_channels=in_channels,
                out_channels=K,
                hid_channels=16,
                bottleneck_channels=8,
            ),
            **kwargs,
        )
    )
    model.init_weights()
    return model


def still(model):
    """Without stochastic depth, so that outputs can be compared."""
    for module in model.modules():
        if type(module).__name__ == 'DropPath':
            module.drop_prob = 0.0
    return model


def crops(num_local=0, batch=3, side=32):
    generator = torch.Generator().manual_seed(1)
    sizes = [side] * 2 + [side // 2] * num_local
    return [torch.randn(batch, 3, s, s, generator=generator) for s in sizes]


@pytest.mark.parametrize('num_local', [0, 3])
def test_loss_is_that_of_every_pair_of_crops(num_local):
    model, views = still(build()), crops(num_local)
    with torch.no_grad():
        # A teacher of its own, so that the networks cannot be mixed up.
        for p in model.teacher.parameters():
            p.add_(0.1 * torch.randn_like(p))
        student = [model.head(model.backbone(x)[-1]) / 0.1 for x in views]
        teacher = [
            model.teacher['head'](model.teacher['backbone'](x)[-1]) / 0.04 for x in views[:2]
        ]
        terms = [
            -(t.softmax(-1) * s.log_softmax(-1)).sum(-1).mean()
            for i, t in enumerate(teacher)
            for j, s in enumerate(student)
            if i != j
        ]
    found = model(views, mode='loss')
    assert list(found) == ['loss']
    assert len(terms) == 2 * (len(views) - 1)
    torch.testing.assert_close(
        found['loss'].detach(), torch.stack(terms).mean(), atol=1e-5, rtol=1e-5
    )
    expected = torch.stack(teacher).mul(0.04).mean((0, 1))
    torch.testing.assert_close(model.criterion.center[0], 0.1 * expected, atol=1e-6, rtol=1e-5)


def test_crops_of_one_size_share_a_pass():
    model, seen = build(), []
    model.backbone.register_forward_hook(lambda m, args, out: seen.append(tuple(args[0].shape)))
    model.teacher['backbone'].register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    model(crops(4), mode='loss')
    assert seen == [6, (6, 3, 32, 32), (12, 3, 16, 16)]


def test_local_crops_of_the_global_size_are_not_seen_by_the_teacher():
    model, seen = build(), []
    model.teacher['backbone'].register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    model([*crops(), *crops()], mode='loss')
    assert seen == [6]


def test_teacher_starts_as_the_student_and_has_no_gradient_and_no_drop_path():
    model = build()
    for name in ('backbone', 'head'):
        for mine, its in zip(
            model.teacher[name].parameters(), getattr(model, name).parameters(), strict=False
        ):
            assert torch.equal(mine, its)
            assert not mine.requires_grad
    probabilities = {
        n: m.drop_prob for n, m in model.named_modules() if type(m).__name__ == 'DropPath'
    }
    assert max(p for n, p in probabilities.items() if n.startswith('backbone')) == 0.3
    assert not any(p for n, p in probabilities.items() if n.startswith('teacher'))
    model(crops(), mode='loss')['loss'].backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    missing = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not missing
    assert not model.head.last_layer.weight_g.requires_grad


def test_teacher_update_by_hand():
    model = build()
    with torch.no_grad():
        for p in [*model.backbone.parameters(), *model.head.parameters()]:
            p.add_(torch.randn_like(p))
    before = {n: p.clone() for n, p in model.teacher.named_parameters()}
    model.update_target(0.75)
    for name, p in model.teacher.named_parameters():
        student = model.get_parameter(name)
        torch.testing.assert_close(p, 0.75 * before[name] + 0.25 * student.detach())


def test_a_checkpoint_of_the_student_alone_starts_the_teacher():
    model, other = build(), build()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    student = {n: v for n, v in other.state_dict().items() if not n.startswith('teacher.')}
    model.load_state_dict(student, strict=False)
    assert torch.equal(model.teacher['backbone'].pos_embed, other.backbone.pos_embed)
    whole = deepcopy(other.state_dict())
    whole['teacher.backbone.pos_embed'] += 1
    model.load_state_dict(whole)
    assert torch.equal(model.teacher['backbone'].pos_embed, whole['teacher.backbone.pos_embed'])


def test_resnet_with_pooling():
    model = build(
        dict(type='mmpretrain.ResNet', depth=50, base_channels=4, stem_channels=4),
        in_channels=128,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
    )
    views = crops(2, side=64)
    student = deepcopy(model.backbone.state_dict())
    model(views, mode='loss')['loss'].backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    # Each network tracks statistics of its own; the teacher saw the global crops alone.
    mine, its = (m.bn1.running_mean for m in (model.backbone, model.teacher['backbone']))
    assert not torch.equal(mine, its)
    assert not torch.equal(its, student['bn1.running_mean'])
    feats = model.extract_feat(views[0])
    assert feats[-1].shape == (3, 128, 2, 2)


def test_resnet_without_pooling_says_so():
    model = build(dict(type='mmpretrain.ResNet', depth=18, base_channels=4, stem_channels=4), 32)
    with pytest.raises(ValueError, match='GlobalAveragePooling'):
        model(crops(), mode='loss')


def test_student_approaches_a_fixed_teacher():
    """Cross-entropy above the teacher's entropy, the KL divergence, falls to a fraction."""
    model, views = still(build(teacher_temp=0.1)), crops(batch=4)
    model.criterion.center_momentum = 1.0
    with torch.no_grad():
        for p in model.teacher.parameters():
            p.add_(0.3 * torch.randn_like(p))
        p = (model._outputs(model.teacher, views[:2]) / 0.1).softmax(-1)
        entropy = -(p * p.log()).sum(-1).mean().item()
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    divergence = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(views, mode='loss')['loss']
        loss.backward()
        optimizer.step()
        divergence.append(loss.item() - entropy)
    assert 0 <= divergence[-1] < 0.3 * divergence[0]


def test_half_precision():
    model, views = still(build()), crops(2)
    single = model(views, mode='loss')['loss'].item()
    model = still(build())
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(views, mode='loss')['loss']
    loss.backward()
    assert loss.dtype == model.criterion.center.dtype == torch.float32
    assert loss.item() == pytest.approx(single, rel=0.05)
    assert model.backbone.cls_token.grad.abs().max() > 0


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        (torch.zeros(2, 3, 32, 32), 'a single tensor'),
        ([torch.zeros(2, 3, 32, 32)], 'got 1'),
        ([torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 16, 16)], 'one size'),
    ],
)
def test_bad_inputs(inputs, message):
    with pytest.raises(ValueError, match=message):
        build()(inputs, mode='loss')


@pytest.mark.parametrize('argument', [dict(num_global_crops=0), dict(teacher_temp=0)])
def test_bad_arguments(argument):
    with pytest.raises(ValueError, match='must be'):
        build(**argument)
