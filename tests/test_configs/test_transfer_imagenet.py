"""Linear probe and k-NN on ImageNet's labels: settings, and real runs on small folders."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from orl_mm.registry import DATASETS, MODELS
from orl_mm.weights import load_weights
from tests.small import NARROW, call_tool, ends_in_one_line, has, kinds, same

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'transfer' / 'imagenet'


def load(name):
    cfg = Config.fromfile(CONFIGS / f'{name}_r50.py')
    init_default_scope(cfg.default_scope)
    return cfg


def test_settings_of_the_linear_probe():
    """mmpretrain's recipe for BYOL: LARS 1.6 for 4096 images, 90 epochs, cosine, no decay."""
    cfg = load('linear')
    optimizer = cfg.optim_wrapper.optimizer
    has(optimizer, type='LARS', lr=1.6, momentum=0.9, weight_decay=0.0)
    assert cfg.train_cfg.max_epochs == 90
    assert cfg.train_dataloader.batch_size * 8 == 4096
    assert cfg.auto_scale_lr.base_batch_size == 4096
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.T_max) == ('CosineAnnealingLR', 90)
    assert cfg.model.backbone.depth == 50
    assert cfg.model.backbone.frozen_stages == 4
    assert cfg.model.backbone.init_cfg.type == 'orl_mm.PretrainedBackbone'
    assert cfg.model.head.num_classes == 1000
    assert cfg.model.head.in_channels == 2048
    assert cfg.model.neck.type == 'GlobalAveragePooling'
    assert kinds(cfg.train_dataloader.dataset.pipeline) == (
        'orl_mm.SeedSample orl_mm.LoadImage RandomResizedCrop RandomFlip PackInputs'
    )
    assert cfg.train_dataloader.dataset.pipeline[2].scale == 224
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        read, resize, crop, _ = loader.dataset.pipeline
        assert read.max_bad == 0  # a validation image is never another one
        assert (resize.scale, resize.edge, crop.crop_size) == (256, 'short', 224)
        assert loader.dataset.split == 'val'


def test_settings_of_knn():
    """eval_knn.py of facebookresearch/dino."""
    cfg = load('knn')
    assert (cfg.model.k, cfg.model.temperature, cfg.model.num_classes) == (20, 0.07, 1000)
    bank = cfg.custom_hooks[0].dataloader.dataset
    assert (bank.split, cfg.test_dataloader.dataset.split) == ('train', 'val')
    for pipeline in (bank.pipeline, cfg.test_dataloader.dataset.pipeline):
        assert (pipeline[1].scale, pipeline[1].interpolation, pipeline[2].crop_size) == (
            256,
            'bicubic',
            224,
        )
        assert pipeline[0].max_bad == 0
        assert len(pipeline) == 4
    assert cfg.model.backbone == dict(type='ResNet', depth=50)


