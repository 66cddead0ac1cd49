"""tools/tables.py: numbers in their cells, results that are taken from an earlier test, rows."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image
from sklearn.metrics import average_precision_score

from orl_mm.registration.template import Template, write_template
from orl_mm.registry import MODELS
from tests.test_engine.guided import VIT, build, dino

ROOT = Path(__file__).resolve().parents[2]
IDS = ('a', 'b', 'c')
PARTS = ('left_lung', 'right_lung', 'heart')
LIST = 'test_dataloader.dataset.list_file'


@pytest.fixture(scope='module')
def tables():
    spec = importlib.util.spec_from_file_location('tables_tool', ROOT / 'tools' / 'tables.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # also puts tools/ on the path, for `_tables`
    return module


def masks(i, size=48):
    """Left on the viewer's right."""
    out = np.zeros((3, size, size), bool)
    out[0, 6 : 30 + 3 * i, 30:44] = out[1, 6:30, 4 + i : 20] = True
    out[2, 24:40, 18 + 2 * i : 34] = True
    return out


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """JSRT and Montgomery of three noisy images each, and a list of ids."""
    root = tmp_path_factory.mktemp('data')
    draw = np.random.default_rng(0)
    for name, parts in (('jsrt', PARTS), ('montgomery', PARTS[:2])):
        for folder in ('images', *(f'masks/{part}' for part in parts)):
            (root / name / folder).mkdir(parents=True)
        for i, stem in enumerate(IDS):
            Image.fromarray(draw.integers(0, 255, (48, 48), np.uint8)).save(
                root / name / 'images' / f'{stem}.png'
            )
            for part, mask in zip(parts, masks(i), strict=False):
                Image.fromarray(mask).save(root / name / 'masks' / part / f'{stem}.png')
    (root / 'ids.txt').write_text('\n'.join(IDS))
    return root


def work_dir(folder, regimen, heads=None):
    """As training leaves it: a checkpoint, its name, and the config."""
    folder.mkdir(parents=True)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='orl_mm.DINO', backbone=dict(type='VisionTransformer', **VIT)),
        )
    )
    cfg.dump(str(folder / f'vits16_chexpert_{regimen}.py'))
    meta = {} if heads is None else dict(attention_heads=heads)
    torch.save(
        dict(state_dict=build(dino(), seed=len(regimen)).state_dict(), meta=meta),
        folder / 'epoch_2.pth',
    )
    (folder / 'last_checkpoint').write_text(f'/moved/since/{folder.name}/epoch_2.pth')
    return folder


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp('work_dirs')
    return (
        work_dir(root / 'first', 'average', {0: 'left_lung', 1: 'right_lung', 2: 'heart'}),
        work_dir(root / 'second', 'dino-cxr-aug'),
    )


def call(tables, capsys, *words):
    tables.main([*map(str, words)])
    return capsys.readouterr().out


def options(data):
    return (
        '--data',
        data,
        '--cfg-options',
        f'{LIST}={data}/ids.txt',
        'test_dataloader.num_workers=0',
        'test_evaluator.resamples=50',
    )


