"""The CLS attention of a pretrained ViT as its prediction, for evaluation."""

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from orl_mm.models.utils.cls_attention_reader import ClsAttentionReader
from orl_mm.registry import MODELS
from orl_mm.weights import take_pretraining_weights


@MODELS.register_module()
class AttentionProbe(BaseModel):
    """The last block's CLS attention of a ViT, for ``AttentionAP`` (thesis, table 3.1).

    ``tools/test.py CONFIG CHECKPOINT`` takes the checkpoints of pretraining as they are, see
    :func:`~orl_mm.weights.take_pretraining_weights`.

    Images come squashed to the model's ``img_size`` by the pipeline, so that a map covers
    the whole image: head h, patch (i, j) of (h, w) looks at the rows [i / h, (i + 1) / h) and
    the columns [j / w, (j + 1) / w) of it.

    Args:
        backbone (dict): A ViT of mmpretrain, as it was pretrained.
        network (str): Which network of a checkpoint, see there.
        layer (int): The block.
        data_preprocessor (dict, optional): See ``BaseModel``.

    Attributes:
        num_heads (int): Heads of the block.

    Raises:
        ValueError: A backbone without CLS attention; images that patches do not tile.
    """

    def __init__(
        self,
        backbone: dict,
        network: str = 'auto',
        layer: int = -1,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.layer = layer
        self.num_heads = ClsAttentionReader(self.backbone, layer).num_heads
        take_pretraining_weights(self, network)

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """Attention of images.

        Args:
            inputs (Tensor): (B, 3, H, W), normalized.
            data_samples (list, optional): B samples.
            mode (str): ``'tensor'`` or ``'predict'``.

        Returns:
            Tensor or list: (B, heads, h, w) float32, not renormalized: a map sums to one
            minus what CLS gives to itself. ``'predict'``: the samples with ``attention``.

        Raises:
            ValueError: ``mode='loss'``; there is nothing to train.
        """
        if mode not in ('tensor', 'predict'):
            raise ValueError(
                f'AttentionProbe is only tested, mode={mode!r} does not exist: use tools/test.py'
            )
        attention = self.attention(inputs)
        if mode == 'tensor':
            return attention
        samples = data_samples or [DataSample() for _ in attention]
        for sample, maps in zip(samples, attention, strict=False):
            sample.set_field(maps, 'attention')
        return samples

    @torch.no_grad()
    def attention(self, inputs: Tensor) -> Tensor:
        """(B, heads, h, w) of images (B, 3, H, W)."""
        with ClsAttentionReader(self.backbone, self.layer) as reader:
            grid = reader.grid(inputs)
            self.backbone(inputs)
        rows = reader.take()
        if rows is None:
            raise ValueError(f'block {self.layer} of the backbone did not run: set another layer')
        return rows.unflatten(-1, grid)