@pytest.mark.parametrize(
    ('name', 'others'),
    [
        ('linear', ['SyncBatchNormHook', 'SetEpochHook', 'SeedStepHook']),  # those it inherits
        ('knn', ['FeatureBankHook']),  # the first, as the head of the config calls it
    ],
)
def test_hooks(name, others):
    hooks = [dict(hook) for hook in load(name).custom_hooks]
    (check,) = [hook for hook in hooks if 'CheckData' in hook['type']]
    assert check == dict(type='orl_mm.CheckDataHook', layout='imagenet', labels=True)
    hooks.remove(check)
    assert [hook['type'] for hook in hooks] == [f'orl_mm.{other}' for other in others]
    if name == 'knn':
        assert load(name).custom_hooks[0].type == 'orl_mm.FeatureBankHook'


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Two classes that differ in color, twelve images to train on and six to test on."""
    root, draw = tmp_path_factory.mktemp('imagenet'), np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 3)):
        for label, color in (('n01', (200, 60, 40)), ('n02', (90, 120, 130))):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                image = (draw.normal(color, 50, (72, 72, 3))).clip(0, 255).astype(np.uint8)
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
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    torch.save(
        dict(state_dict={f'backbone.{key}': value for key, value in backbone.state_dict().items()}),
        path,
    )
    return path


def small_data(loader, root, split, batch_size):
    pipeline = loader.dataset.pipeline
    for step in pipeline:
        for key in {'scale', 'crop_size'} & set(step):
            step[key] = {224: 48, 256: 56}[step[key]]
    loader.dataset = dict(type='CustomDataset', data_root=str(root / split), pipeline=pipeline)
    loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False, pin_memory=False)


def quiet(cfg, work_dir):
    # The two drawn classes are none of ImageNet's, which the hook would say.
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'CheckData' not in hook.type]
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}'
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.default_hooks.logger.interval = 1
    return cfg


def test_linear_probe_trains_its_layer_alone(folders, pretrained, tmp_path):
    """Weights and running statistics of the backbone stay; what is learned tells colors apart."""
    cfg = load('linear')
    cfg.model.backbone.update(NARROW)
    cfg.model.backbone.init_cfg.checkpoint = str(pretrained)
    cfg.model.head.update(in_channels=64, num_classes=2, topk=(1,))
    for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        small_data(loader, folders, split, 4)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = (1,)
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
    cfg.test_evaluator.topk = (1,)
    cfg.load_from = str(pretrained)
    runner = Runner.from_cfg(quiet(cfg, tmp_path / 'work'))
    found = runner.test()

    def features(loader):
        dataset, out, labels = DATASETS.build(loader.dataset), [], []
        for sample in dataset:
            inputs = runner.model.data_preprocessor(
                dict(inputs=sample['inputs'][None], data_samples=[sample['data_samples']])
            )
            with torch.no_grad():
                out.append(runner.model.backbone(inputs['inputs'])[-1].mean((2, 3))[0])
            labels.append(int(sample['data_samples'].gt_label))
        return torch.nn.functional.normalize(torch.stack(out), dim=1).numpy(), labels

    bank, bank_labels = features(cfg.custom_hooks[0].dataloader)
    queries, labels = features(cfg.test_dataloader)
    classifier = KNeighborsClassifier(
        5, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / 0.07)
    )
    right = classifier.fit(bank, bank_labels).predict(queries) == labels
    assert found['knn/top1'] == pytest.approx(100 * right.mean())
    assert len(bank) == 12
    assert len(queries) == 6


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """Six images, real ones where they are there, with labels in meta/; val is train backwards."""
    root, draw = tmp_path_factory.mktemp('labeled'), np.random.default_rng(1)
    shared = Path(os.environ.get('ORL_DATA', ROOT.parent / 'shared' / 'data'))
    real = sorted((shared / 'natural' / 'imagenet_sample' / 'train').glob('*/*'))[::160]
    (root / 'train').mkdir()
    for i in range(6):
        if real:
            os.symlink(real[i], root / 'train' / f'{i}.JPEG')
        else:
            Image.fromarray(draw.integers(0, 256, (60, 80, 3), np.uint8)).save(
                root / 'train' / f'{i}.JPEG'
            )
    os.symlink(root / 'train', root / 'val')
    (root / 'meta').mkdir()
    lines = [f'{i}.JPEG {7 * i}' for i in range(6)]
    (root / 'meta' / 'train.txt').write_text('\n'.join(lines))
    (root / 'meta' / 'val.txt').write_text('\n'.join(lines[::-1]))
    return root


NETWORK = ' '.join(f'model.backbone.{key}={value}' for key, value in NARROW.items())
HEAD = f'{NETWORK} model.head.in_channels=64'
NO_WORKERS = 'test_dataloader.num_workers=0 custom_hooks.0.dataloader.num_workers=0'


def test_random_probed_through_the_tools(imagenet, tmp_path, monkeypatch):
    """Row Random, then both probes of it: the commands of the heads, made small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('ORL_IMAGENET', str(imagenet))
    call_tool(
        monkeypatch, f'train {ROOT}/configs/baselines/random_r50_in1k.py --cfg-options {HEAD}'
    )
    start = Path('work_dirs/random_r50_in1k/epoch_0.pth')
    assert start.is_file()  # where the transfers look for it
    loaders = ' '.join(
        f'{split}_dataloader.batch_size=3 {split}_dataloader.num_workers=0'
        for split in ('train', 'val', 'test')
    )
    call_tool(
        monkeypatch,
        f'train {CONFIGS}/linear_r50.py --work-dir linear --cfg-options {HEAD} {loaders} '
        f'model.backbone.init_cfg.checkpoint={start} train_cfg.max_epochs=1 '
        'default_hooks.checkpoint.interval=1',
    )
    # Tested without the pretrained file: the probe's checkpoint is whole.
    call_tool(
        monkeypatch,
        f'test {CONFIGS}/linear_r50.py linear/epoch_1.pth --out linear.json --out-item metrics '
        f'--work-dir tested --cfg-options {HEAD} {loaders}',
    )
    scalars = load_weights('linear/epoch_1.pth')['message_hub']['log_scalars']
    found = json.loads(Path('linear.json').read_text())
    assert found.keys() == {'accuracy/top1', 'accuracy/top5'}
    for key, value in found.items():
        assert value == pytest.approx(json.loads(last_line('linear'))[key], abs=1e-4)
    assert scalars['train/loss'].data[0][0] == pytest.approx(np.log(1000), rel=0.05)
    backbones = []
    for file in (start, 'linear/epoch_1.pth'):
        weights = load_weights(file)['state_dict'].items()
        backbones.append({key: value for key, value in weights if key.startswith('backbone.')})
    same(*backbones)
    call_tool(
        monkeypatch,
        f'test {CONFIGS}/knn_r50.py {start} --out knn.json --out-item metrics --work-dir knn '
        f'--cfg-options {NETWORK} model.k=6 test_dataloader.batch_size=4 {NO_WORKERS}',
    )
    knn = json.loads(Path('knn.json').read_text())
    assert knn == {'knn/top1': 100.0, 'knn/top5': 100.0}  # each image is its own nearest one


