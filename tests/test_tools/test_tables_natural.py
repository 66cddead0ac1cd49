"""tools/tables.py 2.1 to 2.3: numbers from finished transfer runs, and what is not taken as one."""

import importlib.util
import json
import re
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from tests import transfer_runs as fake

ROOT = Path(__file__).resolve().parents[2]
DENSECL = 'work_dirs/densecl_r50_in1k/epoch_200.pth'

# Issue 4's background, the numbers to stand beside; "-" where there is none.
SPEC_2_1 = """Supervised 39.6/35.6, MoCo 38.5/35.1, MoCo v2 40.4/36.4, BYOL 40.6/37.5, VADeR
39.2/35.6, DenseCL 40.3/36.4, PixPro 41.4/-, InfoMin 40.6/36.7, DetCon_B 40.5/37.5, R2O 100 ep
40.4/37.3, R2O 300 ep 40.9/37.8"""
SPEC_2_2 = """Supervised 67.7/73.7, MoCo v2 67.5/74.5, BYOL 73.1/75.2, DenseCL 69.4/75.7, PixPro
-/77.2, InfoMin -/75.6, DetCon_B 100 ep 70.7/73.1, DetCon_B 300 ep 73.8/75.7, R2O 100 ep
72.2/73.9, R2O 300 ep 74.3/75.6"""
# The thesis's own tables: method, epochs, numbers.
THESIS_2_1 = """Supervised|90|39.6|35.6
MoCo|200|38.5|35.1
MoCo v2|200|40.4|36.4
BYOL|300|40.6|37.5
VADeR|600|39.2|35.6
DenseCL|200|40.3|36.4
PixPro|400|41.4|-
InfoMin|200|40.6|36.7
DetCon_B|300|40.5|37.5
R2O|100|40.4|37.3
R2O|300|40.9|37.8"""
THESIS_2_2 = """Supervised|200|67.7|73.7
MoCo v2|200|67.5|74.5
BYOL|300|73.1|75.2
DenseCL|200|69.4|75.7
PixPro|400|-|77.2
InfoMin|200|-|75.6
DetCon_B|100|70.7|73.1
DetCon_B|300|73.8|75.7
R2O|100|72.2|73.9
R2O|300|74.3|75.6"""


@pytest.fixture(scope='module')
def tables():
    spec = importlib.util.spec_from_file_location('tables_tool', ROOT / 'tools' / 'tables.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # also puts tools/ on the path, for `_tables`
    return module


@pytest.fixture
def make(tables, capsys, tmp_path):
    """The table of some words: JSON and text."""

    def make(*words, test='--no-test'):
        file = tmp_path / 'table.json'
        tables.main([*map(str, words), '--json', str(file), *filter(None, [test])])
        return json.loads(file.read_text()), capsys.readouterr().out

    return make


@pytest.fixture
def mistake(tables, capsys):

    def mistake(*words):
        with pytest.raises(SystemExit) as stop:
            tables.main([*map(str, words)])
        assert stop.value.code == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return mistake


def rows(table):
    """By key, recipe and marks; the thesis's own are ``(key, '', '')``."""
    return {(row['row'], row['recipe'], row['marks']): row for row in table['rows']}


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f'| {name} '))
    return [cell.strip() for cell in line.strip('|').split('|')]


def only_run(table, key):
    (run,) = [run for row in table['rows'] if row['row'] == key for run in row['runs']]
    return run


def reasons(table, key):
    return [f'{doubt["mark"]} {doubt["reason"]}' for doubt in only_run(table, key)['doubts']]


