"""A linear layer on the frozen features of a pretrained backbone (thesis, table 3.2)."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from orl_mm.registry import MODELS
from orl_mm.weights import take_pretraining_weights


@MODELS.register_module()
class LinearProbe(BaseModel):
    """A linear layer on the frozen features of a backbone, for several yes/no findings.

    The feature is the CLS token after the last norm, or, with ``blocks`` > 1, the CLS
    tokens of the last blocks, each after that norm, side by side (as in DINO's
    ``eval_linear.py``). The backbone never trains: it stays in evaluation mode without
    gradient. Inputs may be images or, as ``FrozenFeaturesHook`` arranges it for
    training, features. Weights come by the backbone's ``init_cfg``, or by ``load_from``, which
    takes checkpoints of pretraining as ``AttentionProbe`` does.

    Args:
        backbone (dict): Any backbone that gives a vector or a feature map, which is averaged.
        num_classes (int): C.
        blocks (int): How many of the last blocks; more than one needs a ViT of mmpretrain.
        in_channels (int, optional): D. Default: ``blocks`` times the backbone's ``embed_dims``.
        network (str): See ``AttentionProbe``.
        data_preprocessor (dict, optional): Of type ``ProbeDataPreprocessor``.

    Raises:
        ValueError: Numbers that are not positive, a backbone that cannot serve.

    Source: the initialization, that of github.com/facebookresearch/dino.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        blocks: int = 1,
        in_channels: int | None = None,
        network: str = 'auto',
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        if num_classes < 1 or blocks < 1:
            raise ValueError(
                f'num_classes and blocks must be positive, got {num_classes} and {blocks}'
            )
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = dict(
                dict(type='orl_mm.ProbeDataPreprocessor'), **(data_preprocessor or {})
            )
        super().__init__(data_preprocessor=data_preprocessor)
        if blocks > 1:
            backbone = dict(backbone, out_indices=list(range(-blocks, 0)), out_type='cls_token')
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        if blocks > 1 and not getattr(self.backbone, 'final_norm', False):
            raise ValueError(
                f'blocks={blocks} needs a ViT of mmpretrain with final_norm=True, '
                f'got {type(self.backbone).__name__}'
            )
        if in_channels is None and not hasattr(self.backbone, 'embed_dims'):
            raise ValueError(
                f'{type(self.backbone).__name__} does not say how long its features '
                'are: give in_channels'
            )
        self.blocks = blocks
        self.linear = nn.Linear(in_channels or blocks * self.backbone.embed_dims, num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        take_pretraining_weights(self, network, own='linear.weight')

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """Scores of images or of their features.

        Args:
            inputs (Tensor): Images (B, 3, H, W), normalized, or features (B, D).
            data_samples (list, optional): B samples; training reads ``gt_score`` (C,) of
                0, 1 and NaN, which is unknown.
            mode (str): ``'tensor'``: logits (B, C). ``'loss'``: a dict with ``loss``.
                ``'predict'``: the samples with ``pred_score`` (C,), probabilities.

        Raises:
            ValueError: Another mode, or samples without labels.
        """
        features = inputs if inputs.dim() == 2 else self.extract_feat(inputs)
        logits = self.linear(features)
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            return dict(loss=known_label_loss(logits, self._labels(data_samples)))
        if mode != 'predict':
            raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")
        samples = data_samples or [DataSample() for _ in logits]
        # In double precision, where confident scores do not become equal.
        for sample, score in zip(samples, logits.detach().double().sigmoid(), strict=False):
            sample.set_pred_score(score)
        return samples

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> Tensor:
        """(B, D) of images (B, 3, H, W)."""
        outputs = self.backbone(inputs)
        outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        if self.blocks == 1:
            feature = outputs[-1]
            return feature if feature.dim() == 2 else feature.flatten(2).mean(-1)
        # The backbone itself has normed the last one.
        return torch.cat([self.backbone.ln1(x) for x in outputs[:-1]] + outputs[-1:], 1)

    def train(self, mode: bool = True) -> 'LinearProbe':
        """As usual, but for the backbone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def _labels(self, samples: list[DataSample] | None) -> Tensor:
        if not samples or any('gt_score' not in sample for sample in samples):
            raise ValueError(
                'LinearProbe needs data samples with gt_score: use a data set with '
                'labels, such as orl_mm.CheXpert with classes'
            )
        labels = torch.stack([sample.gt_score for sample in samples])
        if labels.shape[1] != self.linear.out_features:
            raise ValueError(
                f'the data have {labels.shape[1]} classes and the probe '
                f'{self.linear.out_features}: set num_classes={labels.shape[1]}'
            )
        return labels.to(self.linear.weight.device, non_blocking=True)


def known_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the labels that are known.

    Args:
        logits (Tensor): (B, C).
        labels (Tensor): (B, C) of 0, 1 and NaN; NaN counts for nothing.

    Returns:
        Tensor: Scalar; 0 where no label is known.
    """
    known = ~labels.isnan()
    each = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction='none')
    return (each * known).sum() / known.sum().clamp(min=1)
