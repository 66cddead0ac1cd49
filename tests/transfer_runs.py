"""Work directories as mmengine leaves them, written by hand: numbers, log and configs."""

import json
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
TRANSFER = ROOT / 'configs' / 'transfer'
BYOL = 'work_dirs/byol_r50_in1k/epoch_300.pth'
R2O = 'work_dirs/r50_in1k/epoch_300.pth'
_CONFIGS = {}


def config(name, start=R2O, **options):
    """``voc/fcn_r50`` from a pretrained checkpoint; options by dotted keys with ``__``."""
    if name not in _CONFIGS:
        _CONFIGS[name] = Config.fromfile(str(TRANSFER / f'{name}.py'))
    cfg = deepcopy(_CONFIGS[name])
    cfg.model.backbone.init_cfg = start and dict(type='orl_mm.PretrainedBackbone', checkpoint=start)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return cfg


def write_config(cfg, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))


def start(folder, stamp, cfg, lines=(), test=None, batches=1449, world=1, metric='mIoU'):
    """One start of mmengine: a training with ``lines`` of scalars, or a test."""
    here = folder / stamp
    write_config(cfg, here / 'vis_data' / 'config.py')
    kind = '(val) [45]' if test is None else '(test) '
    (here / f'{stamp}.log').write_text(
        f'------\n    GPU number: {world}\n------\n'
        f'2026/01/01 - mmengine - INFO - Epoch{kind}[50/{batches}]    eta: 0:00:01  time: 0.1\n'
        f'2026/01/01 - mmengine - INFO - Epoch{kind}[{batches}/{batches}]    {metric}: 1.0000\n'
    )
    if test is not None:
        (here / f'{stamp}.json').write_text(json.dumps(test))
    if lines:
        text = ''.join(json.dumps(line) + '\n' for line in lines)
        for name in (stamp, 'scalars'):
            (here / 'vis_data' / f'{name}.json').write_text(text)


def loss(epoch, iteration):
    return dict(lr=0.01, loss=1.0, time=0.1, epoch=epoch, iter=iteration, step=iteration)


def epochs(*values, first=1, iterations=661, log=50, key='mIoU', every=1):
    """A training by epochs, with a validation after each of them (or after each ``every``)."""
    lines = []
    for epoch, value in enumerate(values, first):
        for i in range(log, iterations + 1, log):
            lines.append(loss(epoch, (epoch - 1) * iterations + i))
        if value is not None:
            values_of = value if isinstance(value, dict) else {key: value}
            lines.append(dict(values_of, time=0.1, step=epoch))
    return lines


def checkpoint(folder, name):
    """An empty file: nothing here reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    (folder / 'last_checkpoint').write_text(f'/before/it/moved/{folder.name}/{name}')


def voc(
    folder,
    value=70.0,
    from_=BYOL,
    seed=0,
    stamp='20260101_000000',
    batches=1449,
    world=2,
    **options,
):
    """VOC by the thesis's config to its end: 45 epochs, the last one's validation as given."""
    cfg = config('voc/fcn_r50', from_, randomness=dict(seed=seed), **options)
    start(
        folder, stamp, cfg, epochs(*[10.0] * 44, value), batches=-(-batches // world), world=world
    )
    write_config(cfg, folder / 'fcn_r50.py')
    checkpoint(folder, 'epoch_45.pth')
    return folder


def cityscapes(folder, value=75.0, from_=BYOL, world=4):
    cfg = config('cityscapes/fcn_r50', from_)
    start(
        folder,
        '20260101_000000',
        cfg,
        epochs(*[10.0] * 159, value, iterations=185),
        batches=500 // world,
        world=world,
    )
    checkpoint(folder, 'epoch_160.pth')
    return folder


def coco(folder, box=0.409, mask=0.378, from_=R2O, world=8, images=5000):
    cfg = config('coco/mask-rcnn_r50_fpn_1x', from_)
    one = {'coco/bbox_mAP': box, 'coco/bbox_mAP_50': 0.6, 'coco/segm_mAP': mask}
    start(
        folder,
        '20260101_000000',
        cfg,
        epochs(*[{k: 0.1 for k in one}] * 11, one),
        batches=-(-images // world),
        world=world,
        metric='coco/bbox_mAP',
    )
    checkpoint(folder, 'epoch_12.pth')
    return folder
