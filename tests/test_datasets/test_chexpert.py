import csv
import pickle
import re
import time
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from orl_mm.datasets import CheXpert, ImageLabelCsv, image_label_csv
from orl_mm.datasets.chexpert import FOURTEEN, SIX
from orl_mm.datasets.label_table import draw_patients
from orl_mm.registry import DATASETS
from tests import xray_files as files

HEADER = ['Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA', *FOURTEEN]
NAME = 'CheXpert-v1.0-small'


def row(path, view='Frontal', **labels):
    cells = [labels.get(name.replace(' ', '_'), '') for name in FOURTEEN]
    return [path, 'Female', '50', view, 'AP' if view == 'Frontal' else '', *cells]


def write_csv(path, rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='') as file:
        csv.writer(file).writerows([header, *rows])


def write_images(root, *paths):
    for path in paths:
        files.write(root / path, np.full((8, 8), 90, np.uint8))


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(image_label_csv, 'print_log', lambda message, **_: lines.append(message))
    return lines


@pytest.fixture
def root(tmp_path):
    """Three patients, four frontal images, one lateral one."""
    folder = f'{NAME}/train/patient0000'
    rows = [
        row(f'{folder}1/study1/view1_frontal.jpg', Atelectasis='1.0', Edema='-1.0'),
        row(f'{folder}1/study1/view2_lateral.jpg', 'Lateral', Atelectasis='1.0'),
        row(f'{folder}1/study2/view1_frontal.jpg', Atelectasis='-1.0', Cardiomegaly='0.0'),
        row(f'{folder}2/study1/view1_frontal.jpg', Edema='1.0', Cardiomegaly='-1.0'),
        row(f'{folder}3/study1/view1_frontal.jpg', No_Finding='1.0', Edema='0'),
    ]
    write_csv(tmp_path / NAME / 'train.csv', rows)
    write_images(tmp_path, *(cells[0] for cells in rows))
    return tmp_path


@pytest.fixture
def load(root):
    return partial(CheXpert, 'train.csv', str(root / NAME))


def scores(dataset, name):
    c = dataset.metainfo['classes'].index(name)
    return [dataset.get_data_info(i)['gt_score'][c].item() for i in range(len(dataset))]


def patients(dataset):
    return [dataset.get_data_info(i)['patient'] for i in range(len(dataset))]


def test_original_download(root, logged):
    """The folder or the one above it; frontal images; patients by path."""
    for data_root, ann_file in ((root / NAME, 'train.csv'), (root, f'{NAME}/train.csv')):
        options = dict(data_root=str(data_root), ann_file=ann_file, uncertain='usual')
        dataset = DATASETS.build(dict(type='orl_mm.CheXpert', **options))
        assert patients(dataset) == ['patient00001'] * 2 + ['patient00002', 'patient00003']
        first = dataset.get_data_info(0)
        assert first['img_path'] == str(root / NAME / 'train/patient00001/study1/view1_frontal.jpg')
        assert (first['gt_score'].dtype, first['gt_score'].shape) == (np.float32, (6,))
        assert dataset.metainfo['classes'] == SIX
    (root / NAME).rename(root / 'renamed')
    assert len(CheXpert('train.csv', str(root / 'renamed'), uncertain='ones')) == 4
    assert any('1 images of the other view' in line for line in logged)
    assert any('4 of 5 images, 3 patients' in line for line in logged)


