"""VOC by its own transfer config, with a narrow network, four images and two epochs."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def tiny_voc(root):
    """Write the images below ``root``; return the config."""
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(4):
        image = draw.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(image).save(root / 'JPEGImages' / f'{i}.jpg')
        labels = draw.integers(0, 3, (8, 8), np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(labels).save(root / 'SegmentationClass' / f'{i}.png')
    (root / 'ImageSets/Segmentation/train.txt').write_text('0\n1\n2\n3')
    (root / 'ImageSets/Segmentation/val.txt').write_text('0\n1\n2')
    cfg = Config.fromfile(str(CONFIGS / 'transfer' / 'voc' / 'fcn_r50_train.py'))
    cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8, init_cfg=None)
    cfg.model.backbone.pop('contract_dilation', None)
    cfg.model.decode_head.update(in_channels=64, channels=8)
    cfg.model.auxiliary_head.update(in_channels=32, channels=8)
    cfg.model.data_preprocessor.size = (32, 32)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
        loader.dataset.data_root = str(root)
    cfg.train_dataloader.batch_size = 2
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'RandomCrop':
            step.update(crop_size=(32, 32), cat_max_ratio=1.0)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'orl_mm.CheckDataHook']
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg
