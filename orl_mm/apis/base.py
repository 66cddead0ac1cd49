"""What the inferencers share: configs by path or name, and images of any kind."""

import importlib.util
import io
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from orl_mm.engine.cli import UserError, load_config
from orl_mm.io.files import read_file
from orl_mm.registry import TRANSFORMS
from orl_mm.visualization.samples import image_paths, innermost, short_name

Picture = str | Path | np.ndarray | Image.Image
Pictures = Picture | Sequence[Picture]


def read_config(config_or_name: str | Path | Config) -> Config:
    """A config by its path, or by its place in this package's ``configs``.

    Args:
        config_or_name: A path, or a name for :func:`installed_config`, such as
            ``r2o/r50_in1k`` or ``orl_mm::r2o/demo.py``.

    Raises:
        UserError: No such config.
    """
    if isinstance(config_or_name, Config):
        return config_or_name.copy()
    path = str(config_or_name)
    if not path.endswith('.py') or '::' in path:
        path = installed_config(path)
    return load_config(path)


def installed_config(name: str) -> str:
    """The path of a config by ``PACKAGE::PATH``; the package is ``orl_mm`` if left out.

    Raises:
        UserError: No such package or config.
    """
    package, _, relative = name.rpartition('::')
    spec = importlib.util.find_spec(package or 'orl_mm')
    if spec is None or spec.origin is None:
        raise UserError(f'config {name!r}: {package!r} is not installed')
    folder = Path(spec.origin).parent
    relative = relative if relative.endswith('.py') else f'{relative}.py'
    places = [folder / '.mim/configs' / relative, folder.parent / 'configs' / relative]
    for path in places:
        if path.is_file():
            return str(path)
    raise UserError(f'config {name!r} does not exist: neither {places[0]} nor {places[1]}')


class ImageInferencer(BaseInferencer):
    """Base of the inferencers: ``model`` and ``weights`` as in mmengine, images of any kind.

    Subclasses implement :meth:`_init_model`, :meth:`_init_pipeline`, :meth:`forward`,
    :meth:`visualize` and :meth:`postprocess`.

    Args:
        config_or_name (str | Path | Config): See :func:`read_config`.
        checkpoint (str, optional): Weights. None: random ones, with a warning.
        device (str, optional): Default: a GPU where there is one.
        show_progress (bool): Show a progress bar.
    """

    def __init__(
        self,
        config_or_name: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        show_progress: bool = False,
    ) -> None:
        cfg = read_config(config_or_name)
        scope = cfg.get('default_scope') or 'mmpretrain'
        init_default_scope(scope)
        weights = None if checkpoint is None else str(checkpoint)
        with quiet():
            super().__init__(cfg, weights, device, scope, show_progress)

    def _init_collate(self, cfg: Config):
        return pseudo_collate

    def _init_visualizer(self, cfg: Config) -> None:
        return None

    def _inputs_to_list(self, inputs: Pictures) -> list:
        """Images and folders to a list of images; paths are checked.

        Raises:
            ValueError: A path that does not exist, a folder without images, no image at all, or
                an array that is no image.
        """
        if isinstance(inputs, (str, Path, np.ndarray, Image.Image)):
            inputs = [inputs]
        images: list = []
        for image in inputs:
            if isinstance(image, (str, Path)) and '://' not in str(image):
                images += image_paths([str(image)])
            else:
                images.append(image)
        if not images:
            raise ValueError('inputs holds no image')
        return images

    def _all_predictions(self, images: list, batch_size: int) -> list:
        """Preprocess and forward all images, in batches."""
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        batches = self._get_chunk_data(map(self.pipeline, images), batch_size)
        if self.show_progress:
            batches = tqdm(batches, total=math.ceil(len(images) / batch_size))
        return [item for batch in batches for item in self.forward(batch)]

    def _loader(self, cfg: Config) -> Any:
        """The config's transform that decodes an image file."""
        for name in ('train_dataloader', 'test_dataloader'):
            if cfg.get(name) is not None:
                for step in innermost(cfg[name]['dataset']).get('pipeline', ()):
                    if short_name(step) in ('LoadImage', 'LoadXray'):
                        return TRANSFORMS.build(step)
        return TRANSFORMS.build(dict(type='orl_mm.LoadImage'))


def load_picture(image: Picture, loader: Any) -> np.ndarray:
    """An image as (H, W, 3) uint8, BGR.

    Args:
        image: A path or URL; a PIL image; or an array (H, W, 3), BGR as mmcv reads images, or
            (H, W), grey, uint8.
        loader: See ``ImageInferencer._loader``.

    Raises:
        ValueError: An unreadable file, or another array; it names the file or the shape.
    """
    if isinstance(image, (str, Path)):
        try:
            return loader.decode(read_file(str(image)), str(image))
        except (OSError, ValueError) as error:
            raise ValueError(f'{image} cannot be read: {error}') from error
    if isinstance(image, Image.Image):
        # As PNG bytes, so that gray levels and transparency are read as those of a file.
        data = io.BytesIO()
        image = image.convert('RGB') if image.mode in ('CMYK', 'YCbCr', 'LAB', 'HSV') else image
        image.save(data, 'PNG', compress_level=0)
        return loader.decode(data.getvalue(), 'a PIL image')
    shape = np.shape(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or 0 in shape:
        raise ValueError(
            f'an image must be a path, a PIL image or a uint8 array, got {type(image).__name__}'
            f'{f" of {image.dtype} {shape}" if isinstance(image, np.ndarray) else ""}'
        )
    if len(shape) == 2:
        return np.repeat(image[..., None], 3, axis=2)
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(f'an array must be (H, W, 3) BGR or (H, W) grey, got {shape}')
    return image


@contextmanager
def quiet() -> Iterator[None]:
    """Keep mmengine from printing every initial weight."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def to_tensor(img: np.ndarray) -> Tensor:
    """(H, W, 3) to (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(img)).permute(2, 0, 1)


def warn_of_random_weights(model: nn.Module) -> None:
    """Say that there is no checkpoint."""
    warnings.warn(
        f'{type(model).__name__} has random weights: no checkpoint was given', stacklevel=2
    )


def save_pictures(pictures: Sequence[np.ndarray], inputs: Sequence, out_dir: str | None) -> None:
    """Write pictures (H, W, 3) uint8 RGB as ``000_STEM.png`` into a folder, if one is given."""
    if out_dir is None:
        return
    os.makedirs(out_dir, exist_ok=True)
    for i, (picture, image) in enumerate(zip(pictures, inputs, strict=True)):
        stem = Path(image).stem if isinstance(image, (str, Path)) else 'image'
        Image.fromarray(picture).save(os.path.join(out_dir, f'{i:03d}_{stem}.png'))
