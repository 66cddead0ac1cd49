import pickle

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from orl_mm.datasets import ChestXRayParts, chest_xray_parts
from orl_mm.datasets.chest_xray_parts import read_split
from orl_mm.datasets.transforms import LoadParts, LoadXray
from orl_mm.io import part_layouts
from orl_mm.registry import DATASETS
from tests import xray_files as files

# In an X-ray the patient's left is on the viewer's right.
LEFT, RIGHT = files.disc(32, 0.75), files.disc(32, 0.25)
HEART = files.disc(32, 0.55, 0.7)
SCR_PARTS = ('left_lung', 'right_lung', 'heart', 'left_clavicle', 'right_clavicle')


@pytest.fixture
def logged(monkeypatch):
    lines = []
    for module in (chest_xray_parts, part_layouts):
        monkeypatch.setattr(module, 'print_log', lambda message, **_: lines.append(message))
    return lines


@pytest.fixture
def jsrt(tmp_path):
    """JSRT and SCR as downloaded: odd numbers in fold 1, even ones in fold 2."""
    root = tmp_path / 'jsrt'
    (root / 'All247images').mkdir(parents=True)
    masks = dict(zip(SCR_PARTS, (LEFT, RIGHT, HEART, LEFT, RIGHT), strict=True))
    for stem, fold in (('JPCLN001', 1), ('JPCLN002', 2), ('JPCNN001', 1)):
        (root / 'All247images' / f'{stem}.IMG').write_bytes(b'')
        for part, mask in masks.items():
            folder = root / 'scratch' / f'fold{fold}' / 'masks' / part.replace('_', ' ')
            files.write(folder / f'{stem}.gif', mask)
    (root / 'scratch/fold1/masks/readme.txt').write_text('x')
    return root


@pytest.fixture
def montgomery(tmp_path):
    root = tmp_path / 'MontgomerySet'
    for stem in ('MCUCXR_0001_0', 'MCUCXR_0104_1'):
        files.write(root / 'CXR_png' / f'{stem}.png', np.full((32, 32), 90, np.uint8))
        files.write(root / 'ManualMask/leftMask' / f'{stem}.png', LEFT > 0)
        files.write(root / 'ManualMask/rightMask' / f'{stem}.png', RIGHT > 0)
    (root / 'CXR_png' / 'Thumbs.db').write_bytes(b'')
    return root


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / 'folders'
    for stem in ('b', 'a', 'c'):
        files.write(root / 'images' / f'{stem}.jpg', np.full((32, 32), 90, np.uint8))
        for part, mask in (('left_lung', LEFT), ('right_lung', RIGHT), ('aorta', HEART)):
            files.write(root / 'masks' / part / f'{stem}.png', mask)
    return root


def ids(dataset):
    return [dataset.get_data_info(i)['id'] for i in range(len(dataset))]


def assert_sides(masks):
    """The left lung is on the viewer's right."""
    assert center(masks[0]) > 0.5 > center(masks[1])


def center(mask):
    return float(mask.nonzero()[:, 1].float().mean()) / mask.shape[1]


def test_jsrt_layout(jsrt, logged):
    dataset = DATASETS.build(dict(type='orl_mm.ChestXRayParts', data_root=str(jsrt)))
    assert ids(dataset) == ['JPCLN001', 'JPCLN002', 'JPCNN001']
    assert dataset.metainfo['parts'] == SCR_PARTS
    second = dataset.get_data_info(1)
    assert second['img_path'].endswith('All247images/JPCLN002.IMG')
    mask = str(jsrt / 'scratch/fold2/masks/left lung/JPCLN002.gif')
    assert second['part_paths']['left_lung'] == [mask]
    assert second['patient'] == 'JPCLN002'
    assert not logged
    assert_sides(LoadParts(['left_lung', 'right_lung']).transform(second)['part_masks'])


