import pickle
import re
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.segmentation import felzenszwalb, slic
from torchvision.transforms import functional as F

from orl_mm.datasets.transforms import GenerateSuperpixels
from orl_mm.registry import PRIORS
from orl_mm.superpixels import priors
from orl_mm.superpixels.cache import PriorSpec
from tests.xray_files import write


@pytest.fixture
def rgb():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (7, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((96, 80)))


def is_contiguous(labels):
    return sorted(np.unique(labels)) == list(range(labels.max() + 1))


def test_slic_equals_skimage(rgb):
    out = priors.slic(rgb, num_segments=40)
    expected = slic(rgb.astype(float) / 255, n_segments=40, start_label=0)
    assert out.dtype == np.int32
    assert is_contiguous(out)
    assert np.array_equal(out, expected)
    assert 15 < out.max() < 60


def test_normalized_slic_is_the_published_call(rgb):
    """ToTensor, Normalize, double, then slic: as the public loader does."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    tensor = F.normalize(F.to_tensor(Image.fromarray(rgb)), mean, std)
    expected = slic(tensor.permute(1, 2, 0).to(torch.double).numpy(), start_label=0, n_segments=100)
    out = priors.slic(rgb, normalize=True)
    assert np.array_equal(out, expected)
    assert not np.array_equal(out, priors.slic(rgb))


def test_felzenszwalb_equals_skimage(rgb):
    out = priors.felzenszwalb(rgb, scale=100, min_size=50)
    assert is_contiguous(out)
    assert out.max() > 3
    assert np.array_equal(out, felzenszwalb(rgb / 255.0, scale=100, sigma=0.8, min_size=50))
    assert np.bincount(out.ravel()).min() >= 50
    default = priors.felzenszwalb(rgb)
    assert np.bincount(default.ravel()).min() >= 1000


def test_grid(rgb):
    expected = np.arange(16).reshape(4, 4).repeat(20, 0).repeat(24, 1)
    assert np.array_equal(priors.grid(rgb, 4), expected)
    assert is_contiguous(priors.grid(rgb[:5, :7], 3))
    assert is_contiguous(priors.grid(rgb[:2, :3], 10))


@pytest.mark.parametrize('method', priors.prior_names())
@pytest.mark.parametrize('shape', [(1, 1), (224, 224)])
def test_flat_images_are_legal(method, shape):
    out = PriorSpec(method)(np.full((*shape, 3), 90, np.uint8))
    assert out.shape == shape
    assert is_contiguous(out)


def test_contiguous_keeps_the_order():
    labels = np.array([[9, 2], [300, 2]])
    assert priors.contiguous(labels).tolist() == [[1, 0], [2, 0]]
    assert priors.contiguous(np.array([[4, 0], [2, 2]])).tolist() == [[2, 0], [1, 1]]
    assert priors.contiguous(np.array([[-5, 2**30]])).tolist() == [[0, 1]]


def test_label_files(tmp_path):
    labels = np.zeros((6, 4), np.uint16)
    labels[2:, 1:] = 700
    labels[5, 3] = 255
    path = write(tmp_path / 'a' / 'x.png', labels)
    found = priors.find_label_file(str(tmp_path), 'a/x.jpg')
    assert found == str(path)
    out = priors.read_label_file(found, 12, (6, 4))
    # Squashed as x0 is: each mask pixel becomes 2 x 3 of x0.
    expected = np.searchsorted([0, 255, 700], labels).repeat(2, 0).repeat(3, 1)
    assert np.array_equal(out, expected)
    write(tmp_path / 'b.jpg.png', (np.eye(8) * 200).astype(np.uint8))
    found = priors.find_label_file(str(tmp_path), 'b.jpg')
    assert np.array_equal(priors.read_label_file(found, 8, (99, 99)), np.eye(8))


def test_palette_masks_are_read_by_index(tmp_path):
    pil = Image.new('P', (4, 4), 3)
    pil.putpalette([0, 0, 0] * 4)
    pil.putpixel((0, 0), 1)
    pil.save(tmp_path / 'x.png')
    out = priors.read_label_file(str(tmp_path / 'x.png'), 4, None)
    assert (out[0, 0], out[1, 1]) == (0, 1)


def test_bad_label_files(tmp_path):
    with pytest.raises(ValueError, match='no mask for x.jpg'):
        priors.find_label_file(str(tmp_path), 'x.jpg')
    path = str(tmp_path / 'x.png')
    Image.new('L', (5, 3)).save(path)
    with pytest.raises(ValueError, match='3 x 5.*224 x 224.*nor.*7 x 9'):
        priors.read_label_file(path, 224, (7, 9))
    Image.new('RGB', (4, 4)).save(path)
    with pytest.raises(ValueError, match='3 channels'):
        priors.read_label_file(path, 4, None)


def test_spec():
    assert PriorSpec('slic').key == PriorSpec('slic', dict(num_segments=100)).key
    others = ('slic',), ('slic', dict(num_segments=99)), ('slic', {}, 225), ('felzenszwalb',)
    assert len({PriorSpec(*args).key for args in (*others, ('grid',))}) == 5
    for args, message in (
        (('slick',), "method='slick'.*slic"),
        (('slic', dict(segments=3)), 'no parameter segments.*num_seg'),
        (('slic', {}, 0), 'size'),
    ):
        with pytest.raises(ValueError, match=message):
            PriorSpec(*args)


def test_provenance_names_the_library_that_made_the_map():
    """The keys of caches that exist on disk depend on these words."""
    skimage = f'scikit-image {version("scikit-image")}'
    found = {method: PriorSpec(method).library for method in priors.prior_names()}
    assert found == dict(slic=skimage, felzenszwalb=skimage, grid='orl_mm')
    spec = dict(method='grid', params=dict(num_cells=10), size=224, library='orl_mm')
    assert PriorSpec('grid').to_dict() == spec
    assert PriorSpec('grid').key == 'dcb71b27'


OWN_PRIOR = """
import numpy as np
from orl_mm.registry import PRIORS
from orl_mm.superpixels.priors import made_by

