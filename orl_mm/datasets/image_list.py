import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from orl_mm.io.files import check_backend, is_local
from orl_mm.io.image_list import (
    IMAGE_EXTENSIONS,
    XRAY_EXTENSIONS,
    absent_files,
    check_inside,
    find_images,
    read_class_list,
    read_lines,
    report_bad,
)
from orl_mm.io.lmdb_files import LmdbFiles, is_database
from orl_mm.registry import DATASETS


@DATASETS.register_module()
class ImageList(BaseDataset):
    """Images without labels: a folder, class folders of it, or a list file.

    The order is that of the sorted paths, or of the file.

    Args:
        data_root (str): The folder of images, searched in its sub-folders
            too; or what relative paths in ``list_file`` are relative to. A database that
            ``tools/pack_images.py`` wrote, or a URL with ``list_file``, is recognized.
        list_file (str, optional): A text file with one path per line, absolute or relative
            (``../`` and links are followed); empty lines are ignored, and so is a number behind
            the path, as in lists of labels. Or the name of a list in ``splits``.
        classes_file (str, optional): A text file with one sub-folder of ``data_root`` per
            line; only these are used. ``'imagenet100'`` is the authors' list, which is included.
        extensions (Sequence[str] | str): Of images in a folder, in lower case; ``('', )`` is
            every file. ``'xrays'``: what :class:`orl_mm.LoadXray` reads, with DICOM and ``.IMG``.
        backend_args (dict, optional): mmengine's file back end of the images, passed on to
            ``LoadImage``. The images of back ends other than ``local`` are not looked for
            before they are loaded.
        max_bad (float): The fraction of a folder's images, of at least 1000, that may be dangling
            links, unreadable folders and the like; they are counted and logged.
        confine (bool): Refuse a list with a path that leads out of ``data_root``.
        pipeline, serialize_data, indices, lazy_init, max_refetch, ...: As
            in mmengine's ``BaseDataset``.

    Raises:
        ValueError: A missing or empty folder, list or class; a repeated class; an image of
            the list that does not exist.
    """

    def __init__(
        self,
        data_root: str = '',
        list_file: str | None = None,
        classes_file: str | None = None,
        extensions: Sequence[str] | str = IMAGE_EXTENSIONS,
        backend_args: dict | None = None,
        max_bad: float = 0.01,
        confine: bool = False,
        **kwargs,
    ) -> None:
        data_root = os.path.expanduser(data_root)
        if backend_args is None and is_database(data_root):
            backend_args = dict(backend='lmdb', db_path=data_root)
        check_backend(backend_args)
        self.backend_args = backend_args
        if '://' in data_root:
            kwargs.setdefault('data_prefix', {})  # mmengine cannot join prefixes to http URLs
        if not 0 <= max_bad <= 1:
            raise ValueError(f'max_bad={max_bad} must be a share in [0, 1]')
        self.max_bad, self.confine = max_bad, confine
        self.list_file = list_file
        self.classes_file = classes_file
        if isinstance(extensions, str):
            if extensions != 'xrays':
                raise ValueError(f"extensions={extensions!r} must be a list, or 'xrays'")
            extensions = XRAY_EXTENSIONS
        self.extensions = tuple(e.lower() for e in extensions)
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Every image as ``dict(img_path=...)``."""
        classes = None
        if self.classes_file is not None:
            classes = read_class_list(self.classes_file)
        if self.list_file is not None:
            paths = self._from_list(self.list_file, classes)
        elif self._database:
            paths = self._from_database(classes)
        else:
            paths = self._from_folder(classes)
        return [dict(img_path=path) for path in paths]

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        if self.backend_args is not None:
            info['backend_args'] = self.backend_args
        return info

    def _from_list(self, list_file: str, classes: list[str] | None) -> list[str]:
        lines = read_lines(list_file, 'list_file')
        if classes is not None:
            keep = set(classes)
            lines = [x for x in lines if Path(x).parts[:1] and Path(x).parts[0] in keep]
            if not lines:
                raise ValueError(
                    f'no line of {list_file} begins with a class folder of {self.classes_file}'
                )
        if self._database:
            files = LmdbFiles(self._database)
            return [line if files.has(line) else _plain(line) for line in lines]
        paths = [os.path.join(self.data_root, line) for line in lines]
        if not is_local(self.data_root, self.backend_args):
            if self.confine:
                check_inside(paths, self.data_root, list_file)
            return paths
        absent = set(absent_files(paths))
        if absent:
            tried = {path: _plain(path) for path in absent}
            absent = set(absent_files(list(tried.values())))
            if len(absent) < len(tried):
                paths = [tried.get(path, path) for path in paths]
                print_log(
                    f'{list_file}: labels behind {len(tried) - len(absent)} paths, or backslashes '
                    'in them, are left out',
                    'current',
                )
        if absent:
            gone = [path for path in paths if path in absent or _plain(path) in absent]
            raise ValueError(
                f'{len(gone)} of the {len(paths)} images of {list_file} do not exist: '
                f'{", ".join(gone[:3])}{", ..." if len(gone) > 3 else ""}; copy them there, or '
                f'remove their lines. Relative lines are taken from data_root={self.data_root!r}'
            )
        if self.confine:
            check_inside(paths, self.data_root, list_file)
        return paths

    @property
    def _database(self) -> str:
        """The folder of an LMDB database, whose keys are the paths; else an empty string."""
        if self.backend_args is not None and self.backend_args['backend'] == 'lmdb':
            return self.backend_args['db_path']
        return ''

    def _from_database(self, classes: list[str] | None) -> list[str]:
        keys = LmdbFiles(self._database).keys()
        keys = [key for key in keys if key.lower().endswith(self.extensions)]
        if classes is not None:
            keep = set(classes)
            keys = [key for key in keys if key.split('/')[0] in keep]
        if not keys:
            wanted = f' in a folder of {self.classes_file}' if classes else ''
            raise ValueError(f'{self._database} has no image{wanted}')
        return keys

    def _from_folder(self, classes: list[str] | None) -> list[str]:
        root = self.data_root
        if not os.path.isdir(root):
            raise ValueError(
                f'data_root={root!r} is not a folder; give it with --cfg-options '
                'train_dataloader.dataset.data_root=FOLDER'
            )
        bad: list[tuple[str, str]] = []
        if classes is None:
            paths = list(find_images(root, self.extensions, bad))
        else:
            missing = [c for c in classes if not os.path.isdir(os.path.join(root, c))]
            if missing:
                raise ValueError(
                    f'{len(missing)} of the {len(classes)} classes of '
                    f'{self.classes_file} have no folder in {root}: '
                    f'{", ".join(missing[:5])}'
                    f'{", ..." if len(missing) > 5 else ""}'
                )
            paths = []
            for name in classes:
                found = list(find_images(os.path.join(root, name), self.extensions, bad))
                if not found:
                    raise ValueError(f'class folder {os.path.join(root, name)} holds no image')
                paths += found
        report_bad(bad, len(paths), self.max_bad, root)
        if not paths:
            raise ValueError(
                f'no image below {root} (a file ending in {", ".join(self.extensions)})'
            )
        return paths


def _plain(path: str) -> str:
    """A line without a label behind the path, its backslashes as slashes."""
    return re.sub(r'\s+-?\d+$', '', path).replace('\\', '/')
