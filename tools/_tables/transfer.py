"""Transfer runs of tables 2.1 to 2.3: what was trained, from whose weights, by which config."""

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from orl_mm.engine.cli import UserError

from .runs import dumped_config, last_checkpoint
from .sessions import Moment, Session, moment_of, sessions
from .thesis import NATURAL

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# Data set -> images of its test set.
OFFICIAL: dict[str, int] = {'coco': 5000, 'voc': 1449, 'cityscapes': 500}
# Data set -> the config of the thesis's numbers, and the metrics by column, with what makes
# percents of them.
THESIS_CONFIG = {'coco': 'mask-rcnn_r50_fpn_1x', 'voc': 'fcn_r50', 'cityscapes': 'fcn_r50'}
METRICS: dict[str, dict[str, tuple[str, float]]] = {
    'coco': {'box': ('coco/bbox_mAP', 100.0), 'mask': ('coco/segm_mAP', 100.0)},
    'voc': {'voc': ('mIoU', 1.0)},
    'cityscapes': {'cityscapes': ('mIoU', 1.0)},
}
_TYPES = {'CocoDataset': 'coco', 'PascalVOCDataset': 'voc', 'CityscapesDataset': 'cityscapes'}
_WORK_DIR = re.compile(
    r'(coco|voc|cityscapes)_(fcn_r50|mask-rcnn(_r50_fpn)?)'
    r'(_(1x|published|train))?_(?P<row>.+)'
)
_SEED = re.compile(r'[_-](seed|run|s|r)[_-]?\d+$')

# What lies below a setting and changes no number.
_IDLE = frozenset(
    (
        'init_cfg',
        'data_root',
        '_scope_',
        'backend_args',
        'val_interval',
        'outfile_prefix',
        'format_only',
    )
)


class TransferRun(NamedTuple):
    """A finished, or unfinished, training of a transfer config.

    Attributes:
        work_dir (Path): As given.
        dataset (str): ``'coco'``, ``'voc'`` or ``'cityscapes'``.
        row (str): Key of a row: a config of pretraining, or any name.
        checkpoint (Path): Its last one.
        moment (Moment, optional): When that was written, by its name.
        start (str, optional): The pretrained checkpoint.
        config (Config): Of the training.
        trained (Session, optional): The start that wrote the checkpoint.
        tests (list): Later starts in the same folder that tested.
    """

    work_dir: Path
    dataset: str
    row: str
    checkpoint: Path
    moment: Moment | None
    start: str | None
    config: Config
    trained: Session | None
    tests: list[Session]


class NoTransfer(Exception):
    """A folder that is not (yet) a row of any of these tables; its text says why."""


def find_transfer(path: str, row: str | None = None) -> TransferRun:
    """Read a work directory.

    Args:
        path (str): The folder.
        row (str, optional): Its row; default: by the pretrained checkpoint and the folder's name.

    Raises:
        NoTransfer: A pretraining, a probe, or a training without a checkpoint yet.
        UserError: No folder there, or no row that it obviously is.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f'there is no work directory {path!r}')
    starts = sessions(folder)
    if not starts and dumped_config(folder) is None:
        raise NoTransfer('no work directory of mmengine')
    try:
        checkpoint = last_checkpoint(folder)
    except UserError:
        raise NoTransfer('no checkpoint (*.pth) yet') from None
    moment = moment_of(checkpoint)
    # A training that was broken off before its first checkpoint did not write this one.
    trained = next(
        (start for start in reversed(starts) if moment is not None and start.reaches(moment)), None
    )
    config = trained.config if trained is not None else None
    if config is None:  # no local backend: the newest dump, which a test may have written
        file = dumped_config(folder)
        if file is None:
            raise NoTransfer('no config in it')
        config = Config.fromfile(str(file), import_custom_modules=False)
    dataset = dataset_of(config)
    if dataset is None:
        raise NoTransfer('no transfer to COCO, VOC or Cityscapes')
    start = pretrained_of(config)
    row = complete(row) if row is not None else _row(path, folder.resolve().name, start)
    tests = [
        s for s in starts if s.test is not None and (trained is None or s.stamp > trained.stamp)
    ]
    return TransferRun(folder, dataset, row, checkpoint, moment, start, config, trained, tests)


def dataset_of(config: Config) -> str | None:
    """By the type of what it is tested on."""
    data = (config.get('test_dataloader') or config.get('val_dataloader') or {}).get('dataset', {})
    while 'dataset' in data:
        data = data['dataset']
    kind = data.get('type')
    return _TYPES.get(kind.split('.')[-1]) if isinstance(kind, str) else None


def pretrained_of(config: Config) -> str | None:
    """The pretrained checkpoint of a transfer config."""
    backbone = config.get('model', {}).get('backbone', {})
    return (backbone.get('init_cfg') or {}).get('checkpoint')


def known_rows() -> list[str]:
    """Names of all pretraining configs whose backbone these transfers take."""
    return sorted(
        {row.key for rows in NATURAL.values() for row in rows}.union(
            file.stem
            for folder in ('r2o', 'baselines')
            for file in (CONFIGS / folder).glob('*r50*.py')
        )
    )


def complete(name: str) -> str:
    """``byol`` is ``byol_r50_in1k``, ``r2o`` R2O's config of 300 epochs."""
    if name in ('r2o', 'r2o_100e'):
        return dict(r2o='r50_in1k', r2o_100e='r50_in1k_100e')[name]
    return f'{name}_r50_in1k' if f'{name}_r50_in1k' in known_rows() else name


