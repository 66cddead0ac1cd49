"""What a prior is: method, parameters, size of x0, library version."""

import hashlib
import inspect
import json
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from orl_mm.superpixels.priors import METHODS


@dataclass(frozen=True)
class PriorSpec:
    """A prior that can be computed, and so cached, from x0 alone.

    Args:
        method (str): ``slic``, ``felzenszwalb`` or ``grid``.
        params (dict): Arguments of the function in ``priors.METHODS``; those
            left out are filled with its defaults, so that two ways to say
            the same are the same.
        size (int): Side of x0.

    Raises:
        ValueError: An unknown method or parameter.
    """

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    size: int = 224

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f'method={self.method!r} is not one of {sorted(METHODS)}')
        defaults = parameters(self.method)
        unknown = sorted(set(self.params) - set(defaults))
        if unknown:
            raise ValueError(
                f'{self.method} has no parameter {", ".join(unknown)}; it has {", ".join(defaults)}'
            )
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f'size={self.size!r} must be a positive integer')
        object.__setattr__(self, 'params', {**defaults, **self.params})

    def __call__(self, x0: np.ndarray) -> np.ndarray:
        """Labels (size, size) int32 of x0 (size, size, 3) uint8, **BGR**."""
        rgb = np.ascontiguousarray(x0[..., ::-1])
        return METHODS[self.method](rgb, **self.params)

    @cached_property
    def library(self) -> str:
        """The library and version whose masks these are."""
        if self.method == 'grid':
            return 'orl_mm'
        try:
            return f'scikit-image {version("scikit-image")}'
        except PackageNotFoundError:
            return 'scikit-image (not installed)'

    def to_dict(self) -> dict:
        """The spec as JSON values."""
        return dict(method=self.method, params=self.params, size=self.size, library=self.library)

    @cached_property
    def key(self) -> str:
        """Eight hexadecimal digits that differ where the masks may differ."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def parameters(method: str) -> dict[str, Any]:
    """The parameters of a method and their defaults."""
    signature = inspect.signature(METHODS[method])
    return {name: p.default for name, p in signature.parameters.items() if name != 'img'}
