"""Object-level self-supervised pretraining for OpenMMLab.

Importing the package registers every part under the scope ``orl_mm``.
"""

# Before the packages that it repairs are imported.
from . import compat  # isort: skip
from . import datasets, engine, evaluation, models, structures, visualization

__version__ = '0.1.0'
