"""The segmenters behind the average template: what R101 is, and that the small one trains."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from orl_mm.registry import MODELS
from orl_mm.weights import load_weights

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'transfer' / 'jsrt'
PARTS = ('left_lung', 'right_lung', 'heart')


def test_r101_is_deeplabv3_and_takes_torchvisions_weights():
    cfg = Config.fromfile(CONFIGS / 'deeplabv3_r101.py')
    init_default_scope(cfg.default_scope)
    from torchvision.models import resnet101

    with torch.device('meta'):
        model, published = MODELS.build(cfg.model), resnet101(weights=None)
    own = {name: value.shape for name, value in model.backbone.state_dict().items()}
    theirs = {
        name: value.shape
        for name, value in published.state_dict().items()
        if not name.startswith('fc.')
    }
    assert own == theirs
    strides = [
        block.conv2.stride[0]
        for layer in model.backbone.res_layers
        for block in getattr(model.backbone, layer)
    ]
    assert 4 * np.prod(strides) == 8  # the stem and its pooling, then the stages
    head = model.decode_head
    assert head.dilations == (1, 12, 24, 36)
    assert head.channels == 512
    assert head.num_classes == 4
    assert type(head).__name__ == 'ASPPHead'


def test_nothing_mirrors_an_image_and_lists_do_not_overlap():
    cfg = Config.fromfile(CONFIGS / 'deeplabv3_r101.py')
    steps = [step.type for step in cfg.train_pipeline]
    assert not any('Flip' in step or 'Mosaic' in step for step in steps)
    assert cfg.train_dataloader.dataset.list_file == 'jsrt_segmenter'
    assert (
        cfg.val_dataloader.dataset.list_file
        == cfg.test_dataloader.dataset.list_file
        == 'jsrt_score'
    )


@pytest.fixture
def phantoms(tmp_path):
    """Two discs and a block in JSRT's folders; the scored images are of another shape."""
    y, x = np.mgrid[:64, :64]
    for part in ('images', *(f'masks/{part}' for part in PARTS)):
        (tmp_path / 'data' / part).mkdir(parents=True)
    for i in range(6):
        masks = dict(
            left_lung=(x - 46) ** 2 + (y - 28) ** 2 < 12**2,
            right_lung=(x - 18) ** 2 + (y - 28 - i) ** 2 < 12**2,
            heart=(abs(x - 34) < 8) & (abs(y - 50) < 7),
        )
        grey = np.full((64, 64), 150, np.uint8)
        for part, level in zip(PARTS, (30, 60, 230), strict=False):
            grey[masks[part]] = level
            picture = Image.fromarray(masks[part].astype(np.uint8) * 255)
            picture.save(tmp_path / 'data' / 'masks' / part / f'{i}.png')
        Image.fromarray(grey).save(tmp_path / 'data' / 'images' / f'{i}.png')
    (tmp_path / 'train.txt').write_text('0\n1\n2\n3\n')
    (tmp_path / 'val.txt').write_text('4\n5\n')
    return tmp_path


def test_the_small_one_trains_validates_and_names_its_classes(phantoms):
    cfg = Config.fromfile(CONFIGS / 'deeplabv3_r18_small.py')
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.decode_head.update(in_channels=64, channels=8, dilations=(1, 2))
    cfg.model.auxiliary_head.update(in_channels=32, channels=8)
    for loader, ids in (
        ('train_dataloader', 'train'),
        ('val_dataloader', 'val'),
        ('test_dataloader', 'val'),
    ):
        cfg[loader].update(batch_size=2, num_workers=0, persistent_workers=False)
        cfg[loader].dataset.update(
            data_root=str(phantoms / 'data'), list_file=str(phantoms / f'{ids}.txt')
        )
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.update(work_dir=str(phantoms / 'work'), experiment_name=phantoms.name)
    runner = Runner.from_cfg(cfg)
    runner.train()
    sample = runner.val_dataloader.dataset[0]
    # Shown to the network at 128 pixels, scored at the 64 of the file.
    assert sample['inputs'].shape == (3, 128, 128)
    assert sample['data_samples'].gt_sem_seg.data.shape == (1, 64, 64)
    scalars = runner.message_hub.log_scalars
    assert {'train/decode.loss_ce', 'train/aux.loss_ce', 'val/mDice', 'val/mIoU'} <= set(scalars)
    assert 0 <= scalars['val/mDice'].current() <= 100
    last = load_weights(phantoms / 'work' / 'epoch_1.pth')
    assert last['meta']['dataset_meta']['classes'] == ('background', *PARTS)
