"""Object-level self-supervised pretraining for OpenMMLab.

Importing the package registers every part under the scope ``orl_mm`` and changes nothing
in other packages, with one exception: see :mod:`orl_mm.compat`.
"""

from .compat import declare_torchvision_ops

declare_torchvision_ops()  # mmpretrain, imported next, imports torchvision
from . import datasets, engine, evaluation, models, structures, visualization, weights

__version__ = '0.1.0'
