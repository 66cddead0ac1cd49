"""k-NN classification on the frozen features of a pretrained backbone."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from orl_mm.models.utils.knn import keep_nearest, nearest_neighbors, weighted_vote
from orl_mm.registry import MODELS
from orl_mm.weights import take_pretraining_weights


@MODELS.register_module()
class KNNProbe(BaseModel):
    """Weighted k-NN classification on the features of a pretrained backbone, as DINO's.

    The k training images whose features have the greatest cosine to an image's vote with
    the weight exp(cosine / temperature) for their classes. ``FeatureBankHook`` gives the
    features of the training images, to each process a share of them, before the test;
    the processes exchange queries and neighbors, so that each image sees all of them.
    Weights come by the checkpoint of ``tools/test.py``: that of any pretraining, as it is
    (see :func:`~orl_mm.weights.take_pretraining_weights`).

    Args:
        backbone (dict): Any backbone that gives a vector or a feature map, which is averaged.
        num_classes (int): C.
        k (int): Neighbors; 20 usually serves best, says DINO's ``eval_knn.py``.
        temperature (float): Of the votes.
        chunk (int): Features compared with the queries at a time.
        network (str): See ``AttentionProbe``.
        data_preprocessor (dict, optional): Default: mmpretrain's ``ClsDataPreprocessor``.

    Raises:
        ValueError: Numbers that are not positive; on testing, no bank, or one with fewer than k
            features or labels beyond ``num_classes``.

    Source: ``eval_knn.py`` of github.com/facebookresearch/dino.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        k: int = 20,
        temperature: float = 0.07,
        chunk: int = 65536,
        network: str = 'auto',
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        for name, value in (
            ('num_classes', num_classes),
            ('k', k),
            ('temperature', temperature),
            ('chunk', chunk),
        ):
            if value <= 0:
                raise ValueError(f'{name} must be positive, got {value}')
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = dict(
                dict(type='mmpretrain.ClsDataPreprocessor'), **(data_preprocessor or {})
            )
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        self.num_classes, self.k, self.temperature = num_classes, k, temperature
        self.chunk = chunk
        # Plain attributes: they are the data's, not the checkpoint's.
        self.bank: Tensor | None = None
        self.labels: Tensor | None = None
        take_pretraining_weights(self, network)

    def set_bank(self, features: Tensor, labels: Tensor, total: int) -> None:
        """Take this process's share of the training images' features.

        Args:
            features (Tensor): (n, D), on any device; scaled in place to unit length, since
                there may be no room for two of them.
            labels (Tensor): (n,) int64.
            total (int): Features of all processes together.
        """
        if total < self.k:
            raise ValueError(f'k={self.k} neighbors of {total} training images: lower model.k')
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f'the training images have the labels {int(labels.min())} to '
                f'{int(labels.max())}: set model.num_classes='
                f'{int(labels.max()) + 1}'
            )
        self.bank = features.div_(features.norm(dim=1, keepdim=True).clamp_min_(1e-12))
        self.labels = labels

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'
    ) -> Tensor | list[DataSample]:
        """Features or votes of images.

        Args:
            inputs (Tensor): (B, 3, H, W), normalized; B the same in all processes.
            data_samples (list, optional): B samples.
            mode (str): ``'tensor'``: features (B, D). ``'predict'``: the samples with
                ``pred_score`` (C,), which sums to 1, and ``pred_label``.

        Raises:
            ValueError: Another mode, such as ``'loss'``: there is nothing to train.
        """
        if mode not in ('tensor', 'predict'):
            raise ValueError(
                f'KNNProbe is only tested, mode={mode!r} does not exist: use tools/test.py'
            )
        features = self.extract_feat(inputs)
        if mode == 'tensor':
            return features
        samples = data_samples or [DataSample() for _ in features]
        for sample, score in zip(samples, self.scores(features), strict=False):
            sample.set_pred_score(score).set_pred_label(score.argmax())
        return samples

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor) -> Tensor:
        """(B, D) float32 of images (B, 3, H, W)."""
        outputs = self.backbone(inputs)
        feature = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
        return (feature if feature.dim() == 2 else feature.flatten(2).mean(-1)).float()

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """Votes (B, C) for features (B, D) of this process."""
        if self.bank is None or self.labels is None:
            raise ValueError(
                'KNNProbe has no training features to compare with: add '
                "dict(type='orl_mm.FeatureBankHook', dataloader=...) to custom_hooks"
            )
        # Half precision, of --amp, would blur which neighbor is nearer.
        with torch.autocast(features.device.type, enabled=False):
            queries = torch.cat(all_gather(F.normalize(features, dim=1)))
            near = nearest_neighbors(queries, self.bank, self.labels, self.k, self.chunk)
            cosines, labels = (self._mine(part, len(features)) for part in near)
            cosines, labels = keep_nearest(cosines, labels, self.k)
            return weighted_vote(cosines, labels, self.num_classes, self.temperature)

    @staticmethod
    def _mine(part: Tensor, size: int) -> Tensor:
        """What all processes found for this one's queries, (B, k * processes)."""
        if get_world_size() == 1:
            return part
        start = get_rank() * size
        return torch.cat([found[start : start + size] for found in all_gather(part)], 1)
