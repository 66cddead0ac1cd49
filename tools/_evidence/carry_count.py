"""Count what a full-size step computes and exchanges, by running it once on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from _bench.batches import make_batch
from _bench.steps import plain_norms
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from orl_mm.models.utils import fit_kmeans
from orl_mm.registry import MODELS

from .base_plan import ROOT

# Full config -> sides of its views; R2O sees x0 as the third.
CONFIGS: dict[str, tuple] = {
    'byol': ('configs/baselines/byol_r50_in1k.py', (224, 224)),
    'r2o': ('configs/r2o/r50_in1k.py', (224, 224, 224)),
    'dino': ('configs/medino/vits16_chexpert_dino.py', (224,) * 2 + (96,) * 8),
    'medino': ('configs/medino/vits16_chexpert_deformable.py', (224, 224)),
}


def count_step(loss: Callable[[], Tensor], model: nn.Module) -> dict[str, float]:
    """What one step does; multiplications and additions of convolutions and matrix products.

    Returns:
        dict: ``forward`` and ``backward`` FLOPs, ``norm_calls`` (exchanges of SyncBN: one in a
        forward pass, one more in its backward pass), ``gradient_bytes`` (fp32).
    """
    # Attention is counted by its products: the fused kernel of the CPU has no counting rule.
    with sdpa_kernel(SDPBackend.MATH), _norm_calls(model) as calls:
        with FlopCounterMode(display=False) as forward:
            value = loss()
        with FlopCounterMode(display=False) as backward:
            value.backward()
    return dict(
        forward=forward.get_total_flops(),
        backward=backward.get_total_flops(),
        norm_calls=calls[0],
        gradient_bytes=sum(p.numel() * 4 for p in model.parameters() if p.requires_grad),
    )


def count_config(
    key: str,
    images: int = 8,
    folder: str | None = None,
    change: Callable[[Config], None] | None = None,
) -> dict[str, Any]:
    """Count the step of a full-size config with random weights.

    Args:
        key (str): Of :data:`CONFIGS`.
        images (int): Of the batch that is counted; FLOPs are given for one image.
        folder (str, optional): Photographs for R2O, whose superpixels decide how many regions
            its projector sees.
        change (callable, optional): Changes the config, for tests.

    Returns:
        dict: As :func:`count_step`, FLOPs an image; ``epochs`` and ``batch`` of the config, and
        R2O's ``regions`` (in both views, an image) and ``superpixels`` (an image).
    """
    path, sides = CONFIGS[key]
    cfg = Config.fromfile(str(ROOT / path))
    if change is not None:
        change(cfg)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    network = plain_norms(cfg.model.to_dict())
    network['backbone'].pop('init_cfg', None)  # random weights cost the same
    model = MODELS.build(network).train()
    hub = MessageHub.get_instance('carry_count')  # BYOL asks it how long the run is
    hub.update_info('max_iters', 100)
    hub.update_info('iter', 0)
    batch = None
    if key == 'r2o':
        views, batch, _ = make_batch(images, sides[0], 100, folder)
    else:
        views = [torch.randn(images, 3, side, side) for side in sides]

    def loss() -> Tensor:
        with torch.autocast('cpu', torch.bfloat16):  # for speed; the count is the same
            return sum(v for k, v in model.loss(views, batch).items() if 'loss' in k)

    found = count_step(loss, model)
    found.update(
        forward=found['forward'] / images,
        backward=found['backward'] / images,
        epochs=cfg.train_cfg.max_epochs,
        batch=cfg.train_dataloader.batch_size,
    )
    if batch is not None:
        found.update(
            regions=float(model.last.valid.sum()) / images, superpixels=sum(batch.counts) / images
        )
    return found


def kmeans_kernels(clusters: int, iterations: float, points: int = 256) -> int:
    """Kernels that :func:`fit_kmeans` launches one after the other; views launch none."""
    data = torch.randn(points, 8)

    def launches(rounds: int) -> int:
        with _CountOps() as counter:
            fit_kmeans(
                data,
                clusters,
                torch.Generator().manual_seed(0),
                max_iters=rounds,
                absolute_tol=-1.0,
            )
        return counter.launched

    start, each = launches(1), launches(2) - launches(1)
    return round(start + (iterations - 1) * each)


class _CountOps(TorchDispatchMode):
    QUIET = ('empty', 'lift_fresh', '_local_scalar_dense', 'detach')  # nothing to launch

    def __init__(self) -> None:
        super().__init__()
        self.launched = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.launched += not (getattr(func, 'is_view', False) or name.startswith(self.QUIET))
        return func(*args, **(kwargs or {}))


@contextmanager
def _norm_calls(model: nn.Module) -> Iterator[list[int]]:
    calls = [0]

    def seen(module: nn.Module, args: tuple, out: Tensor) -> None:
        calls[0] += 2 if out.requires_grad else 1

    handles = [m.register_forward_hook(seen) for m in model.modules() if isinstance(m, _BatchNorm)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
