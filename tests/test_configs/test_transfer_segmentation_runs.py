"""FCN on VOC and Cityscapes trains, resumes, tests and refuses; networks are narrow."""

import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from sklearn.metrics import confusion_matrix

from orl_mm.engine.cli import UserError, build_loops, config_errors
from orl_mm.registry import DATASETS, MODELS
from orl_mm.weights import checkpoints_must_fit
from tests.segmentation_files import save_labels, write_cityscapes, write_voc
from tests.small import NARROW, resumed_equals_unbroken, same

pytest.importorskip('mmseg')

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'transfer'
SETS = ('voc', 'cityscapes')


def load(name, file=None):
    file = file or ('fcn_r50_train' if name == 'voc' else 'fcn_r50')
    cfg = Config.fromfile(CONFIGS / name / f'{file}.py')
    init_default_scope('mmseg')
    return cfg


def r2o(narrow=True):
    """R2O as it is pretrained, with weights and statistics as no fresh network has them."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs' / 'r2o' / 'r50_in1k.py').model
    if narrow:
        cfg.backbone.update(NARROW)
        cfg.neck.projector.update(in_channels=64, hid_channels=8, out_channels=8)
        cfg.head.predictor.update(in_channels=8, hid_channels=8, out_channels=8)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for parameter in model.target.parameters():  # not to be mistaken for the online network
        parameter.mul_(2)
    init_default_scope('mmseg')
    return model


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'r2o.pth'
    torch.save(dict(state_dict=r2o().state_dict()), path)
    return str(path)


def leaves(dataset):
    return dataset.get('datasets') or [dataset]


def tiny(name, root, work_dir, checkpoint, crop=65, file=None):
    cfg = load(name, file)
    cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8)
    cfg.model.backbone.init_cfg.checkpoint = checkpoint
    cfg.model.decode_head.update(in_channels=64, channels=16)
    if 'auxiliary_head' in cfg.model:
        cfg.model.auxiliary_head.update(in_channels=32, channels=16)
    cfg.model.data_preprocessor.size = (crop, crop)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
        for dataset in leaves(loader.dataset):
            dataset.data_root = str(root)
            for transform in dataset.pipeline:
                if transform.type == 'RandomCrop':
                    transform.crop_size = (crop, crop)
                if 'scale' in transform:
                    transform.scale = (129, 65)
    cfg.train_dataloader.batch_size = 2
    cfg.update(
        work_dir=str(work_dir),
        log_level='ERROR',
        experiment_name=f'{name}_{work_dir.parent.name}_{work_dir.name}',
    )
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.train_cfg.update(
        val_interval=1,
        **(dict(max_iters=3) if 'max_iters' in cfg.train_cfg else dict(max_epochs=1)),
    )
    cfg.default_hooks.checkpoint.interval = 1
    return cfg


class Losses(Hook):
    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({key: float(value.detach()) for key, value in outputs.items()})


class Predictions(Hook):
    def __init__(self):
        self.pairs = []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for sample in outputs:
            self.pairs.append(
                (sample.gt_sem_seg.data[0].numpy(), sample.pred_sem_seg.data[0].numpy())
            )


def mean_iou(pairs, classes):
    """From one confusion matrix, by scikit-learn."""
    truth, found = (np.concatenate([pair[i].flatten() for pair in pairs]) for i in (0, 1))
    matrix = confusion_matrix(truth[truth != 255], found[truth != 255], labels=range(classes))
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return 100 * np.mean((matrix.diagonal() / union.clip(1))[union > 0])


@pytest.mark.parametrize('name', SETS)
def test_trains_and_tests_on_real_images(name, shared_data, pretrained, tmp_path):
    """mIoU of validation, of the checkpoint's test, and of one confusion matrix are the same."""
    root = shared_data / 'natural' / ('VOCdevkit/VOC2012' if name == 'voc' else 'cityscapes')
    cfg = tiny(name, root, tmp_path / 'work', pretrained)
    if name == 'voc':
        cfg.train_dataloader.dataset.indices = 6
        cfg.val_dataloader.dataset.indices = cfg.test_dataloader.dataset.indices = 8
    else:  # the sample is one frame of val
        cfg.train_dataloader.update(batch_size=1, drop_last=False)
        cfg.train_dataloader.dataset.data_prefix = cfg.val_dataloader.dataset.data_prefix
        # A batch of one 5 x 5 map: every norm still sees more than one value.
    runner, losses = Runner.from_cfg(deepcopy(cfg)), Losses()
    runner.register_hook(losses)
    runner.train()
    assert len(losses.seen) == (3 if name == 'voc' else 1)
    parts = {'decode.loss_ce', *(['aux.loss_ce'] if name == 'voc' else [])}
    for seen in losses.seen:
        assert parts <= set(seen)
        assert all(np.isfinite(value) for value in seen.values())
    validated = runner.message_hub.get_scalar('val/mIoU').current()
    cfg.load_from = str(tmp_path / 'work' / 'epoch_1.pth')
    cfg.experiment_name += '_test'
    tested, kept = Runner.from_cfg(cfg), Predictions()
    tested.register_hook(kept)
    metrics = tested.test()
    classes = 21 if name == 'voc' else 19
    assert len(kept.pairs) == (8 if name == 'voc' else 1)
    assert all(truth.shape == found.shape for truth, found in kept.pairs)
    assert metrics['mIoU'] == pytest.approx(mean_iou(kept.pairs, classes), abs=0.006)
    assert metrics['mIoU'] == pytest.approx(validated)


