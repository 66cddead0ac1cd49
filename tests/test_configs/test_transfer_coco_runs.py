"""Mask R-CNN on COCO trains, resumes, tests and refuses; networks are narrow, images small."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from orl_mm.engine.cli import UserError, build_loops, config_errors
from orl_mm.weights import load_weights
from tests.coco_files import COLOUR, read_json, write_coco, write_json
from tests.small import NARROW, resumed_equals_unbroken, same

pytest.importorskip('mmcv.ops', reason='mmdet needs the compiled ops of mmcv (make ops)')

# Of pycocotools; said once a mask.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'transfer' / 'coco'
RECIPES = ('1x', 'published')


def load(recipe):
    cfg = Config.fromfile(CONFIGS / f'mask-rcnn_r50_fpn_{recipe}.py')
    init_default_scope('mmdet')
    return cfg


def resnet(**kwargs):
    """The backbone as mmpretrain builds it for pretraining."""
    from mmpretrain.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build({'type': 'mmpretrain.ResNet', **kwargs})
    model.init_weights()
    return model


def save(path, model, prefix='backbone.'):
    """A checkpoint of pretraining, with another network beside the backbone."""
    weights = {f'{prefix}{key}': value for key, value in model.state_dict().items()}
    twin = {f'target.{key}': torch.zeros_like(value) for key, value in weights.items()}
    torch.save(dict(state_dict={**twin, **weights}), path)
    return str(path)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    return save(tmp_path_factory.mktemp('weights') / 'narrow.pth', resnet(**NARROW))


def move(cfg, root):
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = f'{root}/'
        loader.update(num_workers=0, persistent_workers=False)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{root}/annotations/instances_val2017.json'


def tiny(recipe, root, work_dir, checkpoint, size=96):
    cfg = load(recipe)
    move(cfg, root)
    model = cfg.model
    model.backbone.update(depth=18, base_channels=8, stem_channels=8)
    model.backbone.init_cfg.checkpoint = checkpoint
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        extractor.out_channels = 16
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16)
    model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=20)  # untrained scores are low
    for augment in model.data_preprocessor.get('batch_augments', []):
        augment.size = (size, size)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for transform in loader.dataset.pipeline:
            for key in {'scale', 'crop_size'} & set(transform):
                transform[key] = (size, size)
    cfg.train_dataloader.batch_size = 2
    cfg.update(
        work_dir=str(work_dir),
        log_level='ERROR',
        experiment_name=f'{recipe}_{work_dir.parent.name}_{work_dir.name}',
    )
    cfg.default_hooks.checkpoint.interval = 1
    return cfg


def few(cfg, train, val):
    """The first images only."""
    cfg.train_dataloader.dataset.indices = train
    cfg.val_dataloader.dataset.indices = cfg.test_dataloader.dataset.indices = val


@pytest.mark.parametrize('recipe', RECIPES)
def test_trains_and_tests_on_real_images(recipe, shared_data, pretrained, tmp_path):
    """Box and mask AP from validation and, of the checkpoint on disk, the same from a test."""
    cfg = tiny(recipe, shared_data / 'natural' / 'coco', tmp_path / 'work', pretrained)
    few(cfg, 4, 3)
    if recipe == '1x':
        cfg.train_cfg.max_epochs = 1
    else:
        cfg.train_cfg.update(max_iters=3, val_interval=3)
        cfg.custom_hooks[-1].update(num_samples=4, interval=3)
    runner = Runner.from_cfg(deepcopy(cfg))
    losses = []

    class Losses(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append(
                {key: float(value.detach()) for key, value in outputs.items() if 'loss' in key}
            )

    runner.register_hook(Losses())
    runner.train()
    assert len(losses) == (2 if recipe == '1x' else 3)
    for loss in losses:
        assert {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'loss_mask'} <= set(loss)
        assert all(np.isfinite(value) for value in loss.values())
    scalars = runner.message_hub.log_scalars
    found = {key: scalars[f'val/coco/{key}'].current() for key in ('bbox_mAP', 'segm_mAP')}
    assert all(0 <= value <= 1 for value in found.values())  # -1 is COCO's "no ground truth"
    cfg.load_from = str(tmp_path / 'work' / ('epoch_1.pth' if recipe == '1x' else 'iter_3.pth'))
    cfg.experiment_name += '_test'
    tested = Runner.from_cfg(cfg)
    metrics = tested.test()
    assert {key: metrics[f'coco/{key}'] for key in found} == found
    stored = load_weights(cfg.load_from)['state_dict']
    norm = 'roi_head.mask_head.convs.0.bn.running_mean'
    assert stored[norm].abs().min() > 0
    assert torch.equal(tested.model.state_dict()[norm], stored[norm])
    if recipe == 'published':
        assert all(torch.isfinite(value).all() for key, value in stored.items() if 'running' in key)


def truth(root):
    """Ground truth in the words of a detector's prediction, at the size of the files."""
    from mmdet.structures.mask import PolygonMasks
    from mmengine.structures import InstanceData

    content = json.loads((root / 'annotations' / 'instances_val2017.json').read_text())
    order = [category['id'] for category in content['categories']]
    for image in content['images']:
        own = [
            a for a in content['annotations'] if a['image_id'] == image['id'] and not a['iscrowd']
        ]
        boxes = torch.tensor([a['bbox'] for a in own]).reshape(-1, 4)
        masks = (
            PolygonMasks(
                [[np.array(s) for s in a['segmentation']] for a in own],
                image['height'],
                image['width'],
            )
            .to_ndarray()
            .astype(bool)
        )
        yield (
            image,
            InstanceData(
                bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
                labels=torch.tensor([order.index(a['category_id']) for a in own], dtype=torch.long),
                scores=torch.ones(len(own)),
                masks=torch.from_numpy(masks),
            ),
        )


