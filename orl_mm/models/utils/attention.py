"""The CLS token's attention and the terms that guide it (thesis, chapter 3).

B images (of one or more views), H heads, N = h * w patches in row-major order, R named
parts. Attention is a probability over patches and CLS; templates lie in [0, 1].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SCALES = ('pixel_sum', 'patch_sum', 'mean')
SIGNS = ('guide', 'as_printed')


def cls_attention(qkv: Tensor, num_heads: int, num_extra_tokens: int = 1) -> Tensor:
    r"""Attention of CLS to the patches, one row per head (section 3.2, Attention).

    :math:`a = softmax(q_{cls} k^T / \sqrt{d})` over all keys; the keys of CLS and of
    other extra tokens are then dropped and the rest is not renormalized, so a row sums
    to one minus what CLS gives to itself. Only this row is computed, in fp32.

    Args:
        qkv (Tensor): (B, 1 + N, 3 D), the output of a block's fused ``qkv`` layer, whose
            channels are (3, heads, d) as in mmpretrain, timm and facebookresearch/dino.
        num_heads (int): H; d = D / H.
        num_extra_tokens (int): Tokens before the patches; the first one is CLS.

    Returns:
        Tensor: (B, H, N), float32.

    Raises:
        ValueError: ``qkv`` has another number of axes, channels that 3 * heads does not
            divide, or no patch.
    """
    if qkv.dim() != 3:
        raise ValueError(f'qkv must be (B, 1 + N, 3 D), got {tuple(qkv.shape)}')
    batch, length, channels = qkv.shape
    if num_heads < 1 or channels % (3 * num_heads):
        raise ValueError(
            f'qkv has {channels} channels, which are not 3 x {num_heads} heads x d; '
            'give the num_heads of the block that qkv comes from'
        )
    if not 1 <= num_extra_tokens < length:
        raise ValueError(
            f'qkv holds {length} tokens, {num_extra_tokens} of them extra: there must '
            'be a CLS token and at least one patch'
        )
    # Half precision is too coarse for the sum over pixels that follows.
    with torch.autocast(qkv.device.type, enabled=False):
        tokens = qkv.reshape(batch, length, 3, num_heads, -1)
        query = tokens[:, 0, 0].float()
        keys = tokens[:, :, 1].float()
        logits = torch.einsum('bhd,bnhd->bhn', query, keys) * query.shape[-1] ** -0.5
        return logits.softmax(-1)[..., num_extra_tokens:]


def attention_mass(attn: Tensor, template: Tensor, heads: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Attention of each guided head inside and outside its part.

    Args:
        attn (Tensor): (B, H, N), see :func:`cls_attention`.
        template (Tensor): (B, R, h, w) with h * w = N: the share of each patch that the
            part covers, in [0, 1].
        heads (sequence): The head of each of the R parts.

    Returns:
        tuple: sum(a k) and sum(a (1 - k)) over patches, (B, R) each. With what CLS gives
        to itself they sum to 1.

    Raises:
        ValueError: A head that does not exist, or shapes that do not belong together.
    """
    _check(attn, template, heads)
    guided = _rows(attn, heads)
    inside = (guided * template.flatten(2).to(guided.dtype)).sum(-1)
    return inside, guided.sum(-1) - inside


def attention_reg_terms(
    attn: Tensor,
    template: Tensor,
    heads: Sequence[int],
    lambda1: float,
    lambda2: float,
    patch_size: int = 16,
    scale: str = 'pixel_sum',
    sign: str = 'guide',
    skip_empty: bool = False,
) -> tuple[Tensor, Tensor]:
    """The two terms of :func:`attention_reg_loss`, apart: the inside's and the outside's."""
    if scale not in SCALES or sign not in SIGNS:
        raise ValueError(
            f'scale must be one of {SCALES} and sign one of {SIGNS}, got '
            f'scale={scale!r} and sign={sign!r}'
        )
    inside, outside = attention_mass(attn, template, heads)
    if skip_empty:
        present = template.flatten(2).amax(-1) > 0
        inside, outside = inside * present, outside * present
    factor = dict(pixel_sum=patch_size**2, patch_sum=1.0, mean=1.0 / attn.shape[-1])[scale]
    factor = factor if sign == 'guide' else -factor
    return (-lambda1 * factor * inside.sum(1).mean(), lambda2 * factor * outside.sum(1).mean())


def attention_reg_loss(
    attn: Tensor,
    template: Tensor,
    heads: Sequence[int],
    lambda1: float,
    lambda2: float,
    patch_size: int = 16,
    scale: str = 'pixel_sum',
    sign: str = 'guide',
    skip_empty: bool = False,
) -> Tensor:
    r"""Knowledge-guided regularization (section 3.2): attend to the part, not outside.

    .. math:: -\lambda_1 \sum_{ij} a_{ij} k_{ij} + \lambda_2 \sum_{ij} a_{ij} (1 - k_{ij})

    over the pixels ij of the attention upsampled by nearest neighbor, which is
    ``patch_size ** 2`` times the sum over patches; then the mean over images and the sum
    over parts. The thesis prints the opposite signs of what its text says; the text holds.

    Args:
        attn (Tensor): (B, H, N), see :func:`cls_attention`.
        template (Tensor): (B, R, h, w) with h * w = N, in [0, 1]; any dtype.
        heads (sequence): The head of each of the R parts.
        lambda1, lambda2 (float): Strengths, in [1e-6, 1e-2] in the thesis.
        patch_size (int): Side of a patch in pixels.
        scale (str): ``'pixel_sum'``, ``'patch_sum'``, or ``'mean'`` over patches.
        sign (str): ``'guide'``, or ``'as_printed'``: the printed equation, for study.
        skip_empty (bool): A part that is nowhere in the template of an image guides
            nothing there; otherwise its head is driven to CLS.

    Returns:
        Tensor: Scalar.

    Raises:
        ValueError: See :func:`attention_mass`; an unknown scale or sign.
    """
    inside, outside = attention_reg_terms(
        attn, template, heads, lambda1, lambda2, patch_size, scale, sign, skip_empty
    )
    return inside + outside


