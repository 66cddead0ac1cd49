"""What has to be run for each small table."""

import re
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from .base_plan import BasePlan, read_config, seed_options

TRANSFERS = {
    'linear': 'configs/transfer/voc/small/linear.py',
    'fine-tuned': 'configs/transfer/voc/small/fcn.py',
}
# Of the linear layer's squared weights. On a quarter of the training images, held out, five
# networks had a mean mIoU of 6.2, 6.1 and 5.8 at 1e-4, 1e-3 and 1e-2.
STRENGTH = 1e-3


@dataclass(frozen=True)
class Row:
    """A network of a table; without a config, random weights."""

    key: str
    name: str
    config: str | None
    cost: float = 1.0


ROWS = {
    row.key: row
    for row in (
        Row('random', 'Random', None),
        Row('byol', 'BYOL', 'configs/baselines/small/byol.py', 0.9),
        Row('mocov2', 'MoCo v2', 'configs/baselines/small/mocov2.py', 0.6),
        Row('densecl', 'DenseCL', 'configs/baselines/small/densecl.py', 0.6),
        Row('detcon-b', 'DetCon_B', 'configs/baselines/small/detcon-b.py'),
        Row('pixpro', 'PixPro', 'configs/baselines/small/pixpro.py'),
        Row('r2o', 'R2O, K = 64', 'configs/r2o/small/r2o.py', 1.2),
        Row('official', 'R2O, official', 'configs/r2o/small/official.py', 1.2),
        Row('k4', 'R2O, K = 4', 'configs/r2o/small/k4.py', 1.2),
        Row('k16', 'R2O, K = 16', 'configs/r2o/small/k16.py', 1.2),
        Row('k128-4', 'R2O, K from 128 to 4', 'configs/r2o/small/k128-4.py', 1.2),
        Row(
            'no-clustering',
            'R2O, superpixels as objects',
            'configs/r2o/small/no-clustering.py',
            1.2,
        ),
        Row('no-prior', 'R2O, no prior mask', 'configs/r2o/small/no-prior.py', 1.2),
    )
}
TABLES: dict[str, tuple[str, ...]] = {
    '2.2': ('random', 'byol', 'mocov2', 'densecl', 'detcon-b', 'pixpro', 'r2o', 'official'),
    '2.3': ('byol', 'k4', 'k16', 'r2o', 'k128-4', 'no-clustering', 'no-prior'),
}