def average_precision(cfg, predictions):
    from mmdet.registry import METRICS
    from mmdet.structures import DetDataSample

    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dict(classes=_classes())
    for image, prediction in predictions:
        sample = DetDataSample(
            pred_instances=prediction,
            metainfo=dict(img_id=image['id'], ori_shape=(image['height'], image['width'])),
        )
        metric.process({}, [sample.to_dict()])
    return metric.compute_metrics(metric.results)


def _classes():
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


def test_true_objects_score_1_and_others_less(shared_data):
    """The evaluator of the config, on real objects: AP is 1 for boxes and, of polygons that are
    drawn again, nearly so for masks; labels that are off by one score nothing."""
    cfg, root = load('1x'), shared_data / 'natural' / 'coco'
    move(cfg, root)
    right = average_precision(cfg, truth(root))
    assert right['bbox_mAP'] == pytest.approx(1, abs=0.005)
    assert right['segm_mAP'] > 0.9

    def shifted():
        for image, prediction in truth(root):
            prediction.labels = (prediction.labels + 1) % 80
            yield image, prediction

    assert average_precision(cfg, shifted())['bbox_mAP'] < 0.1


@pytest.mark.parametrize('recipe', RECIPES)
def test_nothing_is_frozen_and_norms_learn(recipe):
    from mmdet.registry import MODELS

    with torch.device('meta'):
        model = MODELS.build(load(recipe).model).train()
    assert all(p.requires_grad for p in model.parameters())
    norms = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.SyncBatchNorm)}
    parts = [name.split('.')[0] + ('.mask_head' if 'mask_head' in name else '') for name in norms]
    # 53 of a ResNet-50; lateral and output convolutions of four levels; four of the mask head.
    assert {part: parts.count(part) for part in set(parts)} == {
        'backbone': 53,
        'neck': 8,
        'roi_head.mask_head': 4,
    }
    assert all(m.training and m.track_running_stats for m in norms.values())
    others = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(others) == len(norms)


def test_published_decays_no_norm():
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper

    cfg = load('published')
    model = MODELS.build(dict(cfg.model, backbone=dict(cfg.model.backbone, init_cfg=None)))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {
        id(p): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    norms = {
        id(p)
        for m in model.modules()
        if isinstance(m, torch.nn.SyncBatchNorm)
        for p in m.parameters()
    }
    assert len(norms) == 2 * 65
    assert len(decay) == len(list(model.parameters()))
    assert {decay[key] for key in norms} == {0.0}
    assert {decay[key] for key in set(decay) - norms} == {4e-5}


def test_backbone_computes_what_pretraining_computed(tmp_path):
    """R50: same names and shapes, whole; same features of a real photograph."""
    from mmdet.registry import MODELS
    from skimage.data import astronaut

    source = resnet(depth=50, out_indices=(0, 1, 2, 3))
    for module in source.modules():  # statistics as no fresh network has them
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    cfg = load('1x')
    cfg.model.backbone.init_cfg.checkpoint = save(tmp_path / 'r50.pth', source)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    same(backbone.state_dict(), source.state_dict())
    image = torch.from_numpy(astronaut()[:128, 150:278].copy()).permute(2, 0, 1)[None].float()
    image = (image - 120) / 58
    # SyncBN in evaluation is plain arithmetic, on a CPU too.
    for network in (backbone, source):
        network.eval()
    for ours, theirs in zip(backbone(image), source(image), strict=False):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / 'coco')


