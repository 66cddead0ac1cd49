"""Workflows of the small tables: tasks, resuming, analysis, and the pages of the stored numbers."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from orl_mm.evaluation.results import read_result
from orl_mm.io.image_list import SPLITS, read_lines
from projects import workflow
from projects.medino.small import probe
from projects.workflow import Workflow, config_text, doit_config
from tests.dodo_files import ROOT, load_dodo
from tests.segmentation_files import write_voc

WRITE = 'import os, pathlib, sys; p = pathlib.Path(sys.argv[1]); '


def tasks(dodo):
    """Name -> task of all that a workflow makes by commands."""
    found = {}
    for name, creator in vars(dodo).items():
        if name.startswith('task_') and name not in ('task_pages', 'task_tables'):
            made = creator()
            if not isinstance(made, dict):
                found.update({f'{name[5:]}:{task["name"]}': task for task in made})
    return found


def command(task, number=-1):
    """The words of a command of a task."""
    return list(map(str, task['actions'][0][1][0][number]))


@pytest.mark.parametrize('project', ['r2o', 'medino'])
def test_pages_of_the_stored_numbers(project, tmp_path, monkeypatch):
    """Rebuilt, each is the committed page; every interval of it is one of the JSON file."""
    dodo = load_dodo(project)
    pages = [*dodo.TABLE_PAGES.values(), dodo.OBJECTS] if project == 'r2o' else dodo.PAGES.values()
    folder = ROOT / 'projects' / project / 'small'
    for page in pages:
        stored = (folder / f'{page.stem}.json').read_text()
        (tmp_path / f'{page.stem}.json').write_text(stored)
        page.rebuild(tmp_path)
        text = (tmp_path / f'{page.stem}.md').read_text()
        assert text == (folder / f'{page.stem}.md').read_text()
        assert (tmp_path / f'{page.stem}.png').stat().st_size > 10000
        spans = re.findall(r'(\S+) \[(\S+), (\S+)\]', text.split('\n\n')[0])
        assert len(spans) >= 8
        numbers = numbers_of(json.loads(stored), 100 if page.stem == 'objects_small' else 1)
        assert {tuple(map(float, span)) for span in spans} <= numbers


def numbers_of(value, scale):
    """Value, low and high, rounded, of every score and difference in a table."""
    found = set()
    if isinstance(value, dict):
        for key, low, high in (
            ('mean', 'low', 'high'),
            ('best_overlap_large', 'low', 'high'),
            ('difference', 'difference_low', 'difference_high'),
            ('above_prior', 'above_prior_low', 'above_prior_high'),
        ):
            if low in value and isinstance(value.get(key), float):
                found.add(tuple(float(f'{scale * value[k]:.1f}') for k in (key, low, high)))
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        found |= numbers_of(item, scale)
    return found


def test_tasks_of_r2o(tmp_path):
    """A transfer needs its pretraining, that its superpixels; seeds reach all draws."""
    dodo = load_dodo('r2o', out=tmp_path, data=tmp_path / 'data')
    made = tasks(dodo)
    caches = [made[name]['targets'][0] for name in made if name.startswith('superpixels')]
    assert sorted(Path(cache).name for cache in caches) == [
        'felzenszwalb_min_size-1000_scale-1000_sigma-0.8.done',
        'slic_normalize-True_num_segments-100.done',
        'slic_num_segments-100.done',
    ]
    official = made['pretrain:official_seed2']
    folder = tmp_path / 'superpixels/slic_normalize-True_num_segments-100'
    assert official['file_dep'] == [f'{folder}.done']
    assert official['targets'] == [str(tmp_path / 'pretrain/official_seed2/epoch_12.pth')]
    tuned = made['transfer:fine-tuned_official_seed2']
    assert tuned['file_dep'] == official['targets']
    seeds = {'randomness.seed=2', 'train_dataloader.dataset.pipeline.0.seed=2'}
    assert seeds <= set(command(official)) & set(command(tuned, 0))
    assert f'train_dataloader.dataset.pipeline.2.cache={folder}' in command(official)
    start = f'model.backbone.init_cfg.checkpoint={official["targets"][0]}'
    assert start in command(tuned, 0)
    random = made['transfer:fine-tuned_random_seed2']
    assert 'model.backbone.init_cfg=None' in command(random, 0)
    assert random['file_dep'] == made['pretrain:no-prior_seed2']['file_dep'] == []
    assert command(made['transfer:linear_random_seed2'], 0)[3] == 'random:2'
    assert 'pretrain:random_seed2' not in made
    # Every transfer of a table's rows and seeds is waited for.
    needed = dodo.task_table22()['file_dep']
    targets = [target for task in made.values() for target in task['targets']]
    assert len(needed) == 3 * 2 * 8
    assert set(needed) <= set(targets)
    assert len(targets) == len(set(targets))


def test_a_try_does_not_touch_the_real_results(tmp_path):
    real = tasks(load_dodo('r2o', out=tmp_path, seeds=1))
    short = load_dodo('r2o', out=tmp_path, seeds=1, epochs=1, transfer_epochs=1, rows='byol,r2o')
    made = tasks(short)
    assert {'train_cfg.max_epochs=1', 'param_scheduler.0.warmup=0'} <= set(
        command(made['pretrain:byol_seed0'])
    )
    for name in made:
        if name.startswith(('pretrain', 'transfer')):
            assert made[name]['targets'] != real[name]['targets']
    assert len(short.task_table22()['file_dep']) == 4
    assert short.origin('table22')['command'] == (
        'doit -f projects/r2o/small/dodo.py table22 data=DIR seeds=1 epochs=1 transfer_epochs=1 '
        'rows=byol,r2o'
    )


def test_tasks_of_medino(tmp_path):
    for name, stems in (
        ('jsrt', [*read_lines('jsrt_score', ''), 'JPCNN001']),
        ('montgomery', ['b', 'a']),
    ):
        (tmp_path / 'cxr' / name / 'images').mkdir(parents=True)
        for stem in stems:
            (tmp_path / 'cxr' / name / 'images' / f'{stem}.jpg').touch()
    dodo = load_dodo('medino', out=tmp_path / 'out', data=tmp_path / 'cxr', seeds=2)
    made = tasks(dodo)
    average, registered = made['templates:average'], made['templates:registered']
    assert average['file_dep'] == made['templates:segmenter']['targets']
    assert registered['file_dep'] == made['templates:scored']['file_dep'] == average['targets']
    assert 'JPCNN001' in command(registered)
    deformable = made['pretrain:deformable_seed1']
    assert deformable['file_dep'] == registered['targets']
    source = f'train_dataloader.dataset.pipeline.2.source={tmp_path}/out/templates/registered'
    assert source in command(deformable)
    assert made['attention:deformable_seed1_jsrt']['file_dep'] == deformable['targets']
    # The sweep changes the strengths and nothing else.
    hook = workflow.read_config(dodo.ROWS['deformable'][1]).custom_hooks[dodo.HOOK]
    assert hook.type == 'orl_mm.AttentionRegHook'
    assert (hook.lambda1, hook.lambda2, hook.spread) == (1e-3, 1e-3, 0.05)
    weak = command(made['pretrain:deformable-l0.0001-s0.05_seed0'])
    changed = {
        f'custom_hooks.8.{key}' for key in ('lambda1=0.0001', 'lambda2=0.0001', 'spread=0.05')
    }
    assert changed < set(weak)
    assert not [word for word in command(deformable) if 'custom_hooks' in word]
    tables = {task['basename']: task for task in dodo.task_tables()}
    targets = {target for task in made.values() for target in task['targets']}
    assert [len(task['file_dep']) for task in tables.values()] == [2 * 5 * 2 + 1, 2 * 6, 5 * 2]
    assert all(set(task['file_dep']) <= targets for task in tables.values())
    # Scored images: sorted, and none of them is trained on.
    found = dodo.scored_images()
    assert found[-2:] == ['montgomery/images/a.jpg', 'montgomery/images/b.jpg']
    assert len(found) == 49
    assert not set(found) & set(read_lines('cxr_small', ''))
    next((tmp_path / 'cxr/jsrt/images').glob('JPCLN*')).unlink()
    with pytest.raises(ValueError, match='46 of the 47 scored images'):
        dodo.scored_images()


def test_settings_are_configs_and_their_lists_not_places(monkeypatch, tmp_path):
    text = config_text('configs/r2o/small/r2o.py')
    assert '"lr": 0.001' in text
    assert 'imagenet_sample/train/' in text  # the images, not the name of their list
    monkeypatch.setenv('ORL_NATURAL', str(tmp_path))
    config_text.cache_clear()
    assert config_text('configs/r2o/small/r2o.py') == text
    places = [
        tasks(load_dodo('r2o', out=tmp_path / name, data=tmp_path / f'd{name}', seeds=1))
        for name in 'ab'
    ]
    digests = [{name: task['uptodate'][0].config for name, task in t.items()} for t in places]
    assert digests[0] == digests[1]


class Runs:
    """doit on two tasks: ``train`` leaves a file that ``test`` reads."""

    def __init__(self, out):
        self.out, self.flow = out, Workflow(out, dict(MINE=Path('/mine')))
        out.mkdir()
        self.train = out / 'train' / 'last'

    def __call__(self, rate='0.1', code='', test=True):
        more = 'open(p.parent / "begun", "a").write("x"); p.write_text(sys.argv[2]); '
        read = 'p.write_text(open(sys.argv[2]).read() + os.environ["MINE"]); '
        read += 'assert os.environ["OMP_NUM_THREADS"] == "1"'
        train = ['-c', WRITE + more + code, self.train, rate]
        score = ['-c', WRITE + read, self.out / 'test' / 'score', self.train]

        def task_job():
            yield self.flow.task('train', [train], self.train.parent, self.train)
            if test:
                folder = self.out / 'test'
                yield self.flow.task('test', [score], folder, folder / 'score', [self.train])

        loader = ModuleTaskLoader(dict(task_job=task_job, DOIT_CONFIG=doit_config(self.out)))
        return DoitMain(loader).run(['-n', '2', 'job'])


def test_commands_run_once_until_settings_change(tmp_path):
    run = Runs(tmp_path / 'out')
    assert run() == 0
    assert (run.out / 'test' / 'score').read_text() == '0.1/mine'
    assert run() == 0
    assert (run.train.parent / 'begun').read_text() == 'x'
    assert run('0.2') == 0  # begins in an empty folder, and the test follows
    assert (run.train.parent / 'begun').read_text() == 'x'
    assert (run.out / 'test' / 'score').read_text() == '0.2/mine'
    (run.out / 'test' / 'score').unlink()
    assert run('0.2') == 0
    assert (run.train.parent / 'begun').read_text() == 'x'
    assert (run.out / 'test' / 'score').exists()


def test_stopped_commands_resume(tmp_path):
    run = Runs(tmp_path / 'out')
    # The file that a failed command has left is not taken for a result.
    assert run(code='sys.exit("no luck")') == 1
    assert 'no luck' in (run.out / 'logs' / 'train.log').read_text()
    assert not (run.out / 'test').exists()
    assert run(code='sys.exit("no luck")') == 1
    assert (run.train.parent / 'begun').read_text() == 'xx'  # the folder is kept to resume from
    assert run() == 0
    assert run(code='p.unlink()', test=False) == 1
    state = json.loads((run.out / 'doit.json').read_text())
    assert 'job:test' in state


def test_state_is_saved_after_each_task(tmp_path):
    """A process that is killed during the second task does not repeat the first."""
    run = Runs(tmp_path / 'out')
    seen = tmp_path / 'out' / 'doit.json'
    code = f'import json; assert "job:train" in json.load(open({str(seen)!r}))'
    task = run.flow.task(
        'second', [['-c', WRITE + code + '; p.touch()', tmp_path / 'b' / 'c', '.']],
        tmp_path / 'b', tmp_path / 'b' / 'c', [run.train],
    )  # fmt: skip
    first = run.flow.task(
        'train', [['-c', WRITE + 'p.touch()', run.train]], run.train.parent, run.train
    )
    loader = ModuleTaskLoader(
        dict(task_job=lambda: (job for job in (first, task)), DOIT_CONFIG=doit_config(run.out))
    )
    assert DoitMain(loader).run(['job']) == 0


def test_a_folder_is_held_by_its_command(tmp_path):
    flow = Workflow(tmp_path, {})
    nested = []

    def again():
        nested.append(flow._run([], tmp_path / 'a', tmp_path / 'a' / 'x', 's', []))

    failure = flow._run([again], tmp_path / 'a', tmp_path / 'a' / 'x', 's', [])
    assert 'another run is at work' in nested[0].message
    assert failure.message.startswith(f'no {tmp_path}/a/x')
    command = ['-c', 'import sys; sys.exit("no luck")']
    failure = flow._run([command], tmp_path / 'a', tmp_path / 'a' / 'x', 's', [])
    assert re.search('status 1: .*no luck.*whole log', failure.message)


def section(aps, cover=0.5):
    """Section ``test`` of a result: part -> AP of images p, q, r."""
    return dict(
        images=dict(
            ap={part: dict(zip('pqr', values, strict=True)) for part, values in aps.items()},
            patients={},
        ),
        metrics={f'attention_ap/{part}_coverage': cover for part in aps},
    )


def test_attention_summary_by_hand():
    summary = load_dodo('medino').attention_summary
    one = section(dict(heart=[0.2, 0.4, 0.9], left_lung=[0.6, 0.8, 1.0]), 0.4)
    two = section(dict(heart=[0.4, 0.4, 0.7], left_lung=[0.8, 0.8, 0.8]), 0.8)
    found = summary([one, two])
    assert found['heart']['mean'] == pytest.approx(50)
    assert found['mean']['seeds'] == pytest.approx([65, 65])
    assert found['left_lung']['coverage'] == pytest.approx(0.6)
    # A resample can hold one image only: with one seed, 20 and 90 are the ends.
    single = summary([one])['heart']
    assert (single['low'], single['high']) == pytest.approx((20, 90))
    every = [
        np.mean([seed['images']['ap']['heart'][image] for seed in seeds for image in images])
        for seeds in product([one, two], repeat=2)
        for images in product('pqr', repeat=3)
    ]
    ends = [found['heart']['low'], found['heart']['high']]
    assert ends == pytest.approx(100 * np.percentile(every, [2.5, 97.5]), abs=2.5)  # 2,000 of 108
    less = [
        section({part: [v - 0.1 for v in ap.values()] for part, ap in seed['images']['ap'].items()})
        for seed in (one, two)
    ]
    gain = summary([one, two], less)['heart']
    keys = ('difference', 'difference_low', 'difference_high')
    assert [gain[key] for key in keys] == pytest.approx([10, 10, 10])


def hospital(n, seed):
    draw = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(float)
    shift = 1.5 * labels[:, None] * [1, 0, 0, 0]
    return probe.Hospital(draw.normal(size=(n, 4)) * [1, 5, 1, 1] + shift, labels)


def test_subsets_are_stratified_and_the_same_each_time():
    labels = np.arange(440) % 2
    for fraction, size in ((0.01, 4), (0.1, 44)):
        first, second = (probe.subsets(labels, fraction, 5) for _ in range(2))
        assert [len(chosen) for chosen in first] == [size] * 5
        assert all(labels[chosen].sum() == size / 2 for chosen in first)
        assert np.array_equal(first, second)
        assert len({tuple(c) for c in first}) == 5
    assert np.array_equal(probe.subsets(labels, 1.0, 1), [np.arange(440)])


def test_probe_is_a_logistic_regression_of_standardised_features():
    train, test = hospital(200, 0), hospital(80, 1)
    found = probe.scores(train, test, 0.02, 3)  # four labels: C is 0.01
    for chosen, got in zip(probe.subsets(train.labels, 0.02, 3), found, strict=True):
        scaler = StandardScaler().fit(train.features[chosen])
        x, y = scaler.transform(train.features[chosen]), train.labels[chosen]
        model = LogisticRegression(C=1e-2).fit(x, y)
        assert got == pytest.approx(model.decision_function(scaler.transform(test.features)))
    (full,) = probe.scores(train, test, 1.0, 1)
    few = np.mean([roc_auc_score(test.labels, one) for one in found])
    assert roc_auc_score(test.labels, full) > max(few, 0.8)
    assert roc_auc_score(train.labels, probe.scores_within(train)[0]) > 0.8
    # The label of an image is not used for its own score: noise is not memorised.
    noise = probe.Hospital(np.random.default_rng(2).normal(size=(60, 40)), train.labels[:60])
    assert roc_auc_score(noise.labels, probe.scores_within(noise)[0]) < 0.75


def test_auroc_summary():
    labels = np.array([0.0, 0, 1, 1])
    right, wrong = np.array([[1.0, 2, 3, 4]]), np.array([[4.0, 3, 2, 1]])
    half = np.array([[1.0, 3, 2, 4]])  # three of four pairs
    found = probe.auroc_summary([np.concatenate([right, half]), half], labels, [right, right])
    assert (found['seeds'], found['mean'], found['difference']) == ([87.5, 75.0], 81.25, -18.75)
    both = probe.auroc_summary([right, wrong], labels, [right, wrong])
    assert (both['difference_low'], both['difference_high']) == (0, 0)
    assert (both['mean'], both['low'], both['high']) == (50, 0, 100)


def test_extracted_features(tmp_path, monkeypatch):
    """Labels stay with their images; random networks differ by their seed only."""
    draw = np.random.default_rng(0)
    for name, labels in (('shenzhen', [1, 0, 0, 1, 1]), ('montgomery', [0, 1, 1])):
        (tmp_path / name / 'images').mkdir(parents=True)
        lines = ['image,tb']
        for i, label in enumerate(labels):
            pixels = draw.integers(0, 255, (128, 128)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / 'images' / f'{i}.png')
            lines.append(f'{i}.png,{label}')
        (tmp_path / name / 'labels.csv').write_text('\n'.join(lines) + '\n')
    monkeypatch.setenv('ORL_CXR', str(tmp_path))
    for seed, name in ((0, 'a'), (0, 'b'), (1, 'c')):
        probe.extract(f'random:{seed}', tmp_path / f'{name}.npz')
    a, b, c = (probe.read(tmp_path / f'{name}.npz') for name in 'abc')
    assert a['train'].labels.tolist() == [1, 0, 0, 1, 1]
    assert a['test'].labels.tolist() == [0, 1, 1]
    assert a['train'].features.shape == (5, 192)
    assert np.array_equal(a['test'].features, b['test'].features)
    assert not np.allclose(a['test'].features, c['test'].features)
    assert not np.allclose(a['train'].features[0], a['train'].features[1])


@pytest.mark.slow
def test_table_from_nothing(tmp_path, monkeypatch):
    """Two rows, one seed, one epoch: pretraining, linear layer, test, table; then nothing to do."""
    data = tmp_path / 'data'
    draw = np.random.default_rng(0)
    photo = tmp_path / 'photo.jpg'
    Image.fromarray(draw.integers(0, 255, (48, 48, 3)).astype(np.uint8)).save(photo)
    for name in read_lines(SPLITS / 'natural_small.txt', 'list'):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).hardlink_to(photo)
    write_voc(data / 'VOCdevkit' / 'VOC2012', size=(64, 48), train=3, val=3)
    dodo = load_dodo(
        'r2o', data=data, out=tmp_path / 'out', seeds=1, epochs=1,
        rows='random,byol', transfers='linear',
    )  # fmt: skip
    dodo.OUT.mkdir()
    assert DoitMain(ModuleTaskLoader(dodo)).run(['-n', '2', 'table22']) == 0
    table = json.loads((dodo.OUT / 'table22_small.json').read_text())
    assert [row['row'] for row in table['rows']] == ['random', 'byol']
    for row in table['rows']:
        result = read_result(dodo.transferred(row['row'], 0, 'linear'))
        assert row['linear']['mean'] == pytest.approx(result['test']['metrics']['mIoU'], abs=0.01)
        assert row['effective_rank'][0] > 1
    assert 'difference' in table['rows'][0]['linear']
    calls = []
    monkeypatch.setattr(workflow.subprocess, 'run', lambda *args, **_: calls.append(args))
    assert DoitMain(ModuleTaskLoader(dodo)).run(['table22']) == 0
    assert calls == []