@pytest.mark.parametrize(
    ('name', 'spec', 'thesis', 'columns'),
    [
        ('2.1', SPEC_2_1, THESIS_2_1, ('box', 'mask')),
        ('2.2', SPEC_2_2, THESIS_2_2, ('voc', 'cityscapes')),
    ],
)
def test_numbers_of_the_thesis(make, name, spec, thesis, columns):
    """Against two copies made by hand, of the thesis and of the issue's background."""
    table, text = make(name)
    mine = [
        (
            re.sub(r', \d+ epochs', '', row['name']),
            row['epochs'],
            *(row['thesis'].get(column) for column in columns),
        )
        for row in table['rows']
    ]
    number = dict([('-', None)]).get
    assert mine == [
        (method, int(epochs), *(number(n, n) and float(n) for n in numbers))
        for method, epochs, *numbers in (line.split('|') for line in thesis.splitlines())
    ]
    by_name = [
        re.fullmatch(r'(.+?)(?: (\d+) ep)? ([\d.-]+)/([\d.-]+)', part).groups()
        for part in spec.replace('\n', ' ').split(', ')
    ]
    assert [row[0] for row in mine] == [row[0] for row in by_name]
    assert [row[2:] for row in mine] == [
        tuple(number(n, n) and float(n) for n in row[2:]) for row in by_name
    ]
    assert text.count('not yet run') == 2 * len(mine)
    assert cells(text, 'PixPro')[2:] == (
        ['41.4', 'not yet run', '-', 'not yet run']
        if name == '2.1'
        else ['-', 'not yet run', '77.2', 'not yet run']
    )


def test_k(make):
    table, text = make('2.3')
    assert [(row['row'], row['thesis']['voc']) for row in table['rows']] == [
        ('r50_in100_k4', 65.49),
        ('r50_in100_k16', 65.27),
        ('r50_in100_k64', 65.76),
    ]
    assert cells(text, 'R2O, K = 4')[2:] == ['65.49', 'not yet run']


def test_every_row_has_its_config():
    from _tables.thesis import NATURAL, OTHERS

    keys = {row.key for table in NATURAL.values() for row in table} | set(OTHERS)
    assert keys <= {
        file.stem
        for name in ('r2o', 'baselines')
        for file in (ROOT / 'configs' / name).glob('*.py')
    }


def test_finished_runs_stand_beside_the_thesis(make, tmp_path):
    byol = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', 73.456)
    city = fake.cityscapes(tmp_path / 'cityscapes_fcn_r50_byol_r50_in1k', 75.01)
    table, text = make('2.2', byol, city)
    here = rows(table)['byol_r50_in1k', '', '']['here']
    assert here == {
        'voc': dict(mean=73.456, low=73.456, high=73.456, values=[73.456]),
        'cityscapes': dict(mean=75.01, low=75.01, high=75.01, values=[75.01]),
    }
    assert cells(text, 'BYOL') == ['BYOL', '300', '73.1', '73.5', '75.2', '75.0']
    assert cells(text, 'R2O, 300 epochs')[3] == 'not yet run'
    assert 'epoch_45.pth, validation, 20260101_000000/vis_data/20260101_000000.json' in text
    assert '†' not in text
    assert '‡' not in text
    assert '§' not in text
    assert 'left out' not in text


def test_coco_is_in_percent(make, tmp_path):
    """mmdet counts from 0 to 1; 8 processes have 625 batches of one image."""
    run = fake.coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k', 0.409, 0.378)
    table, text = make('2.1', run)
    assert rows(table)['r50_in1k', '', '']['here']['box']['mean'] == 40.9
    assert cells(text, 'R2O, 300 epochs')[2:] == ['40.9', '40.9', '37.8', '37.8']
    assert only_run(table, 'r50_in1k')['images'] == [4993, 5000]


def test_coco_names_its_metrics_so():
    """What mmdet's metric calls the two numbers that the table looks for."""
    evaluation = pytest.importorskip('mmdet.evaluation', exc_type=ImportError)
    from _tables.transfer import METRICS

    (box, _), (mask, _) = METRICS['coco'].values()
    assert evaluation.CocoMetric.default_prefix == 'coco'
    assert box == 'coco/bbox_mAP'
    assert mask == 'coco/segm_mAP'


