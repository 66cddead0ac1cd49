"""The CLS row and its guidance, against recorded numbers, hand values and pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy

from orl_mm.models.utils import (
    attention_diagnostics,
    attention_mass,
    attention_reg_loss,
    attention_spread_loss,
    cls_attention,
    template_average_precision,
)


@pytest.fixture(scope='module')
def golden():
    arrays = np.load(Path(__file__).parents[1] / 'data' / 'dino.npz', allow_pickle=False)
    return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}


def golden_qkv(golden):
    """qkv of the last of the two recorded blocks, each layer written out.

    The recorded network has torch's default eps, the published ViTs have 1e-6.
    """
    w = {name[4:]: value for name, value in golden.items() if name.startswith('vit.')}

    def linear(x, name):
        return F.linear(x, w[f'{name}.weight'], w[f'{name}.bias'])

    def norm(x, name):
        return F.layer_norm(x, (48,), w[f'{name}.weight'], w[f'{name}.bias'], eps=1e-5)

    patches = (
        F.conv2d(
            golden['vit_input'], w['patch_embed.proj.weight'], w['patch_embed.proj.bias'], stride=16
        )
        .flatten(2)
        .transpose(1, 2)
    )
    x = torch.cat([w['cls_token'].expand(2, -1, -1), patches], 1) + w['pos_embed']
    q, k, v = (
        part.view(2, 17, 6, 8).transpose(1, 2)
        for part in linear(norm(x, 'blocks.0.norm1'), 'blocks.0.attn.qkv').chunk(3, -1)
    )
    mixed = ((q @ k.transpose(-2, -1)) / 8**0.5).softmax(-1) @ v
    x = x + linear(mixed.transpose(1, 2).reshape(2, 17, 48), 'blocks.0.attn.proj')
    hidden = F.gelu(linear(norm(x, 'blocks.0.norm2'), 'blocks.0.mlp.fc1'))
    x = x + linear(hidden, 'blocks.0.mlp.fc2')
    return linear(norm(x, 'blocks.1.norm1'), 'blocks.1.attn.qkv')


def test_cls_row_of_the_reference(golden):
    torch.testing.assert_close(
        cls_attention(golden_qkv(golden), 6),
        golden['vit_last_selfattention_cls_row'],
        atol=1e-6,
        rtol=0,
    )


def test_cls_row_by_hand():
    """Two heads of one channel: logits q k, softmax over CLS and two patches, CLS dropped."""
    qkv = torch.zeros(1, 3, 6)
    qkv[0, 0, :2] = torch.tensor([1.0, 2.0])  # q of CLS in the two heads
    qkv[0, 1:, :2] = 9.0  # the patches' queries do not matter
    qkv[0, :, 2] = torch.tensor([0.0, np.log(2), np.log(5)])
    qkv[0, :, 3] = torch.tensor([0.0, np.log(2) / 2, 0.0])
    qkv[0, :, 4:] = 7.0
    expected = torch.tensor([[[2 / 8, 5 / 8], [2 / 4, 1 / 4]]])
    torch.testing.assert_close(cls_attention(qkv, 2), expected)


def test_further_extra_tokens_are_dropped_not_renormalized():
    qkv = torch.randn(2, 7, 24)
    torch.testing.assert_close(cls_attention(qkv, 4, 3), cls_attention(qkv, 4)[..., 2:])


def test_half_precision_is_computed_in_single():
    qkv = torch.randn(2, 10, 48).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        half = cls_attention(qkv, 4)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, cls_attention(qkv.float(), 4), atol=1e-6, rtol=0)


# One image, two heads, 2x2 patches. Part 0 -> head 1, part 1 -> head 0.
ATTN = torch.tensor([[[0.1, 0.2, 0.3, 0.2], [0.4, 0.3, 0.1, 0.1]]])
PARTS = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]])
INSIDE, OUTSIDE = [0.45, 0.2], [0.45, 0.6]


def test_mass_by_hand():
    inside, outside = attention_mass(ATTN, PARTS, [1, 0])
    torch.testing.assert_close(inside, torch.tensor([INSIDE]))
    torch.testing.assert_close(outside, torch.tensor([OUTSIDE]))


@pytest.mark.parametrize(
    ('scale', 'factor'), [('pixel_sum', 256.0), ('patch_sum', 1.0), ('mean', 0.25)]
)
@pytest.mark.parametrize(('sign', 'direction'), [('guide', 1.0), ('as_printed', -1.0)])
def test_loss_by_hand(scale, factor, sign, direction):
    loss = attention_reg_loss(ATTN, PARTS, [1, 0], 1e-2, 3e-3, scale=scale, sign=sign)
    expected = direction * factor * (-1e-2 * (0.45 + 0.2) + 3e-3 * (0.45 + 0.6))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('patch', [16, 4])
def test_loss_equals_the_sum_over_upsampled_pixels(patch):
    """The thesis's words: upsample by nearest neighbor, multiply by K, sum over pixels."""
    torch.manual_seed(0)
    h, w = 3, 5
    attn = torch.randn(4, 6, 1 + h * w).softmax(-1)[..., 1:]
    pixels = (torch.rand(4, 2, h * patch, w * patch) > 0.4).float()
    template = F.avg_pool2d(pixels, patch)
    total = 0.0
    for image in range(4):
        for part, head in enumerate((5, 2)):
            big = F.interpolate(
                attn[image, head].view(1, 1, h, w), scale_factor=patch, mode='nearest'
            )[0, 0]
            k = pixels[image, part]
            total += (-2e-3 * (big * k).sum() + 5e-4 * (big * (1 - k)).sum()) / 4
    found = attention_reg_loss(attn, template, [5, 2], 2e-3, 5e-4, patch_size=patch)
    torch.testing.assert_close(found, total, atol=1e-6, rtol=1e-5)