@pytest.mark.parametrize('file', ['fcn_r50', 'fcn_r50_published'])
def test_train_aug_trains_on_both_lists(file, pretrained, tmp_path):
    """By epochs and by iterations; each image of train and of aug once in three steps of two."""
    root = written('voc', tmp_path, train=4, aug=2, val=1)
    cfg = tiny('voc', root, tmp_path / 'work', pretrained, file=file)
    cfg.train_cfg.val_interval = 3
    runner, losses, shown = Runner.from_cfg(cfg), Losses(), Shown()
    runner.register_hook(losses)
    runner.register_hook(shown)
    runner.train()
    assert len(losses.seen) == 3
    assert runner.message_hub.get_scalar('val/mIoU').current() >= 0
    assert sorted(shown.masks) == [
        *(f'SegmentationClass/train_{i}.png' for i in range(4)),
        *(f'SegmentationClassAug/aug_{i}.png' for i in range(2)),
    ]


class Shown(Hook):
    def __init__(self):
        self.masks = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.masks += [
            '/'.join(Path(sample.seg_map_path).parts[-2:]) for sample in data_batch['data_samples']
        ]


# What is on disk, and (height, width) of the training input and of the test's.
SHAPES = {
    'voc': ((500, 375), (513, 513), (375, 500)),
    'cityscapes': ((2048, 1024), (769, 769), (1025, 2049)),
}


@pytest.mark.parametrize('name', SETS)
def test_what_the_network_is_shown(name, tmp_path):
    """At full size: RGB, normalized, padded with the mean color and ignored labels."""
    size, crop, whole = SHAPES[name]
    root = written(name, tmp_path, size=size, train=2, val=1)
    for path in (*root.rglob('*.jpg'), *root.rglob('*_leftImg8bit.png')):
        Image.new('RGB', size, (250, 60, 0)).save(path, quality=100)
    cfg = load(name)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
        for transform in loader.dataset.pipeline:  # half the size: there is something to pad
            if 'ratio_range' in transform:
                transform.ratio_range = (0.5, 0.5)
    samples = [DATASETS.build(cfg.train_dataloader.dataset)[i] for i in range(2)]
    half = tuple(sample['data_samples'].gt_sem_seg.shape for sample in samples)
    height, width = (188, 250) if name == 'voc' else (512, 769)
    assert half == ((height, width), (height, width))
    prepare = MODELS.build(cfg.model.data_preprocessor)
    batch = prepare(pseudo_collate(samples), training=True)
    assert batch['inputs'].shape == (2, 3, *crop)
    color = [(250 - 123.675) / 58.395, (60 - 116.28) / 57.12, -103.53 / 57.375]
    for image, sample in zip(batch['inputs'], batch['data_samples'], strict=False):
        inside = image[:, :height, :width].mean((1, 2))
        torch.testing.assert_close(inside, torch.tensor(color), atol=0.05, rtol=0)
        assert image[:, height:].abs().sum() == 0
        assert image[:, :, width:].abs().sum() == 0
        labels = sample.gt_sem_seg.data[0]
        assert labels.shape == crop
        assert (labels[height:] == 255).all()
        assert (labels[:, width:] == 255).all()
        assert (labels[:height, :width] != 255).any()
    tested = DATASETS.build(cfg.test_dataloader.dataset)[0]
    assert tested['inputs'].shape == (3, *whole)
    assert tested['data_samples'].gt_sem_seg.shape == size[::-1]
    assert prepare(pseudo_collate([tested]))['inputs'].shape == (1, 3, *whole)


