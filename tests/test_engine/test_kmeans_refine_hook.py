"""The factor K / b of the learning rate, the logged statistics, the warnings. K: test_schedules."""

import json

import pytest
import torch

from orl_mm.engine.hooks import KMeansRefineHook

from .tiny import TinyModel, listen, tiny_runner

RATE = dict(type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True)
LINEAR = dict(type='linear', epochs=[1, 3], values=[8, 16])  # 8, 12, 16


def _hook(**kwargs):
    kwargs.setdefault('schedule', LINEAR)
    return dict(type='orl_mm.KMeansRefineHook', interval=1, **kwargs)


def changed(change):
    """A model whose record of a step is changed."""
    model = TinyModel()
    record = model.record

    def recorded(out):
        last = record(out)
        change(last)
        return last

    model.record = recorded
    return model


def test_without_schedule_k_is_unchanged(tmp_path):
    model = TinyModel()
    model.refiner.num_clusters = 200
    tiny_runner(tmp_path, model, hooks=[_hook(schedule=None)], epochs=1).train()
    assert model.clusters == [200] * 4


def test_factor_multiplies_every_step_once_also_after_a_resume(tmp_path):
    def rates(name, hook=None, **kwargs):
        hooks = [hook or _hook(lr_factor_base=16)]
        runner = tiny_runner(tmp_path / name, hooks=hooks, param_scheduler=RATE, lr=2.0, **kwargs)
        runner.train()
        return [group[0] for group in runner.model.rates]

    factors = [8 / 16] * 4 + [12 / 16] * 4 + [16 / 16] * 4
    plain, whole = rates('plain', _hook()), rates('whole')
    expected = [rate * factor for rate, factor in zip(plain, factors, strict=True)]
    assert whole == pytest.approx(expected, rel=1e-12)
    rates('broken', stop_after=1)
    assert rates('rest', load_from=str(tmp_path / 'broken/epoch_1.pth'), resume=True) == whole[4:]


def test_factor_needs_clustering_and_a_scheduler(tmp_path):
    off = _hook(schedule=dict(type='piecewise', epochs=[1, 3], values=[16, 200]), lr_factor_base=16)
    with pytest.raises(ValueError, match='epoch 3'):
        tiny_runner(tmp_path / 'a', hooks=[off], param_scheduler=RATE).train()
    hooks, cosine = [_hook(lr_factor_base=16)], dict(type='CosineAnnealingLR', T_max=3)
    with pytest.raises(ValueError, match='WarmupCosineLR'):
        tiny_runner(tmp_path / 'b', hooks=hooks, param_scheduler=cosine).train()


def test_scalars_in_the_log_line_and_in_the_back_ends(tmp_path):
    runner = tiny_runner(tmp_path, hooks=[_hook()], epochs=1)
    messages = listen(runner)
    runner.train()
    line = [m for m in messages if 'Epoch(train)' in m][-1]
    lines = list(tmp_path.glob('*/vis_data/scalars.json'))[0].read_text().splitlines()
    written = json.loads(lines[-1])
    # The stand-in's step: ids {0, 1, 2} and {0}, K = 4, 3 valid pairs in 2 images.
    expected = dict(
        num_clusters=4,
        regions_per_image=2.0,
        valid_pairs=1.5,
        empty_clusters=1,
        clustering_time=0.25,
    )
    for name, value in expected.items():
        assert name in line
        assert written[name] == pytest.approx(value)
    for name in ('embedding_std', 'effective_rank', 'network_time', 'data_time'):
        assert name in line
        assert name in written


@pytest.mark.parametrize(('interval', 'expected'), [(3, [3, 7]), (50, [4, 8])])
def test_reads_at_the_interval_or_the_end_of_a_short_epoch(tmp_path, interval, expected):
    """The device is read in no other iteration; epochs have four."""
    reads = []

    def spy(last):
        last.timers = dict(clustering=lambda: reads.append(model.steps) or 0.1)

    model = changed(spy)
    tiny_runner(tmp_path, model, hooks=[dict(_hook(), interval=interval)], epochs=2).train()
    assert reads == expected


def flat(last):
    last.labels0 = torch.zeros(2, 4, 4, dtype=torch.long)
    last.embeddings = torch.eye(4)


@pytest.mark.parametrize(
    ('change', 'interval', 'expected'),
    [
        (flat, 6, ['1.00 objects'] * 2),  # in 12 iterations
        (lambda last: setattr(last, 'embeddings', torch.ones(3, 4)), 1000, ['Embeddings']),
        (lambda last: setattr(last, 'embeddings', torch.eye(4)), 1000, []),
        (lambda last: setattr(last, 'embeddings', torch.zeros(0, 4)), 1000, []),
    ],
)
def test_warnings_of_collapse(tmp_path, change, interval, expected):
    runner = tiny_runner(tmp_path, changed(change), hooks=[_hook(warn_interval=interval)])
    messages = listen(runner)
    runner.train()
    found = [m for m in messages if ' collapse: ' in m]
    assert len(found) == len(expected)
    assert all(word in m for word, m in zip(expected, found, strict=True))


def test_absent_rows_do_not_count(tmp_path):
    def all_rows(last):
        last.embeddings = torch.ones(8, 3)  # B * K rows, of which three are valid
        last.embeddings[[0, 1, 4]] = torch.eye(3)

    runner = tiny_runner(tmp_path, changed(all_rows), hooks=[_hook()], epochs=1)
    runner.train()
    assert runner.message_hub.get_scalar('train/effective_rank').current() == pytest.approx(3.0)


def test_off_epochs_are_announced_and_empty_clusters_left_out(tmp_path):
    hook = _hook(schedule=dict(type='constant', values=[200]))
    runner = tiny_runner(tmp_path, hooks=[hook], epochs=1)
    messages = listen(runner)
    runner.train()
    assert sum('clustering off' in m for m in messages) == 1
    assert runner.model.clusters == [None] * 4
    assert 'train/empty_clusters' not in runner.message_hub.log_scalars


def test_model_without_refiner_and_wrong_arguments(tmp_path):
    model = TinyModel()
    del model.refiner
    with pytest.raises(TypeError, match='refiner'):
        tiny_runner(tmp_path, model, hooks=[_hook()]).train()
    with pytest.raises(ValueError, match='interval'):
        KMeansRefineHook(interval=0)
    with pytest.raises(ValueError, match='lr_factor_base'):
        KMeansRefineHook(lr_factor_base=0)
