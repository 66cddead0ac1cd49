"""How each data set must lie in its folder, and a checker that says what is missing.

``check_layout(name, root)`` answers with a :class:`LayoutReport`;
``tools/check_data.py`` prints it, ``CheckDataHook`` asks before a run begins. The layouts
are described in ``projects/data/README.md``.
"""

from collections.abc import Callable
from typing import Dict

from .cityscapes import check_cityscapes
from .coco import check_coco
from .imagenet import check_imagenet, check_imagenet100
from .report import LayoutReport
from .voc import check_voc

__all__ = ['CHECKS', 'ROOTS', 'LayoutReport', 'check_layout']

# Name -> check(root, every_file=False, progress=False, **options) -> LayoutReport. Without
# every_file a check lists folders and opens a few files; it must not take minutes.
CHECKS: dict[str, Callable[..., LayoutReport]] = dict(
    imagenet=check_imagenet,
    imagenet100=check_imagenet100,
    coco=check_coco,
    voc=check_voc,
    cityscapes=check_cityscapes,
)

# Where each lies unless a command or a config says otherwise.
ROOTS: dict[str, str] = dict(
    imagenet='data/imagenet',
    imagenet100='data/imagenet',
    coco='data/coco',
    voc='data/VOCdevkit/VOC2012',
    cityscapes='data/cityscapes',
)


def check_layout(name: str, root: str, **options) -> LayoutReport:
    """Look at a data set's folder.

    Args:
        name (str): One of :data:`CHECKS`.
        root (str): The folder.
        **options: Of that check; all take ``every_file`` (open every file, not a few)
            and ``progress`` (show bars).

    Raises:
        ValueError: A name that is none.
    """
    if name not in CHECKS:
        raise ValueError(f'there is no layout {name!r}; there are {", ".join(CHECKS)}')
    return CHECKS[name](root, **options)