def test_several_seeds(make, tmp_path):
    """Mean and extremes; whatever belongs to a folder's name beside its row is its seed."""
    runs = [
        fake.voc(tmp_path / f'voc_fcn_r50_byol_r50_in1k{end}', value, seed=seed)
        for seed, (end, value) in enumerate((('', 73.0), ('_seed1', 73.9), ('-seed2', 73.1)))
    ]
    table, text = make('2.2', *runs)
    here = rows(table)['byol_r50_in1k', '', '']['here']['voc']
    assert here == dict(
        mean=pytest.approx(73.3333, abs=1e-4), low=73.0, high=73.9, values=[73.0, 73.9, 73.1]
    )
    assert cells(text, 'BYOL')[3] == '73.3 (73.0 to 73.9, 3 runs)'


def test_partial_data_are_marked_and_kept_apart(make, tmp_path):
    """51 images of VOC are not VOC; nor do they enter the mean of runs on all of it."""
    part = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', 31.2, batches=51)
    whole = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k_seed1', 73.0)
    table, text = make('2.2', part, whole)
    assert rows(table)['byol_r50_in1k', '', '']['here']['voc']['values'] == [73.0]
    assert rows(table)['byol_r50_in1k', '', '†']['here']['voc']['values'] == [31.2]
    assert cells(text, 'BYOL †')[2:4] == ['', '31.2 †']
    assert '  - † 51 to 52 of 1449 images' in text
    assert '† not known to be of the whole' in text


@pytest.mark.parametrize(
    ('batches', 'world', 'images', 'fits'),
    [
        (1449, 1, (1449, 1449), True),
        (1450, 1, (1450, 1450), False),
        (725, 2, (1449, 1450), True),
        (182, 8, (1449, 1456), True),
        (181, 8, (1441, 1448), False),
    ],
)
def test_images_follow_from_batches_of_a_process(make, tmp_path, batches, world, images, fits):
    """ceil(1449 / 8) = 182: the last image is the first of the 182nd batch."""
    run = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', batches=batches * world, world=world)
    table, _ = make('2.2', run)
    assert only_run(table, 'byol_r50_in1k')['images'] == list(images)
    assert any(reason.startswith('†') for reason in reasons(table, 'byol_r50_in1k')) != fits


def test_without_a_log_the_images_are_not_known(make, tmp_path):
    run = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k')
    next(run.rglob('*.log')).unlink()
    table, text = make('2.2', run)
    assert reasons(table, 'byol_r50_in1k') == ['† no log says on how many images; officially 1449']


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            dict(train_cfg__max_epochs=45, optim_wrapper__optimizer__lr=0.02),
            'optim_wrapper.optimizer.lr: 0.01 -> 0.02',
        ),
        (dict(train_dataloader__batch_size=2), 'batch size: 16 -> 4'),
        (
            dict(val_dataloader__dataset__ann_file='mine.txt'),
            'tested on.ann_file: ImageSets/Segmentation/val.txt -> mine.txt',
        ),
        (dict(model__decode_head__dilation=1), 'model.decode_head.dilation: 6 -> 1'),
        (dict(val_dataloader__dataset__indices=50), 'tested on.indices: None -> 50'),
        (dict(model__test_cfg__mode='slide'), 'model.test_cfg.mode: whole -> slide'),
    ],
)
def test_other_settings_are_marked(make, tmp_path, options, said):
    run = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', **options)
    table, text = make('2.2', run)
    (reason,) = reasons(table, 'byol_r50_in1k')
    assert reason == f'‡ differs from configs/transfer/voc/fcn_r50.py: {said}'
    assert cells(text, 'BYOL')[3] == 'not yet run'
    assert cells(text, 'BYOL ‡')[3] == '70.0 ‡'


def test_where_the_data_lie_is_no_setting(make, tmp_path, monkeypatch):
    """Neither in a path of its own nor at the head of another: COCO's annotations."""
    monkeypatch.setenv('ORL_COCO', '/elsewhere')
    monkeypatch.setattr(fake, '_CONFIGS', {})
    run = fake.coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k')
    monkeypatch.delenv('ORL_COCO')
    assert "'/elsewhere/annotations" in next(run.rglob('config.py')).read_text()
    table, _ = make('2.1', run)
    assert reasons(table, 'r50_in1k') == []