def test_resumed_equals_unbroken(coco, pretrained, tmp_path):
    """1x, three epochs of two steps: flips, sampled anchors and regions, order of the images."""

    def config(work_dir):
        cfg = tiny('1x', coco, work_dir, pretrained, size=64)
        cfg.train_cfg.max_epochs = 3
        cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        return cfg

    before, whole = resumed_equals_unbroken(config, tmp_path)
    for key, value in before['state_dict'].items():  # the stem is trained too
        assert 'weight' not in key or not torch.equal(value, whole['state_dict'][key])


def test_resumed_published_run_sees_the_same_images(coco, pretrained, tmp_path):
    """The sampler goes on where it was, precise BN or not."""

    class Seen(Hook):
        def __init__(self):
            self.ids = []

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.ids.append([sample.img_id for sample in data_batch['data_samples']])

    def run(name, **changes):
        cfg = tiny('published', coco, tmp_path / name, pretrained, size=64)
        cfg.train_cfg.update(max_iters=5)
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        cfg.custom_hooks[-1].update(num_samples=2, interval=1)
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.update(changes)
        runner, seen = Runner.from_cfg(cfg), Seen()
        runner.register_hook(seen)
        runner.train()
        return seen.ids

    whole = run('whole')
    assert len({str(ids) for ids in whole}) > 2
    resumed = run('resumed', resume=True, load_from=str(tmp_path / 'whole' / 'iter_2.pth'))
    assert resumed == whole[2:]


