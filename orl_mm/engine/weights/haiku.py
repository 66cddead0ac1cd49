"""DetCon's ``.npy``: nested dicts of Haiku's parameters and states as named tensors."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

SAME_PADDING = (
    "trained with TensorFlow's SAME padding. Where a layer halves an even size, that pads the "
    'right and lower side only; the ResNets of torchvision, timm, detectron2 and OpenMMLab pad all '
    'sides and look one cell further to the upper left. So their features are the published ones '
    'on images of 32 n + 1 pixels a side (225) and others elsewhere (224): '
    'projects/weights/README.md has the two lines that make them equal on multiples of 32'
)


def read_haiku(content: Any) -> dict[str, Tensor]:
    """Names such as ``res_net50/~/block_group_0/~/block_0/~/conv_0/w`` and tensors.

    ``hk.Params`` map a module's name to its arrays, ``hk.State`` the names of its moving
    averages; files hold the two side by side, plain or in pairs for an online and a target
    network (``online_params``, ``online_state``). Here a network's parameters and state
    come under one name, behind ``online/`` or ``target/`` where the file says so.
    Convolutions are turned from (h, w, in, out) to PyTorch's (out, in, h, w), norms from
    (1, 1, 1, C) to (C,).

    Args:
        content: What :func:`~.array_unpickler.read_npy` gives.

    Returns:
        dict: Empty where nothing in it is Haiku's ResNet.

    Raises:
        ValueError: It is a ResNet v2, whose blocks begin with their norms, or two entries
            get one name.

    Source: ``utils/networks.py`` of github.com/deepmind/detcon; Haiku's ``nets/resnet.py``,
    ``batch_norm.py``, ``moving_averages.py``.
    """
    weights: dict[str, Tensor] = {}
    for path, array in _leaves(content, ()):
        name = '/'.join(path)
        if name in weights:
            raise ValueError(f'it holds two tensors for {name}: two networks without names')
        tensor = torch.from_numpy(array.copy())
        if tensor.ndim == 4:  # a convolution or a norm
            tensor = tensor.permute(3, 2, 0, 1) if path[-1] == 'w' else tensor.flatten()
        weights[name] = tensor.contiguous()
    if any(name.endswith('final_batchnorm/scale') for name in weights):
        raise ValueError(
            'it is a ResNet v2, whose blocks begin with norm and ReLU; OpenMMLab, '
            'torchvision and detectron2 have none'
        )
    return weights if any(name.endswith('initial_conv/w') for name in weights) else {}


def _leaves(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    if isinstance(content, dict):
        for key, value in content.items():
            # params, state: one network's; online_params: the online one's.
            part = re.sub('_?(params|state)$', '', str(key))
            if part != 'opt':  # the optimiser's momenta bear the parameters' names
                yield from _leaves(value, (*path, part) if part else path)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _leaves(value, path)
    elif isinstance(content, (np.ndarray, np.generic)):
        yield path, np.asarray(content)