def test_the_public_recipe_has_a_line_of_its_own(make, tmp_path):
    """30,000 iterations; the validation is found by its place between the losses."""
    folder = tmp_path / 'voc_fcn_r50_published_r50_in1k_official'
    cfg = fake.config('voc/fcn_r50_published', 'work_dirs/r50_in1k_official/epoch_300.pth')
    lines = []
    for iteration in range(50, 30001, 50):
        lines.append({k: v for k, v in fake.loss(0, iteration).items() if k != 'epoch'})
        if iteration % 2000 == 0:
            lines.append(dict(mIoU=iteration / 1000, step=iteration))
    fake.start(folder, '20260101_000000', cfg, lines, world=2, batches=725)
    fake.checkpoint(folder, 'iter_30000.pth')
    table, text = make('2.2', folder)
    row = rows(table)['r50_in1k_official', 'fcn_r50_published', '']
    assert row['here']['voc']['values'] == [30.0]
    assert row['thesis'] == {}
    assert cells(text, 'R2O, public code, fcn_r50_published')[3] == '30.0'
    # The same by epoch hooks, whose step is always 0.
    for line in lines:
        if 'mIoU' in line:
            line['step'] = 0
    fake.start(folder, '20260101_000000', cfg, lines, world=2, batches=725)
    fake.checkpoint(folder, 'iter_28000.pth')
    table, text = make('2.2', folder)
    run = only_run(table, 'r50_in1k_official')
    assert run['values'] == {'voc': 28.0}
    assert '‡ iter_28000.pth is not the end, iteration 30000' in text
    # A checkpoint that was not validated has no number, not the one before.
    fake.checkpoint(folder, 'iter_29000.pth')
    assert only_run(make('2.2', folder)[0], 'r50_in1k_official')['values'] is None


def test_an_unfinished_run_is_marked(make, tmp_path):
    folder = tmp_path / 'voc_fcn_r50_byol_r50_in1k'
    fake.start(
        folder,
        '20260101_000000',
        fake.config('voc/fcn_r50', fake.BYOL),
        fake.epochs(50.0, 55.0, 60.0),
        world=2,
        batches=725,
    )
    fake.checkpoint(folder, 'epoch_2.pth')
    table, _ = make('2.2', folder)
    run = only_run(table, 'byol_r50_in1k')
    assert run['values'] == {'voc': 55.0}  # of the checkpoint, not the last one in the file
    assert reasons(table, 'byol_r50_in1k') == ['‡ epoch_2.pth is not the end, epoch 45']


def test_pretraining_that_was_cut_short_is_marked(make, tmp_path):
    run = fake.voc(
        tmp_path / 'voc_fcn_r50_byol_r50_in1k', from_='work_dirs/byol_r50_in1k/epoch_100.pth'
    )
    table, _ = make('2.2', run)
    assert reasons(table, 'byol_r50_in1k') == [
        '§ work_dirs/byol_r50_in1k/epoch_100.pth was pretrained for 100 epochs, the row is of 300'
    ]


def test_a_resumed_run(make, tmp_path):
    """Validations of both starts; the second one wrote the last checkpoint."""
    folder = tmp_path / 'voc_fcn_r50_byol_r50_in1k'
    cfg = fake.config('voc/fcn_r50', fake.BYOL)
    fake.start(folder, '20260101_000000', cfg, fake.epochs(*[10.0] * 30), world=2, batches=725)
    fake.start(
        folder,
        '20260102_000000',
        cfg,
        fake.epochs(*[20.0] * 14, 71.0, first=31),
        world=2,
        batches=725,
    )
    fake.checkpoint(folder, 'epoch_45.pth')
    table, _ = make('2.2', folder)
    run = only_run(table, 'byol_r50_in1k')
    assert run['values'] == {'voc': 71.0}
    assert '20260102_000000' in run['source']
    assert run['doubts'] == []


def test_a_start_that_left_no_checkpoint_is_not_asked(make, tmp_path):
    """It broke in its first epoch, and started from R2O: config and numbers are the first one's."""
    folder = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', 72.0)
    fake.start(
        folder,
        '20260202_000000',
        fake.config('voc/fcn_r50', fake.R2O),
        fake.epochs(None),
        world=2,
        batches=725,
    )
    table, _ = make('2.2', folder)
    run = only_run(table, 'byol_r50_in1k')
    assert run['values'] == {'voc': 72.0}
    assert run['pretrained'] == fake.BYOL


