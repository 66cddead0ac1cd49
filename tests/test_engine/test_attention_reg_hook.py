"""AttentionRegHook on DINO, MoCo v3 and SimCLR, against attention and terms written out."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmpretrain.models import DistilledVisionTransformer, ResNet, VisionTransformer
from mmpretrain.structures import DataSample
from torch.nn.functional import pad

from orl_mm.engine.hooks import AttentionRegHook
from orl_mm.engine.hooks.attention_reg_hook import stored_head_map
from orl_mm.models.utils import ClsAttentionReader, attention_diagnostics, attention_spread_loss
from orl_mm.weights import load_weights
from tests.small import same

from .guided import (
    GRID,
    PARTS,
    PATCH,
    SIDE,
    Guided,
    build,
    dino,
    guided_runner,
    mocov3,
    simclr,
    template,
)
from .tiny import listen

HEAD_MAP = {2: 'left', 0: 'right'}
HOOK = dict(type='orl_mm.AttentionRegHook', heads=HEAD_MAP)
MODELS = dict(dino=dino, mocov3=mocov3)


def guide(model, runner=None, **kwargs):
    """The hook on a model, as within the first iteration of a runner."""
    hook = AttentionRegHook(heads=kwargs.pop('heads', HEAD_MAP), **kwargs)
    hook.before_train(SimpleNamespace(model=model))
    hook.strengths = tuple(schedule(0.0) for schedule in hook.lambdas)
    return hook


def attention_of(model, views):
    """(V B, heads, N) by the whole attention matrix of the last block, written out."""
    rows = []
    handle = model.backbone.layers[-1].attn.register_forward_pre_hook(
        lambda module, args: rows.append(args[0])
    )
    model.eval()
    with torch.no_grad():
        for x in views:
            model.backbone(x)
    model.train()
    handle.remove()
    layer = model.backbone.layers[-1].attn.qkv
    found = []
    for x in rows:
        q, k, _ = (
            part.unflatten(-1, (3, 4)).transpose(1, 2)
            for part in torch.nn.functional.linear(x, layer.weight, layer.bias).chunk(3, -1)
        )
        whole = (q @ k.transpose(-2, -1) / 2.0).softmax(-1)
        found.append(whole[:, :, 0, 1:])
    return torch.cat(found).detach()


def expected_terms(attn, samples, views=2):
    """-sum(a k) and sum(a (1 - k)) over pixels, image by image and view by view."""
    inside = outside = 0.0
    for v in range(views):
        for b, sample in enumerate(samples):
            for head, part in HEAD_MAP.items():
                a = attn[v * len(samples) + b, head].view(GRID, GRID)
                k = sample.template[v, PARTS.index(part)]
                a, k = (
                    x.repeat_interleave(SIDE // len(x), 0).repeat_interleave(SIDE // len(x), 1)
                    for x in (a, k)
                )
                inside += (a * k).sum().item() / (views * len(samples))
                outside += (a * (1 - k)).sum().item() / (views * len(samples))
    return inside, outside


def stacked_templates(samples):
    """Templates view by view: (V B, 2, h, w)."""
    return torch.stack([s.template for s in samples]).transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize('size', [GRID, SIDE])
@pytest.mark.parametrize(('name', 'local'), [('dino', 0), ('dino', 3), ('mocov3', 0)])
def test_terms_are_those_of_the_students_global_views(name, local, size):
    model, (views, samples) = build(MODELS[name]()), Guided(local=local, size=size).batch()
    if name == 'mocov3':  # its momentum schedule asks the hub
        MessageHub.get_current_instance().update_info('max_iters', 10)
    attn = attention_of(model, views[:2])
    hook = guide(model, lambda1=2e-3, lambda2=5e-4)
    losses = model(views, samples, mode='loss')
    inside, outside = expected_terms(attn, samples)
    assert set(losses) == {'loss', 'loss_attn_inside', 'loss_attn_outside'}
    assert losses['loss_attn_inside'].item() == pytest.approx(-2e-3 * inside, rel=1e-4)
    assert losses['loss_attn_outside'].item() == pytest.approx(5e-4 * outside, rel=1e-4)
    hook.after_train(None)


def test_sample_after_sample_as_in_simclr():
    model, (views, samples) = build(simclr()), Guided().batch()
    inside, outside = expected_terms(attention_of(model, views), samples)
    hook = guide(model, lambda1=1.0, lambda2=1.0, rows='sample')
    losses = model(views, samples, mode='loss')
    assert losses['loss_attn_inside'].item() == pytest.approx(-inside, rel=1e-4)
    assert losses['loss_attn_outside'].item() == pytest.approx(outside, rel=1e-4)
    hook.after_train(None)
    # The templates differ from view to view, so the other order is another number.
    hook = guide(model, lambda1=1.0, lambda2=1.0)
    other = model(views, samples, mode='loss')['loss_attn_inside'].item()
    assert other != pytest.approx(-inside, rel=1e-4)


def momentum_branch(model):
    """A second pass of the student's own backbone, without gradient."""

    def loss(inputs, data_samples):
        with torch.no_grad():
            model.backbone(inputs[1])
        return dict(loss=sum(model.backbone(x)[-1].sum() for x in inputs))

    model.loss = loss


