"""Table 3.1: attention AP of every regimen on JSRT and Montgomery."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from orl_mm.engine.cli import UserError

from .compare import above, reports
from .evaluate import evaluate
from .layout import NO_DATA, NOT_GIVEN, NOT_RUN, markdown, score, thesis_number
from .maps import own_template, score_maps, template_maps, truth
from .plot import Panel, span
from .runs import Run
from .thesis import DATASETS, GUIDED, PARTS, TABLE_3_1, rows_of

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'transfer'
NOTE = (
    'AP in percent: mean over images [95% interval over patients], and pooled over all pixels. '
    'A guided row has its assigned heads, any other the best head of each part. '
    'Template: the map that guided the row, itself scored as if it were attention. '
    '† does not beat its own template. Ceiling: the truth averaged over each patch.'
)


def build(
    runs: list[Run],
    templates: dict[str, list[str]],
    data_options: dict | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Evaluate what is there and put it beside the thesis.

    Args:
        runs (list): At most one a row.
        templates (dict): Regimen, or any name -> its file or folders.
        data_options (dict, optional): Further options of the evaluation configs.
        again (bool): See :func:`.evaluate.evaluate`.

    Returns:
        dict: ``rows``: for each regimen ``row``, ``name``, ``thesis`` and ``here`` (data set ->
        part -> numbers), ``template`` and ``above_template`` likewise; ``templates``,
        ``ceiling``.

    Raises:
        UserError: Two runs for one row, networks of different patch grids, or no images.
    """
    by_row = {run.row: run for run in runs}
    if len(by_row) < len(runs):
        rows = [run.row for run in runs]
        twice = next(row for row in rows if rows.count(row) > 1)
        raise UserError(
            f'two runs are for the row {twice!r}: leave one out, or name it anew with '
            '--row NAME=PATH'
        )
    plain = _with_data({name: evaluation_config(name, None, data_options) for name in DATASETS})
    configs = {
        run.row: {name: evaluation_config(name, run.config, data_options) for name in plain}
        for run in runs
    }
    grid = _grid([config for pair in configs.values() for config in pair.values()])
    templates = dict(_own(runs), **templates)
    of_template = {key: _score_template(paths, plain, grid) for key, paths in templates.items()}
    of_template = {key: scores for key, scores in of_template.items() if scores}
    ceiling = {name: score_maps(cfg, truth, grid) for name, cfg in plain.items()}
    names = dict(rows_of('3.1'))
    names.update({run.row: run.row for run in runs if run.row not in names})
    rows = []
    for key, label in names.items():
        run = by_row.get(key)
        here = (
            {}
            if run is None
            else {
                name: evaluate(cfg, run.checkpoint, name, again)
                for name, cfg in configs[key].items()
            }
        )
        own = of_template.get(key, {})
        rows.append(
            dict(
                row=key,
                name=label,
                guided=key in GUIDED,
                checkpoint=None if run is None else str(run.checkpoint),
                thesis={
                    name: {part: column[key] for part, column in parts.items() if key in column}
                    for name, parts in TABLE_3_1.items()
                },
                here={name: found['metrics'] for name, found in here.items()},
                template={name: found['metrics'] for name, found in own.items()},
                above_template={name: above(here[name], own[name]) for name in own if name in here},
            )
        )
    return dict(
        table='3.1',
        note=NOTE,
        grid=list(grid),
        rows=rows,
        templates={
            key: dict(
                paths=templates[key], **{name: found['metrics'] for name, found in scores.items()}
            )
            for key, scores in of_template.items()
        },
        ceiling={name: found['metrics'] for name, found in ceiling.items()},
    )


def evaluation_config(name: str, trained: Config | None, options: dict | None) -> Config:
    """configs/transfer's config with the backbone, and the image size, of a training."""
    cfg = Config.fromfile(str(CONFIGS / name / 'attention_vits16.py'))
    backbone = trained and trained.get('model', {}).get('backbone')
    if backbone:
        cfg.model.backbone = {key: value for key, value in backbone.items() if key != 'init_cfg'}
        size = backbone.get('img_size', 224)
        size = (size, size) if isinstance(size, int) else tuple(size)
        for step in cfg.test_dataloader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = size[::-1]
    cfg.work_dir = f'work_dirs/tables/{name}'
    cfg.merge_from_dict(options or {})
    return cfg


