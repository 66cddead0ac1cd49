"""Object-level self-supervised pretraining for OpenMMLab; importing it registers every part under ``orl_mm``."""

from . import compat  # noqa: F401  (first: it mends what the next imports meet)
from . import (datasets, engine, evaluation, models, structures,  # noqa: F401
               visualization)

__version__ = '0.1.0'
