"""Linear probe and k-NN on ImageNet's labels: settings, and real runs on small folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from orl_mm.engine.checkpoint import load_weights
from orl_mm.registry import DATASETS, MODELS
from tests.small import NARROW, same

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'transfer' / 'imagenet'


def load(name):
    cfg = Config.fromfile(CONFIGS / f'{name}_r50.py')
    init_default_scope(cfg.default_scope)
    return cfg


def test_settings_of_the_linear_probe():
    """mmpretrain's recipe for BYOL: LARS 1.6 for 4096 images, 90 epochs, cosine, no decay."""
    cfg = load('linear')
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
        'LARS', 1.6, 0.9, 0.)
    assert cfg.train_cfg.max_epochs == 90 and cfg.train_dataloader.batch_size * 8 == 4096
    assert cfg.auto_scale_lr.base_batch_size == 4096
    schedule, = cfg.param_scheduler
    assert (schedule.type, schedule.T_max) == ('CosineAnnealingLR', 90)
    assert cfg.model.backbone.depth == 50 and cfg.model.backbone.frozen_stages == 4
    assert cfg.model.backbone.init_cfg.type == 'orl_mm.PretrainedBackbone'
    assert cfg.model.head.num_classes == 1000 and cfg.model.head.in_channels == 2048


def test_settings_of_knn():
    """eval_knn.py of facebookresearch/dino."""
    cfg = load('knn')
    assert (cfg.model.k, cfg.model.temperature, cfg.model.num_classes) == (20, 0.07, 1000)
    bank = cfg.custom_hooks[0].dataloader.dataset
    assert (bank.split, cfg.test_dataloader.dataset.split) == ('train', 'val')
    for pipeline in (bank.pipeline, cfg.test_dataloader.dataset.pipeline):
        assert (pipeline[1].scale, pipeline[1].interpolation, pipeline[2].crop_size) == (
            256, 'bicubic', 224)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two classes that differ in colour, twelve images to train on and six to test on."""
    root, draw = tmp_path_factory.mktemp('imagenet'), np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 3)):
        for label, colour in (('n01', (200, 60, 40)), ('n02', (90, 120, 130))):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                image = (draw.normal(colour, 50, (72, 72, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(image).save(root / split / label / f'{i}.png')
    return root


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """A checkpoint with a backbone whose statistics are those of no fresh network."""
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='mmpretrain.ResNet', **NARROW))
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, .1)
            module.running_var.uniform_(.5, 1.5)
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value
                                in backbone.state_dict().items()}), path)
    return path


def small_data(loader, root, split, batch_size):
    pipeline = loader.dataset.pipeline
    for step in pipeline:
        for key in {'scale', 'crop_size'} & set(step):
            step[key] = {224: 48, 256: 56}[step[key]]
    loader.dataset = dict(type='CustomDataset', data_root=str(root / split), pipeline=pipeline)
    loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False,
                  pin_memory=False)


def quiet(cfg, work_dir):
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}'
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.logger.interval = 1
    return cfg


def test_linear_probe_trains_its_layer_alone(folders, pretrained, tmp_path):
    """Weights and running statistics of the backbone stay; what is learned tells colours apart."""
    cfg = load('linear')
    cfg.model.backbone.update(NARROW)
    cfg.model.backbone.init_cfg.checkpoint = str(pretrained)
    cfg.model.head.update(in_channels=64, num_classes=2, topk=(1, ))
    for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        small_data(loader, folders, split, 4)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = (1, )
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.05, momentum=0.9)  # for a batch of 4
    cfg.train_cfg.max_epochs = 8
    cfg.param_scheduler[0].T_max = 8
    cfg.default_hooks.checkpoint.interval = 8
    runner = Runner.from_cfg(quiet(cfg, tmp_path / 'work'))
    runner.train()
    state = load_weights(tmp_path / 'work' / 'epoch_8.pth')
    before = load_weights(pretrained)['state_dict']
    same({key: state['state_dict'][key] for key in before}, before)
    losses = state['message_hub']['log_scalars']['train/loss'].data[0]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert state['message_hub']['log_scalars']['val/accuracy/top1'].current() > 60


def test_knn_through_the_config_is_scikit_learns(folders, pretrained, tmp_path):
    """tools/test.py's way: the checkpoint of the pretraining as it is, features of both splits."""
    cfg = load('knn')
    cfg.model.update(num_classes=2, k=5)
    cfg.model.backbone.update(NARROW)
    small_data(cfg.test_dataloader, folders, 'val', 3)
    small_data(cfg.custom_hooks[0].dataloader, folders, 'train', 4)
    cfg.test_evaluator.topk = (1, )
    cfg.load_from = str(pretrained)
    runner = Runner.from_cfg(quiet(cfg, tmp_path / 'work'))
    found = runner.test()

    def features(loader):
        dataset, out, labels = DATASETS.build(loader.dataset), [], []
        for sample in dataset:
            inputs = runner.model.data_preprocessor(
                dict(inputs=sample['inputs'][None], data_samples=[sample['data_samples']]))
            with torch.no_grad():
                out.append(runner.model.backbone(inputs['inputs'])[-1].mean((2, 3))[0])
            labels.append(int(sample['data_samples'].gt_label))
        return torch.nn.functional.normalize(torch.stack(out), dim=1).numpy(), labels

    bank, bank_labels = features(cfg.custom_hooks[0].dataloader)
    queries, labels = features(cfg.test_dataloader)
    classifier = KNeighborsClassifier(
        5, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / 0.07))
    right = classifier.fit(bank, bank_labels).predict(queries) == labels
    assert found['knn/top1'] == pytest.approx(100 * right.mean())
    assert len(bank) == 12 and len(queries) == 6


def test_another_network_is_refused(tmp_path):
    cfg, path = load('linear'), tmp_path / 'other.pth'
    other = MODELS.build(dict(NARROW, type='mmpretrain.ResNet', depth=34))
    torch.save(dict(state_dict=other.state_dict()), path)
    backbone = MODELS.build(dict(cfg.model.backbone, **NARROW, type='mmpretrain.ResNet'))
    backbone.init_cfg['checkpoint'] = str(path)
    with pytest.raises(ValueError, match='architecture'):
        backbone.init_weights()
