"""Let ``import torchvision`` work where its compiled ops cannot load."""

import importlib.machinery
import importlib.util
import logging
import sys

import torch

__all__ = ['declare_torchvision_ops']

_torchvision_schemas = None  # the library is unregistered when this reference goes


def declare_torchvision_ops() -> bool:
    """Declare torchvision's operators where its compiled library cannot load.

    torchvision's usual wheel for Linux is a CUDA build. Beside a CPU build of torch its
    library does not load, and ``import torchvision`` fails with ``operator torchvision::nms
    does not exist``: it registers a fake kernel for an operator that nobody declared. With
    the two schemas declared, its Python part (transforms, models) works; calling a compiled
    op still raises. The library is loaded first, as torchvision itself does, so that a working
    torchvision is never touched.

    Returns:
        bool: True if this call declared the schemas.
    """
    global _torchvision_schemas
    if _torchvision_schemas is not None or 'torchvision' in sys.modules:
        return False
    spec = importlib.util.find_spec('torchvision')
    if spec is None or not spec.submodule_search_locations:
        return False
    folder = list(spec.submodule_search_locations)[0]
    if _loads(folder, '_C') or hasattr(torch.ops.torchvision, 'nms'):
        return False
    library = torch.library.Library('torchvision', 'FRAGMENT')
    library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _torchvision_schemas = library
    if torch.version.cuda or torch.version.hip:
        logging.getLogger(__name__).warning(
            'torchvision in %s was built for another torch than %s, so its compiled ops (nms, '
            'roi_align, image decoding) are missing; install the matching torchvision',
            folder,
            torch.__version__,
        )
    return True


def _loads(folder: str, name: str) -> bool:
    """Whether the compiled library ``name`` of ``folder`` loads into torch."""
    finder = importlib.machinery.FileFinder(
        folder, (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    )
    spec = finder.find_spec(name)
    if spec is None:
        return False
    try:
        torch.ops.load_library(spec.origin)
    except (ImportError, OSError):
        return False
    return True