class TestRecordedTests:
    """tools/test.py leaves its numbers without saying of what: the config beside them does."""

    FOLDER = 'voc_fcn_r50_byol_r50_in1k'

    def run(
        self,
        tmp_path,
        name='epoch_45.pth',
        stamp='20260105_000000',
        value=77.0,
        batches=1449,
        **options,
    ):
        folder = fake.voc(tmp_path / self.FOLDER, 70.0)
        # Of the command without the option that names the pretrained checkpoint.
        options.setdefault('load_from', f'work_dirs/{self.FOLDER}/{name}')
        cfg = fake.config('voc/fcn_r50', fake.R2O, **options)
        fake.start(folder, stamp, cfg, test=dict(aAcc=1.0, mIoU=value, time=0.1), batches=batches)
        fake.write_config(cfg, folder / 'fcn_r50.py')  # as mmengine does, over the training's
        return folder

    def test_of_the_last_checkpoint(self, make, tmp_path):
        table, _ = make('2.2', self.run(tmp_path))
        run = only_run(table, 'byol_r50_in1k')
        assert run['values'] == {'voc': 77.0}
        assert run['images'] == [1449, 1449]
        assert run['source'].startswith('test, ')
        assert run['pretrained'] == fake.BYOL
        assert run['doubts'] == []

    def test_of_an_earlier_checkpoint(self, make, tmp_path):
        table, text = make('2.2', self.run(tmp_path, 'epoch_42.pth'))
        assert only_run(table, 'byol_r50_in1k')['values'] == {'voc': 70.0}
        assert (
            f'not taken: {tmp_path}/{self.FOLDER}/20260105_000000/20260105_000000.json is of '
            f'work_dirs/{self.FOLDER}/epoch_42.pth' in text
        )

    def test_of_a_file_of_the_same_name_elsewhere(self, make, tmp_path):
        folder = self.run(tmp_path, load_from='work_dirs/voc_fcn_r50_r50_in1k/epoch_45.pth')
        assert only_run(make('2.2', folder)[0], 'byol_r50_in1k')['values'] == {'voc': 70.0}

    def test_before_the_training_that_wrote_it(self, make, tmp_path):
        """The folder was trained into once more since."""
        table, _ = make('2.2', self.run(tmp_path, stamp='20251231_000000'))
        assert only_run(table, 'byol_r50_in1k')['values'] == {'voc': 70.0}

    @pytest.mark.parametrize(
        'options',
        [
            dict(test_dataloader__dataset__ann_file='ImageSets/Segmentation/train.txt'),
            dict(model__test_cfg__mode='slide'),
            dict(test_evaluator__ignore_index=0),
        ],
    )
    def test_on_other_data_or_otherwise(self, make, tmp_path, options):
        table, text = make('2.2', self.run(tmp_path, **options))
        assert only_run(table, 'byol_r50_in1k')['values'] == {'voc': 70.0}
        assert 'was tested on other data or otherwise' in text

    def test_on_a_part(self, make, tmp_path):
        table, _ = make('2.2', self.run(tmp_path, batches=51))
        assert reasons(table, 'byol_r50_in1k') == ['† 51 of 1449 images']


