"""The thesis's tables 3.1 (attention AP) and 3.2 (linear probes) beside what was measured."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.utils import to_2tuple

from orl_mm.evaluation.bootstrap import percentile_interval, resample_patients, weighted_means
from orl_mm.registration.template import read_template

from .markdown import interval_text
from .natural import THESIS
from .records import CONFIGS, Run, Tests, find_run, metric_values, scores_of, scores_of_test
from .templates import score_maps, template_maps, truth

REGIMENS: dict[str, str] = THESIS['regimens']
SETS: dict[str, str] = THESIS['xray_sets']
PARTS: dict[str, str] = THESIS['parts']
TABLE_3_1: dict[str, dict[str, dict[str, float]]] = THESIS['attention_ap']
TABLE_3_2: dict[str, float] = THESIS['mean_auroc']
# Words in names of configs of other algorithms that AttentionRegHook guides.
OTHER_ALGORITHMS = frozenset(('mocov3', 'simclr', 'simsiam', 'byol', 'mae'))
NOTES = {
    '3.1': 'AP in percent: mean over images [95% interval over patients], and pooled over all '
    'pixels. Guided rows use their assigned heads, other rows the best head of each part. '
    'Template: the map that guided the row, scored like attention. † not above its own template. '
    'Ceiling: the ground truth, averaged over each patch.',
    '3.2': 'Mean AUROC in percent [95% interval over patients] of a linear layer on frozen '
    'features. Columns: test set and fraction of the training labels. The thesis uses all of '
    'CheXpert.',
}
MAIN = 'CheXpert, 100%'


def regimen_of(name: str) -> str | None:
    """The row that a name ends with, or that is one of its words between ``_``.

    ``dino_vits16``, as tools/convert_weights.py names it, is DINO from ImageNet. The rows are
    DINO's: names of other algorithms belong to none of them.
    """
    if re.fullmatch(r'dino_(deit)?(vit)?s(mall)?16(_pretrain)?', name):
        return 'dino-in1k'
    if OTHER_ALGORITHMS.intersection(name.split('_')):
        return None
    return next((word for word in reversed(name.split('_')) if word in REGIMENS), None)


def row_of(run: Run, path: str) -> str:
    """The row of a run by the names of its config, of a probe's pretraining, or of its folder.

    Raises:
        ValueError: None of them names a row.
    """
    names = [run.name]
    if run.config and is_probe(run.config):
        start = (run.config['model']['backbone'].get('init_cfg') or {}).get('checkpoint')
        start = run.config.get('load_from') or start
        if start:
            names += [*Path(start).parts[::-1][1:], Path(start).stem]
    names += [run.checkpoint.parent.name, run.checkpoint.stem]
    row = next(filter(None, map(regimen_of, names)), None)
    if row is None:
        raise ValueError(
            f'{path}: which row is it? Its names say none of {", ".join(REGIMENS)}: '
            f'give --row NAME={path}, NAME one of these or a new one'
        )
    return row


def is_probe(config: dict[str, Any]) -> bool:
    return config.get('model', {}).get('type') == 'orl_mm.LinearProbe'


def find_rows(runs: Sequence[str], named: Sequence[tuple[str, str]]) -> list[tuple[str, Run]]:
    """Row and run of each path; the row of ``named`` ones is given."""
    found = [(path, find_run(path)) for path in runs]
    return [(row_of(run, path), run) for path, run in found] + [
        (row, find_run(path)) for row, path in named
    ]


def evaluation_config(
    name: str, trained: dict[str, Any] | None, options: dict[str, Any] | None = None
) -> Config:
    """The config of attention AP on a data set, with the network and image size of a training.

    Args:
        name (str): ``'jsrt'`` or ``'montgomery'``.
        trained (dict, optional): Config of the training; default: ViT-S/16.
        options (dict, optional): Further keys.
    """
    cfg = Config.fromfile(str(CONFIGS / 'transfer' / name / 'attention_vits16.py'))
    backbone = (trained or {}).get('model', {}).get('backbone')
    if backbone:
        cfg.model.backbone = {key: value for key, value in backbone.items() if key != 'init_cfg'}
        for step in cfg.test_dataloader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = to_2tuple(backbone.get('img_size', 224))[::-1]
    cfg.merge_from_dict(options or {})
    return cfg


def attention_table(
    rows: Sequence[tuple[str, Run]],
    templates: dict[str, list[str]],
    tests: Tests = Tests(),  # noqa: B008  (immutable)
) -> dict[str, Any]:
    """Table 3.1: attention AP on JSRT and Montgomery.

    Args:
        rows (sequence): Row and run, at most one run for each row.
        templates (dict): Row, or any name -> its file or folders.
        tests (Tests): What to test, and further keys of the evaluation configs.

    Returns:
        dict: ``rows``: ``row``, ``name``, ``guided``, ``checkpoint``, ``here`` (set -> metrics),
        ``thesis`` and ``scores`` (column -> percent, see :func:`.records.table_panels`),
        ``template`` and ``above_template`` (data set -> numbers); ``templates``, ``ceiling``,
        ``grid``; ``columns``: ``'jsrt/heart'``, ...

    Raises:
        ValueError: Two runs for one row, networks of different patch grids, or no images.
    """
    runs = dict(rows)
    if len(runs) < len(rows):
        keys = [key for key, _ in rows]
        row = max(keys, key=keys.count)
        raise ValueError(
            f'two runs are for the row {row!r}: leave one out, or name it with --row NAME=PATH'
        )
    fixed = _with_data({name: evaluation_config(name, None, tests.options) for name in SETS})
    configs = {
        row: {name: evaluation_config(name, run.config, tests.options) for name in fixed}
        for row, run in runs.items()
    }
    grid = _grid([cfg for pair in configs.values() for cfg in pair.values()])
    own = {row: [source] for row, run in runs.items() if (source := own_template(run.config))}
    scored = {
        key: _score_template(paths, fixed, grid) for key, paths in {**own, **templates}.items()
    }
    columns = {
        f'{name}/{part}': f'{of}: {PARTS[part].lower()}'
        for name, of in SETS.items()
        for part in TABLE_3_1[name]
    }
    found = []
    for key in [*TABLE_3_1['jsrt']['heart'], *(row for row in runs if row not in REGIMENS)]:
        run, here = runs.get(key), {}
        if run is not None:
            for name, cfg in configs[key].items():
                folder = run.checkpoint.parent / f'{run.checkpoint.stem}_{name}'
                section = scores_of_test(cfg, run.checkpoint, folder, tests)
                if section:
                    here[name] = section
        template = scored.get(key, {})
        metrics = {name: metric_values(section) for name, section in here.items()}
        thesis, scores = {}, {}
        for column in columns:
            name, part = column.split('/')
            thesis[column] = TABLE_3_1[name][part].get(key)
            scores[column] = span(metrics.get(name, {}), part)
        found.append(
            dict(
                row=key,
                name=REGIMENS.get(key, key),
                guided=key in THESIS['guided'],
                checkpoint=run and str(run.checkpoint),
                thesis=thesis,
                here=metrics,
                scores=scores,
                template=_metrics(template),
                above_template={
                    name: above_template(here[name]['images'], template[name]['images'])
                    for name in template
                    if name in here
                },
            )
        )
    return dict(
        table='3.1',
        title='attention AP',
        note=NOTES['3.1'],
        grid=list(grid),
        columns=columns,
        rows=found,
        templates={key: _metrics(sections) for key, sections in scored.items()},
        ceiling=_metrics({name: score_maps(cfg, truth, grid) for name, cfg in fixed.items()}),
    )


def _metrics(sections: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {name: section['metrics'] for name, section in sections.items()}


def above_template(mine: dict[str, Any], template: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How much higher the AP of a run is than that of its template, image by image.

    Args:
        mine, template (dict): ``images`` of a result: ``ap`` and ``patients``.

    Returns:
        dict: Part -> ``difference`` of the means over the images of both, and its 95% interval
        ``low``, ``high`` over patients.
    """
    found = {}
    for part, scores in mine['ap'].items():
        other = template['ap'].get(part, {})
        images = [image for image in scores if image in other]
        if not images:
            continue
        gain = np.array([scores[image] - other[image] for image in images])
        counts = resample_patients([mine['patients'].get(i, i) for i in images], 1000)
        low, high = percentile_interval(weighted_means(gain, counts))
        found[part] = dict(difference=float(gain.mean()), low=low, high=high)
    return found


