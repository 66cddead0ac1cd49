"""Read the CLS token's attention of any ViT of mmpretrain while it runs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from .attention import cls_attention


class ClsAttentionReader:
    """Collects the CLS rows of one block without changing its fused attention.

    A forward hook on the block's ``qkv`` layer computes the row from q and k. It suits
    backbones with ``layers[i].attn.qkv`` (one linear layer for q, k and v) and a CLS token
    first: ``VisionTransformer`` and what derives from it (MoCo v3, DeiT, MAE ...).

        with ClsAttentionReader(model.backbone) as reader, torch.no_grad():
            model.backbone(x)
        attn = reader.take()  # (B, heads, N), patches in row-major order

    Args:
        backbone (nn.Module): The ViT.
        layer (int): Which block; the last one by default.

    Attributes:
        num_heads (int): Heads of the block.
        patch_size (int): Side of a patch in pixels.
        limit (int, optional): Most rows to collect; the rest is ignored.

    Raises:
        ValueError: A backbone without such blocks, without CLS token or with patches that
            are not squares.
    """

    def __init__(self, backbone: Any, layer: int = -1) -> None:
        name, blocks = type(backbone).__name__, getattr(backbone, 'layers', ())
        try:
            attention = blocks[layer].attn
            self.qkv, self.num_heads = attention.qkv, attention.num_heads
            sides = _pair(backbone.patch_embed.projection.stride)
            self.patch_size = int(sides[0])
        except (AttributeError, TypeError, IndexError) as error:
            raise ValueError(
                f'the attention of {name} cannot be read ({error}): it needs layers[{layer}].attn '
                'with num_heads and one qkv layer, and patch_embed.projection, as the ViTs of '
                'mmpretrain have'
            ) from error
        if sides[0] != sides[1]:
            raise ValueError(f'patches of {name} are {sides[0]} x {sides[1]}, not squares')
        self.num_extra_tokens = getattr(backbone, 'num_extra_tokens', 1)
        if not getattr(backbone, 'with_cls_token', True) or self.num_extra_tokens < 1:
            raise ValueError(
                f'{name} was built without CLS token, whose attention is read: set '
                'with_cls_token=True'
            )
        self.limit: int | None = None
        self._rows: list[Tensor] | None = None
        self._handle = None

    def __enter__(self) -> 'ClsAttentionReader':
        self.attach()
        self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.detach()

    def attach(self) -> None:
        """Hook into the block; nothing is computed before :meth:`start`."""
        self.detach()
        self._handle = self.qkv.register_forward_hook(self._read)

    def detach(self) -> None:
        """Remove the hook from the block."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def start(self, limit: int | None = None, needs_grad: bool = False) -> None:
        """Start to collect; with ``needs_grad`` only passes that have a gradient."""
        self.limit, self._needs_grad, self._rows = limit, needs_grad, []

    def take(self) -> Tensor | None:
        """(rows, heads, N) collected since :meth:`start`, in order; None if there are none."""
        rows, self._rows = self._rows, None
        return torch.cat(rows) if rows else None

    def grid(self, image: Tensor) -> tuple[int, int]:
        """(h, w), the patches of images (..., H, W).

        Raises:
            ValueError: Patches do not tile the image.
        """
        height, width = image.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'images of {height} x {width} are not tiled by patches of '
                f'{self.patch_size}: choose a multiple as size of the views'
            )
        return height // self.patch_size, width // self.patch_size

    def _read(self, module: nn.Module, args: tuple, qkv: Tensor) -> None:
        if self._rows is None or (self._needs_grad and not torch.is_grad_enabled()):
            return
        if self.limit is not None:
            qkv = qkv[: self.limit - sum(map(len, self._rows))]
        if len(qkv):
            self._rows.append(cls_attention(qkv, self.num_heads, self.num_extra_tokens))
