"""Prior masks: superpixels that are computed from an image or read from a file (thesis 2.2).

Another package adds a prior by registering it in one module of its own, which the config names
in ``custom_imports``, and ``tools/cache_superpixels.py`` takes as ``--import``::

    from orl_mm.registry import PRIORS
    from orl_mm.superpixels.priors import contiguous, made_by

    @PRIORS.register_module()
    @made_by('scikit-image')
    def watershed(img, markers=100):
        from skimage import filters, segmentation
        edges = filters.sobel(img / 255.0).mean(-1)
        return contiguous(segmentation.watershed(edges, markers))

Then ``GenerateSuperpixels(method='watershed', markers=50)`` uses it. A prior is a function of an
image (H, W, 3) uint8, RGB, with keyword parameters that have defaults, and returns labels (H, W)
int32, 0 .. M-1 without gaps; or a class with these parameters whose instances are such functions.
"""

import hashlib
import inspect
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from orl_mm.errors import UserError
from orl_mm.io.image import read_stored
from orl_mm.registry import PRIORS
from orl_mm.structures.view_geometry import ViewGeometry

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Prior = TypeVar('Prior', bound=Callable)


def made_by(library: str, of: str | None = None) -> Callable[[Prior], Prior]:
    """Declare which library computes a prior's masks, so that a cache records its version.

    Args:
        library (str): Name of an installed distribution, such as ``'scikit-image'``.
        of (str, optional): A version of the prior itself, which is recorded instead of the
            library's. Increment it when the prior's masks change.
    """

    def declare(prior: Prior) -> Prior:
        prior.__dict__.update(library=library, version=of)
        return prior

    return declare


def library_of(method: str) -> str:
    """Library and version of a prior, as its cache records it.

    That is what the prior declares by :func:`made_by`; otherwise its module and a digest of its
    source code.
    """
    prior = get_prior(method)
    library, own = getattr(prior, 'library', None), getattr(prior, 'version', None)
    if library is None:
        digest = hashlib.blake2b(inspect.getsource(prior).encode(), digest_size=4).hexdigest()
        return f'{prior.__module__} {digest}'
    if own is not None:
        return f'{library} {own}'.strip()
    try:
        return f'{library} {version(library)}'
    except PackageNotFoundError:
        return f'{library} (not installed)'


def get_prior(method: str) -> Callable:
    """A registered prior.

    Raises:
        ValueError: No such prior.
    """
    prior = PRIORS.get(method)
    if prior is None:
        raise ValueError(
            f'method={method!r} is not one of {prior_names()}; a prior of your own must be '
            'registered in a module that is imported, see orl_mm/superpixels/priors.py'
        )
    return prior


def prior_names() -> list[str]:
    """The names of all registered priors."""
    return sorted(PRIORS.module_dict)


def parameters(method: str) -> dict[str, Any]:
    """The parameters of a prior and their defaults."""
    signature = inspect.signature(get_prior(method))
    return {name: p.default for name, p in signature.parameters.items() if name != 'img'}


