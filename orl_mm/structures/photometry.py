"""Photometric operations as numbers, which travel with the views to the device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Operation = tuple[Any, ...]
"""(name, parameters ...), at most three parameters."""

OPERATIONS = (
    'none',
    'brightness',
    'contrast',
    'saturation',
    'hue',
    'grayscale',
    'solarize',
    'blur',
    'box_blur',
    'sharpness',
)
"""The names; an operation's code is its position."""


def encode_operations(views: Sequence[Sequence[Operation | None]]) -> Tensor:
    """The operations of the V views of an image, in the order of their application.

    Returns:
        Tensor: (V, 4 S) float32: S times a code and three parameters, with S the longest list.
    """
    out = np.zeros((len(views), max(map(len, views)), 4), np.float32)
    for view, operations in enumerate(views):
        for step, operation in enumerate(operations):
            if operation is not None:
                name, *values = operation
                out[view, step, : 1 + len(values)] = OPERATIONS.index(name), *values
    return torch.from_numpy(out.reshape(len(views), -1))


def split_operations(inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
    """The images (B, 3, H, W) of a collated batch, and the operations (B, V, S, 4) if it has any.

    Operations are the last input and, unlike images, have three dimensions.
    """
    if isinstance(inputs, (list, tuple)) and (inputs[0].ndim, inputs[-1].ndim) == (4, 3):
        return inputs[:-1], inputs[-1].unflatten(2, (-1, 4))
    return inputs, None