def test_empty_part_drives_to_cls_or_is_skipped():
    empty = PARTS.clone()
    empty[:, 1] = 0
    driven = attention_reg_loss(ATTN, empty, [1, 0], 1.0, 1.0, scale='patch_sum')
    skipped = attention_reg_loss(ATTN, empty, [1, 0], 1.0, 1.0, scale='patch_sum', skip_empty=True)
    assert driven.item() == pytest.approx(-0.45 + 0.45 + 0.8)
    assert skipped.item() == pytest.approx(-0.45 + 0.45, abs=1e-6)


def test_spread_is_the_divergence_from_an_even_spread():
    """By scipy, against the whole row with CLS; parts of 3 and 1 patches, and one with shares."""
    torch.manual_seed(0)
    attn = torch.randn(1, 3, 7).softmax(-1)[..., 1:]
    parts = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [1, 0, 0.5, 1, 0, 0.25]])
    expected = 0.0
    for a, k in zip(attn[0, [2, 0, 1]].double().numpy(), parts.double().numpy(), strict=False):
        row = np.append(a, 1 - a.sum())  # CLS comes last here
        expected += entropy(np.append(k, 0) / k.sum(), row)
    found = attention_spread_loss(attn, parts.view(1, 3, 2, 3), [2, 0, 1])
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_spread_is_zero_for_an_even_spread_and_for_empty_parts():
    attn = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]], requires_grad=True)
    even = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert attention_spread_loss(attn, even, [0]).item() == pytest.approx(0, abs=1e-6)
    loss = attention_spread_loss(attn, 0 * even, [0])
    loss.backward()
    assert loss == 0
    assert attn.grad.isfinite().all()


def test_diagnostics_by_hand():
    found = attention_diagnostics(ATTN, PARTS, [1, 0])
    assert found.inside.tolist() == pytest.approx(INSIDE)
    assert found.outside.tolist() == pytest.approx(OUTSIDE)
    assert found.cls.tolist() == pytest.approx([0.1, 0.2])
    # Head 1: mean .225, patches 0 and 1 above it, 1 of 1.5 of the part; head 0: mean .2.
    assert found.coverage.tolist() == pytest.approx([1 / 1.5, 0.0])


def test_diagnostics_leave_out_images_without_the_part():
    attn = torch.cat([ATTN, torch.full_like(ATTN, 0.25)])
    parts = torch.cat([PARTS, torch.zeros_like(PARTS)])
    found, one = (
        attention_diagnostics(attn, parts, [1, 0]),
        attention_diagnostics(ATTN, PARTS, [1, 0]),
    )
    for mine, expected in zip(found, one, strict=False):
        torch.testing.assert_close(mine, expected)
    assert attention_diagnostics(attn, 0 * parts, [1, 0]).coverage.isnan().all()


def test_average_precision_by_hand():
    """Head 1: .4 in, .3 out, then .1 twice, one of them in; head 0: .3 out, .2 twice, one in."""
    assert template_average_precision(ATTN, PARTS, [1, 0]) == pytest.approx([0.75, 1 / 3])
    constant = torch.full((1, 1, 4), 0.2)
    assert template_average_precision(constant, PARTS[:, :1], [0]) == [0.5]
    nowhere = template_average_precision(ATTN, 0 * PARTS, [1, 0])
    assert all(value != value for value in nowhere)


@pytest.mark.parametrize(
    ('heads', 'template', 'message'),
    [
        ([1, 2], PARTS, 'from 0 to 1'),
        ([-1, 0], PARTS, 'from 0 to 1'),
        ([], PARTS, 'at least one'),
        ([0], PARTS, 'one head for each part'),
        ([0, 1], PARTS[:, :1], 'one head for each part'),
        ([0, 1], torch.zeros(1, 2, 3, 3), '4 patches'),
        ([0, 1], PARTS.expand(3, -1, -1, -1), '3 images'),
        ([0, 1], PARTS[0], r'\(B, R, h, w\)'),
    ],
)
def test_bad_templates_and_heads(heads, template, message):
    for function in (
        attention_mass,
        attention_diagnostics,
        lambda *x: attention_reg_loss(*x, 1e-3, 1e-3),
    ):
        with pytest.raises(ValueError, match=message):
            function(ATTN, template, heads)


@pytest.mark.parametrize('option', [dict(scale='sum'), dict(sign='minus')])
def test_bad_options(option):
    with pytest.raises(ValueError, match='must be one of'):
        attention_reg_loss(ATTN, PARTS, [1, 0], 1e-3, 1e-3, **option)


@pytest.mark.parametrize(
    ('shape', 'heads', 'extra', 'message'),
    [
        ((5, 12), 2, 1, r'\(B, 1 \+ N, 3 D\)'),
        ((1, 5, 12), 3, 1, '3 heads'),
        ((1, 5, 12), 0, 1, '0 heads'),
        ((1, 1, 12), 2, 1, 'at least one patch'),
        ((1, 5, 12), 2, 0, 'CLS token'),
    ],
)
def test_bad_qkv(shape, heads, extra, message):
    with pytest.raises(ValueError, match=message):
        cls_attention(torch.zeros(shape), heads, extra)
