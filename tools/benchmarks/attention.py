"""``AttentionRegHook`` on against off: one of the figures of the ``dino`` benchmark."""

from .dino import run  # noqa: F401
