"""What has to be run for the small tables of chest X-rays."""

from dataclasses import dataclass, field
from pathlib import Path

from _tables.thesis import GUIDED

from orl_mm.engine.cli import UserError
from orl_mm.io.image_list import read_lines

from .base_plan import BasePlan, read_config, seed_options
from .probe import CONFIG as PROBE

SEGMENTER = 'configs/transfer/jsrt/deeplabv3_r18_small.py'
LISTED = 'configs/medino/small/dino.py'  # whose images get templates
DATASETS = ('jsrt', 'montgomery')
HOOK = 8  # AttentionRegHook among the custom hooks of the guided configs


@dataclass(frozen=True)
class ChestRow:
    """A network of a table: a config of configs/medino/small, and what is changed of it."""

    key: str
    name: str
    config: str
    options: tuple[str, ...] = ()
    template: str | None = None  # 'average' or 'registered': made by a job
    cost: float = 1.0
    numbers: dict[str, float] = field(default_factory=dict, hash=False)


def _small(name: str) -> str:
    return f'configs/medino/small/{name}.py'


ROWS = {
    row.key: row
    for row in (
        ChestRow('dino', 'DINO, generic augmentation', _small('dino'), cost=1.7),
        ChestRow('dino-cxr-aug', 'DINO, chest augmentation', _small('dino-cxr-aug')),
        ChestRow('triangular', 'MeDINO, triangular', _small('triangular')),
        ChestRow('average', 'MeDINO, average', _small('average'), template='average'),
        ChestRow('deformable', 'MeDINO, deformable', _small('deformable'), template='registered'),
    )
}


def sweep_row(strength: float, spread: float) -> ChestRow:
    """The deformable row with other strengths; lambda1 and lambda2 are one number."""
    if (strength, spread) == (1e-3, 0.05):
        row = ROWS['deformable']
        return ChestRow(
            row.key,
            row.name,
            row.config,
            row.options,
            row.template,
            row.cost,
            dict(strength=strength, spread=spread),
        )
    options = (
        f'custom_hooks.{HOOK}.lambda1={strength:g}',
        f'custom_hooks.{HOOK}.lambda2={strength:g}',
        f'custom_hooks.{HOOK}.spread={spread:g}',
    )
    return ChestRow(
        f'deformable-l{strength:g}-s{spread:g}',
        f'lambda {strength:g}',
        _small('deformable'),
        options,
        'registered',
        numbers=dict(strength=strength, spread=spread),
    )


# lambda 1e-3 with spread is the row of table 3.1; without strengths and spread it is DINO's.
SWEEP = [
    sweep_row(strength, spread)
    for strength, spread in ((1e-4, 0.05), (1e-3, 0.05), (1e-2, 0.05), (1e-3, 0.0))
]


