"""Registries of scope ``orl_mm``, each a child of the registry of that name in mmengine.

A child looks in itself and then in the mmengine root, never in a sibling: a
config whose ``default_scope`` is ``mmpretrain`` names these parts ``orl_mm.X``.
"""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import walk_packages

from mmengine import registry as _root
from mmengine.registry import Registry

__all__ = [
    'MODELS',
    'HOOKS',
    'TRANSFORMS',
    'DATASETS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'VISUALIZERS',
    'WEIGHT_INITIALIZERS',
    'MODEL_WRAPPERS',
    'METRICS',
    'PRIORS',
    'import_modules',
]


def _child(name: str, parent: Registry, location: str) -> Registry:
    return Registry(name, parent=parent, scope='orl_mm', locations=[location])


MODELS = _child('model', _root.MODELS, 'orl_mm.models')
WEIGHT_INITIALIZERS = _child('weight initializer', _root.WEIGHT_INITIALIZERS, 'orl_mm.weights')
MODEL_WRAPPERS = _child('model_wrapper', _root.MODEL_WRAPPERS, 'orl_mm.engine')
HOOKS = _child('hook', _root.HOOKS, 'orl_mm.engine')
OPTIMIZERS = _child('optimizer', _root.OPTIMIZERS, 'orl_mm.engine')
OPTIM_WRAPPERS = _child('optim wrapper', _root.OPTIM_WRAPPERS, 'orl_mm.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', _root.OPTIM_WRAPPER_CONSTRUCTORS, 'orl_mm.engine'
)
PARAM_SCHEDULERS = _child('parameter scheduler', _root.PARAM_SCHEDULERS, 'orl_mm.engine')
DATASETS = _child('dataset', _root.DATASETS, 'orl_mm.datasets')
TRANSFORMS = _child('transform', _root.TRANSFORMS, 'orl_mm.datasets')
VISUALIZERS = _child('visualizer', _root.VISUALIZERS, 'orl_mm.visualization')
METRICS = _child('metric', _root.METRICS, 'orl_mm.evaluation')
PRIORS = Registry('prior', scope='orl_mm', locations=['orl_mm.superpixels.priors'])
"""Functions or classes that compute superpixels, see ``orl_mm/superpixels/priors.py``."""


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, which registers the parts that they define.

    Args:
        package (str): ``__name__`` of the package.
        path (iterable): Its ``__path__``.
    """
    for module in walk_packages(path, f'{package}.'):
        import_module(module.name)
