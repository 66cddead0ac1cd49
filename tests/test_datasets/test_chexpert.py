import csv
import pickle
import time

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
    cells = {name.replace(' ', '_'): value for name, value in labels.items()}
    return [
        path,
        'Female',
        '50',
        view,
        'AP' if view == 'Frontal' else '',
        *(cells.get(name.replace(' ', '_'), '') for name in FOURTEEN),
    ]


def write_csv(path, rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='') as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(image_label_csv, 'print_log', lambda message, **_: lines.append(message))
    return lines


@pytest.fixture
def root(tmp_path):
    """Three patients, four frontal images, one lateral one."""
    rows = [
        row(f'{NAME}/train/patient00001/study1/view1_frontal.jpg', Atelectasis='1.0', Edema='-1.0'),
        row(f'{NAME}/train/patient00001/study1/view2_lateral.jpg', 'Lateral', Atelectasis='1.0'),
        row(
            f'{NAME}/train/patient00001/study2/view1_frontal.jpg',
            Atelectasis='-1.0',
            Cardiomegaly='0.0',
        ),
        row(
            f'{NAME}/train/patient00002/study1/view1_frontal.jpg', Edema='1.0', Cardiomegaly='-1.0'
        ),
        row(f'{NAME}/train/patient00003/study1/view1_frontal.jpg', No_Finding='1.0', Edema='0'),
    ]
    write_csv(tmp_path / NAME / 'train.csv', rows)
    for cells in rows:
        files.write(tmp_path / cells[0], np.full((8, 8), 90, np.uint8))
    return tmp_path


def scores(dataset, name):
    c = dataset.metainfo['classes'].index(name)
    return [dataset.get_data_info(i)['gt_score'][c].item() for i in range(len(dataset))]


def patients(dataset):
    return [dataset.get_data_info(i)['patient'] for i in range(len(dataset))]


def test_original_download(root, said):
    """The folder or the one above it; frontal images; patients by path."""
    for data_root, ann_file in ((root / NAME, 'train.csv'), (root, f'{NAME}/train.csv')):
        dataset = DATASETS.build(
            dict(
                type='orl_mm.CheXpert',
                data_root=str(data_root),
                ann_file=ann_file,
                uncertain='usual',
            )
        )
        assert patients(dataset) == ['patient00001'] * 2 + ['patient00002', 'patient00003']
        first = dataset.get_data_info(0)
        assert first['img_path'] == str(root / NAME / 'train/patient00001/study1/view1_frontal.jpg')
        assert first['gt_score'].dtype == np.float32
        assert first['gt_score'].shape == (6,)
        assert dataset.metainfo['classes'] == SIX
    (root / NAME).rename(root / 'renamed')
    assert len(CheXpert('train.csv', str(root / 'renamed'), uncertain='ones')) == 4
    assert any('1 images of the other view' in line for line in said)
    assert any('4 of 5 images, 3 patients' in line for line in said)


def test_views(root):
    options = dict(ann_file='train.csv', data_root=str(root / NAME), uncertain='zeros')
    assert len(CheXpert(views='all', **options)) == 5
    lateral = CheXpert(views='lateral', **options)
    assert len(lateral) == 1
    assert 'lateral' in lateral.get_data_info(0)['img_path']
    with pytest.raises(ValueError, match="views='side'"):
        CheXpert(views='side', **options)


def test_lateral_among_the_frontals(tmp_path, said):
    """Where name and column disagree nothing is believed; either alone is enough."""
    write_csv(
        tmp_path / 'a.csv',
        [
            row('x/patient1/view1_lateral.jpg', 'Frontal'),
            row('x/patient2/view1_frontal.jpg', 'Lateral'),
            row('x/patient3/view1_frontal.jpg', ''),
            row('x/patient4/image.jpg', 'Frontal'),
            row('x/patient5/image.jpg', ''),
            row('x/patient6/image.jpg', 'lateral '),
        ],
    )
    for name in ('patient3/view1_frontal.jpg', 'patient4/image.jpg'):
        files.write(tmp_path / 'x' / name, np.zeros((8, 8), np.uint8))
    dataset = CheXpert('a.csv', str(tmp_path))
    assert patients(dataset) == ['patient3', 'patient4']
    assert any(
        '2 images whose name and Frontal/Lateral disagree' in line and 'patient1' in line
        for line in said
    )
    assert any('1 images of unknown view' in line and 'patient5' in line for line in said)
    assert any('1 images of the other view' in line for line in said)