def check_parameter(name: str, value: Any, default: Any) -> None:
    """Raise ValueError for a value that is not of its default's kind: a flag, a count, a number."""
    if isinstance(default, bool):
        fine, kind = isinstance(value, bool), 'True or False'
    elif isinstance(default, int):
        fine, kind = type(value) is int and value >= (default > 0), 'a positive integer'
    elif isinstance(default, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        zero = name == 'sigma' or not default
        fine = number and (0 < value < float('inf') or (zero and value == 0))
        kind = 'a finite number above 0'
    else:
        return
    if not fine:
        raise ValueError(f'{name}={value!r} must be {kind}, such as {default!r}')


def compute_prior(method: str, img: np.ndarray, **params: Any) -> np.ndarray:
    """Labels (H, W) int32 of an image (H, W, 3) uint8, RGB."""
    prior = get_prior(method)
    if inspect.isclass(prior):
        instance: Callable[[np.ndarray], np.ndarray] = prior(**params)  # type: ignore[assignment]
        return instance(img)
    return prior(img, **params)


@PRIORS.register_module()
@made_by('scikit-image')
def slic(
    img: np.ndarray, num_segments: int = 100, compactness: float = 10.0, normalize: bool = False
) -> np.ndarray:
    """SLIC superpixels of scikit-image (Achanta 2012).

    Args:
        img (np.ndarray): (H, W, 3) uint8, RGB.
        num_segments (int): About how many; connectivity decides the rest.
        compactness (float): Weight of distance against color.
        normalize (bool): False: on RGB in [0, 1] (thesis). True: on the
            array standardised by ImageNet's mean and std, in float32 and then
            float64, as the published R2O code does. scikit-image >= 0.19
            rescales either to [0, 1] by its extremes.

    Returns:
        np.ndarray: (H, W) int32, labels 0 .. M-1 without gaps.
    """
    from skimage.segmentation import slic as skimage_slic

    if normalize:
        mean, std = (np.array(v, np.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
        pixels = ((img.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float64)
    else:
        pixels = img / 255.0
    labels = skimage_slic(
        pixels, n_segments=num_segments, compactness=compactness, start_label=0, channel_axis=-1
    )
    return contiguous(labels)


@PRIORS.register_module()
@made_by('scikit-image')
def felzenszwalb(
    img: np.ndarray, scale: float = 1000.0, sigma: float = 0.8, min_size: int = 1000
) -> np.ndarray:
    """Felzenszwalb and Huttenlocher's graph segmentation, DetCon's masks by default.

    Args:
        img (np.ndarray): (H, W, 3) uint8, RGB.
        scale (float): Higher means larger regions.
        sigma (float): Width of the Gaussian that smooths the image first.
        min_size (int): Smallest region, in pixels.

    Returns:
        np.ndarray: (H, W) int32, labels 0 .. M-1 without gaps.
    """
    from skimage.segmentation import felzenszwalb as skimage_felzenszwalb

    labels = skimage_felzenszwalb(img / 255.0, scale=scale, sigma=sigma, min_size=min_size)
    return contiguous(labels)


@PRIORS.register_module()
@made_by('orl_mm', of='')
def grid(img: np.ndarray, num_cells: int = 10) -> np.ndarray:
    """A regular grid of ``num_cells`` x ``num_cells``, numbered row by row.

    Pixel i of a side of length S belongs to cell floor(i * n / S); a side of
    fewer than n pixels has one cell a pixel.

    Returns:
        np.ndarray: (H, W) int32, labels 0 .. M-1.
    """
    height, width = img.shape[:2]
    rows, cols = (min(num_cells, side) for side in (height, width))
    y = np.arange(height) * rows // height
    x = np.arange(width) * cols // width
    return (y[:, None] * cols + x[None, :]).astype(np.int32)


def read_label_file(path: str, size: int, image_size: tuple[int, int] | None) -> np.ndarray:
    """A prior given as a label PNG, in the frame of x0.

    Args:
        path (str): A single-channel image (8 or 16 bits, or a palette, whose
            indices count); any label values.
        size (int): Side of x0.
        image_size (tuple, optional): (height, width) of the original image:
            a mask of that size is squashed as x0 is, by nearest neighbor.

    Returns:
        np.ndarray: (size, size) int32, renumbered 0 .. M-1 in rising order.

    Raises:
        UserError: Several channels, or a mask that has neither the size of
            x0 nor that of the image.
    """
    labels = read_stored(path)
    if labels.ndim != 2 or labels.dtype.kind == 'f':
        channels = 1 if labels.ndim == 2 else labels.shape[2]
        raise UserError(
            f'{path} has {channels} channels of {labels.dtype}; a label map has one of integers '
            '(its values are region ids)'
        )
    labels = labels.astype(np.int32)
    if labels.shape != (size, size):
        if image_size is None or labels.shape != tuple(image_size):
            image = (
                ''
                if image_size is None
                else (f" nor the image's, {image_size[0]} x {image_size[1]}")
            )
            raise UserError(
                f'{path} is {labels.shape[0]} x {labels.shape[1]} (H x W), '
                f'which is neither the size of x0, {size} x {size},{image}'
            )
        labels = ViewGeometry.whole(*labels.shape).apply_labels(labels, size)
    return contiguous(labels)


def find_label_file(folder: str, relative: str) -> str:
    """The mask of image ``relative``: its path with ``.png`` instead, or added.

    Raises:
        UserError: In neither place.
    """
    base = Path(folder) / relative
    for path in (base.with_suffix('.png'), base.with_name(base.name + '.png')):
        if path.is_file():
            return str(path)
    raise UserError(
        f'no mask for {relative}: neither {base.with_suffix(".png")} nor {base}.png exists'
    )


def contiguous(labels: np.ndarray) -> np.ndarray:
    """Renumber labels to 0 .. M-1, keeping their order; (H, W) int32."""
    if labels.min() >= 0 and labels.max() < labels.size:
        present = np.bincount(labels.ravel()) > 0
        if present.all():
            return np.ascontiguousarray(labels, dtype=np.int32)
        return (np.cumsum(present) - 1)[labels].astype(np.int32)
    _, labels_ = np.unique(labels, return_inverse=True)
    return labels_.reshape(labels.shape).astype(np.int32)
