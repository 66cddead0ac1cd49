"""K by epoch, the factor of the learning rate, the scalars of the log, the warnings."""

import json

import pytest
import torch

from .tiny import TinyModel, listen, tiny_runner

RATE = dict(type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True)
LINEAR = dict(type='linear', epochs=[1, 3], values=[8, 16])  # 8, 12, 16


def _hook(**kwargs):
    kwargs.setdefault('schedule', LINEAR)
    return dict(type='orl_mm.KMeansRefineHook', interval=1, **kwargs)


def test_k_by_epoch_and_after_a_resume(tmp_path):
    runner = tiny_runner(tmp_path / 'a', hooks=[_hook()], stop_after=2)
    runner.train()
    assert runner.model.clusters == [8] * 4 + [12] * 4
    rest = tiny_runner(
        tmp_path / 'b', hooks=[_hook()], resume=True, load_from=str(tmp_path / 'a/epoch_2.pth')
    )
    rest.train()
    assert rest.model.clusters == [16] * 4


def test_k_in_a_loop_by_iterations(tmp_path):
    runner = tiny_runner(tmp_path, hooks=[_hook()], iters=10)  # 4 iterations a pass
    runner.train()
    assert runner.model.clusters == [8] * 4 + [12] * 4 + [16] * 2


def test_without_schedule_the_refiner_keeps_its_k(tmp_path):
    model = TinyModel()
    model.refiner.num_clusters = 200
    tiny_runner(tmp_path, model, hooks=[_hook(schedule=None)], epochs=1).train()
    assert model.clusters == [200] * 4


def test_factor_multiplies_every_step_once_also_after_a_resume(tmp_path):
    def run(name, **kwargs):
        hook = _hook(lr_factor_base=16)
        runner = tiny_runner(tmp_path / name, hooks=[hook], param_scheduler=RATE, lr=2.0, **kwargs)
        runner.train()
        return [group[0] for group in runner.model.rates]

    plain = tiny_runner(tmp_path / 'plain', hooks=[_hook()], param_scheduler=RATE, lr=2.0)
    plain.train()
    factors = [8 / 16] * 4 + [12 / 16] * 4 + [16 / 16] * 4
    expected = [
        group[0] * factor for group, factor in zip(plain.model.rates, factors, strict=False)
    ]
    whole = run('whole')
    assert whole == pytest.approx(expected, rel=1e-12)
    run('broken', stop_after=1)
    assert run('rest', load_from=str(tmp_path / 'broken/epoch_1.pth'), resume=True) == whole[4:]


def test_factor_is_refused_without_clustering_or_scheduler(tmp_path):
    off = _hook(schedule=dict(type='piecewise', epochs=[1, 3], values=[16, 200]), lr_factor_base=16)
    with pytest.raises(ValueError, match='epoch 3'):
        tiny_runner(tmp_path / 'a', hooks=[off], param_scheduler=RATE).train()
    with pytest.raises(ValueError, match='WarmupCosineLR'):
        tiny_runner(
            tmp_path / 'b',
            hooks=[_hook(lr_factor_base=16)],
            param_scheduler=dict(type='CosineAnnealingLR', T_max=3),
        ).train()


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


def test_reads_only_at_the_interval(tmp_path):
    model, reads = TinyModel(), []
    record = model.record

    def spy(out):
        last = record(out)
        last.timers = dict(clustering=lambda: reads.append(model.steps) or 0.1)
        return last

    model.record = spy
    tiny_runner(tmp_path, model, hooks=[dict(_hook(), interval=3)], epochs=2).train()
    assert reads == [3, 7]  # the third iteration of each epoch of four


def test_a_short_epoch_is_read_at_its_end(tmp_path):
    runner = tiny_runner(tmp_path, hooks=[dict(_hook(), interval=50)], epochs=2)
    runner.train()
    assert len(runner.message_hub.get_scalar('train/num_clusters').data[0]) == 2


def _warnings(tmp_path, change, **hook):
    model = TinyModel()
    record = model.record

    def changed(out):
        last = record(out)
        change(last)
        return last

    model.record = changed
    runner = tiny_runner(tmp_path, model, hooks=[_hook(**hook)])
    messages = listen(runner)
    runner.train()
    return [m for m in messages if ' collapse: ' in m]


def test_warns_of_collapsed_clusters_once_in_a_while(tmp_path):
    def change(last):
        last.labels0 = torch.zeros(2, 4, 4, dtype=torch.long)
        last.embeddings = torch.eye(4)

    messages = _warnings(tmp_path, change, warn_interval=6)
    assert len(messages) == 2
    assert all('1.00 objects' in m for m in messages)


def test_warns_of_collapsed_embeddings(tmp_path):
    messages = _warnings(tmp_path, lambda last: setattr(last, 'embeddings', torch.ones(3, 4)))
    assert len(messages) == 1
    assert 'Embeddings' in messages[0]


def test_says_nothing_of_healthy_or_missing_embeddings(tmp_path):
    assert not _warnings(tmp_path / 'a', lambda last: setattr(last, 'embeddings', torch.eye(4)))
    assert not _warnings(
        tmp_path / 'b', lambda last: setattr(last, 'embeddings', torch.zeros(0, 4))
    )


def test_absent_rows_do_not_count(tmp_path):
    model = TinyModel()
    record = model.record

    def all_rows(out):
        last = record(out)
        last.embeddings = torch.ones(8, 3)  # B * K rows, of which three are valid
        last.embeddings[[0, 1, 4]] = torch.eye(3)
        return last

    model.record = all_rows
    runner = tiny_runner(tmp_path, model, hooks=[_hook()], epochs=1)
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
    from orl_mm.engine.hooks import KMeansRefineHook

    with pytest.raises(ValueError, match='interval'):
        KMeansRefineHook(interval=0)
    with pytest.raises(ValueError, match='lr_factor_base'):
        KMeansRefineHook(lr_factor_base=0)