def attention_spread_loss(attn: Tensor, template: Tensor, heads: Sequence[int]) -> Tensor:
    r"""How far each guided head is from an even spread over its part; beyond the thesis.

    :func:`attention_reg_loss` is as content with one patch inside as with all of them, and
    has no gradient left once a head has settled, on a few patches or on CLS. With the even
    spread :math:`u = k / \sum k`, this is the divergence from the whole row, CLS included,

    .. math:: KL(u \| a) = \sum u \log u - \sum u \log a

    which is 0 for a = u alone, and whose gradient to the logits, a - u, never vanishes
    before; mean over images, sum over parts; a part that an image lacks counts as 0.

    Args and Raises: see :func:`attention_mass`.

    Returns:
        Tensor: Scalar, not negative.
    """
    _check(attn, template, heads)
    k = template.flatten(2).to(attn.dtype)
    area = k.sum(-1, keepdim=True)
    even = k / area.clamp(min=1e-6)
    log_a = _rows(attn, heads).clamp(min=1e-30).log()
    divergence = (torch.xlogy(even, even) - even * log_a).sum(-1)
    return torch.where(area[..., 0] > 0, divergence, 0.0).sum(1).mean()


class AttentionDiagnostics(NamedTuple):
    """Per part, (R,) each: means over the images that show the part, NaN where none does."""

    inside: Tensor
    outside: Tensor
    cls: Tensor
    coverage: Tensor


@torch.no_grad()
def attention_diagnostics(
    attn: Tensor, template: Tensor, heads: Sequence[int]
) -> AttentionDiagnostics:
    """Where the guided heads look.

    The loss is linear in the attention, so all of it on one patch inside is as good to it
    as an even spread; and the outside alone is served by attending to CLS. Hence:

    - ``inside``, ``outside``: sum(a k), sum(a (1 - k)) over patches.
    - ``cls``: what CLS gives to itself (and to other extra tokens), 1 - sum(a).
    - ``coverage``: the share of the part where a exceeds its mean over the map.

    Args and Raises: see :func:`attention_mass`.
    """
    inside, outside = attention_mass(attn, template, heads)
    guided, k = _rows(attn, heads), template.flatten(2).to(attn.dtype)
    above = (guided > guided.mean(-1, keepdim=True)).to(k.dtype)
    area = k.sum(-1)
    present = area > 0
    coverage = (above * k).sum(-1) / area.clamp(min=1e-12)

    def mean(x: Tensor) -> Tensor:
        return (x * present).sum(0) / present.sum(0)

    return AttentionDiagnostics(
        mean(inside), mean(outside), mean(1 - guided.sum(-1)), mean(coverage)
    )


@torch.no_grad()
def template_average_precision(attn: Tensor, template: Tensor, heads: Sequence[int]) -> list[float]:
    """Average precision of each guided head against its part, a patch of 0.5 or more being in it.

    scikit-learn's ``average_precision_score``, per image, averaged over the images whose
    template holds patches inside and outside; NaN where none does. For monitoring: it
    waits for the device.

    Args and Raises: see :func:`attention_mass`.
    """
    # Imported here: it takes a while, and every process imports this module.
    from sklearn.metrics import average_precision_score

    _check(attn, template, heads)
    scores = _rows(attn, heads).float().cpu().numpy()
    truth = (template.flatten(2) >= 0.5).cpu().numpy()
    means = []
    for part in range(len(heads)):
        found = [
            average_precision_score(k, a)
            for k, a in zip(truth[:, part], scores[:, part], strict=False)
            if 0 < k.sum() < k.size
        ]
        means.append(sum(found) / len(found) if found else float('nan'))
    return means


def _rows(attn: Tensor, heads: Sequence[int]) -> Tensor:
    """(B, R, N); stacked, since a list as an index waits for the device."""
    return torch.stack([attn[:, head] for head in heads], 1)


def _check(attn: Tensor, template: Tensor, heads: Sequence[int]) -> None:
    if attn.dim() != 3 or template.dim() != 4:
        raise ValueError(
            'attention must be (B, heads, N) and template (B, R, h, w), got '
            f'{tuple(attn.shape)} and {tuple(template.shape)}'
        )
    batch, num_heads, patches = attn.shape
    wrong = [head for head in heads if not 0 <= head < num_heads]
    if wrong or not len(heads):
        raise ValueError(
            f'heads {list(heads)} must be numbers from 0 to {num_heads - 1}, at least '
            f'one: this attention has {num_heads} heads'
        )
    if template.shape[1] != len(heads):
        raise ValueError(
            f'template holds {template.shape[1]} parts and {len(heads)} heads are '
            f'assigned ({list(heads)}): give one head for each part'
        )
    if len(template) != batch:
        raise ValueError(f'template is of {len(template)} images, the attention of {batch}')
    if template.shape[2] * template.shape[3] != patches:
        raise ValueError(
            f'template is on a grid of {template.shape[2]} x {template.shape[3]}, the attention '
            f'has {patches} patches: average the template over each patch first'
        )