class Plan(BasePlan):
    """Jobs of the small tables, and where each leaves its results.

    Args:
        out (Path): Folder of everything.
        data (Path): ``imagenet_sample``, ``coco`` and ``VOCdevkit`` are in it.
        epochs (int, optional): Of each pretraining, for a try.
        transfer_epochs (int, optional): Of each fine-tuning.
    """

    def __init__(
        self, out: Path, data: Path, epochs: int | None = None, transfer_epochs: int | None = None
    ) -> None:
        self.data, self.transfer_epochs = data.resolve(), transfer_epochs
        super().__init__(
            out,
            dict(ORL_NATURAL=str(self.data), ORL_VOC=str(self.data / 'VOCdevkit' / 'VOC2012')),
            epochs,
        )

    def pretrain(self, row: Row, seed: int) -> tuple[Path, str | None]:
        """The last checkpoint of a row, and the job that makes it."""
        name = f'{row.key}_seed{seed}{self.tag}'
        folder = self.out / 'pretrain' / name
        cfg = read_config(row.config)
        epochs = self.epochs or cfg.train_cfg.max_epochs
        done = folder / f'epoch_{epochs}.pth'
        options, after = seed_options(seed), []
        cache = self._cache(row, cfg)
        if cache is not None:
            place, folder_of_masks = cache
            options.append(f'train_dataloader.dataset.pipeline.{place}.cache={folder_of_masks}')
            after = [f'superpixels_{folder_of_masks.name}']
        if self.epochs:
            options += [
                f'train_cfg.max_epochs={epochs}',
                'default_hooks.checkpoint.interval=1',
                *_schedule(epochs),
            ]
        self.add(
            name, self.train(row.config, folder, options), done, after, 12 * row.cost, folder=folder
        )
        return done, name

    def transfer(self, row: Row, seed: int, kind: str) -> Path:
        """The pixels that a transfer gets right: see :mod:`.segmentation`."""
        config, name = TRANSFERS[kind], f'{kind}_{row.key}_seed{seed}{self.tag}'
        pretrained, after = f'random:{seed}', []
        if row.config is not None:
            checkpoint, job = self.pretrain(row, seed)
            pretrained, after = str(checkpoint), [job]
        if kind == 'linear':  # a convex layer: see :mod:`.fit`
            folder = self.out / 'transfer' / name
            trained = folder / 'fitted.pth'
            self.add(
                name,
                self.python(
                    'tools/evidence.py', 'fit', config, pretrained, str(trained), f'{STRENGTH:g}'
                ),
                trained,
                after,
                0.7,
                folder=folder,
            )
        else:
            name, trained = self._fine_tune(config, name, seed, row, pretrained, after)
        scores = trained.parent / 'areas.npz'
        self.add(
            f'{name}_test',
            self.python('tools/evidence.py', 'areas', config, str(trained), str(scores)),
            scores,
            [name],
            0.7,
        )
        return scores

    def _fine_tune(
        self, config: str, name: str, seed: int, row: Row, pretrained: str, after: list[str]
    ) -> tuple[str, Path]:
        """The job that trains a segmenter, and its checkpoint."""
        if self.transfer_epochs:
            name += f'_transfer{self.transfer_epochs}'
        folder = self.out / 'transfer' / name
        epochs = self.transfer_epochs or read_config(config).train_cfg.max_epochs
        options = [
            *seed_options(seed),
            'model.backbone.init_cfg=None'
            if row.config is None
            else f'model.backbone.init_cfg.checkpoint={pretrained}',
        ]
        if self.transfer_epochs:
            options += [
                f'train_cfg.max_epochs={epochs}',
                f'train_cfg.val_interval={epochs}',
                *_schedule(epochs),
                f'default_hooks.checkpoint.interval={epochs}',
            ]
        checkpoint = folder / f'epoch_{epochs}.pth'
        self.add(
            name,
            self.train(config, folder, options) + ['--no-validate'],
            checkpoint,
            after,
            7,
            folder=folder,
        )
        return name, checkpoint

    def _cache(self, row: Row, cfg: Config) -> tuple[int, Path] | None:
        """Where superpixels of a pipeline are kept, made once for each setting."""
        found = _superpixels(cfg)
        if found is None:
            return None
        place, name = found
        # Whichever row comes first in a table: one config makes them, so that they are one job.
        config = next(
            other.config
            for other in ROWS.values()
            if other.config and name == (_superpixels(read_config(other.config)) or (0, None))[1]
        )
        folder = self.out / 'superpixels' / name
        self.add(
            f'superpixels_{name}',
            self.python(
                'tools/cache_superpixels.py',
                '--config',
                config,
                '--out',
                str(folder),
                '--workers',
                '1',
            ),
            folder.parent / f'{name}.done',
            (),
            1,
            touch=True,
            folder=folder,
        )
        return place, folder


def _superpixels(cfg: Config) -> tuple[int, str] | None:
    """The place of superpixels in a pipeline, and a name for how they are made."""
    for place, step in enumerate(cfg.train_dataloader.dataset.pipeline):
        method = step.get('method', 'slic')
        if step.type == 'orl_mm.GenerateSuperpixels' and method != 'none':
            parts = [
                method,
                *(
                    f'{key}-{step[key]}'
                    for key in sorted(step)
                    if key not in ('type', 'method', 'size', 'keep_image')
                ),
            ]
            return place, re.sub(r'[^\w.-]', '', '_'.join(parts))
    return None


def _schedule(epochs: int) -> list[str]:
    """The one schedule of all small configs over another number of epochs."""
    return [f'param_scheduler.0.end={epochs}', f'param_scheduler.0.warmup={min(1, epochs - 1)}']