@pytest.mark.parametrize(
    'move',
    [
        ('All247images', 'All247images/All247images'),
        ('scratch', 'scr/scratch'),
        ('scratch/fold1', 'fold1'),
    ],
)
def test_jsrt_unpacked_elsewhere(jsrt, move):
    source, target = (jsrt / part for part in move)
    waiting = jsrt / 'waiting'
    source.rename(waiting)
    target.parent.mkdir(parents=True, exist_ok=True)
    waiting.rename(target)
    dataset = ChestXRayParts(str(jsrt))
    assert len(dataset) == 3
    assert len(dataset.get_data_info(0)['part_paths']['heart']) == 1


def test_montgomery_layout(montgomery, logged):
    for root in (montgomery, montgomery.parent):  # the folder, or the one it was unpacked into
        dataset = ChestXRayParts(str(root), pipeline=[LoadXray(), LoadParts()])
        assert ids(dataset) == ['MCUCXR_0001_0', 'MCUCXR_0104_1']
        assert dataset.metainfo['parts'] == ('left_lung', 'right_lung')  # no heart
        sample = dataset[0]
        assert sample['parts'] == ('left_lung', 'right_lung')
        assert_sides(sample['part_masks'])
    assert not logged


def test_sides_come_out_anatomical(montgomery, folders, logged):
    """Folders named after the viewer's sides are exchanged, and the log says so."""
    base = montgomery / 'ManualMask'
    (base / 'leftMask').rename(base / 'x')
    (base / 'rightMask').rename(base / 'leftMask')
    (base / 'x').rename(base / 'rightMask')
    assert_sides(ChestXRayParts(str(montgomery), pipeline=[LoadParts()])[0]['part_masks'])
    assert len(logged) == 1
    assert 'left_lung' in logged[0]
    assert 'exchanged' in logged[0]
    # One mirrored image does not exchange the sides of a whole set.
    for part, mask in (('left_lung', RIGHT), ('right_lung', LEFT)):
        files.write(folders / 'masks' / part / 'a.png', mask)
    ChestXRayParts(str(folders))
    assert len(logged) == 1


def test_folders_layout(folders):
    dataset = ChestXRayParts(str(folders))
    assert ids(dataset) == ['a', 'b', 'c']
    assert dataset.metainfo['parts'] == ('left_lung', 'right_lung', 'aorta')  # any names
    ordered = ChestXRayParts(str(folders), parts=['aorta', 'left_lung'])
    assert ordered.metainfo['parts'] == ('aorta', 'left_lung')
    assert list(ordered.get_data_info(0)['part_paths']) == ['aorta', 'left_lung']
    assert ids(pickle.loads(pickle.dumps(dataset))) == ['a', 'b', 'c']


def test_lists(folders, tmp_path):
    keep, drop = tmp_path / 'keep.txt', tmp_path / 'drop.txt'
    keep.write_text('c\na\n\n')
    drop.write_text('a\nnot_here\n')
    (folders / 'splits').mkdir()
    (folders / 'splits/b.txt').write_text('b\n')
    for options, expected in (
        (dict(list_file=str(keep)), ['c', 'a']),
        (dict(list_file='splits/b.txt'), ['b']),
        (dict(exclude_file=str(drop)), ['b', 'c']),
        (dict(list_file=str(keep), exclude_file=[str(drop)]), ['c']),
    ):
        assert ids(ChestXRayParts(str(folders), **options)) == expected
    with pytest.raises(ValueError, match="1 ids of .*first 'not_here'"):
        ChestXRayParts(str(folders), list_file=str(drop))
    keep.write_text('a\n')
    with pytest.raises(ValueError, match='no image is left'):
        ChestXRayParts(str(folders), list_file=str(keep), exclude_file=str(drop))


def test_shipped_lists_are_apart():
    lists = {name: read_split(f'jsrt_{name}') for name in ('exemplar', 'segmenter', 'score')}
    assert {name: len(set(ids)) for name, ids in lists.items()} == dict(
        exemplar=1, segmenter=150, score=47
    )
    assert set(lists['exemplar']) <= set(lists['segmenter'])
    assert not set(lists['segmenter']) & set(lists['score'])


