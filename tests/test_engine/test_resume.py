"""A run that was killed and resumed equals the unbroken run bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from orl_mm.engine.checkpoint import load_weights

CONFIGS = Path(__file__).parents[2] / 'configs' / 'r2o'


class Kill(Hook):
    """End the process's work in the middle of an epoch, after its checkpoint was written."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photographs')
    draw = np.random.default_rng(0)
    for i in range(6):
        patches = draw.integers(0, 256, (2, 2, 3)).repeat(32, 0).repeat(32, 1)
        noisy = (patches + draw.integers(-20, 20, patches.shape)).clip(0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f'{i}.png')
    return folder


def _run(preset, photographs, work_dir, kill=False, **changes):
    """Three epochs of two steps: ResNet-18, 64 x 64, one worker process that draws."""
    cfg = Config.fromfile(CONFIGS / f'{preset}.py')
    cfg.model.update(grid=2)
    cfg.model.backbone.update(depth=18)
    cfg.model.refiner.update(mask_size=16)
    cfg.model.neck.projector.update(in_channels=512, hid_channels=32, out_channels=16)
    cfg.model.head.predictor.update(in_channels=16, hid_channels=32, out_channels=16)
    cfg.train_dataloader.update(batch_size=3, num_workers=1, pin_memory=False)
    cfg.train_dataloader.dataset.data_root = str(photographs)
    for transform in cfg.train_dataloader.dataset.pipeline:
        if 'size' in transform:
            transform.size = 64
    cfg.custom_hooks = [h for h in cfg.custom_hooks if h.type != 'orl_mm.ObjectVisualizationHook']
    for hook in cfg.custom_hooks:
        if hook.type == 'orl_mm.KMeansRefineHook':
            hook.schedule = dict(type='linear', epochs=[1, 3], values=[3, 7])
    cfg.param_scheduler[0].update(warmup=1, end=3)
    cfg.train_cfg.max_epochs = 3
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.update(work_dir=str(work_dir), experiment_name=f'{preset}_{work_dir.name}', **changes)
    runner = Runner.from_cfg(cfg)
    if kill:
        runner.register_hook(Kill())
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return load_weights(work_dir / ('epoch_1.pth' if kill else 'epoch_3.pth'))


def _same(a, b, where=''):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            _same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            _same(x, y, f'{where}[{i}]')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.parametrize(
    'preset', ['r50_in1k', pytest.param('r50_in1k_official', marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_unbroken(preset, photographs, tmp_path):
    whole = _run(preset, photographs, tmp_path / 'whole')
    _run(preset, photographs, tmp_path / 'broken', kill=True)
    resumed = _run(preset, photographs, tmp_path / 'resumed', resume=True,
                   load_from=str(tmp_path / 'broken' / 'epoch_1.pth'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        _same(whole[part], resumed[part], part)
    # Nothing above holds by standing still.
    before = load_weights(tmp_path / 'broken' / 'epoch_1.pth')['state_dict']
    for key in ('backbone.conv1.weight', 'target.backbone.layer4.1.conv2.weight',
                'refiner.clusterings'):
        assert not torch.equal(before[key], whole['state_dict'][key]), key
    rates = [history['message_hub']['log_scalars']['train/lr'].data[0].tolist()
             for history in (whole, resumed)]
    assert rates[0] == rates[1] and len(rates[0]) == 6
