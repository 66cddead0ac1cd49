"""The thesis's tables 2.1 to 3.2 beside what was measured, from ``result.json`` files."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from orl_mm.evaluation.results import flat_settings
from orl_mm.visualization.samples import innermost, short_name

from .records import CONFIGS, Run, Tests, find_run, scores_of

THESIS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).with_name('thesis.yml')).read_text(encoding='utf-8')
)
NATURAL: dict[str, dict[str, dict[str, Any]]] = THESIS['natural']
# Data set -> images of its test set; metrics by column, with the factor to percent; type of the
# data set in configs; the config of the thesis's numbers.
OFFICIAL = {'coco': 5000, 'voc': 1449, 'cityscapes': 500}
METRICS: dict[str, dict[str, tuple[str, float]]] = {
    'coco': {'box': ('coco/bbox_mAP', 100.0), 'mask': ('coco/segm_mAP', 100.0)},
    'voc': {'voc': ('mIoU', 1.0)},
    'cityscapes': {'cityscapes': ('mIoU', 1.0)},
}
TYPES = {'CocoDataset': 'coco', 'PascalVOCDataset': 'voc', 'CityscapesDataset': 'cityscapes'}
THESIS_CONFIG = {'coco': 'mask-rcnn_r50_fpn_1x', 'voc': 'fcn_r50', 'cityscapes': 'fcn_r50'}
WORK_DIR = re.compile(
    r'(coco|voc|cityscapes)_(fcn_r50|mask-rcnn(_r50_fpn)?)(_(1x|published|train))?_(?P<row>.+)'
)
PARTIAL, OTHER_SETTINGS, PRETRAINING = '†', '‡', '§'
MARKS = {
    PARTIAL: 'not known to be on the whole official test set',
    OTHER_SETTINGS: "with other settings than the thesis's config, or not trained to the end",
    PRETRAINING: "pretrained for another number of epochs than the row's",
}
NOTE = (
    'In percent. Measured: the last checkpoint of each run; for several runs their mean (smallest '
    'to largest). Epochs of pretraining are those of the thesis.'
)


class Skipped(Exception):
    """A work directory that does not belong to the table; its text says why."""


def natural_table(
    table: str,
    runs: Sequence[str],
    named: Sequence[tuple[str, str]] = (),
    tests: Tests = Tests(),  # noqa: B008  (immutable)
) -> dict[str, Any]:
    """Tables 2.1 to 2.3: transfer runs beside the thesis's numbers.

    Args:
        table (str): ``'2.1'``, ``'2.2'`` or ``'2.3'``.
        runs (sequence): Work directories; those of other tables are left out.
        named (sequence): Row and work directory of further ones.
        tests (Tests): What to test.

    Returns:
        dict: ``rows``: ``row``, ``name``, ``label``, ``epochs``, ``thesis`` (column -> number),
        ``marks``, ``recipe``, ``scores`` (column -> ``mean``, ``low``, ``high``, ``values``) and
        ``runs``; ``columns``; ``left_out`` (reason -> work directories).

    Raises:
        ValueError: No such folder, one given twice, or a row that is not obvious.
    """
    # (row, name of another recipe than the thesis's, marks) -> runs. The thesis's rows are in the
    # table even if nothing ran.
    thesis = NATURAL[table]
    groups: dict[tuple[str, str, str], list[dict]] = {(key, '', ''): [] for key in thesis}
    left_out: dict[str, list[str]] = {}
    folders: set[Path] = set()
    for path, row in [*((path, None) for path in runs), *((path, row) for row, path in named)]:
        if Path(path).resolve() in folders:
            raise ValueError(f'{path} is given twice')
        folders.add(Path(path).resolve())
        try:
            key, recipe, record = _transfer(table, path, row, tests)
        except Skipped as reason:
            if row is not None:
                raise ValueError(f'{path}: {reason}') from None
            left_out.setdefault(str(reason), []).append(path)
            continue
        doubted = {doubt['mark'] for doubt in record['doubts']}
        marks = ''.join(mark for mark in MARKS if mark in doubted)
        groups.setdefault((key, recipe, marks), []).append(record)
    columns = [column for data in THESIS['data_sets'][table] for column in METRICS[data]]
    rows = []
    order = [*thesis, *sorted({key for key, _, _ in groups} - thesis.keys())]
    for (key, recipe, marks), members in sorted(groups.items(), key=lambda g: order.index(g[0][0])):
        printed = thesis[key] if key in thesis and not (recipe or marks) else {}
        name = thesis[key]['name'] if key in thesis else THESIS['other_rows'].get(key, key)
        rows.append(
            dict(
                row=key,
                name=name,
                label=f'{", ".join(filter(None, (name, recipe)))} {marks}'.strip(),
                epochs=printed.get('epochs'),
                thesis={c: printed[c] for c in columns if c in printed},
                recipe=recipe,
                marks=marks,
                scores={c: found for c in columns if (found := _summary(c, members))},
                runs=members,
            )
        )
    return dict(
        table=table,
        title=THESIS['titles'][table],
        note=NOTE,
        rows=rows,
        columns={column: THESIS['columns'][column] for column in columns},
        left_out=left_out,
    )


def _transfer(
    table: str, path: str, row: str | None, tests: Tests
) -> tuple[str, str, dict[str, Any]]:
    """The row of a work directory, its recipe if it is not the thesis's, and its record."""
    if not Path(path).expanduser().is_dir():
        raise ValueError(f'there is no work directory {path!r}')
    try:
        run = find_run(path)
    except ValueError:
        raise Skipped('no checkpoint (*.pth) yet') from None
    if run.config is None:
        raise Skipped('no result.json and no config in it')
    data = data_set_of(run.config)
    if data is None:
        raise Skipped('no transfer to COCO, VOC or Cityscapes')
    if data not in THESIS['data_sets'][table]:
        raise Skipped(f'transfer to {data}, which is not in table {table}')
    backbone = run.config['model'].get('backbone', {})
    pretrained = (backbone.get('init_cfg') or {}).get('checkpoint')
    key = full_name(row) if row else _row(path, Path(path).resolve().name, pretrained)
    if row is None and (key in NATURAL['2.3']) != (table == '2.3'):
        raise Skipped(f'rows of table {"2.2" if table == "2.3" else "2.3"}')
    kind, section = scores_of(run, tests)
    values = {}
    for column, (metric, scale) in METRICS[data].items():
        value = section and section['metrics'].get(metric)
        if isinstance(value, (int, float)):
            values[column] = round(scale * value, 4)
    tested = settings_of_test(section['config'] if section else run.config, kind)
    recipe, changed = differences(data, run, tested)
    doubts = list(_doubts(data, key, run, section, pretrained))
    if changed:
        what = f'differs from configs/transfer/{data}/{recipe}.py: {"; ".join(changed)}'
        doubts.append((OTHER_SETTINGS, what))
        recipe = ''
    record = dict(
        work_dir=path,
        data_set=data,
        checkpoint=run.checkpoint.name,
        pretrained=pretrained,
        values=values or None,
        source=section and kind,
        images=section and section['images']['count'],
        doubts=[dict(mark=mark, reason=reason) for mark, reason in doubts],
    )
    return key, recipe, record


