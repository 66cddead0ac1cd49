"""Training on cached features equals training on the images."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from orl_mm.engine.hooks import FrozenFeaturesHook
from orl_mm.registry import MODELS
from tests.test_engine.guided import SIDE, VIT
from tests.test_engine.tiny import listen, loader

BACKBONE = dict(type='mmpretrain.VisionTransformer', **VIT)
PROBE = dict(type='orl_mm.LinearProbe', num_classes=2, blocks=2, backbone=BACKBONE)


class Labeled(Dataset):
    """Random images of two findings; one label is unknown."""

    metainfo = dict(classes=('a', 'b'))
    seen = []  # of the class: a runner copies its data sets

    def __init__(self, length=10):
        draw = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (length, 3, SIDE, SIDE), generator=draw).float()
        self.labels = torch.randint(0, 2, (length, 2), generator=draw).float()
        self.labels[3, 0] = float('nan')

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.seen.append((len(self), index))
        sample = DataSample(metainfo=dict(patient=f'p{index // 2}'))
        return dict(inputs=self.images[index], data_samples=sample.set_gt_score(self.labels[index]))


def make_runner(work_dir, hook=True, model=None, epochs=3, **options):
    torch.manual_seed(0)
    kwargs = dict(
        train_dataloader=loader(Labeled(), 4, shuffle=True),
        val_dataloader=loader(Labeled(6), 4),
        val_cfg=dict(),
        val_evaluator=dict(type='orl_mm.MultiLabelAUROC', resamples=10),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=epochs),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='orl_mm.FrozenFeaturesHook')] if hook else [],
        experiment_name=f'{work_dir}'.replace('/', '_'),
        default_scope='mmpretrain',
        randomness=dict(seed=0),
    )
    model = MODELS.build(PROBE) if model is None else model
    return Runner(model, str(work_dir), **{**kwargs, **options})


def test_equals_training_on_images(tmp_path):
    """Shuffled batches in the same order, the same steps, the same validation."""
    weights, scores = [], []
    for hook in (True, False):
        runner = make_runner(tmp_path / str(hook), hook)
        start = runner.model.linear.weight.clone()
        runner.train()
        weights.append(runner.model.linear.weight.detach())
        scores.append(runner.message_hub.get_scalar('val/auroc/mean').current())
        assert (weights[-1] - start).abs().max() > 0.01
    torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)
    assert scores[0] == scores[1]


def test_each_image_is_read_once_and_the_log_says_so(tmp_path):
    Labeled.seen.clear()
    runner = make_runner(tmp_path, epochs=4)
    said = listen(runner)
    runner.train()
    assert Labeled.seen == [(10, i) for i in range(10)] + [(6, i) for i in range(6)]
    assert any(text.startswith('Features of 10 train images, 24 numbers each') for text in said)
    batch = next(iter(runner.val_dataloader))
    assert batch['inputs'].shape == (4, 24)
    assert [s.patient for s in batch['data_samples']] == ['p0', 'p0', 'p1', 'p1']


def test_resumed_is_unbroken(tmp_path):
    whole = make_runner(tmp_path / 'whole')
    whole.train()
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / 'epoch_2.pth'))
    again = make_runner(tmp_path / 'again', **resume)
    again.train()
    assert torch.equal(again.model.linear.weight, whole.model.linear.weight)
    assert (tmp_path / 'again' / 'epoch_3.pth').is_file()


def test_without_validation_and_without_an_incomplete_batch(tmp_path):
    options = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    train = loader(Labeled(), 4, drop_last=True)
    runner = make_runner(tmp_path, train_dataloader=train, **options)
    runner.train()
    assert runner.iter == 3 * 2  # 10 images in batches of 4


def test_models_and_loops_that_cannot_serve(tmp_path):
    model = MODELS.build(PROBE)
    model.backbone.cls_token.requires_grad_()
    with pytest.raises(ValueError, match='needs a frozen backbone'):
        make_runner(tmp_path / 'a', model=model).train()
    probe = MODELS.build(dict(type='orl_mm.AttentionProbe', backbone=PROBE['backbone']))
    with pytest.raises(ValueError, match='needs a model with extract_feat.*AttentionProbe'):
        FrozenFeaturesHook().before_train(SimpleNamespace(model=probe))
    with pytest.raises(ValueError, match='epoch-based'):
        make_runner(tmp_path / 'b', train_cfg=dict(by_epoch=False, max_iters=2)).train()