def row_of_checkpoint(checkpoint: str) -> str | None:
    """By its folder, which is named after the config, or its own name."""
    path = Path(checkpoint)
    if path.stem.startswith('resnet50-'):  # torchvision's releases
        return 'supervised_r50_in1k'
    return _known(path.parent.name) or _known(path.stem)


def row_of_folder(name: str) -> str | None:
    """``voc_fcn_r50_byol_r50_in1k``, with ``_seed1`` if need be, is BYOL's."""
    found = _WORK_DIR.fullmatch(name)
    return _known(found['row']) if found else None


def _known(name: str) -> str | None:
    rows = known_rows()
    return next((key for key in (name, _SEED.sub('', name)) if key in rows), None)


def _row(path: str, folder: str, start: str | None) -> str:
    loaded = None if start is None else row_of_checkpoint(start)
    named = row_of_folder(folder)
    if loaded and named and loaded != named:
        raise UserError(
            f'{path}: its name says {named}, but it started from {start}, which is {loaded}: was '
            'model.backbone.init_cfg.checkpoint=FILE forgotten? If it is right: --row '
            f'{loaded}={path}'
        )
    if loaded or named:
        return loaded or named
    raise UserError(
        f'{path}: which row is it? Neither its name nor its pretrained checkpoint '
        f'({start}) names a config of configs/r2o or configs/baselines: give --row '
        f'NAME={path}, NAME such as {NATURAL["2.2"][2].key}, or a new one'
    )


def differences(run: TransferRun, tested: dict[str, Any]) -> tuple[str, list[str]]:
    """As which config of configs/transfer a run was trained and tested.

    Args:
        run (TransferRun): The run.
        tested (dict): :func:`test_settings` of its number.

    Returns:
        tuple: ``''`` if it is the thesis's, the name of another config if it is that one; else
        the thesis's name again, and how the run differs from it, ``key: theirs -> its``.
    """
    thesis, found = THESIS_CONFIG[run.dataset], {}
    mine, batch = dict(training_settings(run.config), **tested), batch_size(run)
    for name, (theirs, base) in _references(run.dataset).items():
        found[name] = []
        if base and batch and base != batch:
            scaled = (run.config.get('auto_scale_lr') or {}).get('enable')
            found[name].append(
                f'batch size: {base} -> {batch}' + (', learning rate scaled' if scaled else '')
            )
        found[name] += [
            f'{key}: {theirs.get(key)} -> {mine.get(key)}'
            for key in dict.fromkeys([*theirs, *mine])
            if theirs.get(key) != mine.get(key)
        ]
        if not found[name]:
            return ('' if name == thesis else name), []
    return thesis, found[thesis]


@cache
def _references(dataset: str) -> dict[str, tuple[dict[str, Any], int | None]]:
    """Settings and batch size of each config of configs/transfer for a data set."""
    found = {}
    for file in sorted((CONFIGS / 'transfer' / dataset).glob('*.py')):
        cfg = Config.fromfile(str(file), import_custom_modules=False)
        found[file.stem] = (
            dict(training_settings(cfg), **test_settings(cfg)),
            (cfg.get('auto_scale_lr') or {}).get('base_batch_size'),
        )
    return found


def batch_size(run: TransferRun) -> int | None:
    """Images of a step of the optimiser, over all processes."""
    world = run.trained and run.trained.world_size
    if not world:
        return None
    steps = run.config.optim_wrapper.get('accumulative_counts', 1)
    return world * run.config.train_dataloader.batch_size * steps


def training_settings(config: Config) -> dict[str, Any]:
    """All of a config that its weights depend on, by dotted keys; not where the data lie."""
    loader = config.get('train_dataloader') or {}
    parts = {key: config.get(key) for key in ('train_cfg', 'optim_wrapper', 'param_scheduler')}
    parts.update({'trained on': loader.get('dataset'), 'drop_last': loader.get('drop_last')})
    parts['model'] = {key: value for key, value in config.model.items() if key != 'test_cfg'}
    parts['custom_hooks'] = config.get('custom_hooks')
    return _flat(parts, loader)


def test_settings(config: Config, kind: str = 'test') -> dict[str, Any]:
    """All that the number of given weights depends on; ``kind`` may be ``'val'``."""
    loader = config.get(f'{kind}_dataloader') or {}
    return _flat(
        {
            'tested on': loader.get('dataset'),
            'metric': config.get(f'{kind}_evaluator'),
            'model.test_cfg': config.model.get('test_cfg'),
        },
        loader,
    )


def _flat(parts: dict, loader: dict) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _flatten(parts, '', (loader.get('dataset') or {}).get('data_root') or '', found)
    return found


def _flatten(value: Any, key: str, root: str, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in _IDLE:
                _flatten(item, f'{key}.{name}' if key else str(name), root, found)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _flatten(item, f'{key}.{index}', root, found)
    elif isinstance(value, str):
        found[key] = value.removeprefix(root) if root else value
    elif value is not None:
        found[key] = value
