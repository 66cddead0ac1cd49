"""Changes to other packages that the commands apply to their own process.

``import orl_mm`` applies none of them. Each corrects a fault that was met; see the functions.
"""

import importlib
import importlib.util
import pickle
import time
import warnings

# Import name -> distribution to install. The OneDL builds keep the import names.
DISTRIBUTIONS = {
    'mmdet': 'onedl-mmdetection',
    'mmpretrain': 'onedl-mmpretrain',
    'mmseg': 'onedl-mmsegmentation',
    'orl_mm': 'orl-mm',
}

# Printed while mmpretrain, mmdet and mmseg are imported. Neither CLRNet's line NMS nor the
# OneDL data sets are used.
IMPORT_NOISE = ('This model cannot work without CUDA', 'Could not import OneDL')


def prepare() -> None:
    """Apply every change below; a second call changes nothing more."""
    map_packages()
    drop_import_noise()
    import_yapf()


def map_packages() -> None:
    """Let ``_base_ = 'mmseg::...'`` and ``'orl_mm::...'`` find the installed package.

    mmengine's table has ``mmsegmentation`` for ``mmseg``, which the OneDL builds are not
    called. An import name works however a package was installed; for one that is absent, the
    table gets the distribution, which mmengine's error message tells the user to install.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    for module, distribution in DISTRIBUTIONS.items():
        found = importlib.util.find_spec(module) is not None
        MODULE2PACKAGE[module] = module if found else distribution


def drop_import_noise() -> None:
    """Hide :data:`IMPORT_NOISE` and two warnings.

    An mmcv without compiled ops warns once; mmpretrain's ColorJitter makes mmcv warn at every
    call, in every worker.

    One message goes through ``print_log`` without a logger, which prints whatever the level;
    one through mmengine's logger.
    """
    import mmengine.logging
    from mmengine.logging import MMLogger

    print_log, keep = mmengine.logging.print_log, MMLogger.filter
    if getattr(print_log, 'quiet', False):
        return

    def quiet_print_log(msg, *args, **kwargs):
        if not (isinstance(msg, str) and msg.startswith(IMPORT_NOISE)):
            print_log(msg, *args, **kwargs)

    def quiet_filter(self, record):
        return not any(noise in str(record.msg) for noise in IMPORT_NOISE) and keep(self, record)

    quiet_print_log.quiet = True  # type: ignore[attr-defined]  # marks that this ran
    mmengine.logging.print_log = quiet_print_log
    MMLogger.filter = quiet_filter  # type: ignore[method-assign]  # for every logger
    for message in (
        'Fail to import ``MultiScaleDeformableAttention``',
        "Only use 'alpha' for pillow",
    ):
        warnings.filterwarnings('ignore', message, UserWarning)


def import_yapf(patience: float = 10.0) -> None:
    """Import yapf, which formats printed configs, even while another process writes its cache.

    At its first import yapf pickles its grammar to the user's cache folder; a process that
    starts meanwhile, such as another rank, reads half a file and fails with ``EOFError``.

    Args:
        patience (float): Seconds to wait for the other process.

    Raises:
        RuntimeError: The cache is still damaged after that; the message names the folder.
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
