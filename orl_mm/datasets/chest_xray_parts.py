import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from orl_mm.io.image_list import read_lines
from orl_mm.io.part_layouts import (
    LAYOUTS,
    USUAL_PARTS,
    PartSample,
    choose_parts,
    exchange_sides,
    find_samples,
)
from orl_mm.registry import DATASETS

SPLITS = Path(__file__).parent / 'splits'


@DATASETS.register_module()
class ChestXRayParts(BaseDataset):
    """X-rays with masks of named parts: JSRT, Montgomery, or ``images/`` and ``masks/<part>/``.

    A sample has ``img_path``, ``id`` (the file's stem), ``patient``, and ``part_paths``, part ->
    mask files whose union is the part; :class:`orl_mm.LoadParts` reads them. Sides are the
    patient's: if the masks of left_x lie on the viewer's left, they are exchanged with those of
    right_x, with a warning.

    Args:
        data_root (str): The folder of the download.
        layout (str): ``'folders'`` (``images/a.jpg`` and ``masks/<part>/a.png``), ``'jsrt'``
            (``All247images/*.IMG``, SCR's ``scratch/fold*/masks/<part>/*.gif``),
            ``'montgomery'`` (``CXR_png``, ``ManualMask/leftMask`` and ``rightMask``), or
            ``'auto'``, by the folders that are there.
        parts (Sequence[str], optional): Which parts, in this order. Default: all that exist.
        list_file (str, optional): A text file with one id per line, possibly relative to
            ``data_root``; only these are used, in its order. ``'jsrt_exemplar'``,
            ``'jsrt_segmenter'`` and ``'jsrt_score'`` are included.
        exclude_file (str | Sequence[str], optional): One or several such lists of ids to leave
            out.
        missing (str): If an image lacks a mask file of a part: ``'error'``, ``'skip'`` the
            image, which is logged, or ``'keep'`` it without the part.
        patient_pattern (str, optional): Regular expression whose first group, found in
            the id, is the patient. Default: each image is of its own patient, as in these sets.
        pipeline, serialize_data, indices, ...: As in mmengine's ``BaseDataset``.

    Raises:
        ValueError: An unknown layout, part or id, or a missing mask.
    """

    METAINFO = dict(parts=USUAL_PARTS)

    def __init__(
        self,
        data_root: str,
        layout: str = 'auto',
        parts: Sequence[str] | None = None,
        list_file: str | None = None,
        exclude_file=None,
        missing: str = 'error',
        patient_pattern: str | None = None,
        **kwargs,
    ) -> None:
        if layout not in ('auto', *LAYOUTS):
            raise ValueError(f'layout={layout!r} must be auto or one of {", ".join(LAYOUTS)}')
        if missing not in ('error', 'skip', 'keep'):
            raise ValueError(f"missing={missing!r} must be 'error', 'skip' or 'keep'")
        self.layout = layout
        self.parts = None if parts is None else tuple(parts)
        self.list_file = list_file
        self.exclude_file = exclude_file
        self.missing = missing
        self.patient_pattern = patient_pattern
        super().__init__(data_root=os.path.expanduser(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Every image as ``dict(img_path=..., id=..., patient=..., part_paths=...)``."""
        samples = self._selected(find_samples(self.data_root, self.layout))
        if not samples:
            raise ValueError(f'no image is left of {self.data_root}')
        exchange_sides(samples, self.data_root)
        parts = choose_parts(samples, self.parts, self.data_root)
        lacking = [(s, p) for s in samples for p in parts if not s.part_paths.get(p)]
        if lacking and self.missing != 'keep':
            what = (
                f'{len({s.id for s, _ in lacking})} of {len(samples)} images of '
                f'{self.data_root} lack a mask, first {lacking[0][0].id} of '
                f'{lacking[0][1]!r}'
            )
            if self.missing == 'error':
                raise ValueError(f"{what}; give parts=[...] without it, or missing='skip'")
            print_log(f'{what}; these images are left out', logger='current')
            drop = {s.id for s, _ in lacking}
            samples = [s for s in samples if s.id not in drop]
        self._metainfo['parts'] = parts
        return [
            dict(
                img_path=s.img_path,
                id=s.id,
                patient=self._patient(s.id),
                part_paths={p: s.part_paths[p] for p in parts if s.part_paths.get(p)},
            )
            for s in samples
        ]

    def _selected(self, samples: list[PartSample]) -> list[PartSample]:
        by_id = {s.id: s for s in samples}
        if self.list_file is not None:
            wanted = read_split(self.list_file, 'list_file', self.data_root)
            unknown = [i for i in wanted if i not in by_id]
            if unknown:
                raise ValueError(
                    f'{len(unknown)} ids of {self.list_file} have no image below '
                    f'{self.data_root}, first {unknown[0]!r}'
                )
            samples = [by_id[i] for i in wanted]
        files = [self.exclude_file] if isinstance(self.exclude_file, str) else self.exclude_file
        drop = {i for f in files or () for i in read_split(f, 'exclude_file', self.data_root)}
        return [s for s in samples if s.id not in drop]

    def _patient(self, stem: str) -> str:
        if self.patient_pattern is None:
            return stem
        found = re.search(self.patient_pattern, stem)
        if not found:
            raise ValueError(f'patient_pattern={self.patient_pattern!r} does not match {stem!r}')
        return found.group(1)


def read_split(name: str, what: str = 'split', root: str = '') -> list[str]:
    """The ids of a list: by the name of a shipped one, by path, or by path below ``root``."""
    for path in (SPLITS / f'{name}.txt', Path(name), Path(root, name)):
        if path.is_file():
            return read_lines(str(path), what)
    return read_lines(name, what)