def last_line(work_dir):
    """What a run's log in json says last."""
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return file.read_text().splitlines()[-1]


@pytest.mark.parametrize('tool', ['train', 'test'])
@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ('no val', 'has no folder val'),
        ('no such image', 'gone.JPEG'),
        ('strange label', 'a label of 0 to 999'),
    ],
)
def test_wrong_data_end_both_probes_before_they_begin(
    tool, wrong, said, imagenet, pretrained, tmp_path, monkeypatch, capsys
):
    """One line that names what is missing; no image is read and no checkpoint written."""
    root = tmp_path / 'imagenet'
    (root / 'meta').mkdir(parents=True)
    for split in ('train', 'val'):
        if (split, wrong) == ('val', 'no val'):
            continue
        os.symlink(imagenet / 'train', root / split)
        lines = (imagenet / 'meta' / f'{split}.txt').read_text()
        if split == 'train':
            lines += {'no such image': '\ngone.JPEG 3', 'strange label': '\n0.JPEG 1000'}.get(
                wrong, ''
            )
        (root / 'meta' / f'{split}.txt').write_text(lines)
    if wrong == 'no val':  # its list alone is left: the data set is built, no image is there
        (root / 'meta' / 'val.txt').write_text((imagenet / 'meta' / 'val.txt').read_text())
    monkeypatch.setenv('ORL_IMAGENET', str(root))
    loaders = ' '.join(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test'))
    start = f'model.backbone.init_cfg.checkpoint={pretrained}'
    command = {
        'train': f'train {CONFIGS}/linear_r50.py --cfg-options {HEAD} {start} {loaders}',
        'test': f'test {CONFIGS}/knn_r50.py {pretrained} '
        f'--cfg-options {NETWORK} model.k=6 {NO_WORKERS}',
    }[tool]
    monkeypatch.setattr('orl_mm.datasets.transforms.LoadImage.transform', None)
    said = f'the data cannot be used.*{said}'
    ends_in_one_line(monkeypatch, capsys, f'{command} --work-dir {tmp_path}/work', said)
    assert not list((tmp_path / 'work').rglob('*.pth'))


def test_knn_of_another_network_ends_in_one_line(imagenet, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('ORL_IMAGENET', str(imagenet))
    other = MODELS.build(dict(NARROW, type='mmpretrain.ResNet', depth=34))
    torch.save(dict(state_dict=other.state_dict()), tmp_path / 'other.pth')
    command = f'test {CONFIGS}/knn_r50.py {tmp_path}/other.pth --work-dir {tmp_path} '
    command += f'--cfg-options {NETWORK} test_dataloader.num_workers=0'
    ends_in_one_line(monkeypatch, capsys, command, 'another architecture')


def test_another_network_is_refused(tmp_path):
    cfg, path = load('linear'), tmp_path / 'other.pth'
    other = MODELS.build(dict(NARROW, type='mmpretrain.ResNet', depth=34))
    torch.save(dict(state_dict=other.state_dict()), path)
    backbone = MODELS.build(dict(cfg.model.backbone, **NARROW, type='mmpretrain.ResNet'))
    backbone.init_cfg['checkpoint'] = str(path)
    with pytest.raises(ValueError, match='architecture'):
        backbone.init_weights()
