"""Maps of parts of many images, from a segmenter or from masks, in batches.

Both classes have ``parts``, ``total`` (number of images), ``provenance`` (JSON), ``job`` (all
that the maps depend on), and ``batches(start)``, which starts at image ``start`` and yields
(maps, skipped, images): (B, R, size, size) in [0, 1], the names of unreadable images, and the
number of images of the batch.
"""

import os.path as osp
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from torch.utils.data import DataLoader, Dataset, Subset

from orl_mm.registration.average import file_digest, list_digest
from orl_mm.registry import DATASETS, MODELS, TRANSFORMS
from orl_mm.weights import checkpoints_must_fit

from .image_arguments import ImageSource

BACKGROUND = 'background'
LABEL_TRANSFORMS = ('LoadParts', 'PartsToSegMap', 'LoadAnnotations')
Batches = Iterator[tuple[np.ndarray, list[str], int]]


class SegmenterMaps:
    """What a segmenter of mmseg predicts.

    The images go through the pipeline of the config's test data, without its labels.

    Args:
        cfg (Config): Of the segmenter.
        checkpoint (str): Its weights, and the names of its classes.
        images (ImageSource): The images.
        parts (sequence, optional): Classes to take. Default: all but ``'background'``.
        size (int): Side of the maps, whatever the images' size or aspect.
        batch_size, workers, device: Of the predictions.

    Raises:
        ValueError: Unknown or missing classes, or a checkpoint that does not fit.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        images: ImageSource,
        parts: Sequence[str] | None = None,
        size: int = 256,
        batch_size: int = 16,
        workers: int = 2,
        device: str = 'cpu',
    ) -> None:
        # Not init_default_scope, which warns where the images came from another package.
        DefaultScope.get_instance(
            f'segmenter_{id(self)}', scope_name=cfg.get('default_scope', 'mmseg')
        )
        data = cfg.test_dataloader.dataset
        while 'dataset' in data:
            data = data.dataset
        steps = [
            step for step in data.pipeline if step['type'].split('.')[-1] not in LABEL_TRANSFORMS
        ]
        self.size, self.batch_size, self.workers = size, batch_size, workers
        with checkpoints_must_fit(whole=True):
            self.model = MODELS.build(cfg.model)
            meta = load_checkpoint(self.model, checkpoint, map_location='cpu', logger='silent').get(
                'meta', {}
            )
        self.model.to(device).eval()
        classes = list((meta.get('dataset_meta') or data.get('metainfo') or {}).get('classes', ()))
        if not classes:
            raise ValueError(
                f'neither {checkpoint} nor the test data of its config names the classes: give '
                'the data set metainfo=dict(classes=(...))'
            )
        lacking = [part for part in parts or () if part not in classes]
        if lacking:
            raise ValueError(f'the segmenter knows {classes} and not {lacking}')
        self.parts = tuple(parts or (name for name in classes if name != BACKGROUND))
        self.channels = [classes.index(part) for part in self.parts]
        self.samples, self.total = _Images(images, steps, size), len(images)
        self.provenance = dict(
            source='predictions',
            config=osp.basename(cfg.filename or ''),
            checkpoint=osp.basename(checkpoint),
            checkpoint_sha256=file_digest(checkpoint),
            images_sha256=list_digest(map(self.samples.name, range(self.total))),
            versions=_versions('torch', 'onedl-mmsegmentation', 'orl-mm'),
        )
        self.job = dict(self.provenance, model=repr(cfg.model), pipeline=repr(steps))

    def batches(self, start: int = 0) -> Batches:
        """See the top of this module."""
        loader = DataLoader(
            Subset(self.samples, range(start, self.total)),
            self.batch_size,
            num_workers=self.workers,
            collate_fn=list,
        )
        for batch in loader:
            yield (
                self.predict([sample for _, sample in batch if sample is not None]),
                [name for name, sample in batch if sample is None],
                len(batch),
            )

    @torch.inference_mode()
    def predict(self, samples: list[dict]) -> np.ndarray:
        """(B, R, size, size) probabilities of packed samples."""
        if not samples:
            return np.zeros((0, len(self.parts), self.size, self.size), np.float32)
        results = self.model.test_step(pseudo_collate(samples))
        scores = torch.stack([result.seg_logits.data for result in results]).float()
        if scores.shape[1] > 1:  # of a single channel mmseg returns the sigmoid already
            scores = scores.softmax(1)[:, self.channels]
        return scores.clamp(0, 1).cpu().numpy()


class MaskMaps:
    """Existing masks: the share of each cell that a part covers.

    Args:
        data_root, list_file, parts: See :class:`orl_mm.ChestXRayParts`.
        size (int): Side of the maps, whatever the masks' size or aspect.

    Raises:
        ValueError: See there; during iteration, an image without one of the parts.
    """

    def __init__(
        self,
        data_root: str,
        list_file: str | None = None,
        parts: Sequence[str] | None = None,
        size: int = 256,
    ) -> None:
        self.data = DATASETS.build(
            dict(
                type='orl_mm.ChestXRayParts',
                data_root=data_root,
                list_file=list_file,
                parts=parts,
                pipeline=[],
            )
        )
        self.size, self.total = size, len(self.data)
        self.parts = tuple(self.data.metainfo['parts'])
        self.load = TRANSFORMS.build(dict(type='orl_mm.LoadParts', parts=self.parts))
        self.provenance = dict(
            source='masks',
            images_sha256=list_digest(map(self._entry, range(self.total))),
            versions=_versions('orl-mm'),
        )
        self.job = dict(self.provenance)

    def _entry(self, index: int) -> str:
        """An image's id and its masks' digests: with other masks it is another job."""
        sample = self.data.get_data_info(index)
        digests = [
            file_digest(path) for part in self.parts for path in sample['part_paths'].get(part, ())
        ]
        return ' '.join([sample['id'], *digests])

    def batches(self, start: int = 0) -> Batches:
        """See the top of this module; one image per batch."""
        for index in range(start, self.total):
            sample = self.load(self.data.get_data_info(index))
            if sample['parts'] != self.parts:
                raise ValueError(
                    f'{sample["id"]} has masks of {list(sample["parts"])}, not of all '
                    f'of {list(self.parts)}: choose parts that all images have'
                )
            maps = [
                cv2.resize(
                    mask.numpy().astype(np.float32),
                    (self.size, self.size),
                    interpolation=cv2.INTER_AREA,
                )
                for mask in sample['part_masks']
            ]
            yield np.stack(maps)[None].clip(0, 1), [], 1


class _Images(Dataset):
    """(name, sample) of each image; the sample is None where the file is unreadable."""

    def __init__(self, images: ImageSource, steps: Sequence[dict], size: int) -> None:
        self.images, self.size = images, size
        self.steps = [TRANSFORMS.build(step) for step in steps]

    def name(self, index: int) -> str:
        return osp.relpath(self.images.path(index), self.images.root)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        sample: Any = dict(img_path=self.images.path(index))
        for step in self.steps:
            sample = step(sample)
            if sample is None:
                return self.name(index), None
        # mmseg resizes its prediction to ori_shape, so that is set to the size of the map.
        sample['data_samples'].set_metainfo(dict(ori_shape=(self.size, self.size)))
        return self.name(index), sample


def _versions(*packages: str) -> dict:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout
            found[package] = 'not installed'
    return found
