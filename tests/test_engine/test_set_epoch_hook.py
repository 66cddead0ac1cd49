"""Augmentations differ in every epoch, and are the same in a resumed run."""

import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Subset

from orl_mm.datasets.transforms import SeedSample
from orl_mm.engine.hooks.set_epoch_hook import find_epoch_aware


class Toy(BaseDataset):
    def __init__(self, seeder, **kwargs):
        super().__init__(pipeline=[seeder, _draw], **kwargs)

    def load_data_list(self):
        return [dict() for _ in range(6)]


def _draw(results):
    return dict(inputs=torch.rand(1), index=results['sample_idx'])


class Recorder(BaseModel):
    """Records its inputs."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, inputs, index, mode):
        self.seen += list(zip(index.tolist(), inputs[:, 0].tolist(), strict=False))
        return dict(loss=self.weight.sum())


def run(work_dir, train_cfg, workers=0, sampler='DefaultSampler', wrap=lambda d: d, **options):
    model = Recorder()
    loader = dict(
        batch_size=2,
        num_workers=workers,
        dataset=wrap(Toy(SeedSample(1))),
        sampler=dict(type=sampler, shuffle=True),
        persistent_workers=bool(workers),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_cfg=train_cfg,
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='orl_mm.SetEpochHook')],
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=f'{work_dir.name}{id(model)}',
        **options,
    )
    runner.train()
    if workers:  # the garbage collector would take 5 seconds for each
        runner.train_dataloader._iterator._shutdown_workers()
    return model.seen


def expected(index, epoch):
    seeder = SeedSample(1)
    seeder.set_epoch(epoch)
    seeder.transform(dict(sample_idx=index))
    return torch.rand(1).item()


EPOCHS, ITERS = dict(by_epoch=True, max_epochs=3), dict(by_epoch=False, max_iters=7)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('loop', [EPOCHS, ITERS])
def test_draws_follow_the_epoch(tmp_path, workers, loop, monkeypatch):
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda s: None)
    seen = run(tmp_path, loop, workers)
    assert len(seen) == (18 if loop is EPOCHS else 14)
    assert [value for _, value in seen] == [expected(i, at // 6) for at, (i, _) in enumerate(seen)]


def test_a_resumed_run_by_epochs_sees_the_same(tmp_path):
    whole = run(tmp_path / 'a', dict(EPOCHS, max_epochs=4), workers=1)
    run(tmp_path / 'b', dict(EPOCHS, max_epochs=2), workers=1)
    rest = run(tmp_path / 'b', dict(EPOCHS, max_epochs=4), workers=2, resume=True)
    assert rest == whole[12:]


def test_a_resumed_run_by_iterations_sees_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda s: None)
    whole = run(tmp_path / 'a', dict(ITERS, max_iters=9))
    save = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5))
    run(tmp_path / 'b', dict(ITERS, max_iters=5), default_hooks=save)
    rest = run(tmp_path / 'b', dict(ITERS, max_iters=9), resume=True, default_hooks=save)
    assert rest == whole[10:]


def test_infinite_sampler_raises(tmp_path):
    with pytest.raises(ValueError, match='InfiniteSampler'):
        run(tmp_path, dict(by_epoch=False, max_iters=2), sampler='InfiniteSampler')


@pytest.mark.parametrize('wrap', [lambda d: RepeatDataset(d, 1), lambda d: ConcatDataset([d])])
def test_wrapped_data_set(tmp_path, wrap):
    seen = run(tmp_path, dict(EPOCHS, max_epochs=2), wrap=wrap)
    assert [value for _, value in seen] == [expected(i, at // 6) for at, (i, _) in enumerate(seen)]


def test_finds_nested_pipelines_once_each():
    inner, outer = SeedSample(), SeedSample()

    class Branch:
        transforms = [Compose([inner]), {'other': [inner]}]

    data = Subset(Toy(outer), [0])
    data.dataset.pipeline.transforms.append(Branch())
    assert list(find_epoch_aware(data)) == [outer, inner]
    assert list(find_epoch_aware(Subset(range(3), [0]))) == []
