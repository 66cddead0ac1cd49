"""Backbones in and out of other codes' files: tools/convert_weights.py."""

from .read import Backbone, read_backbone
from .sources import ALIASES, KEYS, NETWORKS
from .write import TARGETS, provenance, write_backbone

__all__ = [
    'ALIASES',
    'KEYS',
    'NETWORKS',
    'TARGETS',
    'Backbone',
    'provenance',
    'read_backbone',
    'write_backbone',
]
