import copy

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torch.utils.data import DataLoader

from orl_mm.datasets.transforms import LoadImage


@pytest.fixture
def folder(tmp_path):
    """Ten images, of which 3 and 7 are cut."""
    rng = np.random.default_rng(0)
    for i in range(10):
        path = tmp_path / f'{i}.jpg'
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(path)
        if i in (3, 7):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return tmp_path


class Listed(BaseDataset):
    """Images 0 .. 9 of a folder; gives which one was really loaded."""

    def __init__(self, folder, transform):
        self.folder = folder
        super().__init__(pipeline=[transform, _name_only])

    def load_data_list(self):
        return [dict(img_path=str(self.folder / f'{i}.jpg')) for i in range(10)]


def _name_only(results):
    return int(results['img_path'].rsplit('/', 1)[1][:-4])


def test_keys(folder):
    out = LoadImage().transform(dict(img_path=str(folder / '0.jpg')))
    assert (out['img'].shape, out['img'].dtype) == ((60, 90, 3), np.uint8)
    assert out['img_shape'] == out['ori_shape'] == (60, 90)


def test_unreadable_is_none_and_counted_once(folder, monkeypatch):
    logged = []
    log = lambda message, **_: logged.append(message)  # noqa: E731
    monkeypatch.setattr('orl_mm.datasets.transforms.load_image.print_log', log)
    transform = LoadImage()
    for _ in range(3):
        assert transform.transform(dict(img_path=str(folder / '3.jpg'))) is None
    assert transform.transform(dict(img_path=str(folder / 'no.jpg'))) is None
    assert (transform.num_bad, transform.num_loads, len(logged)) == (2, 4, 2)
    assert str(folder / '3.jpg') in logged[0]
    assert 'truncated' in logged[0]


def test_counts_of_workers_reach_the_main_process(folder):
    np.random.seed(0)
    transform = LoadImage()
    dataset = Listed(folder, transform)
    loader = DataLoader(dataset, batch_size=2, num_workers=2)
    for _ in range(2):
        drawn = torch.cat([batch for batch in loader]).tolist()
        assert len(drawn) == 10
        assert not {3, 7} & set(drawn)
    assert transform.num_bad == 2
    assert transform.num_loads >= 24  # two passes, two redraws in each


def test_too_many_bad_files_are_an_error(folder):
    transform = LoadImage(max_bad=0.002)  # two are forgiven
    bad = dict(img_path=str(folder / '3.jpg'))
    assert [transform.transform(bad), transform.transform(bad)] == [None, None]
    with pytest.raises(ValueError, match='max_bad=0.002.*truncated'):
        transform.transform(bad)
    with pytest.raises(ValueError, match='no.jpg'):
        LoadImage(max_bad=0).transform(dict(img_path='no.jpg'))


def test_max_bad_is_a_share_of_the_loads(folder):
    transform = LoadImage(max_bad=0.5)
    good = dict(img_path=str(folder / '0.jpg'))
    bad = dict(img_path=str(folder / '3.jpg'))
    for _ in range(600):  # 500 of 1000 forgiven at first, then the share
        transform.transform(dict(good))
        transform.transform(dict(bad))
    with pytest.raises(ValueError, match='601 of 1201'):
        transform.transform(dict(bad))


def test_copies_count_for_themselves(folder):
    transform = LoadImage(background=0, max_bad=0.5)
    clone = copy.deepcopy(transform)
    transform.transform(dict(img_path=str(folder / '3.jpg')))
    assert (transform.num_bad, clone.num_bad) == (1, 0)
    assert clone._bad.is_shared()
    assert clone.background == 0
