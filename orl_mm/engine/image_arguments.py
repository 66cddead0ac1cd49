"""The images that a tool's arguments name."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from orl_mm.datasets.image_list import ImageList
from orl_mm.io.image_list import IMAGE_EXTENSIONS
from orl_mm.map_cache.spec import relative_path
from orl_mm.registry import DATASETS

from . import cli


@dataclass(frozen=True)
class ImageSource:
    """The images of a command.

    Attributes:
        dataset: Its samples have ``img_path``; no pipeline.
        root (str): The folder that paths are relative to.
        words (tuple): The arguments that name the images, for a command to print.
        transforms (dict): Of ``--config``, the transforms of its pipeline by name, without
            the scope; otherwise empty.
    """

    dataset: BaseDataset
    root: str
    words: tuple[str, ...]
    transforms: dict[str, dict]

    def __len__(self) -> int:
        return len(self.dataset)

    def path(self, index: int) -> str:
        """The image at a place of the list."""
        return self.dataset.get_data_info(index)['img_path']

    def relative_paths(self) -> Iterator[str]:
        """All images, as paths below the root."""
        if self.backend_args is not None or '://' in self.root:
            return (self.path(i).removeprefix(f'{self.root}/') for i in range(len(self)))
        return (relative_path(self.path(i), self.root) for i in range(len(self)))

    @property
    def backend_args(self) -> dict | None:
        """mmengine's file back end of the images."""
        return getattr(self.dataset, 'backend_args', None)

    def loader(self, **default: Any) -> str:
        """JSON of the transform of ``--config`` that decodes the images, or of the default."""
        for name in ('LoadXray', 'LoadImage'):
            if name in self.transforms:
                return json.dumps(dict(self.transforms[name], type=name), sort_keys=True)
        return json.dumps(default, sort_keys=True)


def image_source(
    args: argparse.Namespace, argv: Sequence[str], extensions: Sequence[str] = IMAGE_EXTENSIONS
) -> ImageSource:
    """The images named by the arguments of ``orl_tools.add_image_arguments``.

    Args:
        args: The parsed arguments.
        argv (sequence): The words they were parsed from.
        extensions (sequence): What counts as an image in ``--folder``.

    Raises:
        UserError: A folder or config that does not exist or does not fit.
        ValueError: See :class:`~orl_mm.datasets.image_list.ImageList`.
    """
    transforms: dict[str, dict] = {}
    if args.config:
        dataset, transforms = training_data(args.config, args.cfg_options)
        words = ['--config', args.config]
        if args.cfg_options:
            words += ['--cfg-options', *_values(argv, '--cfg-options')]
    elif args.list:
        dataset = ImageList(args.root or '', list_file=args.list)
        words = ['--list', args.list]
    else:
        if not os.path.isdir(args.folder):
            raise cli.UserError(f'--folder {args.folder!r} is not a folder')
        dataset = ImageList(args.folder, extensions=extensions)
        words = ['--folder', args.folder]
    if args.root and not args.folder:
        words += ['--root', args.root]
    return ImageSource(dataset, args.root or root_of(dataset), tuple(words), transforms)


def training_data(path: str, options: dict | None = None) -> tuple[BaseDataset, dict]:
    """A config's training data, without its pipeline, and its transforms by name."""
    config = cli.load_config(path)
    cli.merge_options(config, options)
    if config.get('train_dataloader') is None:
        raise cli.UserError(f'{path} has no train_dataloader to take the images from')
    init_default_scope(config.get('default_scope', 'mmengine'))
    cfg = config.train_dataloader.dataset
    while 'dataset' in cfg:  # wrappers that repeat or balance
        cfg = cfg.dataset
    transforms = {
        t['type'].split('.')[-1]: t
        for t in cfg.get('pipeline', [])
        if isinstance(t.get('type'), str)
    }
    with cli.config_errors():
        return DATASETS.build({**cfg, 'pipeline': []}), transforms


def root_of(dataset: BaseDataset) -> str:
    """The folder that a data set's images lie in."""
    prefix = (dataset.data_prefix or {}).get('img_path')
    root = prefix or dataset.data_root
    if root and (os.path.isdir(root) or '://' in root):
        return root.rstrip('/')
    folders = {
        os.path.dirname(os.path.abspath(dataset.get_data_info(i)['img_path']))
        for i in range(len(dataset))
    }
    return os.path.commonpath(folders)


def _values(argv: Sequence[str], option: str) -> list[str]:
    """The words that follow an option, up to the next one."""
    words = list(argv)[list(argv).index(option) + 1 :]
    stop = next((i for i, word in enumerate(words) if word[:2] == '--'), len(words))
    return words[:stop]