@pytest.mark.parametrize('name', SETS)
def test_r2o_loads_whole_and_computes_the_same(name, tmp_path):
    """R50 as configured: every tensor of the online encoder; C4 as pretraining has it."""
    from mmseg.registry import MODELS as SEGMENTERS

    source = r2o(narrow=False)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'r2o.pth')
    cfg = load(name)
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'r2o.pth')
    backbone = SEGMENTERS.build(cfg.model.backbone)
    backbone.init_weights()
    same(backbone.state_dict(), source.backbone.state_dict())
    assert all(p.requires_grad for p in backbone.parameters())
    backbone.train()
    assert all(m.training for m in backbone.modules())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone.eval(), source.backbone.eval()
    features = backbone(image)
    assert [tuple(f.shape[1:]) for f in features] == [
        (256, 16, 16),
        (512, 8, 8),
        (1024, 4, 4),
        (2048, 4, 4),
    ]
    # Before the last stage nothing is dilated; the last one by hand.
    x = source.backbone.maxpool(
        source.backbone.relu(source.backbone.norm1(source.backbone.conv1(image)))
    )
    for layer in (source.backbone.layer1, source.backbone.layer2, source.backbone.layer3):
        x = layer(x)
    assert (features[2] - x).abs().max() <= 1e-5 * x.abs().max()
    for block, dilation in zip(
        source.backbone.layer4, (1, 2, 2), strict=False
    ):  # the first contracted
        block.conv2.stride = (1, 1)
        block.conv2.dilation = block.conv2.padding = (dilation, dilation)
    source.backbone.layer4[0].downsample[0].stride = (1, 1)
    x = source.backbone.layer4(x)
    assert (features[3] - x).abs().max() <= 1e-5 * x.abs().max()


@pytest.mark.parametrize(
    ('fault', 'said'),
    [
        ('depth', '(?i)architecture|tensors'),
        ('vit', '0 of the 100'),
        ('prefix', "0 of the 100.*'encoder.'"),
        ('names', '(?i)of the 100'),
        ('part', '9[0-8] of the 100'),
        ('absent', 'no checkpoint'),
        ('cut', 'cut short'),
        ('code', 'Path.* is not data'),
    ],
)
def test_wrong_checkpoint_stops_before_training(fault, said, tmp_path):
    from mmseg.registry import MODELS as SEGMENTERS

    path = tmp_path / 'weights.pth'
    cfg = tiny('voc', tmp_path, tmp_path / 'work', str(path))
    if fault == 'depth':
        weights = MODELS.build(dict(NARROW, type='mmpretrain.ResNet', depth=34)).state_dict()
    elif fault == 'vit':
        arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
        vit = MODELS.build(dict(type='mmpretrain.VisionTransformer', arch=arch))
        weights = vit.state_dict()
    else:
        weights = r2o().backbone.state_dict()
    weights = {f'backbone.{key}': value for key, value in weights.items()}
    if fault == 'names':  # detectron2's
        weights = {key.replace('layer', 'res'): value for key, value in weights.items()}
    if fault == 'part':
        weights = {key: value for key, value in weights.items() if 'layer4.1.conv' not in key}
    torch.save(dict(state_dict=weights, **(dict(made=Path('/')) if fault == 'code' else {})), path)
    if fault == 'cut':
        path.write_bytes(path.read_bytes()[:-2000])
    if fault == 'absent':
        path.unlink()
    if fault == 'prefix':
        cfg.model.backbone.init_cfg.prefix = 'encoder.'
    backbone = SEGMENTERS.build(cfg.model.backbone)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        backbone.init_weights()


@pytest.mark.parametrize('name', SETS)
def test_stock_initializer_without_prefix_stops_too(name, pretrained, tmp_path):
    """mmengine's own only warns; under tools/train.py it is an error that names the right one."""
    cfg = tiny(name, written(name, tmp_path, train=2, val=1), tmp_path / 'work', pretrained)
    cfg.model.backbone.init_cfg.type = 'Pretrained'
    said = r"0 of the 100 tensors.*'backbone\.'.*PretrainedBackbone"
    with pytest.raises(ValueError, match=said), checkpoints_must_fit():
        Runner.from_cfg(cfg).train()