def own_template(config: dict[str, Any] | None) -> str | None:
    """The file of the template that guided a run; None without one that can be read."""
    loader = (config or {}).get('train_dataloader') or {}
    for step in loader.get('dataset', {}).get('pipeline', ()):
        if step.get('type') == 'orl_mm.RegisteredTemplate' and not Path(step['source']).is_dir():
            try:
                read_template(step['source'])
                return step['source']
            except (OSError, ValueError):
                return None
    return None


def _with_data(configs: dict[str, Config]) -> dict[str, Config]:
    """Those whose images are there; the columns of the others stay empty."""
    roots = {name: cfg.test_dataloader.dataset.data_root for name, cfg in configs.items()}
    found = {name: cfg for name, cfg in configs.items() if Path(roots[name]).is_dir()}
    for name in configs.keys() - found.keys():
        print(f'{SETS[name]}: there is no folder {roots[name]}, so its columns stay empty')
    if not found:
        raise ValueError(f'there is none of the folders {sorted(roots.values())}: give --data DIR')
    return found


def _score_template(
    paths: list[str], configs: dict[str, Config], grid: tuple[int, int]
) -> dict[str, Any]:
    """By data set, without those that a folder has no templates of."""
    maps_of, found = template_maps(paths), {}
    for name, cfg in configs.items():
        try:
            found[name] = score_maps(cfg, maps_of, grid)
        except ValueError as error:
            print(f'template {paths} on {name}: {error}')
    return found


