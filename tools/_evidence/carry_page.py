"""The extrapolation as a page: what comes out, by what it is made of, and all that enters."""

from typing import Any

from _tables import layout

from .carry import Assumption, Recipe, both_ends

TERMS = dict(
    networks='networks',
    clustering='K-means',
    norms='SyncBN',
    all_reduce='all-reduce',
    loading='loading, beside',
)


def page(
    recipes: list[Recipe], assumptions: list[Assumption], notes: list[str], origin: str
) -> str:
    """Markdown.

    Args:
        recipes (list): Rows.
        assumptions (list): All that :func:`both_ends` needs.
        notes (list): Sentences below the steps.
        origin (str): Date, machine and command.
    """
    runs = {recipe.key: both_ends(recipe, assumptions) for recipe in recipes}
    base = dict(r2o='byol', medino='dino-cxr-aug')
    lines = [
        "## Carried to the thesis's runs",
        '',
        'From best to worst: all favourable values at once, then all unfavourable ones. '
        'Nothing of this was run.',
        '',
    ]
    lines += layout.plain(
        [
            'run',
            'hours',
            'GPU-hours',
            'beside its base',
            'core-hours of loading',
            'cores of a GPU that keep up',
            'core-hours once',
            'what limits',
        ],
        [
            [
                r.name,
                *(_span(runs[r.key], key) for key in ('hours', 'gpu_hours')),
                _beside(runs, r, base[r.family]),
                _span(runs[r.key], 'load_core_hours'),
                _span(runs[r.key], 'cores_to_keep_up'),
                _span(runs[r.key], 'prepare_core_hours') if r.prepare else '',
                _limits(runs[r.key]),
            ]
            for r in recipes
        ],
    )
    lines += [
        '',
        'Base: BYOL for R2O, DINO on the same two crops for MeDINO.',
        '',
        '## Milliseconds of a step of one GPU',
        '',
    ]
    lines += layout.plain(
        ['run', 'steps', *TERMS.values(), 'GFLOP an image', 'MB of gradient', 'SyncBN exchanges'],
        [
            [
                r.name,
                f'{runs[r.key]["best"]["steps"]:,}',
                *(
                    _span(
                        {
                            end: {term: 1000 * run['terms'][term]}
                            for end, run in runs[r.key].items()
                        },
                        term,
                    )
                    for term in TERMS
                ),
                f'{r.flops / 1e9:.1f}',
                f'{r.gradient_bytes / 1e6:.0f}',
                str(r.norm_calls),
            ]
            for r in recipes
        ],
    )
    for r in recipes:
        if r.prepare:
            each = runs[r.key]['best']['each_epoch_core_hours']
            lines += [
                '',
                f'{r.name}: computed in each of {r.epochs} epochs instead of once, '
                f'{" and ".join(r.prepare)} would take {each:,.0f} core-hours.',
            ]
    for note in notes:
        lines += ['', note]
    lines += [
        '',
        '## Everything that enters',
        '',
        '`--assume NAME=VALUE` or `NAME=BEST..WORST` changes a value.',
        '',
    ]
    lines += layout.plain(
        ['name', 'best', 'worst', 'unit', 'measured here', 'source'],
        [
            [
                f'`{a.name}`',
                *(f'{v:.4g}' if v < 1e5 else f'{v:,.0f}' for v in (a.best, a.worst)),
                a.unit,
                'yes' if a.measured else 'no',
                a.source,
            ]
            for a in assumptions
        ],
    )
    return '\n'.join([*lines, '', origin, ''])


def _beside(runs: dict[str, Any], recipe: Recipe, base: str) -> str:
    ratios = [
        runs[recipe.key][end]['hours'] / runs[base][end]['hours'] for end in ('best', 'worst')
    ]
    return '1' if recipe.key == base else ' to '.join(f'{r:.2f}' for r in ratios)


def _limits(run: dict[str, Any]) -> str:
    names = [TERMS[run[end]['limit']].split(',')[0] for end in ('best', 'worst')]
    return names[0] if names[0] == names[1] else f'{names[0]}; at worst {names[1]}'


def _span(run: dict[str, Any], key: str) -> str:
    best, worst = (_short(run[end][key]) for end in ('best', 'worst'))
    return best if best == worst else f'{best} to {worst}'


def _short(value: float) -> str:
    if value >= 100:
        return f'{value:,.0f}'
    return f'{value:.1f}' if value >= 1 or value == 0 else f'{value:.2f}'