def test_views(load):
    assert len(load(views='all', uncertain='zeros')) == 5
    lateral = load(views='lateral', uncertain='zeros')
    assert len(lateral) == 1
    assert 'lateral' in lateral.get_data_info(0)['img_path']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(views='side', uncertain='zeros'), "views='side'"),
        (dict(classes='five', uncertain='zeros'), "classes='five'"),
        (dict(), "1 of 4 labels of 'Atelectasis'.*choose uncertain="),
        (dict(uncertain=dict(Atelectasis='ones', Edema='ones')), "'Cardiomegaly'"),
        (dict(uncertain='maybe'), "'maybe'"),
        (dict(uncertain=dict(Oedema='ones')), 'Oedema'),
        (dict(fraction=0.0, uncertain='zeros'), 'fraction=0'),
        (dict(data_root='nowhere', uncertain='ones', missing='skip'), 'data_root=.*nowhere'),
    ],
)
def test_wrong_arguments(root, options, message):
    paths = dict(ann_file=str(root / NAME / 'train.csv'), data_root=str(root / NAME))
    with pytest.raises(ValueError, match=message):
        CheXpert(**{**paths, **options})


def test_lateral_among_the_frontals(tmp_path, logged):
    """An image whose name and column disagree is left out; one of the two is enough."""
    views = [
        ('patient1/view1_lateral.jpg', 'Frontal'),
        ('patient2/view1_frontal.jpg', 'Lateral'),
        ('patient3/view1_frontal.jpg', ''),
        ('patient4/image.jpg', 'Frontal'),
        ('patient5/image.jpg', ''),
        ('patient6/image.jpg', 'lateral '),
    ]
    write_csv(tmp_path / 'a.csv', [row(*view) for view in views])
    write_images(tmp_path, 'patient3/view1_frontal.jpg', 'patient4/image.jpg')
    assert patients(CheXpert('a.csv', str(tmp_path))) == ['patient3', 'patient4']
    for message in (
        '2 images whose name and Frontal/Lateral disagree.*patient1',
        '1 images of unknown view.*patient5',
        '1 images of the other view',
    ):
        assert any(re.search(message, line) for line in logged)


def test_uncertain_policies(load, logged):
    """Atelectasis 1, -1, blank, blank; Edema -1, blank, 1, 0; Cardiomegaly blank, 0, -1, blank."""
    nan = np.nan
    for policy, name, expected in (
        ('zeros', 'Atelectasis', [1, 0, 0, 0]),
        ('zeros', 'Edema', [0, 0, 1, 0]),
        ('ones', 'Atelectasis', [1, 1, 0, 0]),
        ('ones', 'Edema', [1, 0, 1, 0]),
        ('ignore', 'Atelectasis', [1, nan, 0, 0]),
        ('usual', 'Atelectasis', [1, 1, 0, 0]),
        ('usual', 'Cardiomegaly', [0, 0, 0, 0]),
        (dict(Edema='ignore', default='ones'), 'Edema', [nan, 0, 1, 0]),
        (dict(Edema='ignore', default='ones'), 'Cardiomegaly', [0, 0, 1, 0]),
    ):
        np.testing.assert_array_equal(scores(load(uncertain=policy), name), expected, str(policy))
    assert any("3 uncertain labels by 'ignore', 16 blank ones by 'zeros'" in x for x in logged)
    assert len(load(classes=['No Finding'])) == 4  # has no uncertain label


def test_classes(load):
    assert load(classes='fourteen', uncertain='zeros').metainfo['classes'] == FOURTEEN
    two = load(classes=['Edema', 'Atelectasis'], uncertain='zeros')
    found = [two.get_data_info(i)['gt_score'].tolist() for i in range(4)]
    assert found == [[0, 1], [0, 0], [1, 0], [0, 0]]
    assert 'gt_score' not in load(classes=[]).get_data_info(0)  # for pretraining


def test_unknown_columns(tmp_path, logged):
    header = [name.replace('Pleural Effusion', 'Pleural_Effusion') for name in HEADER] + ['Extra']
    write_csv(tmp_path / 'a.csv', [row('x/patient1/view1_frontal.jpg') + ['9']], header)
    message = r"lacks the columns 'Pleural Effusion' \(is it 'Pleural_Effusion'\?\); .*'Extra'"
    with pytest.raises(ValueError, match=message):
        CheXpert('a.csv', str(tmp_path))
    write_images(tmp_path, 'x/patient1/view1_frontal.jpg')
    CheXpert('a.csv', str(tmp_path), classes=['Edema'])
    assert any("not used: ['Pleural_Effusion', 'Extra']" in line for line in logged)