def _grid(configs: Sequence[Config]) -> tuple[int, int]:
    grids = set()
    for cfg in configs:
        patch = cfg.model.backbone.get('patch_size', 16)
        height, width = to_2tuple(cfg.model.backbone.get('img_size', 224))
        grids.add((height // patch, width // patch))
    if len(grids) > 1:
        raise ValueError(
            f'the runs have patch grids {sorted(grids)}: templates and ceiling depend on the '
            'grid, so make one table for each'
        )
    return grids.pop() if grids else (14, 14)


def attention_cells(table: dict[str, Any]) -> list[dict[str, str]]:
    """Part by part and row by row, in the thesis's layout."""
    maps = {f'*template itself: {key}*': scores for key, scores in table['templates'].items()}
    maps[f'*ceiling of the {" x ".join(map(str, table["grid"]))} grid*'] = table['ceiling']
    fixed = [
        dict(name=name, here=scores, guided=None, thesis={}, template={}, above_template={})
        for name, scores in maps.items()
    ]
    return [
        {'Part': title, 'Regimen': row['name']}
        | {
            f'{of}: {column}': cell if part == 'mean' or part in TABLE_3_1[name] else ''
            for name, of in SETS.items()
            for column, cell in _attention_cells(row, name, part).items()
        }
        for part, title in [*PARTS.items(), ('mean', 'Mean')]
        for row in [*table['rows'], *fixed]
    ]


def _attention_cells(row: dict[str, Any], name: str, part: str) -> dict[str, str]:
    """Cells of a part on a data set; ``guided`` is None for maps without a network."""
    mine, guided = row['here'].get(name, {}), row['guided']
    thesis = {c.split('/')[1]: x for c, x in row['thesis'].items() if c.startswith(name)}
    numbers = [x for x in thesis.values() if x is not None]
    number = np.mean(numbers) if part == 'mean' and numbers else thesis.get(part)
    gains = row['above_template'].get(name, {})
    gain = [g['difference'] for key, g in gains.items() if part in (key, 'mean')]
    missing = '' if guided is None else 'not tested' if row['checkpoint'] else 'not yet run'
    measured = percent(mine, part, missing)
    measured += ' †' if gain and np.mean(gain) <= 0 else ''
    if guided and mine.get(f'{part}_assigned') == 0:
        measured += ' (best head)'
    template = percent(row['template'].get(name, {}), part, 'not given' if guided else '')
    return dict(
        thesis='' if number is None else f'{number:.1f}',
        measured=measured,
        pooled=percent(mine, f'{part}_pooled', interval=False),
        template=template,
    )


def attention_notes(table: dict[str, Any]) -> list[str]:
    """A line for each part in which a guided row is not above its template.

    Low coverage hints at the reason: the head has settled on a few patches of its part.
    """
    return [
        f'- † {row["name"]}, {SETS[name]}, {PARTS.get(part, part)}: '
        f'{100 * gain["difference"]:+.1f} [{100 * gain["low"]:+.1f}, {100 * gain["high"]:+.1f}] '
        f'against its template, coverage {row["here"][name][f"{part}_coverage"]:.2f}'
        for row in table['rows']
        for name, gains in row['above_template'].items()
        for part, gain in gains.items()
        if gain['difference'] <= 0
    ]


def probe_table(
    rows: Sequence[tuple[str, Run]],
    tests: Tests = Tests(),  # noqa: B008  (immutable)
) -> dict[str, Any]:
    """Table 3.2: mean AUROC of linear probes.

    Args:
        rows (sequence): Row and work directory of a linear probe.
        tests (Tests): What to test.

    Returns:
        dict: ``rows``: ``row``, ``name``, ``here`` (column -> metrics), ``thesis`` and ``scores``
        (column -> percent, see :func:`.records.table_panels`); ``columns``: test set and share of
        the labels.

    Raises:
        ValueError: No linear probe, or two of one row and column.
    """
    found: dict[str, dict[str, dict]] = {}
    for row, run in rows:
        if run.config is None or not is_probe(run.config):
            raise ValueError(
                f'{run.checkpoint} is no work directory of a linear probe: train one with '
                'tools/train.py configs/transfer/chexpert/linear_vits16.py'
            )
        column = _column(run.config)
        if column in found.setdefault(row, {}):
            raise ValueError(
                f'two probes are for the row {row!r} on {column}: leave one out, or name it '
                'with --row NAME=PATH'
            )
        metrics = metric_values(scores_of(run, tests)[1])
        found[row][column] = dict(metrics, checkpoint=str(run.checkpoint))
    columns = {MAIN, *(column for row in found.values() for column in row)}
    return dict(
        table='3.2',
        title='linear probes',
        note=NOTES['3.2'],
        columns={column: column for column in sorted(columns, key=_column_order)},
        rows=[
            dict(
                row=key,
                name=REGIMENS.get(key, key),
                thesis={MAIN: TABLE_3_2.get(key)},
                here=found.get(key, {}),
                scores={c: span(metrics, 'mean') for c, metrics in found.get(key, {}).items()},
            )
            for key in dict.fromkeys((*TABLE_3_2, *found))
        ],
    )


def _column(config: dict[str, Any]) -> str:
    name = config['test_evaluator'].get('prefix') or 'auroc'
    share = float(config['train_dataloader']['dataset'].get('fraction', 1.0))
    return f'{dict(chexpert="CheXpert", tb="Tuberculosis").get(name, name)}, {share:.0%}'


def _column_order(column: str) -> tuple[bool, str, float]:
    name, share = column.rsplit(', ', 1)
    return name != MAIN.split(',')[0], name, -float(share.rstrip('%'))


def probe_cells(table: dict[str, Any]) -> list[dict[str, str]]:
    """Row by row: the thesis's number and each column."""
    found = []
    for row in table['rows']:
        thesis = row['thesis'][MAIN]
        cells = {'Regimen': row['name'], 'Thesis': '' if thesis is None else f'{thesis:.1f}'}
        for column in table['columns']:
            missing = 'not tested' if column in row['here'] else 'not yet run'
            cells[column] = percent(row['here'].get(column, {}), 'mean', missing)
        found.append(cells)
    return found


def percent(metrics: dict[str, Any], key: str, missing: str = '', interval: bool = True) -> str:
    """A score in [0, 1] with its interval, in percent; ``missing`` if nothing was tested."""
    if not any(isinstance(value, float) for value in metrics.values()):
        return missing
    return interval_text(metrics if interval else {key: metrics.get(key)}, key, scale=100)


def span(metrics: dict[str, Any], key: str) -> dict[str, float] | None:
    """A score and its interval in percent, for a :class:`~orl_mm.visualization.forest.Panel`."""
    value = metrics.get(key)
    if value is None:
        return None
    ends = {end: metrics.get(f'{key}_{end}') for end in ('low', 'high')}
    return dict(
        mean=100 * value, **{end: 100 * (value if x is None else x) for end, x in ends.items()}
    )
