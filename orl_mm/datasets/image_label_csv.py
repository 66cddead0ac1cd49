import logging
import os
import re
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from orl_mm.datasets import label_table
from orl_mm.datasets.label_table import Policy
from orl_mm.io.image_list import check_inside
from orl_mm.registry import DATASETS

_SAMPLED = 1000  # files that missing='sample' checks


@DATASETS.register_module()
class ImageLabelCsv(BaseDataset):
    """Images with several binary labels each, from a csv file.

    A sample has ``img_path``, ``patient`` and ``gt_score``, float32 (C, ), 1, 0 or NaN
    where the label is unknown. The classes are ``metainfo['classes']``.

    Args:
        ann_file (str): The csv file, with a header; relative to ``data_root``.
        label_columns (Sequence[str]): The classes. Without any there is no ``gt_score``.
        image_column (str): Column of the image files' paths, which are absolute or relative to
            ``data_prefix['img_path']`` below ``data_root``; ``../`` and links are followed.
        patient_column (str, optional): Column of the patients.
        patient_pattern (str, optional): Regular expression on the image's path, whose first
            group is the patient. By default each image is of its own patient.
        uncertain (str | dict, optional): Policy for the label -1: ``'zeros'``, ``'ones'``,
            ``'ignore'`` (NaN), or a dict class -> one of these, with a ``'default'``. Data with
            -1 need one; there is no default.
        blank (str): Policy for an empty or NaN cell, one of the same three.
        fraction (float): Fraction of the patients, drawn with ``seed``; those of 1% are among
            those of 10%.
        missing (str): ``'sample'`` checks 1,000 files spread over the list, since checking
            190,000 takes minutes on a network drive; a missing file is an error. ``'error'``
            checks all. ``'skip'`` checks all, and leaves out and logs missing ones.
        confine (bool): Refuse a path that leads out of that folder.
        data_root, data_prefix, pipeline, indices, ...: As in mmengine's ``BaseDataset``.

    Raises:
        ValueError: A missing file or column, an invalid label, an unknown option.
    """

    def __init__(
        self,
        ann_file: str,
        label_columns: Sequence[str] = (),
        image_column: str = 'image',
        patient_column: str | None = None,
        patient_pattern: str | None = None,
        uncertain: Policy | None = None,
        blank: str = 'ignore',
        fraction: float = 1.0,
        seed: int = 0,
        missing: str = 'sample',
        confine: bool = False,
        data_root: str = '',
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        if isinstance(label_columns, str):
            label_columns = (label_columns,)
        label_table.check_policies(uncertain, blank, label_columns)
        if not 0 < fraction <= 1:
            raise ValueError(f'fraction={fraction} must lie in (0, 1]')
        if missing not in ('sample', 'error', 'skip'):
            raise ValueError(f"missing={missing!r} must be 'sample', 'error' or 'skip'")
        self.label_columns = tuple(label_columns)
        self.image_column = image_column
        self.patient_column = patient_column
        self.patient_pattern = patient_pattern
        self.uncertain = uncertain
        self.blank = blank
        self.fraction = fraction
        self.seed = seed
        self.missing = missing
        self.confine = confine
        super().__init__(
            ann_file=ann_file,
            data_root=os.path.expanduser(data_root),
            metainfo=dict(metainfo or {}, classes=self.label_columns),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Every kept row as ``dict(img_path=..., patient=..., gt_score=...)``."""
        with label_table.without_gc():
            return self._load()

    def _load(self) -> list[dict]:
        table = label_table.read_table(self.ann_file)
        wanted = [self.image_column, *self.label_columns]
        if self.patient_column:
            wanted.append(self.patient_column)
        label_table.require_columns(table, wanted, self.ann_file)
        table, repeats = label_table.without_repeats(
            table, self.image_column, wanted[1:], self.ann_file
        )
        if repeats:
            self.log(f'{repeats} rows of images that have a row already are left out')

        rows = self.select(table)
        if not len(rows):
            raise ValueError(f'no row is left of {self.ann_file}')
        patients = self.patients(table, rows)
        if self.fraction < 1:
            drawn = label_table.draw_patients(patients, self.fraction, self.seed)
            rows, patients = rows[drawn], patients[drawn]
        paths = self.paths([table[self.image_column][i] for i in rows])
        if self.confine:
            check_inside(paths, self._folder, self.ann_file)
        there = self._there(paths)
        rows, patients = rows[there], patients[there]
        paths = [path for path, keep in zip(paths, there, strict=False) if keep]
        self.log(
            f'{len(rows)} of {len(table[self.image_column])} images, '
            f'{len(np.unique(patients))} patients'
            + f', fraction={self.fraction} of seed {self.seed}'
            * (self.fraction < 1)
        )
        samples = [
            dict(img_path=path, patient=patient)
            for path, patient in zip(paths, patients.tolist(), strict=False)
        ]
        if self.label_columns:
            for sample, score in zip(samples, self._scores(table, rows).tolist(), strict=False):
                sample['gt_score'] = score
        return samples

    def get_data_info(self, idx: int) -> dict:
        """A sample; scores are stored as plain numbers, which take a fifth of an array's bytes."""
        info = super().get_data_info(idx)
        if 'gt_score' in info:
            info['gt_score'] = np.array(info['gt_score'], np.float32)
        return info

    def select(self, table: dict[str, list[str]]) -> np.ndarray:
        """Indices of the rows to use."""
        return np.arange(len(table[self.image_column]))

    def patients(self, table: dict[str, list[str]], rows: np.ndarray) -> np.ndarray:
        """The patient of each of the rows, as text."""
        if self.patient_column:
            return np.array(table[self.patient_column])[rows]
        names = [table[self.image_column][i] for i in rows]
        if self.patient_pattern is None:
            return np.array(names)
        found = [re.search(self.patient_pattern, name) for name in names]
        if None in found:
            raise ValueError(
                f'patient_pattern={self.patient_pattern!r} does not match '
                f'{names[found.index(None)]!r} of {self.ann_file}'
            )
        return np.array([match.group(1) for match in found if match])

    def paths(self, names: list[str]) -> list[str]:
        """Image files by the names in the csv file."""
        folder = os.path.join(self._folder, '')
        if any('\\' in name and not os.path.isfile(folder + name) for name in names):
            names = [name.replace('\\', '/') for name in names]  # written on Windows
        return [name if os.path.isabs(name) else folder + name for name in names]

    @property
    def _folder(self) -> str:
        return self.data_prefix.get('img_path') or self.data_root

    def log(self, message: str, level: int = logging.INFO) -> None:
        """Log a line about this csv file."""
        print_log(f'{self.ann_file}: {message}', logger='current', level=level)

    def _there(self, paths: list[str]) -> np.ndarray:
        """Which files exist, as (N, ) bool; all of them unless ``missing='skip'``."""
        there = np.ones(len(paths), bool)
        if self.missing == 'sample' and len(paths) > _SAMPLED:
            some = np.linspace(0, len(paths) - 1, _SAMPLED).astype(int)
        else:
            some = np.arange(len(paths))
        there[some] = [os.path.isfile(paths[i]) for i in some]
        gone = np.flatnonzero(~there)
        if len(gone):
            what = (
                f'{len(gone)} of the {len(some)} images checked do not exist, first '
                f'{paths[gone[0]]}'
            )
            if self.missing != 'skip' or len(gone) == len(paths):
                raise ValueError(
                    f'{self.ann_file}: {what}; data_root={self.data_root!r} must be '
                    "the folder that the paths begin in, or missing='skip'"
                )
            self.log(f'{what}; they are left out', logging.WARNING)
        return there

    def _scores(self, table: dict[str, list[str]], rows: np.ndarray) -> np.ndarray:
        kept = {name: [table[name][i] for i in rows] for name in self.label_columns}
        raw = label_table.read_labels(kept, self.label_columns, self.ann_file)
        scores = label_table.resolve_labels(raw, self.label_columns, self.uncertain, self.blank)
        uncertain = int((raw == label_table.UNCERTAIN).sum())
        self.log(
            f'{uncertain} uncertain labels by {self.uncertain!r}, '
            f'{int(np.isnan(raw).sum())} blank ones by {self.blank!r}'
        )
        for name, what in label_table.one_class_columns(scores, self.label_columns).items():
            self.log(f'the column {name!r} has {what}: it cannot be scored', logging.WARNING)
        return scores
