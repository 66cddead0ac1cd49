"""Mini-batches of photographs, and the training steps of R2O and BYOL on the same networks."""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF

from orl_mm.datasets.demo_photos import write_demo_photos
from orl_mm.io.image_list import find_images
from orl_mm.models.utils import byol_distance
from orl_mm.registry import MODELS
from orl_mm.structures import RegionBatch
from orl_mm.superpixels.priors import slic

ROOT = Path(__file__).resolve().parents[2]
R2O_R50 = 'configs/_base_/models/r2o_r50.py'
LARS = 'configs/_base_/schedules/lars_300e.py'
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image_files(
    folder: str | None, count: int, scratch: str | Path, size: tuple[int, int] | None = None
) -> tuple[list[str], str]:
    """Paths of ``count`` images, and where they are from.

    Args:
        folder (str, optional): Images anywhere below it, evenly spread. None: $ORL_DATA
            if set, else tiles of the photographs in scikit-image and scikit-learn.
        count (int): How many; a folder with fewer images repeats them.
        scratch (str): Folder for the tiles and the copies.
        size (tuple, optional): (width, height) of JPEG copies to use in place of the files.
    """
    folder = folder or os.environ.get('ORL_DATA')
    if folder:
        found = list(find_images(folder))
        if not found:
            raise ValueError(f'no image below {folder}: give --images another folder')
    else:
        found = [str(path) for path in write_demo_photos(f'{scratch}/photographs', 500)]
    chosen = [found[i * len(found) // count] for i in range(count)]
    if size is not None:
        copies = [Path(scratch, f'{size[0]}x{size[1]}', f'{i:04d}.jpg') for i in range(count)]
        copies[0].parent.mkdir(parents=True, exist_ok=True)
        for path, copy in zip(chosen, copies, strict=True):
            with Image.open(path) as image:
                image.convert('RGB').resize(size, Image.Resampling.BICUBIC).save(copy, quality=92)
        chosen = [str(copy) for copy in copies]
    return chosen, folder or 'photographs of scikit-image and scikit-learn'


def make_batch(
    batch_size: int, size: int = 224, segments: int = 100, folder: str | None = None
) -> tuple[list[Tensor], RegionBatch, str]:
    """A mini-batch as R2O sees it: two random resized crops, whole images, SLIC superpixels.

    Returns:
        tuple: x1, x2, x0, each (B, 3, size, size) normalized; their RegionBatch; the
        images' origin.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths, origin = image_files(folder, batch_size, scratch)
        pixels = [np.asarray(Image.open(p).convert('RGB').resize((size, size), 3)) for p in paths]
    x0 = TF.normalize(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255, MEAN, STD)
    views, boxes = [], torch.zeros(batch_size, 2, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for v in (0, 1):
            crops = []
            for b, image in enumerate(x0):
                y, x, h, w = RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3))
                flip = bool(torch.rand(()) < 0.5)
                crop = TF.resized_crop(image, y, x, h, w, [size, size], antialias=False)
                crops.append(crop.flip(-1) if flip else crop)
                boxes[b, v] = torch.tensor([x, y, x + w, y + h, flip * size]) / size
            views.append(torch.stack(crops))
    return [*views, x0], region_batch(boxes, [slic(p, segments) for p in pixels]), origin


def region_batch(boxes: Tensor, maps: Sequence[np.ndarray]) -> RegionBatch:
    """RegionBatch of view boxes (B, V, 5) and label maps (H, W), in the loader's dtype."""
    counts = [int(m.max()) + 1 for m in maps]
    labels = torch.stack([torch.from_numpy(m) for m in maps])
    return RegionBatch(boxes, labels.to(torch.uint8 if max(counts) <= 256 else torch.int32), counts)


@contextmanager
def quiet() -> Iterator[None]:
    """Without mmengine's list of initialized parameters."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def build_model(config: str = R2O_R50, depth: int = 50, **refiner: Any) -> Any:
    """The ResNet model of a config, initialized with seed 0, in training mode, without SyncBN.

    Args:
        config (str): Relative to the root of the repository.
        depth (int): Of the ResNet.
        **refiner: Changes to R2O's refiner, such as ``num_clusters``.
    """
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    cfg = Config.fromfile(str(ROOT / config)).model
    cfg.backbone.depth = depth
    cfg.neck.get('projector', cfg.neck).in_channels = 2048 if depth >= 50 else 512
    if refiner:
        cfg.refiner.update(refiner)
    model = revert_sync_batchnorm(MODELS.build(cfg))
    with quiet():
        model.init_weights()
    return model.train()


def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """LARS of the 300-epoch schedule, at a small learning rate."""
    cfg = Config.fromfile(str(ROOT / LARS)).optim_wrapper
    cfg.optimizer.lr = 0.01
    return build_optim_wrapper(model, cfg).optimizer


class Step:
    """A training step: forward, backward, optimizer and target update.

    Args:
        model: With ``loss`` and ``update_target``, such as ``R2O`` or ``DetCon``.
        optimizer (torch.optim.Optimizer): Its optimizer.
        inputs (list): The (B, 3, H, W) images that ``model.loss`` takes.
        batch (RegionBatch): Superpixels and view boxes.
        autocast (torch.dtype, optional): Run the forward pass under autocast.
        **settings: Attributes set before each step; ``refiner_dtype`` is the precision of
            R2O's pass over x0.
    """

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        inputs: list[Tensor],
        batch: RegionBatch,
        autocast: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.inputs, self.batch, self.autocast = inputs, batch, autocast
        self.settings = settings

    def loss(self) -> Tensor:
        return self.model.loss(self.inputs, self.batch)['loss']

    def __call__(self) -> None:
        for name, value in self.settings.items():
            if name == 'refiner_dtype':
                self.model.refiner.dtype = value
            else:
                setattr(self.model, name, value)
        device = self.inputs[0].device.type
        with nullcontext() if self.autocast is None else torch.autocast(device, self.autocast):
            loss = self.loss()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.model.update_target(0.99)


class BYOLStep(Step):
    """The same networks with global average pooling; x0 is not used."""

    def loss(self) -> Tensor:
        model, views = self.model, self.inputs[:2]
        online = [model.head.predictor(model.neck(model.backbone(x)))[0] for x in views]
        with torch.no_grad():
            target = [model.target['neck'](model.target['backbone'](x))[0] for x in views]
        terms = [byol_distance(p, t).mean() for p, t in zip(online, target[::-1], strict=True)]
        return terms[0] + terms[1]
