import copy
import operator
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from PIL import Image
from torch.utils.data import DataLoader

from orl_mm.datasets import ImageList
from orl_mm.datasets.transforms import LoadImage, MultiViewWithGeometry, SeedSample


@pytest.fixture(autouse=True)
def one_image(tmp_path, monkeypatch):
    path = tmp_path / 'good.png'
    Image.new('RGB', (2, 2)).save(path)
    monkeypatch.setattr(Toy, 'good', str(path))


def draw(results):
    """The index and one number of every generator."""
    numbers = [results['sample_idx'], random.random(), np.random.rand(), torch.rand(1).item()]
    return torch.tensor(numbers, dtype=torch.float64)


class Toy(BaseDataset):
    """Eight samples; the files of 5 and 6, if they are read, are bad."""

    def __init__(self, *pipeline):
        super().__init__(pipeline=[*pipeline, draw], max_refetch=100)

    good = ''  # set by one_image

    def load_data_list(self):
        return [dict(img_path=f'bad{i}.jpg' if i in (5, 6) else self.good) for i in range(8)]


def epochs(dataset, seeder, numbers, **options):
    loader = DataLoader(dataset, batch_size=2, **options)
    out = []
    for epoch in numbers:
        seeder.set_epoch(epoch)
        out.append(torch.cat(list(loader)))
    return torch.stack(out)


def test_depends_on_seed_epoch_and_index_only():
    def numbers(seed, epoch, idx):
        seeder = SeedSample(seed)
        seeder.set_epoch(epoch)
        return tuple(draw(seeder.transform(dict(sample_idx=idx))).tolist())

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    first = numbers(1, 2, 3)
    torch.rand(7), np.random.rand(7)
    assert numbers(1, 2, 3) == first
    changed = ((1, 2, 4), (1, 3, 3), (2, 2, 3), (2, 1, 3), (0, 0, 0))
    others = [numbers(*key) for key in changed]
    for position in (1, 2, 3):  # every generator tells all of them apart
        assert len({x[position] for x in [first, *others]}) == 6


def test_workers_make_no_difference():
    """0, 1 and 2 persistent workers, and a start in the middle, draw the same."""
    reference = None
    for workers in (0, 1, 2):
        seeder = SeedSample(3)
        options = dict(num_workers=workers, persistent_workers=workers > 0)
        out = epochs(Toy(seeder, LoadImage(max_bad=1.0)), seeder, range(6), **options)
        reference = out if reference is None else reference
        assert torch.equal(out, reference)
    assert not torch.equal(reference[0], reference[1])
    # Redraws are seeded as well, and bad files never name each other forever.
    assert not torch.isin(reference[:, :, 0], torch.tensor([5.0, 6.0])).any()
    seeder = SeedSample(3)
    resumed = epochs(Toy(seeder, LoadImage(max_bad=1.0)), seeder, (2,), num_workers=2)
    assert torch.equal(resumed[0], reference[2])


@pytest.mark.slow
def test_spawned_workers_share_epoch_and_counts(tmp_path):
    """Shared memory survives pickling: the epoch in, the count out."""
    for i in range(6):
        Image.new('RGB', (40, 30)).save(tmp_path / f'{i}.png')
    (tmp_path / '3.png').write_bytes(b'cut')

    def passes(**options):
        seeder, loader = SeedSample(2), LoadImage()
        pipeline = [seeder, loader, MultiViewWithGeometry([[]], [2], size=2), _views]
        dataset = ImageList(str(tmp_path), pipeline=pipeline)
        return epochs(dataset, seeder, (4, 5), **options), loader.num_bad

    spawned = dict(num_workers=2, persistent_workers=True, multiprocessing_context='spawn')
    (here, bad), (there, bad_there) = passes(), passes(**spawned)
    assert torch.equal(here, there)
    assert bad == bad_there == 1


_views = operator.itemgetter('views')  # picklable, unlike a test's function


def test_copies_stay_in_shared_memory():
    seeder = SeedSample(4)
    seeder.set_epoch(6)
    clone = copy.deepcopy(seeder)
    assert clone._epoch.is_shared()
    assert (clone.seed, clone.epoch) == (4, 6)
    clone.set_epoch(7)
    assert seeder.epoch == 6
    subset = Toy(seeder).get_subset([0, 1])
    assert subset.pipeline.transforms[0]._epoch.is_shared()


def test_workers_warn_if_the_epoch_was_never_set(monkeypatch):
    logged = []
    log = lambda message, **_: logged.append(message)  # noqa: E731
    monkeypatch.setattr('orl_mm.datasets.transforms.seed_sample.print_log', log)
    seeder = SeedSample()
    seeder.transform(dict(sample_idx=0))
    assert not logged  # looking at a sample by hand is no mistake
    monkeypatch.setattr(torch.utils.data, 'get_worker_info', lambda: object())
    seeder.transform(dict(sample_idx=0))
    seeder.transform(dict(sample_idx=0))
    assert len(logged) == 1
    assert 'SetEpochHook' in logged[0]


def test_needs_an_index():
    with pytest.raises(ValueError, match='sample_idx'):
        SeedSample().transform(dict(img=1))


def test_wrapped_data_sets_keep_the_index():
    seeder = SeedSample()
    seeder.set_epoch(1)
    plain = Toy(seeder)
    for wrapped in (RepeatDataset(plain, 2), ConcatDataset([plain, plain])):
        assert torch.equal(wrapped[11], plain[3])