def test_uncertain_policies(root, said):
    """Atelectasis 1, -1, blank, blank; Edema -1, blank, 1, 0; Cardiomegaly blank, 0, -1, blank."""

    def load(**options):
        return CheXpert('train.csv', str(root / NAME), **options)

    zeros, ones = load(uncertain='zeros'), load(uncertain='ones')
    assert scores(zeros, 'Atelectasis') == [1, 0, 0, 0]
    assert scores(zeros, 'Edema') == [0, 0, 1, 0]
    assert scores(ones, 'Atelectasis') == [1, 1, 0, 0]
    assert scores(ones, 'Edema') == [1, 0, 1, 0]
    assert np.isnan(scores(load(uncertain='ignore'), 'Atelectasis')).tolist() == [0, 1, 0, 0]
    assert any("3 uncertain labels by 'ignore', 16 blank ones by 'zeros'" in x for x in said)
    usual = load(uncertain='usual')
    assert scores(usual, 'Atelectasis') == [1, 1, 0, 0]
    assert scores(usual, 'Cardiomegaly') == [0, 0, 0, 0]
    mixed = load(uncertain=dict(Edema='ignore', default='ones'))
    assert np.isnan(scores(mixed, 'Edema')).tolist() == [1, 0, 0, 0]
    assert scores(mixed, 'Cardiomegaly') == [0, 0, 1, 0]


def test_uncertain_needs_a_choice(root):
    with pytest.raises(ValueError, match="1 of 4 labels of 'Atelectasis'.*choose uncertain="):
        CheXpert('train.csv', str(root / NAME))
    with pytest.raises(ValueError, match="'Cardiomegaly'"):
        CheXpert('train.csv', str(root / NAME), uncertain=dict(Atelectasis='ones', Edema='ones'))
    assert len(CheXpert('train.csv', str(root / NAME), classes=['No Finding'])) == 4  # none there
    for wrong, message in (('maybe', "'maybe'"), (dict(Oedema='ones'), 'Oedema')):
        with pytest.raises(ValueError, match=message):
            CheXpert('train.csv', str(root / NAME), uncertain=wrong)


def test_classes(root):
    options = dict(ann_file='train.csv', data_root=str(root / NAME), uncertain='zeros')
    assert CheXpert(classes='fourteen', **options).metainfo['classes'] == FOURTEEN
    two = CheXpert(classes=['Edema', 'Atelectasis'], **options)
    assert [two.get_data_info(i)['gt_score'].tolist() for i in range(4)] == [
        [0, 1],
        [0, 0],
        [1, 0],
        [0, 0],
    ]
    for_pretraining = CheXpert('train.csv', str(root / NAME), classes=[])
    assert 'gt_score' not in for_pretraining.get_data_info(0)
    with pytest.raises(ValueError, match="classes='five'"):
        CheXpert(classes='five', **options)


def test_unknown_columns(tmp_path, said):
    header = [name.replace('Pleural Effusion', 'Pleural_Effusion') for name in HEADER] + ['Extra']
    write_csv(tmp_path / 'a.csv', [row('x/patient1/view1_frontal.jpg') + ['9']], header)
    with pytest.raises(
        ValueError,
        match=r"lacks the columns 'Pleural Effusion' \(is it "
        r"'Pleural_Effusion'\?\); it has .*'Extra'",
    ):
        CheXpert('a.csv', str(tmp_path))
    files.write(tmp_path / 'x/patient1/view1_frontal.jpg', np.zeros((8, 8), np.uint8))
    CheXpert('a.csv', str(tmp_path), classes=['Edema'])
    assert any("not used: ['Pleural_Effusion', 'Extra']" in line for line in said)


@pytest.mark.parametrize(
    ('cell', 'message'), [('2', "row 2, column 'Edema': '2'"), ('yes', "'yes' is not a label")]
)
def test_what_is_no_label(tmp_path, cell, message):
    paths = [f'patient{i}/view1_frontal.jpg' for i in (1, 2)]
    for path in paths:
        files.write(tmp_path / path, np.zeros((8, 8), np.uint8))
    write_csv(tmp_path / 'a.csv', [row(paths[0], Edema='1'), row(paths[1], Edema=cell)])
    with pytest.raises(ValueError, match=message):
        CheXpert('a.csv', str(tmp_path))


