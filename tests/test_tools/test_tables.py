"""tools/tables.py: numbers in their cells, marks, rows, and tests of what has no result."""

import importlib.util
import json
import os
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image
from sklearn.metrics import average_precision_score

from orl_mm.evaluation.results import checkpoint_record, plain, read_result, write_json
from orl_mm.registration.template import Template, write_template
from orl_mm.registry import MODELS
from orl_mm.tables import natural, records, xrays
from tests.test_engine.guided import VIT, build, dino

ROOT = Path(__file__).resolve().parents[2]
BYOL, R2O = 'work_dirs/byol_r50_in1k/epoch_300.pth', 'work_dirs/r50_in1k/epoch_300.pth'
IDS, PARTS = ('a', 'b', 'c'), ('left_lung', 'right_lung', 'heart')
# The tables of the thesis, copied by hand: method, epochs, numbers.
THESIS = {
    '2.1': """Supervised|90|39.6|35.6
MoCo|200|38.5|35.1
MoCo v2|200|40.4|36.4
BYOL|300|40.6|37.5
VADeR|600|39.2|35.6
DenseCL|200|40.3|36.4
PixPro|400|41.4|-
InfoMin|200|40.6|36.7
DetCon_B|300|40.5|37.5
R2O|100|40.4|37.3
R2O|300|40.9|37.8""",
    '2.2': """Supervised|200|67.7|73.7
MoCo v2|200|67.5|74.5
BYOL|300|73.1|75.2
DenseCL|200|69.4|75.7
PixPro|400|-|77.2
InfoMin|200|-|75.6
DetCon_B|100|70.7|73.1
DetCon_B|300|73.8|75.7
R2O|100|72.2|73.9
R2O|300|74.3|75.6""",
    '2.3': 'R2O, K = 4|None|65.49\nR2O, K = 16|None|65.27\nR2O, K = 64|None|65.76',
}
# Row of table 3.1 -> JSRT heart, left, right lung; Montgomery left, right lung.
ATTENTION = {
    'dino-in1k': (19.1, 30.1, 46.3, 43.2, 35.0),
    'dino': (5.7, 22.0, 27.0, 16.5, 15.8),
    'dino-cxr-aug': (26.4, 25.1, 36.5, 40.7, 27.6),
    'triangular': (54.5, 59.2, 45.6, 40.0, 54.8),
    'average': (71.6, 71.3, 82.5, 84.1, 50.3),
    'deformable': (89.9, 88.3, 87.3, 90.0, 88.4),
}
AUROC = dict(zip(('random', *ATTENTION), (69.9, 83.8, 60.4, 84.3, 84.8, 86.2, 86.5), strict=True))


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location('tables_tool', ROOT / 'tools' / 'tables.py')
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / 'tools')
        spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def make(main, capsys, tmp_path):
    """The table of some words: JSON and text."""

    def make(*words):
        file = tmp_path / 'table.json'
        main([*map(str, words), '--json', str(file)])
        return json.loads(file.read_text()), capsys.readouterr().out

    return make


@pytest.fixture
def mistake(main, capsys):
    def mistake(*words):
        with pytest.raises(SystemExit) as stop:
            main([*map(str, words)])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return mistake


_CONFIGS = {}


def transfer(folder, name, metrics, start=R2O, images=1449, world=2, done=None, **options):
    """A work directory with the result of a training by a config of configs/transfer."""
    if name not in _CONFIGS:
        _CONFIGS[name] = Config.fromfile(str(ROOT / 'configs' / 'transfer' / f'{name}.py'))
    cfg = deepcopy(_CONFIGS[name])
    cfg.model.backbone.init_cfg = dict(type='orl_mm.PretrainedBackbone', checkpoint=start)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    total = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
    by = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    progress = dict(by=by, done=done or total, total=total)
    folder.mkdir(parents=True)
    checkpoint = folder / f'{by}_{progress["done"]}.pth'
    checkpoint.touch()
    section = dict(
        config=plain(cfg.to_dict()),
        config_file=f'{name}.py',
        world_size=world,
        checkpoint=checkpoint_record(checkpoint),
    )
    val = dict(section, metrics=metrics, images=dict(count=images))
    write_json(folder / 'result.json', dict(train=dict(section, progress=progress), val=val))
    return folder


def voc(folder, miou=70.0, start=BYOL, **options):
    return transfer(folder, 'voc/fcn_r50', dict(mIoU=miou), start, **options)


