"""Values that were once coerced or ignored are errors that name the value and the fix."""

import io

import numpy as np
import pytest
from PIL import Image

from orl_mm.datasets.transforms import GenerateSuperpixels, LoadImage, LoadParts
from orl_mm.engine.hooks import AttentionRegHook, KMeansRefineHook
from orl_mm.errors import UserError
from orl_mm.models.refiners.kmeans_refiner import KMeansRefiner
from orl_mm.registry import DATASETS, TRANSFORMS
from tests.small import ends_in_one_line

NAN = float('nan')


@pytest.mark.parametrize('k', [0, -1, 2.5, 16.0, '16', True, [16], NAN])
def test_number_of_clusters(k):
    with pytest.raises(ValueError, match=r'num_clusters=.* must be a positive integer, or None'):
        KMeansRefiner(num_clusters=k)


@pytest.mark.parametrize('values', [[0], [-1], [2.5], [16, 0.5], [NAN], [128, -4]])
def test_schedule_of_k(values):
    schedule = dict(type='linear' if len(values) > 1 else 'constant', values=values)
    with pytest.raises(ValueError, match='values of K must be positive integers.*got'):
        KMeansRefineHook(schedule=schedule)
    KMeansRefineHook(schedule=dict(type='constant', values=[None]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=0), 'size=0 must be a positive integer'),
        (dict(size=-8), 'size=-8 must be a positive integer'),
        (dict(size=2.5), 'size=2.5 must be a positive integer'),
        (dict(size=True), 'size=True must be a positive integer'),
        (dict(size=0, method='none'), 'size=0 must be a positive integer'),
        (dict(compactness=NAN), 'compactness=nan must be a finite number'),
        (dict(compactness=float('inf')), 'compactness=inf must be a finite number'),
        (dict(compactness=0), 'compactness=0 must be a finite number above 0'),
        (dict(compactness=-1), 'compactness=-1 must be a finite number'),
        (dict(compactness='10'), "compactness='10' must be a finite number"),
        (dict(num_segments=0), 'num_segments=0 must be a positive integer'),
        (dict(num_segments=2.5), 'num_segments=2.5 must be a positive integer'),
        (dict(normalize=1), 'normalize=1 must be True or False'),
        (dict(method='felzenszwalb', sigma=NAN), 'sigma=nan must be a finite number'),
        (dict(method='felzenszwalb', min_size=-1), 'min_size=-1 must be a positive integer'),
        (dict(method='grid', num_cells=0), 'num_cells=0 must be a positive integer'),
    ],
    ids=str,
)
def test_superpixels(options, message):
    with pytest.raises(ValueError, match=message):
        GenerateSuperpixels(**options)


@pytest.mark.parametrize(
    ('heads', 'message'),
    [
        ({'0': 'a', 0: 'b'}, "one head two parts: .*'0': 'a', 0: 'b'"),
        ({}, 'or be None for no guidance, got {}'),
        ({2.5: 'a'}, 'heads must map numbers'),
        ({True: 'a'}, 'heads must map numbers'),
        ({-1: 'a'}, 'heads must map numbers'),
        ({'first': 'a'}, 'heads must map numbers'),
        (['a'], 'heads must map numbers'),
        (3, 'heads must map numbers'),
    ],
)
def test_heads(heads, message):
    with pytest.raises(ValueError, match=message):
        AttentionRegHook(heads=heads)


def test_no_heads_guide_nothing():
    """A derived config's ``heads={}`` keeps the inherited map, since mmengine merges dicts."""
    hook = AttentionRegHook(heads=None)
    hook.before_train(None)  # needs no model
    checkpoint: dict = {}
    hook.before_save_checkpoint(None, checkpoint)
    assert checkpoint == {}


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='LoadImage', max_pixels=0), 'max_pixels=0'),
        (dict(type='LoadImage', max_bad=-0.1), 'max_bad=-0.1'),
        (dict(type='LoadImage', background=256), 'background=256'),
        (dict(type='LoadXray', max_pixels=-1), 'max_pixels=-1'),
        (dict(type='LoadXray', polarity='flip'), "polarity='flip'"),
        (dict(type='LoadXray', window=(5, 5)), r'window=\(5, 5\)'),
        (dict(type='LoadParts', empty='ignore'), "empty='ignore'"),
        (dict(type='RegisteredTemplate', source='cxr_triangles', threshold=0), 'threshold=0'),
        (dict(type='RegisteredTemplate', source='cxr_triangles', parts=['liver']), "'liver'"),
    ],
    ids=str,
)
def test_transforms(config, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(config, type=f'orl_mm.{config["type"]}'))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='ImageList', max_bad=2), 'max_bad=2'),
        (dict(type='ImageList', data_root='nowhere'), "data_root='nowhere' is not a folder"),
        (dict(type='ImageList', extensions='photos'), "extensions='photos'"),
        (dict(type='ImageLabelCsv', ann_file='no.csv'), "ann_file='no.csv'"),
        (dict(type='ImageLabelCsv', ann_file='no.csv', fraction=0), 'fraction=0'),
        (dict(type='ImageLabelCsv', ann_file='no.csv', missing='maybe'), "missing='maybe'"),
        (dict(type='ImageLabelCsv', ann_file='no.csv', blank='two'), "'two' is not a policy"),
        (dict(type='CheXpert', ann_file='no.csv', views='top'), "views='top'"),
        (dict(type='CheXpert', ann_file='no.csv', classes='seven'), "classes='seven'"),
        (dict(type='ChestXRayParts', data_root='nowhere'), "data_root='nowhere'"),
        (dict(type='ChestXRayParts', data_root='.', layout='mine'), "layout='mine'"),
    ],
    ids=str,
)
def test_data_sets(config, message):
    with pytest.raises(ValueError, match=message):
        DATASETS.build(dict(config, type=f'orl_mm.{config["type"]}'))