def test_nan_labels(tmp_path):
    paths = [f'patient{i}/view1_frontal.jpg' for i in range(4)]
    for path in paths:
        files.write(tmp_path / path, np.zeros((8, 8), np.uint8))
    write_csv(
        tmp_path / 'a.csv',
        [row(path, Edema=cell) for path, cell in zip(paths, ('nan', '', '1.0', '0'), strict=False)],
    )
    assert scores(CheXpert('a.csv', str(tmp_path)), 'Edema') == [0, 0, 1, 0]
    unknown = scores(CheXpert('a.csv', str(tmp_path), blank='ignore'), 'Edema')
    assert np.isnan(unknown).tolist() == [True, True, False, False]


def test_one_class_column_is_said(root, said):
    CheXpert(
        'train.csv',
        str(root / NAME),
        classes=['Edema', 'Consolidation', 'Atelectasis'],
        uncertain=dict(default='ignore'),
    )
    warned = [line for line in said if 'cannot be scored' in line]
    assert len(warned) == 1
    assert "'Consolidation' has only 0" in warned[0]
    said.clear()
    CheXpert('train.csv', str(root / NAME), classes=['Consolidation'], blank='ignore')
    assert any("'Consolidation' has no label" in line for line in said)


def test_missing_images(root, said):
    gone = root / NAME / 'train/patient00002/study1/view1_frontal.jpg'
    gone.unlink()
    for missing in ('sample', 'error'):
        with pytest.raises(ValueError, match=f"1 of the 4 images.*first {gone}.*missing='skip'"):
            CheXpert('train.csv', str(root / NAME), uncertain='ones', missing=missing)
    dataset = CheXpert('train.csv', str(root / NAME), uncertain='ones', missing='skip')
    assert patients(dataset) == ['patient00001'] * 2 + ['patient00003']
    assert scores(dataset, 'No Finding') == [0, 0, 1]  # each with its own labels
    assert any('1 of the 4 images' in line and 'left out' in line for line in said)
    with pytest.raises(ValueError, match='data_root=.*nowhere'):
        CheXpert(str(root / NAME / 'train.csv'), 'nowhere', uncertain='ones', missing='skip')


def test_long_lists_are_sampled(tmp_path, monkeypatch):
    """A file in a thousand is looked for, unless all are asked for."""
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


def test_fractions_are_of_patients_and_nested(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        row(f'patient{p:05d}/study{s}/view1_frontal.jpg')
        for p in range(300)
        for s in range(rng.integers(1, 6))
    ]
    write_csv(tmp_path / 'a.csv', rows)
    for cells in rows:
        path = tmp_path / cells[0]
        path.parent.mkdir(parents=True)
        path.touch()

    def load(fraction, seed=0):
        return CheXpert('a.csv', str(tmp_path), classes=[], fraction=fraction, seed=seed)

    drawn = {f: patients(load(f)) for f in (0.01, 0.1, 1.0)}
    assert [len(set(drawn[f])) for f in (0.01, 0.1, 1.0)] == [3, 30, 300]
    assert set(drawn[0.01]) < set(drawn[0.1])
    for _f, names in drawn.items():  # whole patients
        assert all(names.count(name) == drawn[1.0].count(name) for name in set(names))
    assert patients(load(0.1)) == drawn[0.1]
    assert set(patients(load(0.1, seed=1))) != set(drawn[0.1])
    with pytest.raises(ValueError, match='fraction=0'):
        load(0.0)


def test_draw_does_not_hang_on_the_order_of_rows():
    names = np.array([f'p{i}' for i in (3, 1, 2, 0, 3, 1)])
    taken = draw_patients(names, 0.5, 7)
    again = draw_patients(names[::-1], 0.5, 7)
    assert (taken[::-1] == again).all()
    assert len(set(names[taken])) == 2


def test_without_a_patient(tmp_path):
    write_csv(tmp_path / 'a.csv', [row('x/view1_frontal.jpg')])
    with pytest.raises(ValueError, match="patient_pattern.*'x/view1_frontal.jpg'"):
        CheXpert('a.csv', str(tmp_path))


