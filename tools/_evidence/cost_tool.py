"""tools/evidence.py cost: step time, memory, loading; scaling; what the thesis's runs would take.

    tools/evidence.py cost --natural DIR --xrays DIR            # minutes
    tools/evidence.py cost --natural DIR --xrays DIR --steps scaling      # on an idle machine
    tools/evidence.py cost --natural DIR --xrays DIR --steps carry --assume gpu_tflops=60

Results gather in OUT/cost.json; the page and the figure are drawn anew from it each time.
"""

import json
import os
from pathlib import Path
from typing import Any

from _tables.evaluate import write_json

from orl_mm.engine import cli

from . import carry, carry_inputs, carry_page, cost, cost_page, cost_scaling
from .base_plan import here

STEPS = ('natural', 'xrays', 'inputs', 'scaling', 'carry')
USUAL = ('natural', 'xrays', 'inputs', 'carry')  # scaling needs an idle machine


def parse_args(argv: list[str] | None = None):
    """See the module."""
    parser = cli.Parser(prog='evidence.py cost', description=__doc__.split('\n')[0])
    parser.add_argument(
        '--natural', required=True, metavar='DIR', help='imagenet_sample, coco and VOCdevkit'
    )
    parser.add_argument('--xrays', required=True, metavar='DIR', help='jsrt and shenzhen')
    parser.add_argument(
        '--out',
        default='work_dirs/evidence',
        metavar='DIR',
        help='results; templates/average.npz and templates/registered are there',
    )
    parser.add_argument(
        '--steps',
        nargs='+',
        choices=STEPS,
        default=list(USUAL),
        metavar='STEP',
        help=f'which of {", ".join(STEPS)} (default: {", ".join(USUAL)})',
    )
    parser.add_argument(
        '--rounds', type=int, default=15, metavar='N', help='measurements of each step'
    )
    parser.add_argument(
        '--assume',
        nargs='+',
        metavar='NAME=VALUE',
        help='change what the extrapolation assumes; NAME=BEST..WORST a range',
    )
    args = parser.parse_args(argv)
    if args.rounds < 2:
        parser.error(f'--rounds must be at least 2, got {args.rounds}')
    return args


def main(argv: list[str] | None = None) -> None:
    """The command."""
    args = parse_args(argv)
    with cli.user_errors('evidence.py cost'):
        print(run(args, Path(args.out)))


def run(args, out: Path) -> str:
    """Take the steps of ``args``, write OUT/cost.json, .md, .png and OUT/carry.md.

    Returns:
        str: The pages.

    Raises:
        UserError: A folder that is not there, an unknown assumption, a step before those that
            it needs.
    """
    for name, folder, inside in (
        ('natural', args.natural, 'imagenet_sample'),
        ('xrays', args.xrays, 'jsrt'),
    ):
        if not (Path(folder) / inside).is_dir():
            raise cli.UserError(f'there is no folder {Path(folder) / inside}: see --{name} DIR')
    os.environ.update(
        ORL_NATURAL=str(Path(args.natural).resolve()), ORL_CXR=str(Path(args.xrays).resolve())
    )
    out.mkdir(parents=True, exist_ok=True)
    store, scratch, templates = out / 'cost.json', out / 'cost_work', out / 'templates'
    found: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    for step in args.steps:
        if step in ('natural', 'xrays'):
            new = cost.measure(step, scratch, templates, args.rounds)
        elif step == 'inputs':
            if not (templates / 'registered.done').is_file():
                raise cli.UserError(
                    f'{templates}/registered is not there yet: run '
                    '`tools/evidence.py 3.1` first, which registers the X-rays'
                )
            new = carry_inputs.measure_inputs(
                scratch, templates, str(Path(args.natural) / 'imagenet_sample')
            )
        elif step == 'scaling':
            new = scale(scratch, 2 * args.rounds)
        else:
            continue
        found[step] = dict(new, **about(args, step))
        write_json(store, found)
    pages = [cost_page.markdown(found)]
    (out / 'cost.md').write_text(pages[0], encoding='utf-8')
    if any(name in found for name in cost_page.TITLES):
        cost_page.draw(found, out / 'cost.png')
    if 'carry' in args.steps:
        pages.append(extrapolate(found, args))
        (out / 'carry.md').write_text(pages[1], encoding='utf-8')
    return '\n'.join(pages)


def scale(folder: Path, steps: int) -> dict[str, Any]:
    """One process and two; and what the exchange of each gradient takes by itself."""
    rows = cost_scaling.scaling(folder, steps)
    reduce = {}
    for name, path in cost_scaling.CONFIGS.items():
        size = cost_scaling.gradient_bytes(path)
        reduce[name] = dict(bytes=size, seconds=cost_scaling.all_reduce_seconds(size))
    return dict(rows=rows, steps=steps, all_reduce=reduce)


def extrapolate(found: dict[str, Any], args) -> str:
    """The page of :mod:`.carry`."""
    absent = [step for step in USUAL[:3] if step not in found]
    if absent:
        raise cli.UserError(f'the extrapolation needs the steps {", ".join(absent)} first')
    rows = {row['key']: row for row in found['xrays']['rows']}
    guiding = rows['triangular']['step']['ratio']['dino-cxr-aug']['value']
    everything = [
        *carry.ASSUMED,
        *carry_inputs.measured_assumptions(found['inputs'], guiding, found['natural']['kmeans']),
    ]
    try:
        assumptions = carry.assume(everything, args.assume)
    except ValueError as error:
        raise cli.UserError(str(error)) from error
    recipes = carry_inputs.recipes(found['inputs'])
    said = about(args, 'carry')
    notes = carry_inputs.notes(found['inputs'], found['natural']['kmeans'])
    return carry_page.page(
        recipes,
        assumptions,
        notes,
        f'{said["date"]}; measured on {found["inputs"]["machine"]}. Command: {said["command"]}',
    )


def about(args, step: str) -> dict[str, str]:
    """Command, date and kind of machine."""
    command = f'tools/evidence.py cost --natural DIR --xrays DIR --steps {step}'
    if args.rounds != 15:
        command += f' --rounds {args.rounds}'
    if step == 'carry' and args.assume:
        command += f' --assume {" ".join(args.assume)}'
    return dict(command=command, **here())
