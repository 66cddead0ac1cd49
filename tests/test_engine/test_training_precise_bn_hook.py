"""Precise batch-norm statistics: averages of batches, from the pass that training makes."""

import itertools

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import BatchSampler

from orl_mm.engine.hooks import TrainingPreciseBNHook
from orl_mm.weights import load_weights
from tests.ranks import run_ranks


class Numbers(BaseDataset):
    """Sample i is the number i, four channels of it."""

    def load_data_list(self):
        return [dict(number=float(i)) for i in range(12)]

    def __getitem__(self, i):
        number = self.get_data_info(i)['number']
        return dict(
            inputs=torch.tensor([number, 2 * number, -number, 1.0]), data_samples=torch.tensor(i)
        )


class Net(BaseModel):
    """A norm over the inputs, and one over what only the loss computes: their squares."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.head = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.modes, self.seen = [], []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.modes.append((mode, torch.is_grad_enabled()))
        self.seen.append(data_samples.tolist())
        x = self.norm(inputs)
        if mode != 'loss':
            return x
        return dict(loss=self.head(inputs**2).sum() + x.sum())


class Preprocessor(nn.Module):
    """Adds 100 in training only, as batch augmentations do."""

    def forward(self, data, training=False):
        return dict(data, inputs=data['inputs'] + 100 * training)

    def cast_data(self, data):
        return data


class Watch(Hook):
    """The images of training's own steps."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(data_batch['data_samples'].tolist())


def run(tmp_path, hook=True, epochs=None, workers=0, batch_sampler=None, **options):
    loop = dict(by_epoch=True, max_epochs=epochs) if epochs else dict(by_epoch=False, max_iters=5)
    sampler = dict(type='DefaultSampler' if epochs else 'InfiniteSampler', shuffle=True)
    batches = dict(batch_sampler=batch_sampler) if batch_sampler else {}
    watch = Watch()
    runner = Runner(
        Net(data_preprocessor=Preprocessor()),
        str(tmp_path),
        train_dataloader=dict(
            batch_size=4,
            sampler=sampler,
            dataset=Numbers(),
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type='default_collate'),
            **batches,
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        train_cfg=loop,
        custom_hooks=[watch]
        + ([TrainingPreciseBNHook(**{'num_samples': 8, **options})] if hook else []),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=bool(epochs), interval=1)
        ),
        randomness=dict(seed=0),
        experiment_name=f'{tmp_path.parent.name}_{tmp_path.name}',
        log_level='ERROR',
    )
    runner.train()
    if workers:  # else the garbage collector waits for them, seconds later
        runner.train_dataloader._iterator._shutdown_workers()
    return runner, watch


def check(mean, var, batches, power=1):
    """Averages over batches of their mean and unbiased variance, by numpy."""
    x = np.array([[[n, 2 * n, -n, 1.0] for n in batch] for batch in batches]) + 100
    x = x**power
    np.testing.assert_allclose(mean, x.mean(1).mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, x.var(1, ddof=1).mean(0), rtol=1e-3, atol=1e-6)


def test_statistics_are_averages_over_batches_of_the_training_pass(tmp_path):
    runner, _ = run(tmp_path / 'a', interval=5)
    model = runner.model
    assert model.modes[5:] == [('loss', False)] * 2  # eight samples, batches of four
    check(model.norm.running_mean, model.norm.running_var, model.seen[5:])
    check(model.head.running_mean, model.head.running_var, model.seen[5:], power=2)
    assert model.norm.momentum == model.head.momentum == 0.1
    # What is tested is what is stored.
    stored = load_weights(tmp_path / 'a' / 'iter_5.pth')['state_dict']
    assert torch.equal(stored['norm.running_mean'], model.norm.running_mean)


def precise_passes(model):
    """Batches of the passes without gradient, each with the number of steps done before."""
    done = itertools.accumulate(mode == ('loss', True) for mode in model.modes)
    passes = zip(done, model.seen, model.modes, strict=True)
    return [(step, seen) for step, seen, mode in passes if mode == ('loss', False)]


@pytest.mark.parametrize(
    ('epochs', 'interval', 'done_at'),
    [(None, 2, [2, 4, 5]), (None, 5, [5]), (None, 7, [5]), (3, 2, [6, 9]), (3, 3, [9])],
)
def test_every_interval_and_at_the_end(tmp_path, epochs, interval, done_at):
    """Five iterations, or epochs of three steps; a pass takes two batches."""
    runner, _ = run(tmp_path / 'a', epochs=epochs, interval=interval)
    assert [step for step, _ in precise_passes(runner.model)] == sorted(done_at * 2)


@pytest.mark.parametrize('workers', [0, 1])
def test_training_misses_no_image(tmp_path, workers):
    """mmpretrain's hook takes batches from the loader that the loop goes on with."""
    _, plain = run(tmp_path / 'a', hook=False, workers=workers)
    drawn = torch.get_rng_state()
    _, precise = run(tmp_path / 'b', workers=workers, interval=1)
    assert plain.seen == precise.seen
    assert len(plain.seen) == 5
    assert torch.equal(drawn, torch.get_rng_state())  # nor anything of the run's generator


def test_other_images_each_time_and_the_same_in_each_run(tmp_path):
    first, _ = run(tmp_path / 'a', interval=1)
    again, _ = run(tmp_path / 'b', interval=1)
    drawn = [seen for _, seen in precise_passes(first.model)]
    assert first.model.seen == again.model.seen
    assert len({str(seen) for seen in drawn}) > 2
    assert all(len(set(a + b)) == 8 for a, b in zip(drawn[::2], drawn[1::2], strict=False))


def test_batch_sampler_and_at_most_one_pass(tmp_path):
    sampler = dict(type=BatchSampler, batch_size=6, drop_last=True)
    runner, _ = run(tmp_path / 'a', epochs=1, batch_sampler=sampler, num_samples=12)
    found = [seen for _, seen in precise_passes(runner.model)]
    assert [len(seen) for seen in found] == [6, 6]
    check(runner.model.norm.running_mean, runner.model.norm.running_var, found)
    runner, _ = run(tmp_path / 'b', interval=5, num_samples=1000)
    assert sorted(sum(runner.model.seen[5:], [])) == list(range(12))


def test_wrong_arguments(tmp_path):
    for options in (dict(num_samples=0), dict(interval=0)):
        with pytest.raises(ValueError, match='at least 1'):
            TrainingPreciseBNHook(**options)
    with pytest.raises(ValueError, match='num_samples=3 .* less than one batch .* 4'):
        run(tmp_path / 'a', num_samples=3)


def statistics(folder, rank, world):
    """What each process finds; the model is not wrapped."""
    model = run(folder / str(rank), interval=5)[0].model
    return dict(seen=model.seen[5:], norm=model.norm.state_dict(), head=model.head.state_dict())


def test_two_processes_share_the_samples_and_the_statistics(tmp_path):
    """Eight samples are one batch of four on each process, and they differ."""
    results = run_ranks(statistics, tmp_path)
    assert [len(result['seen']) for result in results] == [1, 1]
    seen = results[0]['seen'] + results[1]['seen']
    assert len(set(sum(seen, []))) == 8
    for result in results:
        for part, power in (('norm', 1), ('head', 2)):
            check(result[part]['running_mean'], result[part]['running_var'], seen, power)