@PRIORS.register_module()
{declared}
def halves(img, at=0.5):
    labels = np.zeros(img.shape[:2], np.int32)
    labels[:, int(at * img.shape[1]):] = 1
    return labels

@PRIORS.register_module()
class Bands:
    def __init__(self, rows=2):
        self.rows = rows
    def __call__(self, img):
        rows = np.arange(len(img)) * self.rows // len(img)
        return np.repeat(rows[:, None], img.shape[1], 1).astype(np.int32)
"""


@pytest.mark.parametrize(
    ('declared', 'library'),
    [
        ('@made_by("no-such-package")', r'no-such-package \(not installed\)'),
        ('@made_by("numpy")', f'numpy {version("numpy")}'),
        ('@made_by("mine", of="7")', 'mine 7'),
        ('', 'my_prior_[0-9a-f]+ [0-9a-f]{8}'),
    ],
)
def test_a_prior_of_another_package(tmp_path, monkeypatch, declared, library):
    """One file, one registration; workers import that file when they are sent the spec."""
    name = f'my_prior_{abs(hash(declared)) % 10**6:x}'
    (tmp_path / f'{name}.py').write_text(OWN_PRIOR.format(declared=declared))
    monkeypatch.syspath_prepend(tmp_path)
    __import__(name)
    try:
        img = np.zeros((8, 8, 3), np.uint8)
        found = GenerateSuperpixels('halves', size=8, at=0.25).transform(dict(img=img))
        assert found['regions'].float().mean() == 0.75
        assert PriorSpec('Bands', dict(rows=4))(img).max() == 3
        spec = PriorSpec('halves', dict(at=0.25))
        assert re.match(library, spec.library)
        stored = pickle.dumps(spec)
        for module in ('halves', 'Bands'):
            PRIORS.module_dict.pop(module)
        del sys.modules[name]
        assert pickle.loads(stored)(img).max() == 1
    finally:
        for module in ('halves', 'Bands'):
            PRIORS.module_dict.pop(module, None)