def data_set_of(config: dict[str, Any]) -> str | None:
    """``'coco'``, ``'voc'`` or ``'cityscapes'``, by the type of what a config is tested on."""
    loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
    return TYPES.get(short_name(dict(dict(type=''), **innermost(loader.get('dataset', {})))))


def full_name(row: str) -> str:
    """``byol`` is ``byol_r50_in1k``; ``r2o`` is R2O's config of 300 epochs."""
    names = dict(r2o='r50_in1k', r2o_100e='r50_in1k_100e')
    return names.get(row) or (f'{row}_r50_in1k' if f'{row}_r50_in1k' in known_rows() else row)


@cache
def known_rows() -> frozenset[str]:
    """Names of the pretraining configs whose backbone these transfers take."""
    files = [f for name in ('r2o', 'baselines') for f in (CONFIGS / name).glob('*r50*.py')]
    return frozenset(
        [*(f.stem for f in files), *(key for rows in NATURAL.values() for key in rows)]
    )


def row_of_checkpoint(checkpoint: str) -> str | None:
    """By the name of its folder, which is that of the config, or by its own name."""
    path = Path(checkpoint)
    if path.stem.startswith('resnet50-'):  # torchvision's releases
        return 'supervised_r50_in1k'
    return _known(path.parent.name) or _known(path.stem)


def row_of_folder(name: str) -> str | None:
    """``voc_fcn_r50_byol_r50_in1k`` and ``..._seed1`` belong to BYOL's row."""
    found = WORK_DIR.fullmatch(name)
    return _known(found['row']) if found else None


def _known(name: str) -> str | None:
    without_seed = re.sub(r'[_-](seed|run|s|r)[_-]?\d+$', '', name)
    return next((key for key in (name, without_seed) if key in known_rows()), None)


def _row(path: str, folder: str, pretrained: str | None) -> str:
    loaded, named = pretrained and row_of_checkpoint(pretrained), row_of_folder(folder)
    if loaded and named and loaded != named:
        raise ValueError(
            f'{path}: its name says {named}, but it started from {pretrained}, which is {loaded}: '
            'was model.backbone.init_cfg.checkpoint=FILE forgotten? If it is right: --row '
            f'{loaded}={path}'
        )
    if loaded or named:
        return loaded or named  # type: ignore[return-value]  # one of them is a name
    raise ValueError(
        f'{path}: which row is it? Neither its name nor its pretrained checkpoint '
        f'({pretrained}) names a config of configs/r2o or configs/baselines: give --row '
        f'NAME={path}, NAME such as byol_r50_in1k, or a new one'
    )


def training_settings(config: dict[str, Any]) -> dict[str, Any]:
    """What the weights of a transfer depend on, by dotted keys; not where the data lie."""
    loader = config.get('train_dataloader') or {}
    parts = {
        key: config.get(key)
        for key in ('train_cfg', 'optim_wrapper', 'param_scheduler', 'custom_hooks')
    }
    parts.update({'trained on': loader.get('dataset'), 'drop_last': loader.get('drop_last')})
    parts['model'] = {key: value for key, value in config['model'].items() if key != 'test_cfg'}
    return _without_root(parts, loader)


def settings_of_test(config: dict[str, Any], kind: str = 'test') -> dict[str, Any]:
    """What the score of given weights depends on; ``kind`` is ``'test'`` or ``'val'``."""
    loader = config.get(f'{kind}_dataloader') or {}
    parts = {
        'tested on': loader.get('dataset'),
        'metric': config.get(f'{kind}_evaluator'),
        'model.test_cfg': config['model'].get('test_cfg'),
    }
    return _without_root(parts, loader)


def _without_root(parts: dict[str, Any], loader: dict[str, Any]) -> dict[str, Any]:
    root = (loader.get('dataset') or {}).get('data_root') or ''
    return {
        key: value.removeprefix(root) if root and isinstance(value, str) else value
        for key, value in flat_settings(parts).items()
    }


def differences(data: str, run: Run, tested: dict[str, Any]) -> tuple[str, list[str]]:
    """Which config of configs/transfer a run followed.

    Returns:
        tuple: ``''`` for the thesis's, the name of another config if it is that one; else the
        thesis's name and how the run differs from it, ``key: config's -> run's``.
    """
    config: dict[str, Any] = run.config or {}
    mine, thesis = dict(training_settings(config), **tested), THESIS_CONFIG[data]
    batch = None
    if run.training:
        steps = config['optim_wrapper'].get('accumulative_counts', 1)
        batch = run.training['world_size'] * config['train_dataloader']['batch_size'] * steps
    found: dict[str, list[str]] = {}
    for name, (theirs, base) in _references(data).items():
        found[name] = []
        if base and batch and base != batch:
            scaled = (config.get('auto_scale_lr') or {}).get('enable')
            words = ', learning rate scaled' if scaled else ''
            found[name].append(f'batch size: {base} -> {batch}{words}')
        found[name] += [
            f'{key}: {theirs.get(key)} -> {mine.get(key)}'
            for key in dict.fromkeys([*theirs, *mine])
            if theirs.get(key) != mine.get(key)
        ]
        if not found[name]:
            return ('' if name == thesis else name), []
    return thesis, found[thesis]


