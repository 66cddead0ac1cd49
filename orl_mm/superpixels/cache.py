"""Superpixels as maps of a cache."""

import importlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from orl_mm.map_cache.reader import MapReader
from orl_mm.map_cache.spec import Made, MapSpec, decoder
from orl_mm.structures.view_geometry import ViewGeometry

from .priors import check_parameter, compute_prior, get_prior, library_of, parameters


@dataclass(frozen=True)
class PriorSpec(MapSpec):
    """A prior with its parameters: superpixels that depend on the whole image x0 alone.

    Args:
        method (str): Name of a registered prior.
        params (dict): Its parameters; those left out get their defaults, so that equal priors
            are equal.
        size (int): Side of x0.
        loader (str): JSON of the transform that decodes the images, to build a cache. It is no
            part of the prior: each entry records the pixels that were decoded.

    Raises:
        ValueError: An unknown method or parameter, or a value of another kind than its default.
    """

    name, what, tool = 'superpixels', 'cached superpixel mask', 'cache_superpixels'
    about = dict(resize='Pillow bicubic, the whole image squashed')

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    size: int = 224
    loader: str = field(default='{"type": "LoadImage"}', compare=False)

    def __post_init__(self) -> None:
        defaults = parameters(self.method)
        unknown = sorted(set(self.params) - set(defaults))
        if unknown:
            raise ValueError(
                f'{self.method} has no parameter {", ".join(unknown)}; it has {", ".join(defaults)}'
            )
        if type(self.size) is not int or self.size < 1:
            raise ValueError(f'size={self.size!r} must be a positive integer')
        for name, value in self.params.items():
            check_parameter(name, value, defaults[name])
        object.__setattr__(self, 'params', {**defaults, **self.params})

    def __reduce__(self) -> tuple:
        module = get_prior(self.method).__module__
        return _restore, (module, self.method, self.params, self.size, self.loader)

    def __call__(self, x0: np.ndarray) -> np.ndarray:
        """Labels (size, size) int32 of x0 (size, size, 3) uint8, **BGR**."""
        rgb = np.ascontiguousarray(x0[..., ::-1])
        return compute_prior(self.method, rgb, **self.params)

    @cached_property
    def library(self) -> str:
        """The library and version whose masks these are."""
        return library_of(self.method)

    def to_dict(self) -> dict:
        return dict(method=self.method, params=self.params, size=self.size, library=self.library)

    def decode(self, data: bytes, path: str) -> np.ndarray:
        """x0 (size, size, 3) uint8, BGR."""
        img = decoder(self.loader)(data, path)
        return ViewGeometry.whole(*img.shape[:2]).apply_image(img, self.size)

    def make(self, item: str, pixels: np.ndarray) -> Made:
        return Made(self(pixels))

    def words(self) -> list[str]:
        params = [f'{name}={value}' for name, value in self.params.items()]
        return ['--method', self.method, '--size', str(self.size), '--params', *params]


def _restore(module: str, *args: Any) -> PriorSpec:
    """Unpickle a spec: a worker must first import the module that registers the prior."""
    with suppress(ModuleNotFoundError):
        importlib.import_module(module)
    return PriorSpec(*args)


class SuperpixelCache(MapReader):
    """Reads superpixels back, exactly as they would be computed.

    Args:
        folder (str): What ``tools/cache_superpixels.py`` wrote.
        spec (PriorSpec): The wanted prior.
        root, check: See :class:`~orl_mm.map_cache.reader.MapReader`.

    Raises:
        CacheError: No cache there, or one of another prior.
    """

    def __init__(
        self, folder: str, spec: PriorSpec, root: str | None = None, check: str = 'pixels'
    ) -> None:
        super().__init__(folder, PriorSpec, spec, root, check)
        self.size = spec.size

    def read(
        self, img_path: str, x0: np.ndarray | None = None, image_bytes: int | None = None
    ) -> np.ndarray:
        """Labels (size, size) uint8 or uint16 of an image.

        Args:
            img_path (str): The image file.
            x0 (np.ndarray, optional): (size, size, 3) uint8, BGR, as it was decoded now.
            image_bytes (int, optional): Size of the image's file, if it is known.

        Raises:
            CacheError: See :meth:`MapReader.load`.
        """
        return self.load(img_path, self.size, x0, image_bytes)[0]