def test_patient_pattern(montgomery):
    dataset = ChestXRayParts(str(montgomery), patient_pattern=r'_(\d+)_')
    assert [dataset.get_data_info(i)['patient'] for i in range(2)] == ['0001', '0104']
    with pytest.raises(ValueError, match='patient_pattern.*MCUCXR_0001_0'):
        ChestXRayParts(str(montgomery), patient_pattern=r'P(\d+)')


def test_missing_mask(folders, logged):
    (folders / 'masks' / 'aorta' / 'b.png').unlink()
    with pytest.raises(ValueError, match="1 of 3 images.*first b of 'aorta'"):
        ChestXRayParts(str(folders))
    assert ids(ChestXRayParts(str(folders), parts=['left_lung'])) == ['a', 'b', 'c']
    assert ids(ChestXRayParts(str(folders), missing='skip')) == ['a', 'c']
    assert '1 of 3 images' in logged[0]
    assert 'left out' in logged[0]
    kept = ChestXRayParts(str(folders), missing='keep')
    assert list(kept.get_data_info(1)['part_paths']) == ['left_lung', 'right_lung']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(layout='scr'), "layout='scr'.*folders, jsrt, montgomery"),
        (dict(layout='jsrt'), r"has \['images', 'masks'\].*All247images"),
        (dict(missing='drop'), "missing='drop'"),
        (dict(parts=['left_lung', 'liver']), r"no \['liver'\], it has .*aorta"),
        (dict(list_file='none.txt'), 'none.txt'),
        (dict(data_root='nowhere'), 'nowhere.* is not a folder'),
    ],
)
def test_wrong_arguments(folders, options, message):
    with pytest.raises(ValueError, match=message):
        ChestXRayParts(**{'data_root': str(folders), **options})


def test_two_images_of_one_stem(folders):
    files.write(folders / 'images' / 'a.png', HEART)
    with pytest.raises(ValueError, match='one stem'):
        ChestXRayParts(str(folders))


def test_packed_sample(folders):
    init_default_scope('mmpretrain')
    meta_keys = ('img_path', 'id', 'patient', 'parts')
    pack = dict(type='PackInputs', algorithm_keys=('part_masks',), meta_keys=meta_keys)
    load = [dict(type='orl_mm.LoadXray'), dict(type='orl_mm.LoadParts')]
    sample = ChestXRayParts(str(folders), test_mode=True, pipeline=[*load, pack])[1]
    packed = sample['data_samples']
    assert sample['inputs'].shape == packed.part_masks.shape == (3, 32, 32)
    assert (packed.id, packed.patient) == ('b', 'b')
    assert packed.parts == ('left_lung', 'right_lung', 'aorta')


@pytest.mark.parametrize(
    ('name', 'num', 'parts'), [('jsrt', 197, 3), ('montgomery', 110, 2), ('shenzhen', 440, 2)]
)
def test_real_sets(shared_data, logged, name, num, parts):
    dataset = ChestXRayParts(str(shared_data / 'cxr' / name), pipeline=[LoadXray(), LoadParts()])
    assert len(dataset) == num
    assert len(dataset.metainfo['parts']) == parts
    assert not logged
    for i in range(0, num, 20):
        masks = dataset[i]['part_masks']
        assert masks.shape == (parts, 256, 256)
        assert_sides(masks)


def test_real_scores_leave_out_what_was_trained_on(shared_data):
    root = str(shared_data / 'cxr/jsrt')
    score = set(ids(ChestXRayParts(root, list_file='jsrt_score')))
    rest = ChestXRayParts(root, exclude_file=['jsrt_segmenter', 'jsrt_exemplar'])
    assert len(score) == 47
    assert set(ids(rest)) <= score
