import hashlib
import os

import numpy as np
import torch

from orl_mm.io.image import check_stored_frame
from orl_mm.map_cache.spec import relative_path
from orl_mm.registry import TRANSFORMS
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.superpixels.cache import PriorSpec, SuperpixelCache
from orl_mm.superpixels.priors import find_label_file, parameters, prior_names, read_label_file

from .multi_view import check_backend
from .transform import Transform

SPOT_CHECKS = 16  # the fast backend compares the pixels of one in 16 images


@TRANSFORMS.register_module()
class GenerateSuperpixels(Transform):
    """Add the whole image x0 and its prior mask (thesis 2.2).

    The mask is computed, read from a cache, or given as a file.

    They depend on the image alone, never on the views, so ``cache`` may name
    the folder that ``tools/cache_superpixels.py`` filled: the masks are then
    exactly those that would be computed here.

    Required Keys:

    - img (np.ndarray): (H, W, 3) uint8, BGR.
    - img_path (with ``cache`` or method ``files``)

    Added Keys:

    - x0 (np.ndarray): (size, size, 3) uint8, BGR: the whole image squashed,
      bicubic with a low-pass, as torchvision resizes a PIL image. Not
      with ``keep_image=False``.
    - regions (torch.Tensor): (size, size) labels 0 .. M-1 without gaps, uint8
      up to 256 regions, else int32. Not with method ``none``.
    - num_regions (int): M. Not with method ``none``.

    Args:
        method (str): ``slic``, ``felzenszwalb``, ``grid``, ``files`` (masks
            given as label PNG) or ``none`` (only x0 is added: the cells of
            C4 themselves are clustered). Defaults to 'slic'.
        size (int): Side of x0. Defaults to 224.
        cache (str, optional): Read the masks from this folder.
        folder (str, optional): With method ``files``: the folder of masks.
            ``a/b.jpg`` has its mask in ``a/b.png`` or ``a/b.jpg.png``, of the
            size of x0 or of the image.
        root (str, optional): The folder of images that those relative paths
            begin at; a cache knows it unless the images were moved.
        check (str): How ``cache`` notices a changed image: 'pixels', 'size'
            or 'none', see :class:`SuperpixelCache`.
        keep_image (bool): False: x0 is not added (DetCon looks at its regions
            alone), nor made where the mask needs it neither to be computed
            nor, with a ``cache``, to be checked. Defaults to True.
        backend (str): ``'pillow'`` (default), or ``'fast'`` (``'device'`` is the same here),
            which resizes x0 with torch: at most 1 level apart at a fifth of the time. Masks are
            computed from Pillow's x0 with either, so both share a cache. As comparing a cache's
            pixels needs Pillow's x0, ``check='pixels'`` with ``'fast'`` compares those of one
            image in 16 (always the same ones, chosen by name) and the file size of the others.
        **params: Parameters of the methods, see :mod:`orl_mm.superpixels
            .priors`: num_segments=100, compactness=10, normalize=False
            (True: ``official``) of slic; scale=1000, sigma=0.8, min_size=1000
            of felzenszwalb; num_cells=10 of grid. Those of other methods may
            stand there and do nothing, so that one option changes the method.

    Raises:
        ValueError: An unknown method or parameter, a mask of another size.
        CacheError: A missing, stale, foreign or damaged cache, with the
            command that rebuilds it.
    """

    def __init__(
        self,
        method: str = 'slic',
        size: int = 224,
        cache: str | None = None,
        folder: str | None = None,
        root: str | None = None,
        check: str = 'pixels',
        keep_image: bool = True,
        backend: str = 'pillow',
        **params,
    ) -> None:
        check_backend(backend)
        priors = prior_names()
        known = {name for prior in priors for name in parameters(prior)}
        unknown = sorted(set(params) - known)
        if unknown:
            raise ValueError(
                f'GenerateSuperpixels has no argument {", ".join(unknown)}; '
                f'the methods have {", ".join(sorted(known))}'
            )
        if method not in (*priors, 'files', 'none'):
            raise ValueError(f'method={method!r} is not one of {[*priors, "files", "none"]}')
        if cache is not None and method not in priors:
            raise ValueError(
                f'method={method!r} computes nothing that '
                f'cache={cache!r} could hold; leave cache out'
            )
        if method == 'none' and not keep_image:
            raise ValueError(
                'method="none" with keep_image=False adds nothing: leave GenerateSuperpixels out'
            )
        if method == 'files' and (folder is None or root is None):
            raise ValueError(
                'method="files" needs folder=FOLDER_OF_MASKS and root=FOLDER_OF_IMAGES'
            )
        if type(size) is not int or size < 1:
            raise ValueError(f'size={size!r} must be a positive integer')
        self.method, self.size = method, size
        self.folder, self.root = folder, root
        self.keep_image, self.backend = keep_image, backend
        self.spec: PriorSpec | None = None
        self.cache: SuperpixelCache | None = None
        if method in priors:
            names = parameters(method)
            self.spec = PriorSpec(method, {k: v for k, v in params.items() if k in names}, size)
            if cache is not None:
                self.cache = SuperpixelCache(cache, self.spec, root, check)
        # A mask needs x0 to be computed, or to be compared with the cached image.
        self._needs_x0 = check == 'pixels' if cache is not None else method in priors

    def transform(self, results: dict) -> dict:
        img, exact = results['img'], None
        whole = ViewGeometry.whole(*img.shape[:2])
        if self._needs_x0 and not self._skips_check(results):
            exact = whole.apply_image(img, self.size)
        if self.keep_image:
            if exact is None or self.backend != 'pillow':
                results['x0'] = whole.apply_image(img, self.size, 'bicubic', self.backend)
            else:
                results['x0'] = exact
        if self.method == 'none':
            return results
        labels = self._labels(results, exact)
        num_regions = int(labels.max()) + 1
        dtype = np.uint8 if num_regions <= 256 else np.int32
        results['regions'] = torch.from_numpy(labels.astype(dtype, copy=False))
        results['num_regions'] = num_regions
        return results

    def _skips_check(self, results: dict) -> bool:
        if self.backend == 'pillow' or self.cache is None:
            return False
        name = os.path.basename(results['img_path'])
        return hashlib.md5(name.encode()).digest()[0] % SPOT_CHECKS != 0

    def _labels(self, results: dict, x0: np.ndarray | None) -> np.ndarray:
        if self.cache is not None:
            return self.cache.read(results['img_path'], x0, results.get('img_bytes'))
        if self.folder is not None and self.root is not None and self.spec is None:
            check_stored_frame(results)
            relative = relative_path(results['img_path'], self.root)
            return read_label_file(
                find_label_file(self.folder, relative), self.size, results['img'].shape[:2]
            )
        assert self.spec is not None  # the constructor allows no other case
        assert x0 is not None
        return self.spec(x0)