def to_markdown(table: dict[str, Any]) -> str:
    """The thesis's layout: part by part, regimen by regimen."""
    header = ['Part', 'Regimen']
    for name in DATASETS.values():
        header += [f'{name}: thesis', 'here', 'pooled', 'template itself']
    lines = []
    for part, label in [*PARTS.items(), ('mean', 'Mean')]:
        for row in table['rows']:
            cells = [label, row['name']]
            for name in DATASETS:
                cells += _cells(row, name, part)
            lines.append(cells)
        for key, scores in table['templates'].items():
            lines.append([label, f'*template itself: {key}*', *_map_cells(scores, part)])
        size = ' x '.join(map(str, table['grid']))
        lines.append([label, f'*ceiling of the {size} grid*', *_map_cells(table['ceiling'], part)])
    return '\n'.join(
        [markdown('Table 3.1: attention AP', header, lines, table['note']), *reports(table), '']
    )


def panels(table: dict[str, Any]) -> tuple[list[str], list[Panel]]:
    """For a picture: names of the rows, and a panel for each data set and part."""
    rows = table['rows']
    return [row['name'] for row in rows], [
        Panel(
            f'{title}: {PARTS[part].lower()}',
            [row['thesis'].get(name, {}).get(part) for row in rows],
            [span(row['here'].get(name, {}), part) for row in rows],
            [row['checkpoint'] is None for row in rows],
            [False] * len(rows),
        )
        for name, title in DATASETS.items()
        for part in TABLE_3_1[name]
    ]


def _cells(row: dict[str, Any], name: str, part: str) -> list[str]:
    if part != 'mean' and part not in TABLE_3_1[name]:
        return [''] * 4
    thesis = row['thesis'][name]
    number = np.mean(list(thesis.values())) if part == 'mean' and thesis else thesis.get(part)
    here, own = row['here'].get(name, {}), row['template'].get(name, {})
    gain = row['above_template'].get(name, {})
    if part == 'mean':
        below = gain and np.mean([g['difference'] for g in gain.values()]) <= 0
    else:
        below = part in gain and gain[part]['difference'] <= 0
    mine = score(here, part, missing=NO_DATA if row['checkpoint'] else NOT_RUN)
    mine += ' †' if below else ''
    if row['guided'] and here.get(f'{part}_assigned') == 0:
        mine += ' (best head)'
    template = score(own, part, missing=NOT_GIVEN if row['guided'] else '')
    return [thesis_number(number), mine, score(here, f'{part}_pooled', interval=False), template]


def _map_cells(scores: dict[str, Any], part: str) -> list[str]:
    cells = []
    for name in DATASETS:
        here = scores.get(name, {})
        cells += ['', score(here, part), score(here, f'{part}_pooled', interval=False), '']
    return cells


def _with_data(configs: dict[str, Config]) -> dict[str, Config]:
    """Those whose images are there; the others' columns stay empty, which is said."""
    roots = {name: cfg.test_dataloader.dataset.data_root for name, cfg in configs.items()}
    there = {name: cfg for name, cfg in configs.items() if Path(roots[name]).is_dir()}
    for name in configs.keys() - there.keys():
        print(f'{DATASETS[name]}: there is no folder {roots[name]}, so its columns stay empty')
    if not there:
        raise UserError(f'there is none of the folders {sorted(roots.values())}: give --data DIR')
    return there


def _own(runs: list[Run]) -> dict[str, list[str]]:
    own = {run.row: own_template(run.config) for run in runs}
    return {row: [source] for row, source in own.items() if source is not None}


def _score_template(
    paths: list[str], plain: dict[str, Config], grid: tuple[int, int]
) -> dict[str, Any]:
    """By data set; one that a folder has no templates of is left out, which is said."""
    maps_of, found = template_maps(paths), {}
    for name, cfg in plain.items():
        try:
            found[name] = score_maps(cfg, maps_of, grid)
        except UserError as error:
            print(f'template {paths} on {name}: {error}')
    return found


def _grid(configs: list[Config]) -> tuple[int, int]:
    grids = set()
    for cfg in configs:
        backbone = cfg.model.backbone
        size, patch = backbone.get('img_size', 224), backbone.get('patch_size', 16)
        sides = (size, size) if isinstance(size, int) else tuple(size)
        grids.add((sides[0] // patch, sides[1] // patch))
    if len(grids) > 1:
        raise UserError(
            f'the runs have patch grids {sorted(grids)}: templates and ceiling depend '
            'on the grid, so make one table for each'
        )
    return grids.pop() if grids else (14, 14)
