"""Adjustments to the packages this project stands on, each undoing a measured fault.

Importing this module applies all of them, once, before anything else of
``orl_mm`` imports mmengine's relatives:

- :func:`mend_torchvision`: torchvision's CUDA build beside a CPU build of torch;
- :func:`map_packages`: ``mmseg::...`` in ``_base_`` and ``mmengine.hub``;
- :func:`forbid_installs`: mmengine pip-installs a package it does not find;
- :func:`drop_import_noise`: three messages that importing mmpretrain prints;
- :func:`read_yapf_grammar`: yapf reads a cache that another process is writing.
"""

import functools
import importlib.machinery
import importlib.util
import logging
import os
import pickle
import sys
import time
import warnings

import torch

__all__ = [
    'mend_torchvision',
    'map_packages',
    'forbid_installs',
    'drop_import_noise',
    'read_yapf_grammar',
]

# Import name -> distribution to install. The OneDL builds keep the import names.
DISTRIBUTIONS = {
    'mmdet': 'onedl-mmdetection',
    'mmpretrain': 'onedl-mmpretrain',
    'mmseg': 'onedl-mmsegmentation',
}

# Said while mmpretrain.models and its relatives import; no part of this project
# needs CLRNet's line NMS or the OneDL data sets.
IMPORT_NOISE = ('This model cannot work without CUDA', 'Could not import OneDL')

_torchvision_schemas = None  # the library lives as long as this reference


def mend_torchvision() -> bool:
    """Let torchvision import where its compiled ops cannot load.

    The registry's torchvision for Linux is a CUDA build. Beside a CPU build of
    torch its library does not load, and ``import torchvision`` ends in
    ``operator torchvision::nms does not exist``: it registers a fake kernel for
    an operator that nobody declared. Declaring the two schemas is enough for
    its Python part (transforms, models); its compiled ops stay absent and say so
    when called. Whether that would happen is asked of the very call that
    torchvision itself makes first, so a working torchvision is never touched.

    Returns:
        bool: True where the schemas were declared by this call.
    """
    global _torchvision_schemas
    if _torchvision_schemas is not None or 'torchvision' in sys.modules:
        return False
    spec = importlib.util.find_spec('torchvision')
    if spec is None or not spec.submodule_search_locations:
        return False
    folder = list(spec.submodule_search_locations)[0]
    if _loads(folder, '_C') or _declared('nms'):
        return False
    library = torch.library.Library('torchvision', 'FRAGMENT')
    library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _torchvision_schemas = library
    if torch.version.cuda or torch.version.hip:
        logging.getLogger(__name__).warning(
            'torchvision (%s) was built for another torch than %s: its compiled '
            'ops (nms, roi_align, image decoding) are missing. Install the '
            'torchvision that belongs to this torch.',
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


def _declared(operator: str) -> bool:
    return hasattr(torch.ops.torchvision, operator)


def map_packages() -> None:
    """Point mmengine's table of packages at what is installed.

    It names ``mmsegmentation`` for ``mmseg``, a distribution that the OneDL
    builds do not have. An import name resolves for every way of installing;
    for a package that is absent the table names the distribution to install,
    which is what mmengine's messages print.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    for module, distribution in DISTRIBUTIONS.items():
        found = importlib.util.find_spec(module) is not None
        MODULE2PACKAGE[module] = module if found else distribution


def forbid_installs() -> None:
    """Replace mmengine's ``install_package`` by one that never installs.

    The original answers a missing package with ``pip install``, and for
    ``mmseg::...`` would write an old release over the one in use.
    """
    import mmengine.utils
    from mmengine.utils import package_utils

    package_utils.install_package = require_package
    mmengine.utils.install_package = require_package
    hub = sys.modules.get('mmengine.hub.hub')
    if hub is not None:
        hub.install_package = require_package


def require_package(package: str) -> None:
    """Check that ``package`` is installed.

    Raises:
        ModuleNotFoundError: If it is not; the message says what to type.
    """
    from mmengine.utils.package_utils import is_installed

    if not is_installed(package):
        name = DISTRIBUTIONS.get(package, package)
        raise ModuleNotFoundError(
            f'{package!r} is not installed, and nothing is installed behind '
            f'your back; type: {os.path.basename(sys.executable)} -m pip '
            f'install {name}'
        )


def drop_import_noise() -> None:
    """Keep :data:`IMPORT_NOISE` from the user's output, and nothing else.

    One arrives through ``print_log`` without a logger, which prints whatever
    the level; one through mmengine's logger; one, of an mmcv without compiled
    ops, as a warning.
    """
    import mmengine.logging
    from mmengine.logging import MMLogger

    if hasattr(MMLogger, 'drops_import_noise'):
        return
    print_log, keep = mmengine.logging.print_log, MMLogger.filter

    @functools.wraps(print_log)
    def quiet_print_log(msg, *args, **kwargs):
        if not (isinstance(msg, str) and msg.startswith(IMPORT_NOISE)):
            print_log(msg, *args, **kwargs)

    def quiet_filter(self, record):
        if any(noise in str(record.msg) for noise in IMPORT_NOISE):
            return False
        return keep(self, record)

    warnings.filterwarnings(
        'ignore', message='Fail to import ``MultiScaleDeformableAttention``', category=UserWarning
    )
    mmengine.logging.print_log = quiet_print_log
    MMLogger.filter = quiet_filter
    MMLogger.drops_import_noise = True


def read_yapf_grammar(patience: float = 10.0) -> None:
    """Import yapf, which prints configs, though its cache be half written.

    At its first import yapf pickles its grammar to the user's cache folder; a
    process that starts meanwhile reads what is there so far and ends in
    ``EOFError``. So did a rank, or a worker of the tests, on a new machine.

    Args:
        patience (float): Seconds to wait for the other process.

    Raises:
        RuntimeError: The cache is still damaged then; it names the folder.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            importlib.import_module('yapf.yapflib.yapf_api')
            return
        except (EOFError, pickle.UnpicklingError) as error:
            if time.monotonic() > deadline:
                from platformdirs import user_cache_dir

                raise RuntimeError(
                    f"yapf's cache is damaged: delete {user_cache_dir('YAPF')} and start again"
                ) from error
            time.sleep(0.1)


mend_torchvision()
map_packages()
forbid_installs()
drop_import_noise()
read_yapf_grammar()