def test_rows(make, mistake, tmp_path):
    """By name, by the pretrained checkpoint, by --row; where they disagree, by neither."""
    from _tables.transfer import complete, row_of_checkpoint, row_of_folder

    assert [
        row_of_folder(name)
        for name in (
            'voc_fcn_r50_r50_in1k',
            'cityscapes_fcn_r50_byol_r50_in1k',
            'voc_fcn_r50_r50_in1k_100e',
            'coco_mask-rcnn_1x_r50_in1k',
            'coco_mask-rcnn_r50_fpn_1x_mocov2_r50_in1k_seed3',
            'coco_mask-rcnn_published_r50_in1k_official',
            'voc_fcn_r50_simclr_r50_in1k',
            'byol',
        )
    ] == [
        'r50_in1k',
        'byol_r50_in1k',
        'r50_in1k_100e',
        'r50_in1k',
        'mocov2_r50_in1k',
        'r50_in1k_official',
        None,
        None,
    ]
    assert [
        row_of_checkpoint(name)
        for name in (
            'work_dirs/r50_in1k/epoch_300.pth',
            'pretrained/densecl_r50_in1k.pth',
            '/x/resnet50-0676ba61.pth',
            'work_dirs/simclr_r50_in1k/epoch_1.pth',
            'work_dirs/r50_in100_k16_seed1/epoch_300.pth',
            'work_dirs/random_r50_in1k/epoch_0.pth',
        )
    ] == [
        'r50_in1k',
        'densecl_r50_in1k',
        'supervised_r50_in1k',
        None,
        'r50_in100_k16',
        'random_r50_in1k',
    ]
    assert [complete(name) for name in ('byol', 'r2o', 'r2o_100e', 'r50_in100_k4', 'mine')] == [
        'byol_r50_in1k',
        'r50_in1k',
        'r50_in1k_100e',
        'r50_in100_k4',
        'mine',
    ]

    forgotten = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', from_=fake.R2O)
    assert re.search(
        'its name says byol_r50_in1k, but it started from .*r50_in1k/epoch_300.pth, '
        'which is r50_in1k: was .*checkpoint=FILE forgotten',
        mistake('2.2', forgotten, '--no-test'),
    )
    table, _ = make('2.2', '--row', f'r2o={forgotten}')
    assert rows(table)['r50_in1k', '', '']['here']['voc']['values'] == [70.0]
    unknown = fake.voc(tmp_path / 'fcn_r50', from_='weights.pth')
    assert 'which row is it?' in mistake('2.2', unknown, '--no-test')
    table, text = make('2.2', '--row', f'mine={unknown}')
    assert cells(text, 'mine') == ['mine', '', '', '70.0', '', '']
    known = fake.voc(tmp_path / 'elsewhere', from_=DENSECL)
    assert only_run(make('2.2', known)[0], 'densecl_r50_in1k')['values'] == {'voc': 70.0}


def test_what_belongs_elsewhere_is_left_out_and_said(make, tmp_path):
    """So work_dirs/* is a sensible argument."""
    k4 = fake.voc(
        tmp_path / 'voc_fcn_r50_r50_in100_k4', 65.5, 'work_dirs/r50_in100_k4/epoch_300.pth'
    )
    byol = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k')
    coco = fake.coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k')
    new = tmp_path / 'cityscapes_fcn_r50_byol_r50_in1k'
    fake.start(new, '20260101_000000', fake.config('cityscapes/fcn_r50'), fake.epochs(None))
    (tmp_path / 'empty').mkdir()
    everything = [k4, byol, coco, new, tmp_path / 'empty']
    table, text = make('2.3', *everything)
    assert table['left_out'] == {
        'rows of table 2.2': [str(byol)],
        'transfer to coco, no matter of table 2.3': [str(coco)],
        'no checkpoint (*.pth) yet': [str(new)],
        'no work directory of mmengine': [str(tmp_path / 'empty')],
    }
    assert all(f'- left out, {reason}: ' in text for reason in table['left_out'])
    assert cells(text, 'R2O, K = 4') == ['R2O, K = 4', '', '65.49', '65.50']
    table, _ = make('2.2', *everything)
    assert table['left_out']['rows of table 2.3'] == [str(k4)]
    assert rows(table)['byol_r50_in1k', '', '']['here']


def test_mistakes(mistake, tmp_path):
    run = fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k')
    assert 'there is no work directory' in mistake('2.2', tmp_path / 'none')
    assert 'is given twice' in mistake('2.2', run, f'{run}/', '--no-test')
    assert 'is given twice' in mistake('2.2', run, '--row', f'byol={run}', '--no-test')
    assert 'no matter of table 2.1' in mistake('2.1', '--row', f'byol={run}')
    assert 'ending with .png, .svg, .pdf' in mistake('2.2', run, '--plot', 'x.jpeg')
    assert '--again tests and --no-test does not' in mistake('2.2', run, '--again', '--no-test')


