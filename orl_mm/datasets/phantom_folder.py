"""A folder of phantoms in the layout of the X-ray data sets."""

from dataclasses import dataclass

import numpy as np

from orl_mm.datasets.phantom import FINDINGS, Anatomy, findings_of, make_phantom
from orl_mm.io.part_layouts import encode_mask
from orl_mm.map_cache.build import BuildJob
from orl_mm.map_cache.spec import Made, MapSpec


@dataclass(frozen=True)
class PhantomSpec(MapSpec):
    """Phantoms and their masks; an item is the index of a phantom.

    Args:
        size (int): Side in pixels.
        seed (int): Other patients.

    Raises:
        ValueError: A negative seed, or a size at which the word PHANTOM is not legible.
    """

    name, what, tool = 'phantom', 'phantom', 'make_phantom'
    out_is_positional = True

    size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f'seed={self.seed} must not be negative')
        make_phantom(0, self.seed, self.size)

    def to_dict(self) -> dict:
        note = 'PHANTOM: analytic images, no X-rays (orl_mm.datasets.phantom)'
        return dict(note=note, size=self.size, seed=self.seed, version=1)

    def source(self, item: int) -> None:
        return None

    def target(self, item: int) -> str:
        return f'images/{phantom_name(item)}.png'

    def make(self, item: int, pixels: np.ndarray) -> Made:
        phantom = make_phantom(item, self.seed, self.size)
        files = {
            f'masks/{part}/{phantom_name(item)}.png': encode_mask(mask)
            for part, mask in phantom.masks.items()
        }
        return Made(phantom.image, files=files)


def phantom_name(index: int) -> str:
    """The stem of a phantom's files."""
    return f'phantom_{index:05d}'


def write_lists(job: BuildJob, num: int) -> None:
    """Write ``labels.csv`` and, as for JSRT, ``splits/``: of four images three train a segmenter.

    The first one is the exemplar, and one of these three quarters.
    """
    assert isinstance(job.spec, PhantomSpec)
    names = [phantom_name(i) for i in range(num)]
    lines = [f'image,{",".join(FINDINGS)}']
    for i, name in enumerate(names):
        anatomy = Anatomy.draw(np.random.default_rng((job.spec.seed, i)))
        lines.append(','.join([f'{name}.png', *map(str, findings_of(anatomy).values())]))
    job.write_lines('labels.csv', lines)
    job.write_lines('splits/exemplar.txt', names[:1])
    job.write_lines('splits/segmenter.txt', [n for i, n in enumerate(names) if i % 4 != 3])
    job.write_lines('splits/score.txt', names[3::4])