def write_edema(tmp_path, *cells):
    paths = [f'patient{i + 1}/view1_frontal.jpg' for i in range(len(cells))]
    write_images(tmp_path, *paths)
    rows = [row(path, Edema=cell) for path, cell in zip(paths, cells, strict=True)]
    write_csv(tmp_path / 'a.csv', rows)


@pytest.mark.parametrize(
    ('cell', 'message'), [('2', "row 2, column 'Edema': '2'"), ('yes', "'yes' is not a label")]
)
def test_invalid_labels(tmp_path, cell, message):
    write_edema(tmp_path, '1', cell)
    with pytest.raises(ValueError, match=message):
        CheXpert('a.csv', str(tmp_path))


def test_blank_labels(tmp_path):
    write_edema(tmp_path, 'nan', '', '1.0', '0')
    assert scores(CheXpert('a.csv', str(tmp_path)), 'Edema') == [0, 0, 1, 0]
    unknown = scores(CheXpert('a.csv', str(tmp_path), blank='ignore'), 'Edema')
    np.testing.assert_array_equal(unknown, [np.nan, np.nan, 1, 0])


def test_warning_where_a_class_has_one_kind_of_label(load, logged):
    load(classes=['Edema', 'Consolidation', 'Atelectasis'], uncertain=dict(default='ignore'))
    (warned,) = [line for line in logged if 'cannot be scored' in line]
    assert "'Consolidation' has only 0" in warned
    logged.clear()
    load(classes=['Consolidation'], blank='ignore')
    assert any("'Consolidation' has no label" in line for line in logged)


def test_missing_images(root, load, logged):
    gone = root / NAME / 'train/patient00002/study1/view1_frontal.jpg'
    gone.unlink()
    for missing in ('sample', 'error'):
        with pytest.raises(ValueError, match=f"1 of the 4 images.*first {gone}.*missing='skip'"):
            load(uncertain='ones', missing=missing)
    dataset = load(uncertain='ones', missing='skip')
    assert patients(dataset) == ['patient00001'] * 2 + ['patient00003']
    assert scores(dataset, 'No Finding') == [0, 0, 1]  # each with its own labels
    assert any('1 of the 4 images' in line and 'left out' in line for line in logged)


def test_long_lists_are_sampled(tmp_path, monkeypatch):
    """Only a sample of about a thousand files is looked for unless missing='error'."""
    rows = [row(f'x/patient{i:05d}/view1_frontal.jpg') for i in range(3000)]
    write_csv(tmp_path / 'a.csv', rows)
    asked = []

    def isfile(path):
        asked.append(path)
        return 'patient00001' not in path  # not among the sampled ones

    monkeypatch.setattr(image_label_csv.os.path, 'isfile', isfile)
    assert len(CheXpert('a.csv', str(tmp_path), classes=[])) == 3000
    assert 1000 <= len(asked) <= 1005
    with pytest.raises(ValueError, match='1 of the 3000 images'):
        CheXpert('a.csv', str(tmp_path), classes=[], missing='error')


