"""The Python API gives what the training and evaluation code gives for the same images."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from PIL import Image

from orl_mm.apis import AttentionInferencer, ObjectInferencer, get_backbone
from orl_mm.engine.cli import UserError
from orl_mm.engine.object_finder import build_finder
from orl_mm.visualization.probe import attention_of, build_probe
from orl_mm.visualization.samples import load_part_samples, training_batch
from tests.small import small, tiny_dino, write_photographs


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('photos'), 4)


@pytest.fixture(scope='module')
def paths(photos):
    return sorted(map(str, photos.iterdir()))


@pytest.fixture(scope='module')
def r2o(photos, tmp_path_factory):
    """A config and a checkpoint whose running statistics are those of some images."""
    folder = tmp_path_factory.mktemp('r2o')
    cfg = small('r50_in1k', photos, folder)
    torch.manual_seed(0)
    model = build_finder(cfg)
    model.target['backbone'](torch.randn(16, 3, 64, 64))
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'r2o.pth')
    return cfg, folder / 'r2o.pth'


@pytest.fixture(scope='module')
def find(r2o):
    return ObjectInferencer(*r2o, device='cpu')


@pytest.fixture(scope='module')
def vit(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp('vit')
    cfg = Config.fromfile('configs/medino/vits16_chexpert_triangular.py')
    cfg = tiny_dino(cfg, photos) or cfg
    torch.manual_seed(0)
    probe = build_probe(cfg)
    weights = {f'teacher.{name}': value for name, value in probe.state_dict().items()}
    torch.save(
        dict(state_dict=weights, meta=dict(attention_heads={0: 'heart'})), folder / 'vit.pth'
    )
    return cfg, folder / 'vit.pth'


def test_objects_equal_those_of_the_refiner(find, r2o, paths):
    """In evaluation mode, on the grid of the refiner's masks."""
    cfg, checkpoint = r2o
    model = build_finder(cfg)
    load_checkpoint(model, str(checkpoint))
    model.eval()
    model.refiner.num_clusters = 5
    batch = training_batch(cfg, paths, len(paths))
    data = model.data_preprocessor(batch, False)
    regions = data['data_samples']
    x0 = data['inputs'][-1]
    generator = torch.Generator().manual_seed(0)
    expected = model.refiner.refine(model.target['backbone'], x0, regions, generator).labels
    found = find(paths, k=5)
    side = x0.shape[-1]
    cell = side // model.refiner.mask_size
    agree = []
    for labels, one in zip(expected.numpy(), found, strict=True):
        height, width = one['labels'].shape
        middles = np.arange(cell // 2, side, cell)
        at = np.ix_(middles * height // side, middles * width // side)
        agree.append((one['labels'][at] == labels).mean())
    # The refiner gives a cell to its largest region; here it is the one in its middle.
    assert np.mean(agree) > 0.9


def test_batch_size_changes_nothing(find, paths):
    one, all_ = find(paths, k=4, batch_size=1), find(paths, k=4, batch_size=8)
    for a, b in zip(one, all_, strict=True):
        np.testing.assert_array_equal(a['labels'], b['labels'])


def test_clusters_are_shared_unless_per_image(find, paths):
    together = find([paths[0], paths[0], paths[1]], k=6)
    np.testing.assert_array_equal(together[0]['labels'], together[1]['labels'])
    ids = {int(i) for one in together for i in np.unique(one['labels'])}
    assert len(ids) <= 6
    alone = find(paths[:2], k=3, per_image=True)
    for path, one in zip(paths[:2], alone, strict=True):
        np.testing.assert_array_equal(one['labels'], find(path, k=3)[0]['labels'])
        assert one['num_objects'] == len(np.unique(one['labels'])) <= 3


def test_seed_draws_other_starts(find, paths):
    np.testing.assert_array_equal(
        find(paths[0], k=8, seed=3)[0]['labels'], find(paths[0], k=8, seed=3)[0]['labels']
    )
    draws = {find(paths[0], k=8, seed=seed)[0]['labels'].tobytes() for seed in range(6)}
    assert len(draws) > 1


def test_kinds_of_images(find, paths, tmp_path):
    rgb = np.asarray(Image.open(paths[0]))
    folder = tmp_path / 'folder'
    folder.mkdir()
    Image.open(paths[0]).save(folder / 'a.png')
    expected = find(paths[0], k=4)[0]
    assert expected['labels'].shape == rgb.shape[:2] == expected['visualization'].shape[:2]
    for image in (Image.open(paths[0]), rgb[..., ::-1], folder, [str(folder / 'a.png')]):
        (one,) = find(image, k=4)
        np.testing.assert_array_equal(one['labels'], expected['labels'])
    find(paths[:2], k=4, out_dir=str(tmp_path / 'out'))
    saved = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert saved == ['000_0.png', '001_1.png']
    picture = np.asarray(Image.open(tmp_path / 'out/000_0.png'))
    np.testing.assert_array_equal(picture, find(paths[:2], k=4)[0]['visualization'])


@pytest.mark.parametrize(
    ('images', 'options', 'message'),
    [
        ('nowhere.png', {}, "'nowhere.png' does not exist"),
        ([], {}, 'holds no image'),
        (np.zeros((4, 4, 4), np.uint8), {}, r'\(H, W, 3\) BGR'),
        (np.zeros((4, 4, 3)), {}, 'float64'),
        (None, {}, 'NoneType'),
        (np.zeros((4, 4), np.uint8), dict(k=0), 'k must be'),
        (np.zeros((4, 4), np.uint8), dict(k=2.5), 'k must be'),
        (np.zeros((4, 4), np.uint8), dict(batch_size=0), 'batch_size'),
    ],
)
def test_wrong_inputs(find, images, options, message):
    with pytest.raises(ValueError, match=message):
        find(images if images is not None else [None], **options)


def test_unreadable_file_is_named(find, tmp_path):
    (tmp_path / 'bad.png').write_bytes(b'\x89PNG')
    with pytest.raises(ValueError, match='bad.png cannot be read'):
        find(str(tmp_path / 'bad.png'))


def test_random_weights_are_a_warning(r2o, vit):
    for build, cfg in (
        (ObjectInferencer, r2o[0]),
        (AttentionInferencer, vit[0]),
        (get_backbone, r2o[0]),
    ):
        with pytest.warns(UserWarning, match='random weights'):
            build(cfg, device='cpu')


def test_config_without_objects(vit):
    with pytest.raises(UserError, match='finds no objects'):
        ObjectInferencer(vit[0], device='cpu')
    for name in ('r2o/nothing', 'orl_mm::r2o/nothing.py', 'no_package::r2o.py', 'nothing.py'):
        with pytest.raises(UserError, match=name):
            ObjectInferencer(name)


def test_attention_equals_the_probe(vit, paths):
    """The same as tools/visualize.py draws, which has its own pipeline."""
    cfg, checkpoint = vit
    attend = AttentionInferencer(cfg, checkpoint, device='cpu')
    probe = build_probe(cfg)
    load_checkpoint(probe, str(checkpoint))
    samples = load_part_samples(cfg, paths, len(paths))
    expected = attention_of(probe, [sample.packed for sample in samples], '').maps
    found = attend(paths, batch_size=3)
    assert list(found[0]['maps'])[0] == 'heart'
    for maps, one in zip(expected, found, strict=True):
        np.testing.assert_allclose(np.stack(list(one['maps'].values())), maps, atol=1e-6)
        assert one['visualization'].dtype == np.uint8
        assert one['visualization'].std() > 0


def test_backbone(r2o, vit, paths):
    cfg, checkpoint = r2o
    backbone = get_backbone(cfg, checkpoint, device='cpu')
    assert not backbone.training
    model = build_finder(cfg)
    load_checkpoint(model, str(checkpoint))
    x = torch.randn(2, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        found, expected = backbone(x), model.backbone(x)
    names = [f'stage{i + 1}' for i in model.backbone.out_indices]
    assert list(found) == names
    torch.testing.assert_close(list(found.values()), list(expected))
    with torch.no_grad():
        (out,) = get_backbone(*vit, device='cpu')(torch.randn(1, 3, 32, 32)).values()
    assert out.shape[0] == 1


def test_without_a_prior_cells_are_clustered(photos, paths, tmp_path):
    with pytest.warns(UserWarning, match='random weights'):
        find = ObjectInferencer(small('r50_in1k_noprior', photos, tmp_path), device='cpu')
    (one,) = find(paths[0], k=3)
    assert one['labels'].shape == np.asarray(Image.open(paths[0])).shape[:2]
    assert 1 <= one['num_objects'] <= 3


def test_pil_images_are_read_as_files_are(find, tmp_path):
    """16 bits keep their gray levels, and transparent pixels are white."""
    draw = np.random.default_rng(0)
    deep = Image.fromarray(draw.integers(0, 4000, (40, 40)).astype(np.uint16))
    clear = Image.fromarray(draw.integers(0, 256, (40, 40, 4), np.uint8))
    for i, image in enumerate((deep, clear)):
        image.save(tmp_path / f'{i}.png')
        one, same = find(image, k=3)[0], find(str(tmp_path / f'{i}.png'), k=3)[0]
        np.testing.assert_array_equal(one['visualization'], same['visualization'])