def mistake(tables, capsys, *words):
    with pytest.raises(SystemExit) as stop:
        tables.main([*map(str, words)])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def cell(text, part, row, column):
    """Of a Markdown table."""
    lines = [
        [c.strip() for c in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    ]
    header = lines[0]
    index = [i for i, name in enumerate(header) if name == column[0]][column[1]]
    return next(line for line in lines if line[:2] == [part, row])[index]


def expected(folder, data, head, part):
    """AP of a head over the images of JSRT, by mmpretrain, torch and scikit-learn alone."""
    from orl_mm.models.utils import ClsAttentionReader

    vit = MODELS.build(dict(type='mmpretrain.VisionTransformer', **VIT))
    weights = torch.load(folder / 'epoch_2.pth', weights_only=True)['state_dict']
    vit.load_state_dict(
        {
            key[len('teacher.backbone.') :]: value
            for key, value in weights.items()
            if key.startswith('teacher.backbone.')
        }
    )
    vit.eval()
    scores = []
    for i, stem in enumerate(IDS):
        image = Image.open(data / 'jsrt/images' / f'{stem}.png').convert('RGB')
        x = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC), np.float32)
        x = (x - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
        with ClsAttentionReader(vit) as reader, torch.no_grad():
            vit(torch.from_numpy(x).float().permute(2, 0, 1)[None])
        maps = F.interpolate(reader.take().unflatten(-1, (4, 4)), (48, 48), mode='nearest')[0]
        scores.append(
            average_precision_score(masks(i)[PARTS.index(part)].ravel(), maps[head].ravel().numpy())
        )
    return np.mean(scores)


def test_table_31(tables, capsys, runs, data, tmp_path):
    write_template(tmp_path / 'good.npz', Template(PARTS, masks(1).astype(np.float32)))
    write_template(tmp_path / 'poor.npz', Template(PARTS[1:], 1 - masks(1)[1:].astype(np.float32)))
    text = call(
        tables,
        capsys,
        '3.1',
        *runs,
        '--template',
        f'average={tmp_path}/good.npz',
        '--template',
        f'upside-down={tmp_path}/poor.npz',
        '--json',
        tmp_path / 't.json',
        '--markdown',
        tmp_path / 'out' / 't.md',
        *options(data),
    )
    assert (tmp_path / 'out' / 't.md').read_text() in text
    found = json.loads((tmp_path / 't.json').read_text())
    assert found['grid'] == [4, 4]
    rows = {row['row']: row for row in found['rows']}
    assert list(rows) == [
        'dino-in1k',
        'dino',
        'dino-cxr-aug',
        'triangular',
        'average',
        'deformable',
    ]
    guided, plain = rows['average']['here']['jsrt'], rows['dino-cxr-aug']['here']['jsrt']
    for head, part in enumerate(PARTS):  # assigned heads, of the teacher
        value = expected(runs[0], data, head, part)
        assert guided[part] == pytest.approx(value, abs=1e-3)  # through two readers of images
        assert cell(
            text, tables.table31.PARTS[part], 'MeDINO (Global average)', ('here', 0)
        ).startswith(f'{100 * guided[part]:.1f} [{100 * guided[part + "_low"]:.1f}, ')
        assert guided[f'{part}_head'] == head
        assert guided[f'{part}_assigned'] == 1
        # ... and the best of all heads where none is assigned.
        best = max(expected(runs[1], data, h, part) for h in range(3))
        assert plain[part] == pytest.approx(best, abs=1e-3)
        assert plain[f'{part}_assigned'] == 0
    assert 'heart' not in rows['average']['here']['montgomery']
    assert rows['deformable']['here'] == {}
    assert rows['average']['thesis']['jsrt']['heart'] == 71.6

    assert cell(text, 'Heart', 'MeDINO (Deformable)', ('here', 0)) == 'not yet run'
    assert cell(text, 'Heart', 'MeDINO (Deformable)', ('template itself', 0)) == 'not given'
    assert cell(text, 'Heart', 'MeDINO (Deformable)', ('here', 1)) == ''  # Montgomery has none
    assert cell(text, 'Left lung', 'MeDINO (Deformable)', ('Montgomery: thesis', 0)) == '90.0'
    assert cell(text, 'Mean', 'MeDINO (Deformable)', ('JSRT: thesis', 0)) == '88.5'
    assert cell(text, 'Left lung', '*template itself: upside-down*', ('here', 0)) == ''

    # The mask of the middle image is a template that no random head beats.
    own = found['templates']['average']['jsrt']
    cells = [
        F.adaptive_avg_pool2d(torch.from_numpy(masks(1)[2:]).double(), 4)[0]
        .numpy()
        .repeat(12, 0)
        .repeat(12, 1)
    ] * 3
    assert own['heart'] == pytest.approx(
        np.mean(
            [average_precision_score(masks(i)[2].ravel(), c.ravel()) for i, c in enumerate(cells)]
        )
    )
    assert '†' in cell(text, 'Heart', 'MeDINO (Global average)', ('here', 0))
    gain = rows['average']['above_template']['jsrt']['heart']
    assert gain['difference'] == pytest.approx(guided['heart'] - own['heart'], abs=1e-9)
    assert gain['low'] <= gain['difference'] <= gain['high'] <= 0
    assert f'† MeDINO (Global average), JSRT, Heart: {100 * gain["difference"]:+.1f} [' in text
    assert 'upside-down' not in rows
    assert found['ceiling']['jsrt']['heart'] > own['heart']


def test_a_head_that_beats_its_template_is_not_marked(tables, capsys, runs, data, tmp_path):
    write_template(tmp_path / 'bad.npz', Template(PARTS, 1 - masks(1).astype(np.float32)))
    text = call(
        tables, capsys, '3.1', runs[0], '--template', f'average={tmp_path}/bad.npz', *options(data)
    )
    assert '†' not in cell(text, 'Heart', 'MeDINO (Global average)', ('here', 0))
    assert '- †' not in text


def test_results_are_stored_and_taken_while_nothing_changed(
    tables, capsys, data, tmp_path, monkeypatch
):
    """JSRT alone: the other columns stay empty."""
    (tmp_path / 'only').mkdir()
    (tmp_path / 'only' / 'jsrt').symlink_to(data / 'jsrt')
    run = work_dir(tmp_path / 'run', 'dino')
    words = ['3.1', run, '--data', tmp_path / 'only', *options(data)[2:]]
    first = call(tables, capsys, *words)
    assert f'{run}/epoch_2.pth, jsrt: testing' in first
    assert 'Montgomery: there is no' in first
    assert (run / 'epoch_2.jsrt.json').is_file()
    assert cell(first, 'Left lung', 'DINO (CheXpert)', ('here', 0))[0].isdigit()
    assert cell(first, 'Left lung', 'DINO (CheXpert)', ('here', 1)) == 'no data'
    second = call(tables, capsys, *words)
    assert 'testing' not in second
    assert 'jsrt: from' in second
    assert second[second.index('**Table') :] == first[first.index('**Table') :]
    # What follows is about when it tests, not how: testing itself would only take time.
    result = json.loads((run / 'epoch_2.jsrt.json').read_text())
    del result['key'], result['checkpoint']
    monkeypatch.setattr('_tables.evaluate._test', lambda cfg, checkpoint: result)
    # Another batch size changes no score, another seed does.
    assert 'testing' not in call(tables, capsys, *words, 'test_dataloader.batch_size=2')
    assert 'testing' in call(tables, capsys, *words, 'test_evaluator.seed=2')
    state = torch.load(run / 'epoch_2.pth', weights_only=True)
    state['state_dict']['teacher.backbone.cls_token'] += 1
    torch.save(state, run / 'epoch_2.pth')
    assert 'testing' in call(tables, capsys, *words)
    (run / 'epoch_2.jsrt.json').write_text('{')
    assert 'testing' in call(tables, capsys, *words)
    assert 'testing' in call(tables, capsys, *words[:2], '--again', *words[2:])


def test_rows_by_name(tables, capsys, data, tmp_path):
    """Bare weights for a row, a row of its own, and a table without any run."""
    weights = tmp_path / 'dino_vits16.pth'
    torch.save(dict(state_dict=build(dino()).backbone.state_dict()), weights)
    (tmp_path / 'not_a_config.py').write_text('raise SystemExit("was run")')
    from _tables.runs import find_run, regimen_of

    assert find_run(str(weights)).row == 'dino-in1k'
    assert find_run(str(weights)).config is None
    assert find_run(str(weights), 'mine').row == 'mine'
    assert [
        regimen_of(name)
        for name in (
            'vits16_chexpert_dino',
            'vits16_chexpert_dino-cxr-aug',
            'deformable',
            'epoch_2',
            'linear_vits16_average_10pct',
            'dino_deitsmall16_pretrain',
            'linear_vits16_random',
        )
    ] == ['dino', 'dino-cxr-aug', 'deformable', None, 'average', 'dino-in1k', 'random']
    assert regimen_of('vits16_chexpert_mocov3_triangular') is None  # not DINO's row
    text = call(tables, capsys, '3.1', *options(data))
    assert cell(text, 'Heart', 'DINO', ('here', 0)) == 'not yet run'
    assert cell(text, 'Heart', '*ceiling of the 14 x 14 grid*', ('here', 0))


def test_the_last_checkpoint(tmp_path):
    from _tables.runs import last_checkpoint

    for name in ('epoch_9.pth', 'epoch_10.pth', 'epoch_2.pth'):
        (tmp_path / name).touch()
    assert last_checkpoint(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth\n')
    assert last_checkpoint(tmp_path).name == 'epoch_2.pth'


def test_mistakes(tables, capsys, runs, data, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert 'left out, no transfer to COCO' in call(tables, capsys, '2.1', *runs)
    assert '--test and --no-test belong to' in mistake(tables, capsys, '3.1', *runs, '--test')
    assert '--data belongs to table 3.1' in mistake(tables, capsys, '2.1', '--data', tmp_path)
    assert '--template belongs to table 3.1' in mistake(tables, capsys, '2.1', '--template', 'a=b')
    assert 'holds no checkpoint' in mistake(tables, capsys, '3.1', tmp_path / 'empty')
    assert 'no work directory' in mistake(tables, capsys, '3.1', tmp_path / 'none')
    torch.save({}, tmp_path / 'empty' / 'x.pth')
    assert 'give --row NAME=' in mistake(tables, capsys, '3.1', tmp_path / 'empty')
    assert "two runs are for the row 'average'" in mistake(
        tables, capsys, '3.1', runs[0], '--row', f'average={runs[1]}'
    )
    assert 'give --data DIR' in mistake(tables, capsys, '3.1', '--data', tmp_path)
    assert 'there is no template' in mistake(
        tables, capsys, '3.1', '--template', 'average=none.npz', *options(data)
    )
    assert '--template takes NAME=PATH' in mistake(tables, capsys, '3.1', '--template', 'x')
    assert 'no work directory of a linear probe' in mistake(tables, capsys, '3.2', runs[0])
    assert '--template belongs to table 3.1' in mistake(tables, capsys, '3.2', '--template', 'a=b')
    assert '--data belongs to table 3.1' in mistake(tables, capsys, '3.2', '--data', tmp_path)
    beyond = work_dir(tmp_path / 'beyond', 'average', {5: 'heart'})
    assert 'guided the heads {5:' in mistake(tables, capsys, '3.1', beyond, *options(data))


def probe_dir(folder, name, checkpoint, fraction, data, prefix='chexpert', seed=0):
    """As tools/train.py leaves a linear probe."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    model = dict(
        type='orl_mm.LinearProbe',
        num_classes=1,
        backbone=dict(type='mmpretrain.VisionTransformer', **VIT),
    )
    torch.save(dict(state_dict=MODELS.build(model).state_dict(), meta={}), folder / 'epoch_9.pth')
    model['backbone']['init_cfg'] = dict(type='orl_mm.PretrainedBackbone', checkpoint=checkpoint)
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='orl_mm.ImageLabelCsv',
            data_root=f'{data}/jsrt',
            ann_file='labels.csv',
            data_prefix=dict(img_path='images'),
            label_columns=('tb',),
            pipeline=[
                dict(type='orl_mm.LoadXray'),
                dict(type='Resize', scale=(32, 32)),
                dict(type='PackInputs', meta_keys=('img_path', 'patient')),
            ],
        ),
    )
    Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            test_dataloader=loader,
            test_cfg={},
            data_preprocessor=dict(mean=[0.0], std=[255.0]),
            train_dataloader=dict(loader, dataset=dict(loader['dataset'], fraction=fraction)),
            train_cfg=dict(by_epoch=True, max_epochs=9),
            optim_wrapper=dict(optimizer=dict(type='SGD')),
            test_evaluator=dict(type='orl_mm.MultiLabelAUROC', prefix=prefix, resamples=20),
            visualizer=dict(type='UniversalVisualizer'),
        )
    ).dump(str(folder / f'{name}.py'))
    return folder


def test_table_32(tables, capsys, data, tmp_path):
    (data / 'jsrt' / 'labels.csv').write_text('image,tb\na.png,0\nb.png,1\nc.png,0\n')
    words = [
        probe_dir(
            tmp_path / 'a',
            'linear_vits16',
            'work_dirs/vits16_chexpert_deformable/e.pth',
            1.0,
            data,
            seed=3,
        ),
        probe_dir(tmp_path / 'b', 'linear_vits16_1pct', 'work_dirs/deformable/e.pth', 0.01, data),
        probe_dir(tmp_path / 'c', 'linear_vits16_random', None, 1.0, data),
        probe_dir(tmp_path / 'd', 'linear_tb_small', 'work_dirs/average/e.pth', 1.0, data, 'tb'),
    ]
    text = call(tables, capsys, '3.2', *words, '--json', tmp_path / 't.json')
    found = json.loads((tmp_path / 't.json').read_text())
    assert found['columns'] == ['CheXpert, 100%', 'CheXpert, 1%', 'Tuberculosis, 100%']
    rows = {row['row']: row for row in found['rows']}
    assert set(rows['deformable']['here']) == {'CheXpert, 100%', 'CheXpert, 1%'}
    assert set(rows['average']['here']) == {'Tuberculosis, 100%'}
    assert rows['dino']['here'] == {}
    assert rows['dino']['thesis'] == 60.4
    line = next(line for line in text.splitlines() if 'MeDINO (Deformable)' in line)
    cells = [c.strip() for c in line.strip('|').split('|')]
    here = rows['deformable']['here']['CheXpert, 100%']
    assert cells[1] == '86.5'
    assert cells[2].startswith(f'{100 * here["mean"]:.1f}')
    assert cells[4] == 'not yet run'
    assert here['images'] == 3
    assert here['tb_positives'] == 1
    stored = json.loads((tmp_path / 'a' / 'epoch_9.chexpert.json').read_text())
    assert stored['metrics']['mean'] == here['mean']
    again = probe_dir(tmp_path / 'e', 'linear_vits16', 'work_dirs/deformable/e.pth', 1.0, data)
    assert "row 'deformable' on CheXpert, 100%" in mistake(tables, capsys, '3.2', words[0], again)


def test_thesis_numbers():
    """As in the thesis, tables 3.1 and 3.2, row by row."""
    sys.path.insert(0, str(ROOT / 'tools'))
    from _tables.thesis import TABLE_3_1, TABLE_3_2

    rows = {
        'dino-in1k': (19.1, 30.1, 46.3, 43.2, 35.0),
        'dino': (5.7, 22.0, 27.0, 16.5, 15.8),
        'dino-cxr-aug': (26.4, 25.1, 36.5, 40.7, 27.6),
        'triangular': (54.5, 59.2, 45.6, 40.0, 54.8),
        'average': (71.6, 71.3, 82.5, 84.1, 50.3),
        'deformable': (89.9, 88.3, 87.3, 90.0, 88.4),
    }
    for key, numbers in rows.items():
        assert numbers == tuple(
            TABLE_3_1[name][part][key]
            for name, part in (
                ('jsrt', 'heart'),
                ('jsrt', 'left_lung'),
                ('jsrt', 'right_lung'),
                ('montgomery', 'left_lung'),
                ('montgomery', 'right_lung'),
            )
        )
    assert 'heart' not in TABLE_3_1['montgomery']
    assert len(TABLE_3_2) == 7
