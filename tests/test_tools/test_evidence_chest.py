"""The small tables of X-rays: plan, AP of seeds, probes of few labels; by hand, scikit-learn."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from orl_mm.engine.cli import UserError
from orl_mm.io.image_list import read_lines

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))
from _evidence import (
    attention,
    attention_table,
    probe,
    probe_table,  # noqa: E402
    sweep_table,
    tables,
)
from _evidence.chest_plan import ROWS, SWEEP, ChestPlan, scored_images  # noqa: E402


@pytest.fixture
def data(tmp_path):
    """All names of the scored images, nothing in them; the exemplar, too."""
    for name, stems in (
        ('jsrt', [*read_lines('jsrt_score', ''), 'JPCNN001']),
        ('montgomery', ['b', 'a']),
    ):
        (tmp_path / 'cxr' / name / 'images').mkdir(parents=True)
        for stem in stems:
            (tmp_path / 'cxr' / name / 'images' / f'{stem}.jpg').touch()
    return tmp_path / 'cxr'


def test_scored_images(data):
    found = scored_images(data)
    assert found[-2:] == ['montgomery/images/a.jpg', 'montgomery/images/b.jpg']
    assert len(found) == 49
    assert not any('JPCNN001' in name for name in found)
    assert not set(found) & set(read_lines('cxr_small', ''))  # nothing is trained on
    next((data / 'jsrt/images').glob('JPCLN*')).unlink()
    with pytest.raises(UserError, match='46 of the 47 scored images'):
        scored_images(data)


def test_plan_of_a_guided_row(data, tmp_path):
    plan = ChestPlan(tmp_path / 'out', data)
    checkpoint = plan.attention(ROWS['deformable'], 2)
    plan.registered_to_scored()
    jobs = plan.jobs
    assert list(jobs) == [
        'segmenter',
        'average',
        'registered',
        'deformable_seed2',
        'deformable_seed2_attention',
        'registered_to_scored',
    ]
    assert [jobs[name].after for name in jobs] == [
        [],
        ['segmenter'],
        ['average'],
        ['registered'],
        ['deformable_seed2'],
        ['average'],
    ]
    assert checkpoint == tmp_path / 'out/pretrain_cxr/deformable_seed2/epoch_10.pth'
    assert {
        'randomness.seed=2',
        'train_dataloader.dataset.pipeline.0.seed=2',
        f'train_dataloader.dataset.pipeline.2.source={tmp_path}/out/templates/registered',
    } <= set(jobs['deformable_seed2'].command)
    assert jobs['segmenter'].done.name == 'epoch_30.pth'
    # Templates are of the training images alone; those of the scored ones are apart.
    assert jobs['registered'].command[-4:-2] == ['--config', 'configs/medino/small/dino.py']
    assert str(tmp_path / 'out/templates/scored') in jobs['registered_to_scored'].command
    assert 'JPCNN001' in jobs['registered'].command


def test_sweep_changes_the_strengths_alone(data, tmp_path):
    plan = ChestPlan(tmp_path / 'out', data)
    cfg = attention.Config.fromfile(str(Path(__file__).parents[2] / ROWS['deformable'].config))
    hook = cfg.custom_hooks[8]
    assert hook.type == 'orl_mm.AttentionRegHook'
    assert (hook.lambda1, hook.lambda2, hook.spread) == (1e-3, 1e-3, 0.05)
    for row in SWEEP:
        strength, spread = row.numbers['strength'], row.numbers['spread']
        _, name = plan.pretrain(row, 0)
        changed = {option for option in plan.jobs[name].command if 'custom_hooks' in option}
        assert changed == (
            set()
            if row.key == 'deformable'
            else {
                f'custom_hooks.8.lambda1={strength:g}',
                f'custom_hooks.8.lambda2={strength:g}',
                f'custom_hooks.8.spread={spread:g}',
            }
        )
    names = [name for name in plan.jobs if name.startswith('deformable')]
    assert len(names) == len(SWEEP) == 4
    assert 'deformable_seed0' in names


def result(aps, cover=0.5):
    """As _tables.evaluate gives it: part -> AP of images p, q, r."""
    return dict(
        details={part: dict(zip('pqr', values, strict=False)) for part, values in aps.items()},
        patients={},
        metrics={f'{part}_coverage': cover for part in aps},
    )


def test_attention_summary_by_hand():
    one = result(dict(heart=[0.2, 0.4, 0.9], left_lung=[0.6, 0.8, 1.0]), 0.4)
    two = result(dict(heart=[0.4, 0.4, 0.7], left_lung=[0.8, 0.8, 0.8]), 0.8)
    found = attention.summary([one, two])
    assert found['heart']['ap'] == pytest.approx(50)
    assert found['heart']['seeds'] == pytest.approx([50, 50])
    assert found['mean']['ap'] == pytest.approx(65)
    assert found['mean']['seeds'] == pytest.approx([65, 65])
    assert found['left_lung']['coverage'] == pytest.approx(0.6)
    # A resample of one image alone is its own value: of one seed, 20 and 90 are the heart's ends.
    alone = attention.summary([one])['heart']
    assert (alone['low'], alone['high']) == pytest.approx((20, 90))
    every = [
        np.mean([seed['details']['heart'][image] for seed in seeds for image in images])
        for seeds in product([one, two], repeat=2)
        for images in product('pqr', repeat=3)
    ]
    assert [found['heart']['low'], found['heart']['high']] == pytest.approx(
        100 * np.percentile(every, [2.5, 97.5]), abs=2.5
    )  # 2,000 draws of 108
    less = [
        result(
            {
                part: [value - 0.1 for value in one['details'][part].values()]
                for part in one['details']
            }
        )
        for one in (one, two)
    ]
    gain = attention.summary([one, two], less)
    # The same in every image and seed, so without a width.
    assert [
        gain['heart'][key] for key in ('difference', 'difference_low', 'difference_high')
    ] == pytest.approx([10, 10, 10])


def hospital(n, seed, shift=1.5):
    draw = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(float)
    return probe.Hospital(
        draw.normal(size=(n, 4)) * [1, 5, 1, 1] + shift * labels[:, None] * [1, 0, 0, 0], labels
    )


def test_subsets_have_both_kinds_and_are_the_same_each_time():
    labels = np.arange(440) % 2
    for fraction, size in ((0.01, 4), (0.1, 44)):
        first, second = (probe.subsets(labels, fraction, 5) for _ in range(2))
        assert [len(chosen) for chosen in first] == [size] * 5
        assert all(labels[chosen].sum() == size / 2 for chosen in first)
        assert np.array_equal(first, second)
        assert len({tuple(c) for c in first}) == 5
    assert np.array_equal(probe.subsets(labels, 1.0, 1), [np.arange(440)])


def test_probe_scores_are_a_logistic_regression_of_standardised_features():
    train, test = hospital(200, 0), hospital(80, 1)
    found = probe.scores(train, test, 0.02, 3)  # four labels: C is 0.01
    for chosen, got in zip(probe.subsets(train.labels, 0.02, 3), found, strict=False):
        scaler = StandardScaler().fit(train.features[chosen])
        model = LogisticRegression(C=1e-2).fit(
            scaler.transform(train.features[chosen]), train.labels[chosen]
        )
        assert got == pytest.approx(model.decision_function(scaler.transform(test.features)))
    (full,) = probe.scores(train, test, 1.0, 1)
    few = np.mean([roc_auc_score(test.labels, one) for one in found])
    assert roc_auc_score(test.labels, full) > max(few, 0.8)
    (within,) = probe.scores_within(train)
    assert roc_auc_score(train.labels, within) > 0.8
    # An image's own label is not used for it: turned labels of noise are not learned by heart.
    noise = probe.Hospital(np.random.default_rng(2).normal(size=(60, 40)), train.labels[:60])
    assert roc_auc_score(noise.labels, probe.scores_within(noise)[0]) < 0.75


def test_probe_summary():
    labels = np.array([0.0, 0, 1, 1])
    right, wrong = np.array([[1.0, 2, 3, 4]]), np.array([[4.0, 3, 2, 1]])
    half = np.array([[1.0, 3, 2, 4]])  # three of four pairs
    found = probe.summary([np.concatenate([right, half]), half], labels, [right, right])
    assert found['seeds'] == [87.5, 75.0]
    assert found['auroc'] == 81.25
    assert found['difference'] == -18.75
    assert probe.summary([wrong], labels)['auroc'] == 0
    same = probe.summary([half], labels, [half])
    assert (same['difference_low'], same['difference_high']) == (0, 0)
    with pytest.raises(ValueError, match='2 seeds cannot be compared with 1'):
        probe.summary([half, half], labels, [half])
    follows = probe.summary([right, wrong], labels, [right, wrong])
    assert (follows['difference_low'], follows['difference_high']) == (0, 0)
    # A seed that is right and one that is wrong: as often both are drawn as one of them alone.
    both = probe.summary([right, wrong], labels)
    assert (both['auroc'], both['low'], both['high']) == (50, 0, 100)


def test_extract(tmp_path, monkeypatch):
    """Both hospitals' labels stay with their images; random networks differ by their seed alone."""
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