def test_nothing_recorded(make, tmp_path):
    folder = tmp_path / 'voc_fcn_r50_byol_r50_in1k'
    fake.start(
        folder,
        '20260101_000000',
        fake.config('voc/fcn_r50', fake.BYOL),
        fake.epochs(*[None] * 45),
        world=2,
    )
    fake.checkpoint(folder, 'epoch_45.pth')
    table, text = make('2.2', folder)
    assert cells(text, 'BYOL')[3:] == ['nothing recorded', '75.2', 'not yet run']
    assert 'nothing recorded: ' in text
    assert 'add --test' in text


def test_a_test_that_gives_no_number(make, tmp_path, monkeypatch):
    """A detector without a detection: mmdet reports nothing, and the table goes on."""
    from _tables import recorded

    monkeypatch.setattr(recorded, 'evaluate', lambda *args: dict(metrics={}, images=5000))
    run = fake.coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k', 0.409, 0.378)
    table, text = make('2.1', run, test='--test')
    assert 'nothing recorded' in text
    assert 'gave no coco/bbox_mAP' in text
    assert only_run(table, 'r50_in1k')['checkpoint']


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """VOC by its own config, with a narrow network, four images and two epochs."""
    root = tmp_path_factory.mktemp('voc')
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(draw.integers(0, 255, (32, 32, 3), np.uint8)).save(
            root / 'JPEGImages' / f'{i}.jpg'
        )
        Image.fromarray(draw.integers(0, 3, (8, 8), np.uint8).repeat(4, 0).repeat(4, 1)).save(
            root / 'SegmentationClass' / f'{i}.png'
        )
    (root / 'ImageSets/Segmentation/train.txt').write_text('0\n1\n2\n3')
    (root / 'ImageSets/Segmentation/val.txt').write_text('0\n1\n2')
    cfg = fake.config('voc/fcn_r50_train', None)
    cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8)
    cfg.model.backbone.pop('contract_dilation', None)
    cfg.model.decode_head.update(in_channels=64, channels=8)
    cfg.model.auxiliary_head.update(in_channels=32, channels=8)
    cfg.model.data_preprocessor.size = (32, 32)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
        loader.dataset.data_root = str(root)
    cfg.train_dataloader.batch_size = 2
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'RandomCrop':
            step.update(crop_size=(32, 32), cat_max_ratio=1.0)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'orl_mm.CheckDataHook']
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg


def test_what_mmengine_really_writes(make, tmp_path, tiny, monkeypatch):
    """Trained, tabled from the record, tested, resumed: one number throughout."""
    seen = []

    class Watch(Hook):
        def after_val_epoch(self, runner, metrics=None):
            seen.append(metrics['mIoU'])

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'voc_fcn_r50_byol_r50_in1k'
    cfg = tiny.copy()
    cfg.work_dir, cfg.experiment_name = str(folder), 'training'
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Watch())
    runner.train()
    table, text = make('2.2', folder)
    run = only_run(table, 'byol_r50_in1k')
    assert len(seen) == 2
    assert seen[0] != seen[1]
    assert run['values']['voc'] == pytest.approx(seen[1], abs=1e-4)
    assert run['images'] == [3, 3]
    assert run['source'].startswith('validation, ')
    assert '† 3 of 1449 images' in text
    assert 'train_cfg.max_epochs: 45 -> 2' in text
    assert (folder / 'epoch_2.pth').is_file()

    # Tested by the table itself, as if nothing were recorded: the same network, the same number.
    table, text = make('2.2', folder, test='--test')
    tested = only_run(table, 'byol_r50_in1k')
    assert tested['values']['voc'] == pytest.approx(seen[1], abs=1e-4)
    assert tested['images'] == [3, 3]
    assert 'testing ...' in text
    stored = folder / 'epoch_2.voc.json'
    assert tested['source'] == f'test, {stored}'
    # It is taken from there, until the checkpoint changes.
    table, text = make('2.2', folder)
    assert only_run(table, 'byol_r50_in1k')['source'] == f'test, {stored}'
    state = torch.load(folder / 'epoch_1.pth', weights_only=False)
    torch.save(state, folder / 'epoch_2.pth')
    assert only_run(make('2.2', folder)[0], 'byol_r50_in1k')['source'].startswith('validation')

    # What tools/test.py leaves in the folder counts if it is of this checkpoint.
    later = tiny.copy()
    later.work_dir, later.experiment_name = str(folder), 'test'
    later.load_from = str(folder / 'epoch_2.pth')
    later.custom_hooks = []
    if datetime.now().strftime('%Y%m%d_%H%M%S') == runner.timestamp:
        time.sleep(1)  # starts are told apart by their second
    runner = Runner.from_cfg(later)
    metrics = runner.test()
    run = only_run(make('2.2', folder)[0], 'byol_r50_in1k')
    assert run['source'] == f'test, {folder}/{runner.timestamp}/{runner.timestamp}.json'
    assert run['values']['voc'] == pytest.approx(metrics['mIoU'], abs=1e-4)
    assert run['values']['voc'] == pytest.approx(seen[0], abs=1e-4)
    assert run['images'] == [3, 3]


