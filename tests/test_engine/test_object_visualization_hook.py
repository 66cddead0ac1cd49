"""Pictures of the objects while training; they do not change the run."""

import os
import random
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from orl_mm.engine.hooks import ObjectVisualizationHook
from tests.small import NARROW, write_photographs

VIEW = [[dict(type='RandomGrayscale', prob=0.5, keep_channels=True)]] * 2
HOOK = dict(type='orl_mm.ObjectVisualizationHook', interval=2, num_images=2, batch_size=3)


def projector(channels):
    layers = dict(num_layers=2, with_last_bn=False, with_avg_pool=False)
    return dict(
        type='NonLinearNeck', in_channels=channels, hid_channels=16, out_channels=8, **layers
    )


def run(work_dir, photos, hooks, prior='grid'):
    """Three steps of R2O with a narrow ResNet-18 on tiles of photographs; the runner."""
    pipeline = [
        dict(type='orl_mm.LoadImage'),
        dict(type='orl_mm.GenerateSuperpixels', method=prior, size=64),
        dict(type='orl_mm.MultiViewWithGeometry', num_views=[1, 1], transforms=VIEW, size=64),
        dict(type='PackInputs', algorithm_keys=('views', 'regions', 'num_regions')),
    ]
    loss = dict(type='orl_mm.RegionCosineLoss')
    model = dict(
        type='orl_mm.R2O',
        grid=2,
        data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
        backbone=dict(type='ResNet', norm_cfg=dict(type='SyncBN'), **NARROW),
        refiner=dict(type='orl_mm.KMeansRefiner', num_clusters=3, mask_size=16),
        neck=dict(type='orl_mm.MaskPoolNeck', projector=projector(64)),
        head=dict(type='orl_mm.RegionPredictHead', predictor=projector(8), loss=loss),
    )
    data = dict(type='orl_mm.ImageList', data_root=str(photos), indices=12, pipeline=pipeline)
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=data,
    )
    back_ends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    cfg = dict(
        default_scope='mmpretrain',
        work_dir=str(work_dir),
        experiment_name=str(work_dir)[-60:].replace('/', '_'),
        model=model,
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=hooks,
        default_hooks=dict(checkpoint=None),
        visualizer=dict(type='Visualizer', vis_backends=back_ends),
        randomness=dict(seed=0),
    )
    init_default_scope('mmpretrain')
    runner = Runner.from_cfg(Config(cfg))
    runner.train()
    return runner


def generators():
    return random.random(), np.random.rand(), float(torch.rand(()))


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('photos'), 12)


@pytest.fixture(scope='module')
def with_pictures(photos, tmp_path_factory):
    runner = run(tmp_path_factory.mktemp('with'), photos, [HOOK])
    return runner, generators()


def test_a_run_with_pictures_equals_one_without(with_pictures, photos, tmp_path):
    runner, after = with_pictures
    plain = run(tmp_path, photos, [])
    assert generators() == after
    state, expected = runner.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert int(expected['refiner.clusterings']) == 3
    momentum = runner.optim_wrapper.state_dict()['state']
    assert momentum.keys() == plain.optim_wrapper.state_dict()['state'].keys()
    assert runner.model.training


def test_pictures_at_start_interval_and_end(with_pictures):
    runner, _ = with_pictures
    folder = runner.work_dir + '/objects/'
    steps = {}
    for prefix in ('step', 'views'):
        for step in (0, 2, 3):
            steps[prefix, step] = np.asarray(Image.open(f'{folder}{prefix}_{step:07d}.png'))
    assert (np.asarray(Image.open(folder + 'latest.png')) == steps['step', 3]).all()
    assert (np.asarray(Image.open(folder + 'latest_views.png')) == steps['views', 3]).all()
    # From the second picture on there is a column more: the objects at the start.
    assert steps['step', 2].shape[1] > steps['step', 0].shape[1]
    backend = runner.visualizer.get_backend('LocalVisBackend')
    assert len(os.listdir(backend._img_save_dir)) == 6


def test_tensorboard_has_the_pictures_and_the_scalars(with_pictures):
    runner, _ = with_pictures
    read = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    events = read.EventAccumulator(
        os.path.join(runner.log_dir, 'vis_data'), size_guidance=dict(images=0, scalars=0)
    ).Reload()
    assert {'objects', 'views'} <= set(events.Tags()['images'])
    for name, file in (('objects', 'step'), ('views', 'views')):
        images = events.Images(name)
        assert [image.step for image in images] == [0, 2, 3]
        drawn = Image.open(f'{runner.work_dir}/objects/{file}_0000003.png').convert('RGB')
        sent = Image.open(BytesIO(images[-1].encoded_image_string))
        assert (np.asarray(sent) == np.asarray(drawn)).all()
    (loss,) = events.Scalars('loss')
    assert loss.step == 3
    assert np.isfinite(loss.value)


def test_the_same_images_and_views_every_time(with_pictures):
    """View pixels are in the third and fifth column and depend on no weights."""
    folder = with_pictures[0].work_dir + '/objects/'
    a, b = (np.asarray(Image.open(f'{folder}views_{s:07d}.png')) for s in (0, 3))
    for column in (2, 4):
        x = 10 + column * 262 + 3
        assert (a[60:300, x : x + 250] == b[60:300, x : x + 250]).all()
        assert len(np.unique(a[60:300, x : x + 250])) > 20


def test_without_a_prior(photos, tmp_path):
    runner = run(tmp_path / 'none', photos, [dict(HOOK, interval=0)], prior='none')
    assert (tmp_path / 'none' / 'objects' / 'step_0000003.png').is_file()
    assert runner.iter == 3


def test_wrong_arguments(photos, tmp_path):
    with pytest.raises(ValueError, match=r'indices \[12\] lie outside .* 12 images'):
        run(tmp_path, photos, [dict(HOOK, indices=[0, 12])])
    with pytest.raises(ValueError, match='num_images=0'):
        ObjectVisualizationHook(num_images=0)
    with pytest.raises(ValueError, match='indices='):
        ObjectVisualizationHook(indices=[])


@pytest.mark.slow
def test_two_processes_draw_once_and_none_waits(photos, tmp_path):
    """Only rank 0 draws, between steps whose collectives both ranks enter."""
    options = (
        'train_cfg.max_iters=2 train_dataloader.batch_size=2 param_scheduler.0.end=2 '
        'param_scheduler.0.warmup=0 custom_hooks.4.interval=1 custom_hooks.4.num_images=2 '
        'train_dataloader.num_workers=0 train_dataloader.persistent_workers=False '
        f'train_dataloader.dataset.data_root={photos}'
    )
    train = f'bash tools/dist_train.sh configs/r2o/demo.py 2 --work-dir {tmp_path} --cfg-options'
    subprocess.run(
        f'{train} {options}'.split(),
        check=True,
        timeout=900,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    names = sorted(path.name for path in (tmp_path / 'objects').iterdir())
    drawn = [f'{kind}_{step:07d}.png' for kind in ('step', 'views') for step in range(3)]
    assert names == ['latest.png', 'latest_views.png', *drawn]