def one_view(model):
    """As MoCo, whose second view is only for the momentum encoder."""
    model.loss = lambda inputs, data_samples: dict(loss=model.backbone(inputs[0])[-1].sum())


@pytest.mark.parametrize(
    ('change', 'copies', 'guided'),
    [(lambda model: None, 2, 2), (one_view, 1, 1), (momentum_branch, 1, 2)],
    ids=['local crops of the global size', 'one view', 'momentum branch'],
)
def test_which_passes_are_guided(change, copies, guided):
    model, (views, samples) = build(dino()), Guided().batch()
    inside, _ = expected_terms(attention_of(model, views[:guided]), samples, views=guided)
    change(model)
    guide(model, lambda1=1.0, lambda2=0.0)
    losses = model(views * copies, samples, mode='loss')
    assert losses['loss_attn_inside'].item() == pytest.approx(-inside, rel=1e-4)


def test_gradient_reaches_the_students_q_and_k_of_guided_heads():
    model, (views, samples) = build(dino()), Guided().batch()
    guide(model, lambda1=1.0, lambda2=1.0)
    losses = model(views, samples, mode='loss')
    (losses['loss_attn_inside'] + losses['loss_attn_outside']).backward()
    grad = model.backbone.layers[-1].attn.qkv.weight.grad.view(3, 3, 4, 12)
    assert grad[:2, [0, 2]].abs().amax((2, 3)).min() > 0
    assert grad[:2, 1].abs().max() == 0
    assert grad[2].abs().max() == 0
    assert model.head.mlp[0].weight.grad is None
    assert all(p.grad is None for p in model.teacher.parameters())


@pytest.mark.parametrize('name', MODELS)
def test_training_moves_attention_into_the_parts(name, tmp_path):
    """30 iterations in a runner; the third head is not guided."""
    data, model = Guided(), build(MODELS[name]())
    views, samples = data.batch(8)
    k = stacked_templates(samples)
    before = attention_diagnostics(attention_of(model, views), k, [2, 0])
    hook = dict(HOOK, lambda1=1e-2, lambda2=1e-2, interval=2)
    runner = guided_runner(tmp_path, model, hook, epochs=15, data=data, lr=3e-3)
    runner.train()
    after = attention_diagnostics(attention_of(model, views), k, [2, 0])
    assert (after.inside > before.inside + 0.15).all()
    assert (after.outside < before.outside).all()
    scalars = runner.message_hub.log_scalars
    assert {'train/loss_attn_inside', 'train/loss_attn_outside', 'train/loss'} <= set(scalars)
    for key in ('2_left', '0_right'):
        names = ('inside', 'outside', 'cls', 'coverage', 'ap')
        found = {what: scalars[f'train/attn_{what}/{key}'].current() for what in names}
        assert all(0 <= value <= 1 for value in found.values())
        assert sum(found[what] for what in names[:3]) == pytest.approx(1, abs=1e-5)
    # The hook removes itself from the model.
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert not model.backbone.layers[-1].attn.qkv._forward_hooks


