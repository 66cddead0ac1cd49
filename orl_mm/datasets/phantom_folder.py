"""A folder of phantoms in the layout of the X-ray sets."""

import numpy as np

from orl_mm.datasets.phantom import FINDINGS, Anatomy, findings_of, make_phantom
from orl_mm.datasets.xray_folder import Counts, FolderJob

_NOTE = 'PHANTOM: analytic images, no X-rays (orl_mm.datasets.phantom)'


def phantom_job(out: str, num: int, size: int, seed: int) -> FolderJob:
    """The job of a folder.

    Raises:
        ValueError: Fewer than 4 phantoms, or too small ones.
    """
    if num < 4:
        raise ValueError(
            f'num={num} must be at least 4: an exemplar, others to train on and to score'
        )
    if seed < 0:
        raise ValueError(f'seed={seed} must not be negative')
    make_phantom(0, seed, size)  # refuses a size
    return FolderJob(out, 'phantom', dict(note=_NOTE, size=size, seed=seed, version=1))


def phantom_name(index: int) -> str:
    """The stem of a phantom's files."""
    return f'phantom_{index:05d}'


def write_phantoms(job: FolderJob, indices: list[int]) -> Counts:
    """Write some phantoms and their masks; what is finished already is skipped."""
    counts = Counts()
    for index in indices:
        relative = f'images/{phantom_name(index)}.png'
        if job.finished(relative):
            counts.skipped += 1
            continue
        phantom = make_phantom(index, job.settings['seed'], job.settings['size'])
        job.write_sample(relative, phantom.image, phantom.masks, phantom_name(index))
        counts.written += 1
    return counts


def write_lists(job: FolderJob, num: int) -> None:
    """Write ``labels.csv`` and, as for JSRT, ``splits/``: of four images three train a segmenter.

    The first one is the exemplar, and one of these three quarters.
    """
    names = [phantom_name(i) for i in range(num)]
    lines = [f'image,{",".join(FINDINGS)}']
    for i, name in enumerate(names):
        anatomy = Anatomy.draw(np.random.default_rng((job.settings['seed'], i)))
        lines.append(','.join([f'{name}.png', *map(str, findings_of(anatomy).values())]))
    job.write_text('labels.csv', lines)
    job.write_text('splits/exemplar.txt', names[:1])
    job.write_text('splits/segmenter.txt', [n for i, n in enumerate(names) if i % 4 != 3])
    job.write_text('splits/score.txt', names[3::4])