def test_picture(tables, tmp_path):
    """Each number at its place, by what the axes hold."""
    from _tables import natural
    from _tables.plot import plot

    runs = [
        str(fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', 73.0)),
        str(fake.voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k_seed1', 74.0)),
        str(fake.voc(tmp_path / 'voc_fcn_r50_r50_in1k', 20.0, fake.R2O, batches=51)),
    ]
    table = natural.build('2.2', runs, [], test=False)
    names, panels = natural.panels(table)
    figure = plot('Title', names, panels)
    voc, city = figure.axes
    assert [label.get_text() for label in voc.get_yticklabels()] == names
    assert voc.get_ylim()[0] > voc.get_ylim()[1]  # the first row is the top
    here = {
        (*line.get_xdata(), *line.get_ydata()): line.get_marker()
        for line in voc.lines
        if line.get_color() == '#0072b2' or line.get_markeredgecolor() == '#0072b2'
        if len(line.get_xdata())
    }
    byol, r2o, part = (
        names.index('BYOL'),
        names.index('R2O, 300 epochs'),
        names.index('R2O, 300 epochs †'),
    )
    assert here == {(73.5, byol): 'o', (73.0, 74.0, byol, byol): 'None', (20.0, part): 'D'}
    thesis = {
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in voc.lines
        if len(line.get_xdata()) == 1 and line.get_markeredgecolor() == '#6e6e6e'
    }
    assert (73.1, byol) in thesis
    assert (74.3, r2o) in thesis
    assert len(thesis) == 8
    words = {round(text.get_position()[1]) for text in voc.texts}
    assert byol not in words
    assert r2o in words
    assert names.index('PixPro') in words
    assert part not in words
    assert len(city.texts) == 10


@pytest.mark.parametrize(
    ('suffix', 'begins'), [('.png', b'\x89PNG'), ('.svg', b'<?xml'), ('.pdf', b'%PDF')]
)
def test_pictures_by_suffix(tables, tmp_path, suffix, begins):
    file = tmp_path / 'new' / f'table{suffix}'
    tables.main(['2.3', '--plot', str(file)])
    assert file.read_bytes().startswith(begins)
    if suffix == '.svg':
        assert 'R2O, K = 16' in file.read_text()
        assert 'not yet run' in file.read_text()


def test_pictures_of_table_32(tables, tmp_path):
    from _tables import table32

    table = table32.build([], {})
    table['rows'][1]['here'] = {'CheXpert, 100%': dict(mean=0.8, mean_low=0.7, mean_high=0.85)}
    names, (panel,) = table32.panels(table)
    assert names[:2] == ['Random', 'DINO']
    assert panel.thesis[:2] == [69.9, 83.8]
    assert panel.here[1] == pytest.approx((80.0, 70.0, 85.0))
    assert panel.here[0] is None
    assert panel.wanted[:2] == [True, False]
