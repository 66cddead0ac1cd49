"""The exemplar and the images that registration is measured on."""

import os
from dataclasses import dataclass

import numpy as np

from orl_mm.datasets.chest_xray_parts import ChestXRayParts
from orl_mm.datasets.phantom import make_phantom
from orl_mm.io.part_layouts import read_part
from orl_mm.io.xray import read_xray
from orl_mm.registration.contrast import to_grey
from orl_mm.registration.exemplar import Exemplar

PARTS = ('left_lung', 'right_lung', 'heart')


@dataclass
class Case:
    """An image and its true masks, (H, W) uint8 and part -> (H, W) bool."""

    name: str
    grey: np.ndarray
    masks: dict[str, np.ndarray]


def jsrt(root: str | None) -> tuple[Exemplar | None, list[Case], str]:
    """The exemplar and the 47 images of the shipped lists; none, and why, where they are not."""
    root = root or os.path.join(os.environ.get('ORL_CXR', 'data'), 'jsrt')
    if not os.path.isdir(root):
        return None, [], f'there is no JSRT at {root}'

    def read(list_file: str) -> list[Case]:
        dataset = ChestXRayParts(root, parts=PARTS, list_file=list_file, pipeline=[])
        samples = (dataset.get_data_info(i) for i in range(len(dataset)))
        return [
            Case(
                s['id'],
                to_grey(read_xray(s['img_path'])),
                {p: read_part(s['part_paths'][p]) for p in PARTS},
            )
            for s in samples
        ]

    (first,) = read('jsrt_exemplar')
    return Exemplar(first.grey, first.masks), read('jsrt_score'), f'JSRT, from {first.name}'


def others(root: str, parts) -> list[Case]:
    """All images of another set, with those of the parts that it has."""
    dataset = ChestXRayParts(root, missing='skip', pipeline=[])
    samples = (dataset.get_data_info(i) for i in range(len(dataset)))
    return [
        Case(
            s['id'],
            to_grey(read_xray(s['img_path'])),
            {p: read_part(s['part_paths'][p]) for p in parts if p in s['part_paths']},
        )
        for s in samples
    ]


def phantoms(count: int = 2) -> tuple[Exemplar, list[Case], str]:
    """Small phantoms instead."""
    made = [make_phantom(index, size=64) for index in range(count + 1)]
    cases = [Case(f'phantom {i}', p.image, p.masks) for i, p in enumerate(made)]
    return Exemplar(cases[0].grey, cases[0].masks), cases[1:], 'PHANTOMS, no X-rays'
