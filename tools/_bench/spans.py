"""Time that parts of a step take, by wrapping the functions that compute them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

Part = tuple[str, object, str]  # name of the part, owner, attribute that is a function


@contextmanager
def watch(parts: Sequence[Part], device: str) -> Iterator[Callable[[], dict[str, float]]]:
    """Inside the context every call of the given attributes is timed.

    Args:
        parts (sequence): (name, owner, attribute); parts of one name add up. The
            owner is a module, a class instance or a Python module.
        device (str): On CUDA events in the stream, read when asked; their
            distance includes time in which the device waits for the host.

    Yields:
        Callable: Returns name -> seconds in all calls so far.
    """
    spans: list[tuple] = []
    mark = _event if device == 'cuda' else time.perf_counter

    def timed(name, function):

        def wrapper(*args, **kwargs):
            start = mark()
            out = function(*args, **kwargs)
            spans.append((name, start, mark()))
            return out

        return wrapper

    def readings() -> dict[str, float]:
        if device == 'cuda':
            torch.cuda.synchronize()
        total = {name: 0.0 for name, _, _ in parts}
        for name, start, stop in spans:
            total[name] += start.elapsed_time(stop) / 1000 if device == 'cuda' else stop - start
        return total

    saved = [
        (owner, attribute, attribute in vars(owner), getattr(owner, attribute))
        for _, owner, attribute in parts
    ]
    for (name, owner, attribute), (_, _, _, function) in zip(parts, saved, strict=False):
        setattr(owner, attribute, timed(name, function))
    try:
        yield readings
    finally:
        for owner, attribute, own, function in saved:
            if own:
                setattr(owner, attribute, function)
            else:
                delattr(owner, attribute)


def _event() -> 'torch.cuda.Event':
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def r2o_parts(model: torch.nn.Module) -> list[Part]:
    """What one step of an ``R2O`` model spends beyond its networks, and inside what."""
    from orl_mm.models.refiners import kmeans_refiner
    from orl_mm.models.selfsup import r2o

    parts: list[Part] = [
        ('refiner', model.refiner, 'refine'),
        ('c4', model.refiner, '_features'),
        ('points', model.refiner, '_points'),
        ('kmeans', kmeans_refiner, 'fit_kmeans'),
        ('paint', model.refiner, '_paint'),
        ('crops', r2o, 'crop_masks'),
        ('pairs', r2o, 'RegionPairs'),
        ('necks', model.neck, 'forward'),
        ('projectors', model.neck.projector, 'forward'),
    ]
    if model.target is not None:
        neck = model.target['neck']
        parts += [('necks', neck, 'forward'), ('projectors', neck.projector, 'forward')]
    return parts


def region_seconds(total: dict[str, float]) -> float:
    """K-means, masks, crops, pairs, pooling and row selection; neither C4 nor projectors."""
    return (
        total['refiner']
        - total['c4']
        + total['crops']
        + total['pairs']
        + total['necks']
        - total['projectors']
    )