def coco(folder, box=0.409, mask=0.378, start=R2O):
    metrics = {'coco/bbox_mAP': box, 'coco/bbox_mAP_50': 0.6, 'coco/segm_mAP': mask}
    return transfer(folder, 'coco/mask-rcnn_r50_fpn_1x', metrics, start, images=5000, world=8)


def rows(table):
    """By key, recipe and marks; the thesis's own are ``(key, '', '')``."""
    return {(row['row'], row['recipe'], row['marks']): row for row in table['rows']}


def cells(text, *names):
    start = f'| {" | ".join(names)} |'
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip('|').split('|')]


def only_run(table, key):
    (run,) = [run for row in table['rows'] if row['row'] == key for run in row['runs']]
    return run


def reasons(table, key):
    return [f'{doubt["mark"]} {doubt["reason"]}' for doubt in only_run(table, key)['doubts']]


@pytest.mark.parametrize('name', THESIS)
def test_numbers_of_the_thesis(make, name):
    table, text = make(name)
    mine = [
        '|'.join(
            [
                re.sub(r', \d+ epochs', '', row['name']),
                str(row['epochs']),
                *(str(row['thesis'].get(column, '-')) for column in table['columns']),
            ]
        )
        for row in table['rows']
    ]
    assert mine == THESIS[name].splitlines()
    assert text.count('not yet run') == len(table['columns']) * len(mine)
    configs = {f.stem for n in ('r2o', 'baselines') for f in (ROOT / 'configs' / n).glob('*.py')}
    assert {row['row'] for row in table['rows']} <= configs


def test_numbers_of_the_thesis_for_xrays():
    found = xrays.TABLE_3_1
    columns = [('jsrt', 'heart'), ('jsrt', 'left_lung'), ('jsrt', 'right_lung')]
    columns += [('montgomery', 'left_lung'), ('montgomery', 'right_lung')]
    assert {(n, p) for n, parts in found.items() for p in parts} == set(columns)
    for row, numbers in ATTENTION.items():
        assert numbers == tuple(found[name][part][row] for name, part in columns)
    assert xrays.TABLE_3_2 == AUROC


def test_finished_runs_stand_beside_the_thesis(make, tmp_path):
    byol = voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', 73.456)
    city = transfer(
        tmp_path / 'cityscapes_fcn_r50_byol_r50_in1k',
        'cityscapes/fcn_r50',
        dict(mIoU=75.01),
        BYOL,
        images=500,
        world=4,
    )
    table, text = make('2.2', byol, city)
    here = rows(table)['byol_r50_in1k', '', '']['scores']
    assert here['voc'] == dict(mean=73.456, low=73.456, high=73.456, values=[73.456])
    assert cells(text, 'BYOL') == ['BYOL', '300', '73.1', '73.5', '75.2', '75.0']
    assert 'epoch_45.pth, val, 1449 images' in text
    assert not re.search('[†‡§]|left out', text)