def test_strengths_of_zero_change_nothing(tmp_path):
    """With both strengths 0 the run equals the baseline, and the diagnostics are still logged."""
    watched, plain = (
        guided_runner(tmp_path / folder, build(dino()), hook)
        for folder, hook in (
            ('a', dict(HOOK, lambda1=0, lambda2=0)),
            ('b', dict(type='IterTimerHook')),
        )
    )
    watched.train()
    plain.train()
    for mine, its in zip(watched.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(mine, its)
    scalars = watched.message_hub.log_scalars
    assert 'train/attn_ap/0_right' in scalars
    assert 'train/loss_attn_inside' not in scalars
    # Evaluation must not take a watched head for an assigned one.
    assert stored_head_map(load_weights(tmp_path / 'a' / 'epoch_1.pth')) is None


def test_head_map_is_in_the_checkpoint(tmp_path):
    guided_runner(tmp_path, build(dino()), HOOK, epochs=1).train()
    file = tmp_path / 'epoch_1.pth'
    checkpoint = load_weights(file)
    assert stored_head_map(checkpoint) == HEAD_MAP
    assert stored_head_map({}) is None
    # A different map is logged when a run is resumed.
    resume = dict(resume=True, load_from=str(file))
    runner = guided_runner(tmp_path / 'b', build(dino()), HOOK, **resume)
    runner.train()
    messages = listen(runner)
    AttentionRegHook(heads=HEAD_MAP).after_load_checkpoint(runner, checkpoint)
    assert not messages
    AttentionRegHook(heads={1: 'left'}).after_load_checkpoint(runner, checkpoint)
    assert "{2: 'left', 0: 'right'}" in messages[0]
    assert "{1: 'left'}" in messages[0]


def test_strengths_follow_the_epoch_and_resuming_continues(tmp_path):
    linear = dict(values=[0.0, 1e-2], epochs=[0, 2])
    step = dict(type='step', values=[0.0, 1e-3], epochs=[0, 1])
    hook = dict(HOOK, interval=1, lambda1=linear, lambda2=step)
    whole = guided_runner(tmp_path / 'a', build(dino()), hook, epochs=3)
    whole.train()
    scalars = whole.message_hub.log_scalars
    first, second = (scalars[f'train/lambda{i}'].data[0].tolist() for i in (1, 2))
    assert first == pytest.approx([0.0, 0.0025, 0.005, 0.0075, 0.01, 0.01])
    assert second == pytest.approx([0.0, 0.0, 0.001, 0.001, 0.001, 0.001])
    resume = dict(resume=True, load_from=str(tmp_path / 'a' / 'epoch_1.pth'))
    resumed = guided_runner(tmp_path / 'b', build(dino(), seed=9), hook, epochs=3, **resume)
    resumed.train()
    same(resumed.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize('skip', [True, False])
def test_empty_mask(skip):
    model, (views, samples) = build(dino()), Guided().batch()
    for sample in samples:
        sample.template[:, 0] = 0
    hook = guide(model, lambda1=0.0, lambda2=1.0, skip_empty=skip)
    hook._log = True
    found = model(views, samples, mode='loss')['loss_attn_outside'].item()
    attn = attention_of(model, views)
    right = stacked_templates(samples)[:, 1].flatten(1)
    expected = (attn[:, 0] * (1 - right)).sum(-1).mean()
    expected = expected if skip else expected + attn[:, 2].sum(-1).mean()
    assert found == pytest.approx(PATCH**2 * expected.item(), rel=1e-4)
    assert hook._readings['attn_empty_templates'] == 0.5
    assert 'attn_inside/2_left' not in hook._readings
    assert 'attn_inside/0_right' in hook._readings


def test_spread_is_an_option():
    model, (views, samples) = build(dino()), Guided().batch()
    attn = attention_of(model, views)
    guide(model, lambda1=1e-3, lambda2=1e-3, spread=0.5)
    losses = model(views, samples, mode='loss')
    k = stacked_templates(samples)
    expected = 0.5 * attention_spread_loss(attn, k, [2, 0]).item()
    assert losses['loss_attn_spread'].item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_other_modes_are_not_changed():
    model, (views, _samples) = build(dino()), Guided().batch()
    guide(model)
    assert isinstance(model(views[0], mode='tensor'), tuple)
    model.eval()
    assert set(model(views, None, mode='loss')) == {'loss'}


def test_half_precision():
    model, (views, samples) = build(dino()), Guided().batch()
    guide(model, lambda1=1.0, lambda2=1.0)
    single = model(views, samples, mode='loss')['loss_attn_inside'].item()
    with torch.autocast('cpu', torch.bfloat16):
        half = model(views, samples, mode='loss')['loss_attn_inside']
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(single, rel=0.05)


def _second(samples, name, value, field_type='data'):
    """Set a field of the second sample."""
    samples[1].set_field(value, name, field_type=field_type)
    return samples


def _all(samples, function):
    """Apply a function to every template."""
    for sample in samples:
        sample.set_field(function(sample.template), 'template')
    return samples


@pytest.mark.parametrize(
    ('change', 'heads', 'message'),
    [
        (lambda s: s, {0: 'heart'}, r"lack \['heart'\]"),
        (lambda s: None, HEAD_MAP, 'list of data samples'),
        (lambda s: [DataSample() for _ in s], HEAD_MAP, 'needs `template`'),
        (lambda s: _second(s, 'template', template(2, 8)), HEAD_MAP, 'one shape'),
        (
            lambda s: _second(s, 'parts', ('right', 'left'), 'metainfo'),
            HEAD_MAP,
            'alike in every sample',
        ),
        (lambda s: _all(s, lambda t: t[:, :1]), HEAD_MAP, 'name the 1 parts'),
        (lambda s: _all(s, lambda t: t * 255), HEAD_MAP, r'\[0, 1\], got 0 to 255'),
        (lambda s: _all(s, lambda t: pad(t, (0, 1))), HEAD_MAP, '4 x 5 does not fit'),
        (lambda s: _all(s, lambda t: t[..., :2, :2]), HEAD_MAP, '2 x 2 does not fit'),
        (lambda s: _all(s, lambda t: torch.cat([t, t])), HEAD_MAP, '4 views'),
    ],
)
def test_wrong_templates(change, heads, message):
    model, (views, samples) = build(dino()), Guided().batch()
    guide(model, heads=heads)
    with pytest.raises(ValueError, match=message):
        model(views, change(samples), mode='loss')


def test_views_that_do_not_fit():
    model, (views, samples) = build(dino()), Guided().batch()
    guide(model)
    with pytest.raises(ValueError, match='one size'):
        model([views[0], views[1][..., :16]], samples, mode='loss')
    model.loss = lambda inputs, data_samples: dict(loss=torch.zeros(()))
    with pytest.raises(ValueError, match='0 rows of attention'):
        model(views, samples, mode='loss')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(heads={3: 'left'}), r'assigns \[3\], but the block has 3 heads'),
        (dict(heads={}), 'must map'),
        (dict(heads={-1: 'left'}), 'must map'),
        (dict(heads={'a': 'left'}), 'must map'),
        (dict(heads=['left']), 'must map'),
        (dict(scale='sum'), 'scale must be one of'),
        (dict(sign='minus'), 'sign must be one of'),
        (dict(rows='column'), 'rows must be one of'),
        (dict(lambda1=dict(values=[1.0, 2.0], epochs=[0])), 'one point'),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        guide(build(dino()), **options)


def test_backbones_without_cls_attention():
    with pytest.raises(ValueError, match='ResNet cannot be read'):
        ClsAttentionReader(ResNet(18))
    vit = dict(img_size=SIDE, patch_size=PATCH, arch='deit-tiny')
    with pytest.raises(ValueError, match='with_cls_token'):
        ClsAttentionReader(VisionTransformer(with_cls_token=False, out_type='featmap', **vit))
    with pytest.raises(ValueError, match='multiple'):
        ClsAttentionReader(VisionTransformer(**vit)).grid(torch.zeros(1, 3, 36, 32))


def test_reader_reads_a_distilled_vit_and_nothing_outside_of_its_block():
    backbone = DistilledVisionTransformer(img_size=SIDE, patch_size=PATCH, arch='deit-tiny')
    x = torch.randn(2, 3, SIDE, SIDE)
    with ClsAttentionReader(backbone) as reader, torch.no_grad():
        backbone(x)
        attn = reader.take()
        backbone(x)
        assert reader.take() is None
    assert attn.shape == (2, 3, GRID * GRID)
    assert (attn.sum(-1) < 1).all()
    assert reader.grid(x) == (GRID, GRID)


def test_command_line_and_config_files_keep_the_heads(tmp_path):
    config = Config(dict(custom_hooks=[dict(type='orl_mm.AttentionRegHook', heads=HEAD_MAP)]))
    config.dump(tmp_path / 'c.py')
    again = Config.fromfile(tmp_path / 'c.py').custom_hooks[0].heads
    assert AttentionRegHook(heads=again).heads == HEAD_MAP
    assert AttentionRegHook(heads={'2': 'left', '0': 'right'}).heads == HEAD_MAP
    assert AttentionRegHook().heads == {0: 'left_lung', 1: 'right_lung', 2: 'heart'}
    assert math.isclose(AttentionRegHook().lambdas[0](3.0), 1e-3)
