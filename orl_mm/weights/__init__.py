"""Weights in and out: one table of names, one reader of files, one loader.

:mod:`.names` has each published code's names as data, :mod:`.files` reads a file,
:func:`load_backbone` fills a backbone from it. Configs use it by
``init_cfg=dict(type='orl_mm.PretrainedBackbone')``, probes by
:func:`take_pretraining_weights`, ``tools/convert_weights.py`` by :mod:`.convert`.

Files are read as data, and nothing in them is run: ``.pth`` by torch's ``weights_only``,
``.safetensors`` by its library. Published files need more than tensors in these cases:

- ``HistoryBuffer`` (the log in mmengine's checkpoints) and ``argparse.Namespace`` (the
  arguments in those of DINO, PixPro and InfoMin) are on the list of what torch may build;
- DetCon's ``.npy`` and detectron2's ``.pkl`` (R2O's and DetCon-PyTorch's third format) are
  plain pickles of numpy arrays, which torch does not read: see :mod:`.arrays`.
"""

from .checkpoint_fit import checkpoints_must_fit
from .files import load_weights, read_tensors, use_safe_loading
from .init_cfg import PretrainedBackbone, ViTInit
from .load import LoadedWeights, load_backbone, take_pretraining_weights

__all__ = [
    'LoadedWeights',
    'PretrainedBackbone',
    'ViTInit',
    'checkpoints_must_fit',
    'load_backbone',
    'load_weights',
    'read_tensors',
    'take_pretraining_weights',
    'use_safe_loading',
]