@pytest.mark.parametrize('recipe', RECIPES)
def test_boxes_and_masks_stay_on_their_object(recipe, tmp_path):
    """The object's color, its box and its mask go through scale, crop and flip alike."""
    from mmdet.registry import DATASETS, MODELS

    coco = write_coco(tmp_path / 'coco', train=12, size=(320, 200), box=(200, 30, 90, 60))
    cfg = load(recipe)
    move(cfg, coco)
    data = DATASETS.build(cfg.train_dataloader.dataset)
    prepare = MODELS.build(cfg.model.data_preprocessor)
    mean, std = (
        torch.tensor(cfg.model.data_preprocessor[key]).view(3, 1, 1) for key in ('mean', 'std')
    )
    np.random.seed(0)
    if recipe == '1x':  # whose samples have seeds of their own; in epoch 0 none of the 12 flips
        data.pipeline.transforms[0].set_epoch(1)
    shapes, left = [], []
    for i in range(len(data)):
        sample = data[i]
        shapes.append(tuple(sample['inputs'].shape[1:]))
        assert sample['inputs'].dtype == torch.uint8
        batch = prepare(
            dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), training=True
        )
        pixels = batch['inputs'][0] * std + mean  # RGB again
        (truth,) = [s.gt_instances for s in batch['data_samples']]
        assert pixels.shape[1:] == (
            (1024, 1024)
            if recipe == 'published'
            else tuple(-(-side // 32) * 32 for side in shapes[-1])
        )
        red = (pixels - torch.tensor(COLOUR).view(3, 1, 1)).abs().amax(0) < 60
        mask = torch.from_numpy(truth.masks.to_ndarray()[0]).bool()
        assert mask.shape == red.shape
        assert (mask & red).sum() / (mask | red).sum() > 0.97
        rows, columns = np.nonzero(red.numpy())
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(truth.bboxes[0].numpy(), seen, atol=3)
        left.append(seen[0] < shapes[-1][1] / 3)
    assert 0 < sum(left) < len(left)  # some were flipped, some not
    longest = [max(shape) for shape in shapes]
    if recipe == '1x':
        assert set(shapes) == {(800, 1280)}
    else:
        assert 0.8 * 1024 - 1 <= min(longest) < 950
        assert max(longest) == 1024
        assert any(shape[1] == 1024 and shape[0] > 640 for shape in shapes)  # cropped, not squeezed


def test_objects_without_pixels_left_are_dropped_and_the_image_is_kept(tmp_path):
    """As detectron2's mapper: a crop may have cut all of an object away."""
    from mmdet.registry import DATASETS

    coco = write_coco(tmp_path / 'coco', train=1, size=(200, 200), box=(2, 2, 4, 4))
    cfg = load('published')
    move(cfg, coco)
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.type == 'RandomCrop':
            transform.crop_size = (300, 300)  # of about 1000: mostly without the corner
    data = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    counts = [len(data[0]['data_samples'].gt_instances) for _ in range(6)]
    assert 0 in counts


def test_missing_image_is_named_before_the_first_step(coco, pretrained, tmp_path):
    (coco / 'train2017' / '000000000003.jpg').unlink()
    cfg = tiny('1x', coco, tmp_path / 'work', pretrained)
    runner = Runner.from_cfg(cfg)
    with pytest.raises(UserError, match='1 of 4 images.*000000000003.jpg; extract train2017.zip'):
        runner.train()
    assert runner.iter == 0
    # Validation images count for training too, training's not for a test.
    (coco / 'train2017' / '000000000003.jpg').write_bytes(
        (coco / 'train2017' / '000000000001.jpg').read_bytes()
    )
    (coco / 'val2017' / '000000000102.jpg').unlink()
    cfg.experiment_name += '_2'
    with pytest.raises(UserError, match='1 of 2 images.*000000000102.jpg; extract val2017.zip'):
        Runner.from_cfg(cfg).train()
    cfg.experiment_name += '_3'
    with pytest.raises(UserError, match='000000000102.jpg'):
        Runner.from_cfg(cfg).test()
    Image.new('RGB', (64, 48)).save(coco / 'val2017' / '000000000102.jpg')
    (coco / 'train2017' / '000000000003.jpg').unlink()
    cfg.experiment_name += '_4'
    assert 'coco/bbox_mAP' in Runner.from_cfg(cfg).test()


def start(cfg):
    """Train as tools/train.py does."""
    runner = Runner.from_cfg(cfg)
    build_loops(runner, 'train', 'val')
    runner.train()


@pytest.mark.parametrize(
    ('fault', 'said'),
    [
        ('no image', 'instances_{}.json.: no sample'),
        ('cut', 'instances_{}.json.: the file is truncated or not JSON'),
    ],
)
@pytest.mark.parametrize('split', ['train2017', 'val2017'])
def test_empty_split_and_cut_json_are_named(fault, said, split, coco, pretrained, tmp_path):
    if fault == 'cut':
        path = coco / 'annotations' / f'instances_{split}.json'
        path.write_text(path.read_text()[:200])
    else:
        write_json(coco, split, dict(read_json(coco, split), images=[], annotations=[]))
    cfg = tiny('1x', coco, tmp_path / 'work', pretrained)
    with pytest.raises(UserError, match=said.format(split)), config_errors():
        start(cfg)


def test_split_without_objects_is_named(coco, pretrained, tmp_path):
    """Images there are: training filters all of them out, validation has nothing to score."""
    for split, said in (
        ('val2017', '2 images and 0 annotations: nothing'),
        ('train2017', 'no sample, or filter_cfg leaves none'),
    ):
        write_json(coco, split, dict(read_json(coco, split), annotations=[]))
        cfg = tiny('1x', coco, tmp_path / split, pretrained)
        with pytest.raises(UserError, match=said), config_errors():
            start(cfg)


def command(tool, *arguments):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('recipe', RECIPES)
def test_commands_at_full_size(recipe, shared_data, tmp_path):
    """The real network and image sizes: one step of two images, AP over two, then tools/test.py."""
    config, root = CONFIGS / f'mask-rcnn_r50_fpn_{recipe}.py', shared_data / 'natural' / 'coco'
    options = [
        f'train_dataloader.dataset.data_root={root}/',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.indices=2',
        'model.test_cfg.rcnn.score_thr=0.',
    ]
    for part in ('val', 'test'):
        options += [
            f'{part}_dataloader.dataset.data_root={root}/',
            f'{part}_dataloader.dataset.indices=2',
            f'{part}_evaluator.ann_file={root}/annotations/instances_val2017.json',
        ]
    weights = save(tmp_path / 'r50.pth', resnet(depth=50))
    options.append(f'model.backbone.init_cfg.checkpoint={weights}')
    length = (
        ['train_cfg.max_epochs=1']
        if recipe == '1x'
        else ['train_cfg.max_iters=1', 'custom_hooks.3.num_samples=2']
    )
    code, said = command(
        'train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options', *options, *length
    )
    assert code == 0, said[-3000:]
    assert 'ResNet: 265 of 265 tensors' in said
    assert 'coco/segm_mAP: ' in said
    last = tmp_path / 'work' / ('epoch_1.pth' if recipe == '1x' else 'iter_1.pth')
    code, tested = command(
        'test.py', config, last, '--work-dir', tmp_path / 'test', '--cfg-options', *options
    )
    assert code == 0, tested[-3000:]
    for metric in ('coco/bbox_mAP: ', 'coco/segm_mAP: '):
        assert said.split(metric)[1][:6] == tested.split(metric)[1][:6]