def test_tables_are_written(tmp_path):
    """Layouts take what the summaries give; the sweep draws both spreads."""
    found = attention.summary(
        [result({part: [0.2, 0.4, 0.9] for part in ('heart', 'left_lung', 'right_lung')})]
    )
    row = dict(jsrt=found, montgomery=found)
    stamp = tables.stamp('tools/evidence.py 3.1', [0])
    table = dict(
        table='3.1',
        rows=[dict(row='dino', name='DINO', **row)],
        maps=[dict(row=None, name='ceiling', **row)],
        **stamp,
    )
    text = tables.write(table, tmp_path, attention_table.markdown, attention_table.draw)
    assert '| DINO | 50.0 | 50.0 | 50.0 | 50.0 [20.0, 90.0] | 50.0 |  | 50.0 | 50.0 | 0.50' in text
    lines = [line.count('|') for line in text.splitlines() if line.startswith('|')]
    assert len(set(lines)) == 1
    sweep = dict(
        table='lambda',
        rows=[
            dict(strength=s, spread=k, **row) for s, k in ((0.0, 0.0), (1e-3, 0.0), (1e-3, 0.05))
        ],
        **stamp,
    )
    text = tables.write(sweep, tmp_path, sweep_table.markdown, sweep_table.draw)
    assert '| 0.001 | 0.05 | 50.0' in text
    share = dict(auroc=60.0, low=50.0, high=70.0, seeds=[60.0])
    columns = {'1%': share, 'within': share}
    probes = dict(
        table='3.2',
        rows=[dict(row='dino', name='DINO', **columns)],
        images=dict(train=4, train_positives=2, test=6, test_positives=3),
        draws={'1%': 20},
        **stamp,
    )
    text = tables.write(probes, tmp_path, probe_table.markdown, probe_table.draw)
    assert '| DINO | 60.0 [50.0, 70.0] |  |' in text
    assert '(2 positive)' in text
    assert {file.name for file in tmp_path.iterdir()} == {
        f'{name}_small.{end}'
        for name in ('table31', 'table32', 'lambda')
        for end in ('md', 'json', 'png')
    }