def written(name, root, **splits):
    return (write_voc if name == 'voc' else write_cityscapes)(root / name, **splits)


@pytest.mark.parametrize('name', SETS)
def test_resumed_equals_unbroken(name, pretrained, tmp_path):
    """Three epochs of two steps: resizing, crops, flips, dropout, order of the images."""
    root = written(name, tmp_path, train=4, val=1)

    def config(work_dir):
        cfg = tiny(name, root, work_dir, pretrained, crop=33)
        cfg.train_cfg.max_epochs = 3
        cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        return cfg

    before, whole = resumed_equals_unbroken(config, tmp_path)
    for key, value in before['state_dict'].items():  # the stem is trained too
        assert 'weight' not in key or not torch.equal(value, whole['state_dict'][key])


def refused(cfg, test=False):
    with pytest.raises(UserError) as error, config_errors():  # noqa: PT012
        runner = Runner.from_cfg(cfg)
        build_loops(runner, *(['test'] if test else ['train', 'val']))
        runner.test() if test else runner.train()
    return str(error.value)


def test_unknown_label_is_named_in_training_and_before(pretrained, tmp_path):
    root = written('voc', tmp_path, train=2, val=1)
    mask = root / 'SegmentationClass' / 'train_1.png'
    marks = np.full((45, 60), 3, np.uint8)
    marks[20:30] = 77
    save_labels(mask, marks)
    cfg = tiny('voc', root, tmp_path / 'work', pretrained)
    message = refused(deepcopy(cfg))
    assert '77' in message
    assert str(mask) in message
    # A file that the check at the start did not open meets the pipeline.
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'CheckData' not in hook.type]
    with pytest.raises(ValueError, match='77') as error:
        Runner.from_cfg(cfg).train()
    assert str(mask) in str(error.value)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_empty_split_is_named(split, pretrained, tmp_path):
    root = written('voc', tmp_path, train=2, val=1)
    listed = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    listed.write_text('')
    cfg = tiny('voc', root, tmp_path / 'work', pretrained)
    if split == 'val':
        cfg.load_from = pretrained
    assert str(listed) in refused(cfg, test=split == 'val')


@pytest.mark.parametrize('name', SETS)
def test_missing_mask_is_named_before_the_first_step(name, pretrained, tmp_path):
    root = written(name, tmp_path, train=2, val=1)
    pattern = '*train_0.png' if name == 'voc' else 'gtFine/train/*/*labelTrainIds.png'
    mask = min(root.rglob(pattern))
    mask.unlink()
    cfg = tiny(name, root, tmp_path / 'work', pretrained)
    steps = Losses()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(steps)
    with pytest.raises(UserError, match=mask.name):
        runner.train()
    assert not steps.seen


@pytest.mark.slow
def test_real_size_from_the_command_line(shared_data, tmp_path):
    """R50 through tools/train.py and tools/test.py on the VOC sample."""
    torch.save(dict(state_dict=r2o(narrow=False).state_dict()), tmp_path / 'r2o.pth')
    config = str(CONFIGS / 'voc' / 'fcn_r50_train.py')
    root = shared_data / 'natural' / 'VOCdevkit' / 'VOC2012'
    options = [
        'train_dataloader.batch_size=2',
        f'train_dataloader.dataset.data_root={root}',
        'train_dataloader.dataset.indices=4',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=1',
        'default_hooks.checkpoint.interval=1',
        f'test_dataloader.dataset.data_root={root}',
        f'val_dataloader.dataset.data_root={root}',
        'test_dataloader.num_workers=1',
        f'model.backbone.init_cfg.checkpoint={tmp_path / "r2o.pth"}',
    ]
    work = tmp_path / 'work'
    for tool, *words in (
        ('train.py', config, '--no-validate'),
        ('test.py', config, str(work / 'epoch_1.pth')),
    ):
        words += ['--work-dir', str(work), '--cfg-options', *options]
        done = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / tool), *words], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert 'mIoU' in done.stdout
    assert '265 of 265 tensors' in (done.stdout + next(work.glob('*/*.log')).read_text())
