"""Copies from the host that the host does not wait for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on ``device``; on a GPU from pinned memory, so that the copy is queued."""
    if torch.device(device).type == 'cuda' and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