def test_broken_tables(tmp_path):
    for text, message in (
        ('a,b\n1\n', 'row 1 below the header: 1 cells under 2'),
        ('a,b,a\n1,2,3\n', r"columns \['a'\] twice"),
        ('a,b\n', 'no rows'),
    ):
        (tmp_path / 'a.csv').write_text(text)
        with pytest.raises(ValueError, match=message):
            ImageLabelCsv('a.csv', data_root=str(tmp_path))
    with pytest.raises(ValueError, match='none.csv.* is not a file'):
        ImageLabelCsv('none.csv', data_root=str(tmp_path))


def test_any_labels_csv(tmp_path):
    (tmp_path / 'labels.csv').write_text(
        '\ufeffimage,tb,who\r\na_1.png,0,x\r\nb_2.png,,y\r\nc_1.png,1,x\r\n', encoding='utf-8'
    )
    for name in ('a_1', 'b_2', 'c_1'):
        files.write(tmp_path / 'images' / f'{name}.png', np.zeros((8, 8), np.uint8))
    options = dict(
        ann_file='labels.csv',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images'),
        label_columns='tb',
    )
    dataset = ImageLabelCsv(**options)
    assert dataset.metainfo['classes'] == ('tb',)
    assert scores(dataset, 'tb')[::2] == [0, 1]
    assert np.isnan(scores(dataset, 'tb')[1])
    assert dataset.get_data_info(0)['img_path'] == str(tmp_path / 'images/a_1.png')
    assert patients(dataset) == ['a_1.png', 'b_2.png', 'c_1.png']
    assert patients(ImageLabelCsv(patient_pattern=r'_(\d)', **options)) == ['1', '2', '1']
    assert patients(ImageLabelCsv(patient_column='who', **options)) == ['x', 'y', 'x']
    with pytest.raises(ValueError, match="lacks the columns 'whom' .is it 'who'"):
        ImageLabelCsv(patient_column='whom', **options)


def test_packed_and_pickled(root):
    init_default_scope('mmpretrain')
    dataset = CheXpert(
        'train.csv',
        str(root / NAME),
        uncertain='ones',
        pipeline=[
            dict(type='orl_mm.LoadXray'),
            dict(type='PackInputs', meta_keys=('img_path', 'patient')),
        ],
    )
    sample = pickle.loads(pickle.dumps(dataset))[0]
    assert sample['inputs'].shape == (3, 8, 8)
    assert torch.equal(sample['data_samples'].gt_score, torch.tensor([1.0, 0, 0, 1, 0, 0]))
    assert sample['data_samples'].patient == 'patient00001'


def test_real_csv(shared_data):
    dataset = CheXpert('train.csv', str(shared_data / 'cxr/unlabelled'), classes=['No Finding'])
    assert len(dataset) == 975
    assert 0 < sum(scores(dataset, 'No Finding')) < 975
    assert 900 < len(set(patients(dataset))) < 975  # PatientID: some have several images
    tb = ImageLabelCsv(
        'labels.csv',
        data_root=str(shared_data / 'cxr/montgomery'),
        data_prefix=dict(img_path='images'),
        label_columns=['tb'],
    )
    assert len(tb) == 110
    assert 0 < sum(scores(tb, 'tb')) < 110


def test_load_time_of_the_whole_training_set(tmp_path, monkeypatch):
    """190,000 rows: about 1.7 s of one idle core."""
    cells = ['', '', '', '1.0', '0.0', '-1.0']
    rows = [
        row(
            f'{NAME}/train/patient{i // 3:05d}/study{i % 3}/view1_frontal.jpg',
            Edema=cells[i % 6],
            Atelectasis=cells[i % 5],
        )
        for i in range(190_000)
    ]
    write_csv(tmp_path / 'train.csv', rows)
    monkeypatch.setattr(image_label_csv.os.path, 'isfile', lambda path: True)
    start = time.process_time()
    dataset = CheXpert('train.csv', str(tmp_path), uncertain='usual')
    assert time.process_time() - start < 6
    assert len(dataset) == 190_000
    assert dataset.data_bytes.nbytes < 60e6