class ChestPlan(BasePlan):
    """Jobs of the small tables 3.1 and 3.2 and of the sweep, and where each leaves its results.

    Args:
        out (Path): Folder of everything.
        data (Path): ``jsrt``, ``shenzhen`` and ``montgomery`` are in it.
        epochs (int, optional): Of each pretraining, for a try.
    """

    def __init__(self, out: Path, data: Path, epochs: int | None = None) -> None:
        super().__init__(out, dict(ORL_CXR=str(data.resolve())), epochs)
        self.data, self.templates = data.resolve(), out / 'templates'

    def average(self) -> tuple[Path, str]:
        """The predicted global template (thesis 3.2.2), and the job that makes it."""
        folder, done = self.out / 'segmenter', self.templates / 'average.npz'
        epochs = read_config(SEGMENTER).train_cfg.max_epochs
        checkpoint = folder / f'epoch_{epochs}.pth'
        segmenter = self.add(
            'segmenter',
            self.python('tools/train.py', SEGMENTER, '--work-dir', str(folder), '--resume'),
            checkpoint,
            cost=5,
            folder=folder,
        )
        return done, self.add(
            'average',
            self.python(
                'tools/average_template.py',
                SEGMENTER,
                str(checkpoint),
                '--config',
                LISTED,
                '--out',
                str(done),
            ),
            done,
            [segmenter],
        )

    def registered(self) -> tuple[Path, str]:
        """The exemplar registered to each pretraining image (thesis 3.2.3)."""
        fallback, after = self.average()
        folder = self.templates / 'registered'
        return folder, self.add(
            'registered',
            [*self._register(folder), '--config', LISTED, '--fallback', str(fallback)],
            self.templates / 'registered.done',
            [after],
            3,
            touch=True,
            folder=folder,
        )

    def registered_to_scored(self) -> tuple[Path, str]:
        """The exemplar registered to each scored image: the row 'template itself'."""
        fallback, after = self.average()
        folder, listed = self.templates / 'scored', self.templates / 'scored.txt'
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text('\n'.join(scored_images(self.data)) + '\n', encoding='utf-8')
        return folder, self.add(
            'registered_to_scored',
            [
                *self._register(folder),
                '--list',
                str(listed),
                '--root',
                str(self.data),
                '--fallback',
                str(fallback),
            ],
            self.templates / 'scored.done',
            [after],
            1,
            touch=True,
            folder=folder,
        )

    def pretrain(self, row: ChestRow, seed: int) -> tuple[Path, str]:
        """The last checkpoint of a row, and the job that makes it."""
        name = f'{row.key}_seed{seed}{self.tag}'
        cfg = read_config(row.config)
        epochs = self.epochs or cfg.train_cfg.max_epochs
        options, after = [*seed_options(seed), *row.options], []
        if row.template is not None:
            source, job = dict(average=self.average, registered=self.registered)[row.template]()
            options.append(f'train_dataloader.dataset.pipeline.2.source={source}')
            after = [job]
        if self.epochs:
            options += [
                f'train_cfg.max_epochs={epochs}',
                'default_hooks.checkpoint.interval=1',
                *(f'param_scheduler.{i}.end={epochs}' for i in (0, 1)),
                f'param_scheduler.0.warmup={min(1, epochs - 1)}',
            ]
        folder = self.out / 'pretrain_cxr' / name
        done = folder / f'epoch_{epochs}.pth'
        return done, self.add(
            name, self.train(row.config, folder, options), done, after, 6 * row.cost, folder=folder
        )

    def attention(self, row: ChestRow, seed: int) -> Path:
        """The checkpoint whose attention a job has scored, on both data sets."""
        checkpoint, job = self.pretrain(row, seed)
        self.add(
            f'{job}_attention',
            self.python('tools/evidence.py', 'attention', str(checkpoint), str(self.data)),
            checkpoint.with_name(f'{checkpoint.stem}.{DATASETS[-1]}.json'),
            [job],
            0.5,
        )
        return checkpoint

    def features(self, row: ChestRow | None, seed: int) -> Path:
        """Frozen features of both hospitals; without a row, those of random weights."""
        if row is None:
            checkpoint, name, after = f'random:{seed}', f'random_seed{seed}', []
        else:
            checkpoint, job = self.pretrain(row, seed)
            name, after = job, [job]
        done = self.out / 'features' / f'{name}.npz'
        self.add(
            f'{name}_features',
            self.python('tools/evidence.py', 'features', str(checkpoint), str(done)),
            done,
            after,
            0.5,
            configs=[PROBE],
        )
        return done

    def _register(self, folder: Path) -> list[str]:
        (exemplar,) = read_lines('jsrt_exemplar', 'list')
        return self.python(
            'tools/register_templates.py',
            '--exemplar-root',
            str(self.data / 'jsrt'),
            '--exemplar-id',
            exemplar,
            '--out',
            str(folder),
            '--workers',
            '1',
        )


def scored_images(data: Path) -> list[str]:
    """Paths below ``data`` of JSRT's scored images and of all of Montgomery."""
    files = {name: sorted((data / name / 'images').iterdir()) for name in DATASETS}
    scored = set(read_lines('jsrt_score', 'list'))
    files['jsrt'] = [file for file in files['jsrt'] if file.stem in scored]
    if len(files['jsrt']) != len(scored):
        raise UserError(
            f'{data}/jsrt/images has {len(files["jsrt"])} of the {len(scored)} scored '
            'images: see orl_mm/datasets/splits/README.md'
        )
    return [file.relative_to(data).as_posix() for name in DATASETS for file in files[name]]


def row_color(row: str | None) -> str:
    """In figures: guided, not guided, and without a network."""
    return '0.6' if row is None else 'C1' if row in GUIDED else 'C0'