@cache
def _references(data: str) -> dict[str, tuple[dict[str, Any], int | None]]:
    """Settings and batch size of each config of configs/transfer for a data set."""
    found = {}
    for file in sorted((CONFIGS / 'transfer' / data).glob('*.py')):
        cfg = Config.fromfile(str(file), import_custom_modules=False).to_dict()
        settings = dict(training_settings(cfg), **settings_of_test(cfg))
        found[file.stem] = settings, (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    return found


def _doubts(
    data: str, row: str, run: Run, section: dict[str, Any] | None, pretrained: str | None
) -> Iterator[tuple[str, str]]:
    """What keeps a number from standing beside the thesis's: mark and reason."""
    if section and section['images']['count'] != OFFICIAL[data]:
        yield PARTIAL, f'{section["images"]["count"]} of {OFFICIAL[data]} images'
    name, progress = run.checkpoint.name, run.training.get('progress')
    if name.startswith('best_'):
        yield OTHER_SETTINGS, f'{name} was chosen by its score on these images'
    elif not progress or name != f'{progress["by"]}_{progress["done"]}.pth':
        yield OTHER_SETTINGS, f'no result.json of the training that wrote {name}'
    elif progress['done'] < progress['total']:
        words = dict(epoch='epoch', iter='iteration')[progress['by']]
        yield OTHER_SETTINGS, f'{name} is not the end, {words} {progress["total"]}'
    epochs = re.search(r'epoch_(\d+)$', Path(pretrained).stem) if pretrained else None
    expected = row_epochs(row)
    if epochs and expected and int(epochs[1]) not in expected:
        yield (
            PRETRAINING,
            f'{pretrained} was pretrained for {epochs[1]} epochs, the row is of '
            + ' or '.join(map(str, expected)),
        )


def row_epochs(row: str) -> list[int]:
    """Epochs of pretraining: as the thesis prints them, else as the config says."""
    printed = {rows[row]['epochs'] for rows in NATURAL.values() if 'epochs' in rows.get(row, {})}
    if printed:
        return sorted(printed)
    files = [CONFIGS / folder / f'{row}.py' for folder in ('r2o', 'baselines')]
    return [
        Config.fromfile(str(file), import_custom_modules=False).train_cfg.max_epochs
        for file in files
        if file.is_file()
    ]


def _summary(column: str, runs: Sequence[dict]) -> dict[str, Any] | None:
    values = [run['values'][column] for run in runs if column in (run['values'] or {})]
    if not values:
        return None
    mean = round(sum(values) / len(values), 4)
    return dict(mean=mean, low=min(values), high=max(values), values=values)


def natural_cells(table: dict[str, Any]) -> list[dict[str, str]]:
    """Row by row: name, epochs, and for each column the thesis's and the measured number."""
    digits = 2 if table['table'] == '2.3' else 1  # as the thesis prints them
    found = []
    for row in table['rows']:
        cells = {'Row': row['label'], 'Epochs': str(row['epochs'] or '')}
        for column, title in table['columns'].items():
            number = row['thesis'].get(column)
            missing = '-' if row['thesis'] else ''
            cells[f'{title}: thesis'] = missing if number is None else f'{number:.{digits}f}'
            cells[f'{title}: measured'] = _measured(row, column, digits)
        found.append(cells)
    return found


def _measured(row: dict[str, Any], column: str, digits: int) -> str:
    here = row['scores'].get(column)
    if here is None:
        of_column = [run for run in row['runs'] if column in METRICS[run['data_set']]]
        return 'nothing recorded' if of_column else 'not yet run' if row['thesis'] else ''
    text = f'{here["mean"]:.{digits}f}'
    if len(here['values']) > 1:
        ends = f'{here["low"]:.{digits}f} to {here["high"]:.{digits}f}'
        text += f' ({ends}, {len(here["values"])} runs)'
    return f'{text} {row["marks"]}'.strip()


def natural_notes(table: dict[str, Any]) -> list[str]:
    """Lines below the table: marks, the source of each number, runs that were left out."""
    used = ''.join(row['marks'] for row in table['rows'])
    lines = [f'{mark} {reason}.' for mark, reason in MARKS.items() if mark in used]
    for row in table['rows']:
        for run in row['runs']:
            values = ' / '.join(f'{value:.2f}' for value in (run['values'] or {}).values())
            where = f'{run["work_dir"]}, {run["checkpoint"]}'
            how = f'{run["source"]}, {run["images"]} images' if run['source'] else 'add --test'
            lines.append(f'- {row["label"]}: {values or "nothing recorded"}: {where}, {how}')
            for doubt in run['doubts']:
                parts = doubt['reason'].split('; ')
                more = [f'and {len(parts) - 6} more'] if len(parts) > 6 else []  # --json has all
                lines.append(f'  - {doubt["mark"]} {"; ".join([*parts[:6], *more])}')
    lines += [f'- left out, {why}: {", ".join(paths)}' for why, paths in table['left_out'].items()]
    return lines