def test_fractions_are_of_patients_and_nested(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    studies = [(p, s) for p in range(300) for s in range(rng.integers(1, 6))]
    rows = [row(f'patient{p:05d}/study{s}/view1_frontal.jpg') for p, s in studies]
    write_csv(tmp_path / 'a.csv', rows)
    monkeypatch.setattr(image_label_csv.os.path, 'isfile', lambda path: True)

    def load(fraction, seed=0):
        return CheXpert('a.csv', str(tmp_path), classes=[], fraction=fraction, seed=seed)

    drawn = {f: patients(load(f)) for f in (0.01, 0.1, 1.0)}
    assert [len(set(drawn[f])) for f in (0.01, 0.1, 1.0)] == [3, 30, 300]
    assert set(drawn[0.01]) < set(drawn[0.1])
    for names in drawn.values():  # whole patients
        assert all(names.count(name) == drawn[1.0].count(name) for name in set(names))
    assert patients(load(0.1)) == drawn[0.1]
    assert set(patients(load(0.1, seed=1))) != set(drawn[0.1])


def test_draw_does_not_depend_on_the_order_of_rows():
    names = np.array([f'p{i}' for i in (3, 1, 2, 0, 3, 1)])
    taken = draw_patients(names, 0.5, 7)
    again = draw_patients(names[::-1], 0.5, 7)
    assert (taken[::-1] == again).all()
    assert len(set(names[taken])) == 2


def test_without_a_patient(tmp_path):
    write_csv(tmp_path / 'a.csv', [row('x/view1_frontal.jpg')])
    with pytest.raises(ValueError, match="patient_pattern.*'x/view1_frontal.jpg'"):
        CheXpert('a.csv', str(tmp_path))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a,b\n1\n', 'row 1 below the header: 1 cells under 2'),
        ('a,b,a\n1,2,3\n', r"columns \['a'\] twice"),
        ('a,b\n', 'no rows'),
        (None, 'a.csv.* is not a file'),
    ],
)
def test_broken_tables(tmp_path, text, message):
    if text is not None:
        (tmp_path / 'a.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        ImageLabelCsv('a.csv', data_root=str(tmp_path))


def test_any_labels_csv(tmp_path):
    (tmp_path / 'labels.csv').write_text(
        '\ufeffimage,tb,who\r\na_1.png,0,x\r\nb_2.png,,y\r\nc_1.png,1,x\r\n', encoding='utf-8'
    )
    write_images(tmp_path / 'images', 'a_1.png', 'b_2.png', 'c_1.png')
    folders = dict(data_root=str(tmp_path), data_prefix=dict(img_path='images'))
    load = partial(ImageLabelCsv, 'labels.csv', 'tb', **folders)
    dataset = load()
    assert dataset.metainfo['classes'] == ('tb',)
    np.testing.assert_array_equal(scores(dataset, 'tb'), [0, np.nan, 1])
    assert dataset.get_data_info(0)['img_path'] == str(tmp_path / 'images/a_1.png')
    assert patients(dataset) == ['a_1.png', 'b_2.png', 'c_1.png']
    assert patients(load(patient_pattern=r'_(\d)')) == ['1', '2', '1']
    assert patients(load(patient_column='who')) == ['x', 'y', 'x']
    with pytest.raises(ValueError, match="lacks the columns 'whom' .is it 'who'"):
        load(patient_column='whom')


def test_packed_and_pickled(load):
    init_default_scope('mmpretrain')
    pack = dict(type='PackInputs', meta_keys=('img_path', 'patient'))
    dataset = load(uncertain='ones', pipeline=[dict(type='orl_mm.LoadXray'), pack])
    sample = pickle.loads(pickle.dumps(dataset))[0]
    assert sample['inputs'].shape == (3, 8, 8)
    assert torch.equal(sample['data_samples'].gt_score, torch.tensor([1.0, 0, 0, 1, 0, 0]))
    assert sample['data_samples'].patient == 'patient00001'


def test_real_csv(shared_data):
    dataset = CheXpert('train.csv', str(shared_data / 'cxr/unlabelled'), classes=['No Finding'])
    assert len(dataset) == 975
    assert 0 < sum(scores(dataset, 'No Finding')) < 975
    assert 900 < len(set(patients(dataset))) < 975  # PatientID: some have several images
    root, prefix = str(shared_data / 'cxr/montgomery'), dict(img_path='images')
    tb = ImageLabelCsv('labels.csv', ['tb'], data_root=root, data_prefix=prefix)
    assert len(tb) == 110
    assert 0 < sum(scores(tb, 'tb')) < 110


def test_load_time_of_a_fifth_of_the_training_set(tmp_path, monkeypatch):
    """38,000 rows: about 0.35 s of one idle core."""
    cells, folder = ['', '', '', '1.0', '0.0', '-1.0'], f'{NAME}/train/patient'
    paths = [f'{folder}{i // 3:05d}/study{i % 3}/view1_frontal.jpg' for i in range(38_000)]
    labels = [dict(Edema=cells[i % 6], Atelectasis=cells[i % 5]) for i in range(30)]
    rows = [row(path, **labels[i % 30]) for i, path in enumerate(paths)]
    write_csv(tmp_path / 'train.csv', rows)
    monkeypatch.setattr(image_label_csv.os.path, 'isfile', lambda path: True)
    start = time.process_time()
    dataset = CheXpert('train.csv', str(tmp_path), uncertain='usual')
    assert time.process_time() - start < 1.2
    assert len(dataset) == 38_000
    assert dataset.data_bytes.nbytes < 12e6


@pytest.mark.parametrize('inside', [True, False])
@pytest.mark.parametrize(
    'form',
    [
        './{}',
        '/data/someone/{}',
        'C:\\chest\\{}',
        'CheXpert-v1.0 batch 2 (train 1)/{patient}',
        '{patient}',
        'train/{patient}',
        'renamed/train/{patient}',
    ],
)
def test_the_longest_end_of_a_path_that_exists_counts(root, form, inside):
    """One row in each form beside others in the original one: each row is looked for itself."""
    paths = [f'{NAME}/train/patient0000{i}/study1/view1_frontal.jpg' for i in (1, 2, 3)]
    odd = form.format(paths[1], patient=paths[1].split('/', 2)[2])
    odd = odd.replace('/', '\\') if '\\' in odd else odd
    table = root / 'other.csv'
    write_csv(table, [row(path, Edema='1.0') for path in (paths[0], odd, paths[2])])
    data = CheXpert(str(table), str(root / NAME if inside else root), classes=['Edema'])
    found = [data.get_data_info(i)['img_path'] for i in range(len(data))]
    assert found == [str(root / path) for path in paths]


def test_full_release_in_batches(tmp_path):
    """Its csv says train/, its archives unpack to four folders."""
    paths = [f'CheXpert-v1.0/train/patient0000{i}/study1/view1_frontal.jpg' for i in (1, 2)]
    batches = ['CheXpert-v1.0 batch 2 (train 1)', 'CheXpert-v1.0 batch 3 (train 2)']
    images = [f'{b}/{p.split("/", 2)[2]}' for b, p in zip(batches, paths, strict=True)]
    write_images(tmp_path, *images)
    write_csv(tmp_path / 'train.csv', [row(path, Edema='1.0') for path in paths])
    data = CheXpert('train.csv', str(tmp_path), classes=['Edema'])
    assert [data.get_data_info(i)['img_path'] for i in (0, 1)] == [
        f'{tmp_path}/{i}' for i in images
    ]


def test_a_name_alone_is_no_end_of_a_path(root):
    """view1_frontal.jpg of another patient would be found everywhere."""
    write_images(root, 'view1_frontal.jpg')
    table = root / 'other.csv'
    write_csv(table, [row('x/patient00009/study1/view1_frontal.jpg', Edema='1.0')])
    with pytest.raises(ValueError, match='1 of the 1 images checked do not exist'):
        CheXpert(str(table), str(root), classes=['Edema'])


def test_the_download_beside_the_folder_is_no_folder(tmp_path):
    """The zip that the images came from also matches ``CheXpert*``."""
    names = [f'{NAME}/train/patient0000{i}/study1/view1_frontal.jpg' for i in range(2)]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b'')
    (tmp_path / f'{NAME}.zip').write_bytes(b'')
    write_csv(tmp_path / 'train.csv', [row(name, Edema='1.0') for name in names])
    assert len(CheXpert('train.csv', str(tmp_path), uncertain='usual')) == 2
