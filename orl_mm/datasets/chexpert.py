import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orl_mm.datasets.image_label_csv import ImageLabelCsv
from orl_mm.datasets.label_table import Policy
from orl_mm.registry import DATASETS

FOURTEEN = (
    'No Finding',
    'Enlarged Cardiomediastinum',
    'Cardiomegaly',
    'Lung Opacity',
    'Lung Lesion',
    'Edema',
    'Consolidation',
    'Pneumonia',
    'Atelectasis',
    'Pneumothorax',
    'Pleural Effusion',
    'Pleural Other',
    'Fracture',
    'Support Devices',
)
# Of table 3.2.
SIX = ('Atelectasis', 'Cardiomegaly', 'Consolidation', 'Edema', 'Pleural Effusion', 'No Finding')
CLASS_SETS = dict(six=SIX, fourteen=FOURTEEN)
# The common policy for the five competition classes.
USUAL_UNCERTAIN = dict(Atelectasis='ones', Edema='ones', default='zeros')

_SLASHES = re.compile(r'[\\/]+')
_VIEW = 'Frontal/Lateral'
_VIEWS = ('frontal', 'lateral')


@DATASETS.register_module()
class CheXpert(ImageLabelCsv):
    """CheXpert (Irvin et al. 2019, arXiv 1901.07031) in its original csv and folders.

    By default only the frontal images. The view is read from the column ``Frontal/Lateral`` and
    from the file's name (``view1_frontal.jpg``); images where the two disagree, or neither tells,
    are left out and logged. See :class:`ImageLabelCsv` for the samples.

    Args:
        ann_file (str): ``train.csv`` or ``valid.csv``, relative to ``data_root``; other
            csv files with these columns too.
        data_root (str): The folder ``CheXpert-v1.0-small``, possibly renamed, or its parent.
        classes (str | Sequence[str]): ``'six'`` (table 3.2), ``'fourteen'``, or columns. For
            pretraining an empty list, which gives no ``gt_score``.
        uncertain (str | dict, optional): See :class:`ImageLabelCsv`; ``'usual'`` is ones for
            Atelectasis and Edema, else zeros.
        views (str): ``'frontal'``, ``'lateral'`` or ``'all'``.
        blank (str): A blank label is not mentioned in the report: ``'zeros'``.
        fraction, seed, missing, pipeline, ...: As in :class:`ImageLabelCsv`.

    Raises:
        ValueError: See :class:`ImageLabelCsv`.
    """

    METAINFO = dict(classes=SIX)

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        classes: str | Sequence[str] = 'six',
        uncertain: Policy | None = None,
        views: str = 'frontal',
        blank: str = 'zeros',
        **kwargs,
    ) -> None:
        if isinstance(classes, str):
            if classes not in CLASS_SETS:
                raise ValueError(
                    f"classes={classes!r} must be 'six', 'fourteen' or a list of columns"
                )
            classes = CLASS_SETS[classes]
        if uncertain == 'usual':
            uncertain = {
                name: policy
                for name, policy in USUAL_UNCERTAIN.items()
                if name in (*classes, 'default')
            }
        if views not in (*_VIEWS, 'all'):
            raise ValueError(f"views={views!r} must be 'frontal', 'lateral' or 'all'")
        self.views = views
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            label_columns=classes,
            image_column='Path',
            uncertain=uncertain,
            blank=blank,
            **kwargs,
        )

    def select(self, table: dict[str, list[str]]) -> np.ndarray:
        """Rows of the wanted view."""
        unused = [
            name
            for name in table
            if name
            not in (
                'Path',
                'Sex',
                'Age',
                _VIEW,
                'AP/PA',
                'PatientID',
                *FOURTEEN,
                *self.label_columns,
            )
        ]
        if unused:
            self.log(f"columns other than CheXpert's are not used: {unused}")
        if self.views == 'all':
            return super().select(table)
        by_path = np.array([_view_of(path) for path in table['Path']])
        by_column = by_path
        if _VIEW in table:
            by_column = np.array([_code(cell) for cell in table[_VIEW]])
        view = np.where(by_column < 0, by_path, by_column)
        disagree = (by_column >= 0) & (by_path >= 0) & (by_column != by_path)
        unknown = view < 0
        wanted = (view == _VIEWS.index(self.views)) & ~disagree
        for where, what in (
            (disagree, f'images whose name and {_VIEW} disagree'),
            (unknown, 'images of unknown view'),
        ):
            if where.any():
                first = table['Path'][int(np.flatnonzero(where)[0])]
                self.log(f'{int(where.sum())} {what} are left out, first {first}', logging.WARNING)
        others = int((~wanted & ~disagree & ~unknown).sum())
        self.log(f'{others} images of the other view are left out')
        return np.flatnonzero(wanted)

    def patients(self, table: dict[str, list[str]], rows: np.ndarray) -> np.ndarray:
        """By ``PatientID`` where the csv has it, else by the path's patientNNNNN."""
        if 'PatientID' in table and self.patient_pattern is None:
            return np.array(table['PatientID'])[rows]
        self.patient_pattern = self.patient_pattern or r'(patient\d+)'
        return super().patients(table, rows)

    def paths(self, names: list[str]) -> list[str]:
        """Image files: the longest end of each path that exists below the folder.

        The csv files begin with the folder that ``data_root`` may be, an absolute path of another
        machine, or a folder of the full release; the images may lie in sub-folders ``CheXpert*``,
        ``train`` and ``valid``.
        """
        root = self._folder or '.'
        if not os.path.isdir(root):
            return super().paths(names)
        folders = ('CheXpert*', 'train', 'valid')
        inner = [p for name in folders for p in Path(root).glob(name) if p.is_dir()]
        deeper = [
            p for name in folders[1:] for base in inner for p in base.glob(name) if p.is_dir()
        ]
        bases = [root, *map(str, sorted(inner)), *map(str, sorted(deeper))]
        listed = [(os.path.join(base, ''), set(os.listdir(base))) for base in bases]
        found = super().paths(names)
        for n, name in enumerate(names):
            parts = [part for part in _SLASHES.split(name) if part != '.']
            ends = [
                base + '/'.join(parts[i:])
                for i in range(max(1, len(parts) - 1))
                for base, entries in listed
                if parts[i] in entries
            ]
            ends = list(dict.fromkeys([name, *ends] if name[:1] == '/' else ends))
            if len(ends) > 1:  # only then are the files themselves looked at
                ends = [end for end in ends if os.path.isfile(end)] or ends
            found[n] = ends[0] if ends else found[n]
        return found


def _code(text: str) -> int:
    """Index in :data:`_VIEWS` of a cell; -1 if it is neither."""
    text = text.strip().lower()
    return _VIEWS.index(text) if text in _VIEWS else -1


def _view_of(path: str) -> int:
    """Index in :data:`_VIEWS` by a file's name; -1 if it has neither, or both."""
    name = path.rpartition('/')[2].lower()
    said = [view in name for view in _VIEWS]
    return said.index(True) if sum(said) == 1 else -1