def test_coco_is_in_percent(make, tmp_path):
    table, text = make('2.1', coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k'))
    assert cells(text, 'R2O, 300 epochs')[2:] == ['40.9', '40.9', '37.8', '37.8']
    assert only_run(table, 'r50_in1k')['doubts'] == []
    evaluation = pytest.importorskip('mmdet.evaluation', exc_type=ImportError)
    assert evaluation.CocoMetric.default_prefix == 'coco'
    # A detector without a single detection has no metric.
    table, text = make('2.1', coco(tmp_path / 'coco_mask-rcnn_1x_byol_r50_in1k', None, None, BYOL))
    assert cells(text, 'BYOL')[3] == 'nothing recorded'


def test_several_seeds_and_a_picture(main, make, tmp_path):
    """Mean and extremes; a marked run stands apart and does not enter the mean."""
    name = tmp_path / 'voc_fcn_r50_byol_r50_in1k'
    runs = [
        voc(name.with_name(f'{name.name}{end}'), value, randomness=dict(seed=seed))
        for seed, (end, value) in enumerate((('', 73.0), ('_seed1', 73.9), ('-seed2', 73.1)))
    ]
    runs.append(voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k_seed3', 31.2, images=51))
    table, text = make('2.2', *runs, '--plot', tmp_path / 'new' / 'table.svg')
    here = rows(table)['byol_r50_in1k', '', '']['scores']['voc']
    assert here['mean'] == pytest.approx(73.3333, abs=1e-4)
    assert here['values'] == [73.0, 73.9, 73.1]
    assert cells(text, 'BYOL')[3] == '73.3 (73.0 to 73.9, 3 runs)'
    assert cells(text, 'BYOL †')[2:4] == ['', '31.2 †']
    assert '  - † 51 of 1449 images' in text
    picture = (tmp_path / 'new' / 'table.svg').read_text()
    assert 'BYOL †' in picture
    assert picture.count('not yet run</text>') == 17  # 8 + 10 numbers of the thesis, one measured
    panel = records.table_panels(table)[0]
    labels = [row['label'] for row in table['rows']]
    scores = dict(zip(labels, panel.scores, strict=True))
    assert (scores['BYOL']['low'], scores['BYOL']['high'], scores['BYOL †']['mean']) == (
        73.0,
        73.9,
        31.2,
    )
    assert (scores['BYOL']['marked'], scores['BYOL †']['marked']) == (False, True)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(optim_wrapper__optimizer__lr=0.02), 'optim_wrapper.optimizer.lr: 0.01 -> 0.02'),
        (dict(train_dataloader__batch_size=2), 'batch size: 16 -> 4'),
        (
            dict(val_dataloader__dataset__ann_file='mine.txt'),
            'tested on.ann_file: ImageSets/Segmentation/val.txt -> mine.txt',
        ),
        (dict(model__decode_head__dilation=1), 'model.decode_head.dilation: 6 -> 1'),
        (dict(model__test_cfg__mode='slide'), 'model.test_cfg.mode: whole -> slide'),
    ],
)
def test_other_settings_are_marked(make, tmp_path, options, said):
    table, text = make('2.2', voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', **options))
    expected = f'‡ differs from configs/transfer/voc/fcn_r50.py: {said}'
    assert reasons(table, 'byol_r50_in1k') == [expected]
    assert cells(text, 'BYOL')[3] == 'not yet run'
    assert cells(text, 'BYOL ‡')[3] == '70.0 ‡'


def test_place_of_the_data_is_no_setting(make, tmp_path, monkeypatch):
    """Neither by itself nor at the beginning of another path."""
    monkeypatch.setenv('ORL_COCO', '/elsewhere')
    _CONFIGS.clear()
    run = coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k')
    monkeypatch.delenv('ORL_COCO')
    _CONFIGS.clear()
    assert '/elsewhere/annotations' in (run / 'result.json').read_text()
    assert reasons(make('2.1', run)[0], 'r50_in1k') == []


def test_the_public_recipe_has_a_line_of_its_own(make, tmp_path):
    run = transfer(
        tmp_path / 'voc_fcn_r50_published_r50_in1k_official',
        'voc/fcn_r50_published',
        dict(mIoU=30.0),
        'work_dirs/r50_in1k_official/epoch_300.pth',
    )
    table, text = make('2.2', run)
    assert rows(table)['r50_in1k_official', 'fcn_r50_published', '']['thesis'] == {}
    assert cells(text, 'R2O, public code, fcn_r50_published')[3] == '30.0'


def test_unfinished_and_short_runs_are_marked(make, tmp_path):
    name = 'voc_fcn_r50_byol_r50_in1k'
    part = voc(tmp_path / 'a' / name, done=2)
    assert reasons(make('2.2', part)[0], 'byol_r50_in1k') == [
        '‡ epoch_2.pth is not the end, epoch 45'
    ]
    short = voc(tmp_path / 'b' / name, start='work_dirs/byol_r50_in1k/epoch_100.pth')
    assert reasons(make('2.2', short)[0], 'byol_r50_in1k') == [
        '§ work_dirs/byol_r50_in1k/epoch_100.pth was pretrained for 100 epochs, the row is of 300'
    ]
    best = voc(tmp_path / 'c' / name)
    (best / 'epoch_45.pth').rename(best / 'best_mIoU_epoch_40.pth')
    (reason,) = reasons(make('2.2', best)[0], 'byol_r50_in1k')
    assert 'was chosen by its score' in reason


def test_only_results_of_the_last_checkpoint_count(make, tmp_path):
    """A test is preferred; one of other weights is not taken, nor is such a validation."""
    run = voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', 70.0)
    result = read_result(run)
    test = dict(result['val'], metrics=dict(mIoU=77.0))
    write_json(run / 'result.json', dict(result, test=test))
    found = only_run(make('2.2', run)[0], 'byol_r50_in1k')
    assert (found['values'], found['source']) == ({'voc': 77.0}, 'test')
    other = dict(test, checkpoint=dict(test['checkpoint'], digest='0' * 32))
    write_json(run / 'result.json', dict(result, test=other))
    found = only_run(make('2.2', run)[0], 'byol_r50_in1k')
    assert (found['values'], found['source']) == ({'voc': 70.0}, 'val')
    (run / 'epoch_45.pth').write_text('trained again')
    table, text = make('2.2', run)
    assert only_run(table, 'byol_r50_in1k')['values'] is None
    assert cells(text, 'BYOL')[3] == 'nothing recorded'
    assert 'add --test' in text
    # The work directory of a test finds the training beside the checkpoint.
    (run / 'epoch_45.pth').write_text('')
    (tmp_path / 'tested').mkdir()
    write_json(tmp_path / 'tested' / 'result.json', dict(test=test))
    found = only_run(make('2.2', tmp_path / 'tested')[0], 'byol_r50_in1k')
    assert (found['values'], found['doubts']) == ({'voc': 77.0}, [])


def test_rows_of_names():
    assert [
        natural.row_of_folder(name)
        for name in (
            'voc_fcn_r50_r50_in1k',
            'cityscapes_fcn_r50_byol_r50_in1k',
            'coco_mask-rcnn_1x_r50_in1k_100e',
            'coco_mask-rcnn_r50_fpn_1x_mocov2_r50_in1k_seed3',
            'coco_mask-rcnn_published_r50_in1k_official',
            'voc_fcn_r50_simclr_r50_in1k',
            'byol',
        )
    ] == [
        'r50_in1k',
        'byol_r50_in1k',
        'r50_in1k_100e',
        'mocov2_r50_in1k',
        'r50_in1k_official',
        None,
        None,
    ]
    assert [
        natural.row_of_checkpoint(name)
        for name in (
            R2O,
            'pretrained/densecl_r50_in1k.pth',
            '/x/resnet50-0676ba61.pth',
            'work_dirs/simclr_r50_in1k/epoch_1.pth',
            'work_dirs/r50_in100_k16_seed1/epoch_300.pth',
        )
    ] == ['r50_in1k', 'densecl_r50_in1k', 'supervised_r50_in1k', None, 'r50_in100_k16']
    full = [natural.full_name(name) for name in ('byol', 'r2o', 'r2o_100e', 'mine')]
    assert full == ['byol_r50_in1k', 'r50_in1k', 'r50_in1k_100e', 'mine']
    assert [
        xrays.regimen_of(name)
        for name in (
            'vits16_chexpert_dino',
            'vits16_chexpert_dino-cxr-aug',
            'epoch_2',
            'linear_vits16_average_10pct',
            'dino_deitsmall16_pretrain',
            'vits16_chexpert_mocov3_triangular',
        )
    ] == ['dino', 'dino-cxr-aug', None, 'average', 'dino-in1k', None]


def test_rows_of_runs(make, mistake, tmp_path):
    """By name, by the pretrained checkpoint, by --row; where they disagree, by neither."""
    forgotten = voc(tmp_path / 'voc_fcn_r50_byol_r50_in1k', start=R2O)
    assert 'its name says byol_r50_in1k, but it started from' in mistake('2.2', forgotten)
    found = rows(make('2.2', '--row', f'r2o={forgotten}')[0])
    assert found['r50_in1k', '', '']['scores']['voc']['values'] == [70.0]
    unknown = voc(tmp_path / 'fcn_r50', start='weights.pth')
    assert 'which row is it?' in mistake('2.2', unknown)
    _, text = make('2.2', '--row', f'mine={unknown}')
    assert cells(text, 'mine') == ['mine', '', '', '70.0', '', '']
    # What belongs elsewhere is left out, so that work_dirs/* is a sensible argument.
    k4 = voc(tmp_path / 'voc_fcn_r50_r50_in100_k4', start='work_dirs/r50_in100_k4/epoch_300.pth')
    detector = coco(tmp_path / 'coco_mask-rcnn_1x_r50_in1k')
    (tmp_path / 'empty').mkdir()
    table, text = make('2.3', k4, detector, tmp_path / 'empty')
    assert table['left_out'] == {
        'transfer to coco, which is not in table 2.3': [str(detector)],
        'no checkpoint (*.pth) yet': [str(tmp_path / 'empty')],
    }
    assert cells(text, 'R2O, K = 4') == ['R2O, K = 4', '', '65.49', '70.00']
    table, _ = make('2.2', k4)
    assert table['left_out'] == {'rows of table 2.3': [str(k4)]}
    assert 'is given twice' in mistake('2.3', k4, f'{k4}/')
    assert 'there is no work directory' in mistake('2.2', tmp_path / 'none')
    assert 'which is not in table 2.1' in mistake('2.1', '--row', f'r50_in100_k4={k4}')
    assert 'ending with .png, .svg or .pdf' in mistake('2.2', '--plot', 'x.jpeg')
    assert 'belong to table 3.1' in mistake('2.1', '--template', 'a=b')
    assert '--row takes NAME=PATH' in mistake('2.1', '--row', 'x')


def test_last_checkpoint(tmp_path):
    for name in ('epoch_9.pth', 'epoch_10.pth', 'epoch_2.pth'):
        (tmp_path / name).touch()
    assert records.last_checkpoint(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth\n')
    assert records.last_checkpoint(tmp_path).name == 'epoch_2.pth'


def test_config_of_a_work_directory(tmp_path):
    """The newest dump of mmengine; neither other programs nor the config of a table's test."""
    torch.save({}, tmp_path / 'epoch_1.pth')
    texts = dict(
        old='model = dict(type="Old")',
        vits16_average='model = dict(type="New")\ntrain_cfg = dict()',
        helper='raise SystemExit("was run")',
        constants='rate = 1',
        broken='model = (',
        test_config='model = dict(type="Test")',
    )
    for age, (name, text) in enumerate(texts.items()):
        (tmp_path / f'{name}.py').write_text(text)
        os.utime(tmp_path / f'{name}.py', (age, age))
    run = records.find_run(str(tmp_path))
    assert (run.name, run.config['model']) == ('vits16_average', dict(type='New'))


def masks(i, size=48):
    """Three parts; the left lung is on the viewer's right."""
    out = np.zeros((3, size, size), bool)
    out[0, 6 : 30 + 3 * i, 30:44] = out[1, 6:30, 4 + i : 20] = True
    out[2, 24:40, 18 + 2 * i : 34] = True
    return out


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """JSRT and Montgomery of three noisy images each, and a list of ids."""
    root, draw = tmp_path_factory.mktemp('data'), np.random.default_rng(0)
    for name, parts in (('jsrt', PARTS), ('montgomery', PARTS[:2])):
        for folder in ('images', *(f'masks/{part}' for part in parts)):
            (root / name / folder).mkdir(parents=True)
        for i, stem in enumerate(IDS):
            image = Image.fromarray(draw.integers(0, 255, (48, 48), np.uint8))
            image.save(root / name / 'images' / f'{stem}.png')
            for part, mask in zip(parts, masks(i), strict=False):
                Image.fromarray(mask).save(root / name / 'masks' / part / f'{stem}.png')
    (root / 'ids.txt').write_text('\n'.join(IDS))
    return root


def guided_run(folder, row, heads):
    """A work directory as a training leaves it: checkpoint, config and result."""
    folder.mkdir(parents=True)
    model = dict(type='orl_mm.DINO', backbone=dict(type='VisionTransformer', **VIT))
    state = build(dino(), seed=len(row)).state_dict()
    torch.save(dict(state_dict=state, meta=dict(attention_heads=heads)), folder / 'epoch_2.pth')
    train = dict(config=dict(model=model), config_file=f'vits16_chexpert_{row}.py')
    write_json(folder / 'result.json', dict(train=train))
    return folder


def expected_ap(folder, data, head, part):
    """AP of a head over the images of JSRT, by mmpretrain, torch and scikit-learn."""
    from orl_mm.models.utils import ClsAttentionReader

    vit = MODELS.build(dict(type='mmpretrain.VisionTransformer', **VIT))
    vit.eval()
    weights = torch.load(folder / 'epoch_2.pth', weights_only=True)['state_dict']
    start = 'teacher.backbone.'
    vit.load_state_dict({k[len(start) :]: v for k, v in weights.items() if k.startswith(start)})
    scores = []
    for i, stem in enumerate(IDS):
        image = Image.open(data / 'jsrt/images' / f'{stem}.png').convert('RGB')
        x = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC), np.float32)
        x = (x - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
        with ClsAttentionReader(vit) as reader, torch.no_grad():
            vit(torch.from_numpy(x).float().permute(2, 0, 1)[None])
        maps = F.interpolate(reader.take().unflatten(-1, (4, 4)), (48, 48), mode='nearest')[0]
        truth = masks(i)[PARTS.index(part)].ravel()
        scores.append(average_precision_score(truth, maps[head].ravel().numpy()))
    return np.mean(scores)


@pytest.mark.slow
def test_table_31(make, mistake, data, tmp_path):
    """A guided run, tested by the table: its assigned heads, beside its template."""
    run = guided_run(tmp_path / 'first', 'average', dict(enumerate(PARTS)))
    write_template(tmp_path / 'good.npz', Template(PARTS, masks(1).astype(np.float32)))
    words = ['3.1', run, '--template', f'average={tmp_path}/good.npz', '--data', data]
    options = [f'test_dataloader.dataset.list_file={data}/ids.txt', 'test_evaluator.resamples=50']
    options = ['--cfg-options', *options, 'test_dataloader.num_workers=0']
    _, text = make(*words, *options)
    assert cells(text, 'Heart', 'MeDINO (Global average)')[3] == 'not tested'
    table, text = make(*words, '--test', *options)
    assert text.count('testing') == 2
    assert table['grid'] == [4, 4]
    found = {row['row']: row for row in table['rows']}
    assert list(found) == list(ATTENTION)
    mine = found['average']['here']['jsrt']
    for head, part in enumerate(PARTS):
        assert mine[part] == pytest.approx(expected_ap(run, data, head, part), abs=1e-3)
        assert (mine[f'{part}_head'], mine[f'{part}_assigned']) == (head, 1)
        cell = cells(text, xrays.PARTS[part], 'MeDINO (Global average)')[3]
        assert cell.startswith(f'{100 * mine[part]:.1f} [{100 * mine[part + "_low"]:.1f}, ')
    assert 'heart' not in found['average']['here']['montgomery']
    # Part, regimen; of JSRT thesis, measured, pooled, template; likewise of Montgomery.
    deformable = cells(text, 'Heart', 'MeDINO (Deformable)')
    assert deformable[2:] == ['89.9', 'not yet run', '', 'not given', '', '', '', '']
    assert cells(text, 'Mean', 'MeDINO (Deformable)')[2] == '88.5'
    # The mask of the middle image is a template that no head of random weights is above.
    patches = F.adaptive_avg_pool2d(torch.from_numpy(masks(1)[2:]).double(), 4)[0]
    map_ = patches.numpy().repeat(12, 0).repeat(12, 1).ravel()
    own = np.mean([average_precision_score(masks(i)[2].ravel(), map_) for i in range(3)])
    assert table['templates']['average']['jsrt']['heart'] == pytest.approx(own)
    gain = found['average']['above_template']['jsrt']['heart']
    assert gain['difference'] == pytest.approx(mine['heart'] - own, abs=1e-9)
    assert '†' in cells(text, 'Heart', 'MeDINO (Global average)')[3]
    assert f'† MeDINO (Global average), JSRT, Heart: {100 * gain["difference"]:+.1f} [' in text
    assert table['ceiling']['jsrt']['heart'] > own
    # The result is stored, and taken while neither settings nor weights change.
    _, text = make(*words, '--test', *options, 'test_dataloader.batch_size=2')
    assert 'testing' not in text
    _, text = make(*words, *options, 'test_evaluator.seed=2')
    assert cells(text, 'Heart', 'MeDINO (Global average)')[3] == 'not tested'


def test_table_31_without_runs(make, mistake, data, tmp_path):
    only = tmp_path / 'only'
    only.mkdir()
    (only / 'jsrt').symlink_to(data / 'jsrt')
    options = ['--cfg-options', f'test_dataloader.dataset.list_file={data}/ids.txt']
    _, text = make('3.1', '--data', only, *options, 'test_evaluator.resamples=5')
    assert 'Montgomery: there is no folder' in text
    assert cells(text, 'Heart', 'DINO')[3] == 'not yet run'
    assert cells(text, 'Heart', '*ceiling of the 14 x 14 grid*')[3]
    assert 'give --data DIR' in mistake('3.1', '--data', tmp_path)
    none = ('--template', 'average=none.npz', '--data', data, *options)
    assert 'there is no template' in mistake('3.1', *none)
    torch.save({}, tmp_path / 'x.pth')
    assert 'give --row NAME=' in mistake('3.1', tmp_path / 'x.pth')
    assert 'holds no checkpoint' in mistake('3.1', only)
    weights = tmp_path / 'dino_vits16.pth'
    torch.save({}, weights)
    (tmp_path / 'not_a_config.py').write_text('raise SystemExit("was run")')
    run = records.find_run(str(weights))
    assert xrays.row_of(run, '') == 'dino-in1k'
    assert run.config is None
    two = ['--row', f'average={weights}', '--row', f'average={tmp_path}/x.pth', '--data', data]
    assert "two runs are for the row 'average'" in mistake('3.1', *two)
    assert 'no work directory of a linear probe' in mistake('3.2', weights)


def test_gain_over_the_template():
    """Image by image over those of both; resampled by patients."""
    images = [f'{i:02d}' for i in range(40)]
    gains = dict(zip(images, [0.1] * 20 + [-0.1] * 20, strict=True))
    mine = dict(
        ap=dict(heart={i: 0.5 + gains[i] for i in images}, lung={'00': 1.0}),
        patients={i: 'one' if n < 20 else 'two' for n, i in enumerate(images)},
    )
    template = dict(ap=dict(heart={i: 0.3 for i in [*images, 'more']}))
    found = xrays.above_template(mine, template)
    assert set(found) == {'heart'}
    assert found['heart']['difference'] == pytest.approx(0.2)
    # In half of the resamples one patient is drawn twice: the ends are the patients' means.
    assert (found['heart']['low'], found['heart']['high']) == pytest.approx((0.1, 0.3))
    single = xrays.above_template(dict(mine, patients={}), template)['heart']
    assert np.abs([single['low'] - 0.2, single['high'] - 0.2]).max() < 0.05


def probe(folder, start, mean, fraction=1.0, prefix='chexpert'):
    """A work directory of a linear probe, tested."""
    folder.mkdir()
    (folder / 'epoch_9.pth').write_text(str(mean))
    config = dict(
        model=dict(type='orl_mm.LinearProbe', backbone=dict(init_cfg=dict(checkpoint=start))),
        test_evaluator=dict(prefix=prefix),
        train_dataloader=dict(dataset=dict(fraction=fraction)),
    )
    section = dict(config=config, checkpoint=checkpoint_record(folder / 'epoch_9.pth'))
    metrics = {
        f'{prefix}/mean{end}': mean + d for end, d in (('', 0), ('_low', -0.1), ('_high', 0.1))
    }
    section.update(config_file='linear_vits16.py', metrics=metrics)
    write_json(folder / 'result.json', dict(train=section, test=section))
    return folder


def test_table_32(make, mistake, tmp_path):
    runs = [
        probe(tmp_path / 'a', 'work_dirs/vits16_chexpert_deformable/e.pth', 0.85),
        probe(tmp_path / 'b', 'work_dirs/deformable/e.pth', 0.6, 0.01),
        probe(tmp_path / 'linear_random', None, 0.7),
        probe(tmp_path / 'd', 'work_dirs/average/e.pth', 0.55, prefix='tb'),
    ]
    table, text = make('3.2', *runs, '--plot', tmp_path / 'x.pdf')
    assert list(table['columns']) == ['CheXpert, 100%', 'CheXpert, 1%', 'Tuberculosis, 100%']
    assert cells(text, 'MeDINO (Deformable)')[1:] == [
        '86.5',
        '85.0 [75.0, 95.0]',
        '60.0 [50.0, 70.0]',
        'not yet run',
    ]
    assert cells(text, 'Random')[2] == '70.0 [60.0, 80.0]'
    assert cells(text, 'DINO (CheXpert)')[1:3] == ['60.4', 'not yet run']
    assert (tmp_path / 'x.pdf').read_bytes().startswith(b'%PDF')
    again = probe(tmp_path / 'e', 'work_dirs/deformable/e.pth', 0.9)
    assert "row 'deformable' on CheXpert, 100%" in mistake('3.2', runs[0], again)
    (runs[0] / 'epoch_9.pth').write_text('trained again')
    assert cells(make('3.2', *runs)[1], 'MeDINO (Deformable)')[2] == 'not tested'