def test_soft_template_that_a_threshold_empties(tmp_path):
    path = tmp_path / 'average.npz'
    from orl_mm.registration.template import Template, write_template

    write_template(path, Template(('a', 'b'), np.stack([np.full((4, 4), v) for v in (0.4, 0.9)])))
    with pytest.raises(ValueError, match=r"average.npz has no cell of \['a'\] at threshold=0.5"):
        TRANSFORMS.build(dict(type='orl_mm.RegisteredTemplate', source=str(path)))
    for options in (dict(threshold=None), dict(threshold=0.3), dict(parts=['b'])):
        TRANSFORMS.build(dict(type='orl_mm.RegisteredTemplate', source=str(path), **options))


@pytest.fixture
def turned(tmp_path):
    """A square photograph that viewers turn, and masks of both frames."""
    pil = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    exif = pil.getexif()
    exif[0x0112] = 6
    data = io.BytesIO()
    pil.save(data, 'JPEG', exif=exif)
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'a.jpg').write_bytes(data.getvalue())
    (tmp_path / 'masks').mkdir()
    Image.fromarray(np.tril(np.ones((8, 8), np.uint8))).save(tmp_path / 'masks' / 'a.png')
    return tmp_path


def test_masks_of_a_photograph_that_exif_turns(turned):
    image, mask = str(turned / 'images/a.jpg'), str(turned / 'masks/a.png')
    folders = dict(folder=str(turned / 'masks'), root=str(turned / 'images'))
    files = GenerateSuperpixels(method='files', size=8, **folders)
    parts = LoadParts()
    for apply_exif in (False, True):
        loaded = LoadImage(apply_exif=apply_exif)(dict(img_path=image, part_paths=dict(a=[mask])))
        for transform in (files, parts):
            if apply_exif:
                transform(dict(loaded))
                continue
            with pytest.raises(UserError, match=r'a.jpg has EXIF orientation 6.*apply_exif=True'):
                transform(dict(loaded))


@pytest.fixture
def folder(tmp_path):
    """Two images, a broken list and a table."""
    root = tmp_path / 'my images, 2 äöü'
    root.mkdir()
    for name in ('a', 'b'):
        Image.new('RGB', (8, 8)).save(root / f'{name}.png')
    return root


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --size 0',
            'size=0 must be a positive',
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --size -1',
            'size=-1 must be a positive',
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --params compactness=nan',
            'compactness=nan',
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --params compactness=0',
            'compactness=0',
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --params num_segments=2.5',
            'num_segments=2.5',
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --params segments=3',
            'no parameter segments',
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --method slick',
            "method='slick' is not one of",
        ),
        ('cache_superpixels --folder {f} --out {f}', 'choose another folder for --out'),
        ('cache_superpixels --folder {f}', '--out=FOLDER says where'),
        ('cache_superpixels --list {l} --root {f} --out {o} --workers 1', 'list.txt is not UTF-8'),
        ('cache_superpixels --list {o} --root {f} --out {o} --workers 1', 'is no file'),
        (
            'cache_superpixels --folder {f} --out {o} --workers 0',
            "--workers: '0' must be at least 1",
        ),
        (
            'cache_superpixels --folder {f} --out {o} --workers 1 --import no_such_module',
            'no_such_module',
        ),
        ('convert_cxr {f} {f}', 'must not lie in SOURCE'),
        ('convert_cxr {f} {f}/out', 'must not lie in SOURCE'),
        ('convert_cxr {f} {o} --size 0', 'size=0 must be at least 1'),
        ('convert_cxr {f} {o} --quality 101', 'quality=101'),
        ('convert_cxr {f} {o} --window wide', '--window=wide: bits, range or BLACK,WHITE'),
        ('convert_cxr {f} {o} --window 9,1', 'black < white'),
        ('convert_cxr {f} {o} --kind jsrt', 'which is not the layout jsrt'),
        ('average_template --masks {f} --out {o}.npz', 'not the layout'),
        ('register_templates --folder {f} --out {o} --exemplar {f}/a.png', 'needs a --mask'),
        ('register_templates --folder {f} --out {o}', 'name the exemplar'),
        (
            'register_templates --folder {f} --out {o} --exemplar {f}/a.png --mask a={f}/b.png',
            'the mask of a is empty',
        ),
    ],
)
def test_commands(folder, tmp_path, monkeypatch, capsys, words, message):
    (tmp_path / 'list.txt').write_bytes('ä.png\n'.encode('latin1'))
    (tmp_path / 'images').symlink_to(folder)  # the commands are split at spaces
    names = dict(f=tmp_path / 'images', o=tmp_path / 'out', l=tmp_path / 'list.txt')
    ends_in_one_line(monkeypatch, capsys, words.format(**names), message)
