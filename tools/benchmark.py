#!/usr/bin/env python3
"""Measure this project's figures, each as a ratio within one run.

    tools/benchmark.py NAME [--json FILE] [--device cpu|cuda] [--quick]

Both sides of a ratio share memory format, precision and threads unless the
name of the figure says otherwise; they are measured in turns, after a warm-up,
and compared by their medians. Without a NAME the benchmarks are listed.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

os.environ.setdefault('KINETO_LOG_LEVEL', '5')  # torch's profiler: errors alone
HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# Name -> (module, what it measures). A module has `run(args) -> Report` and, if
# it wants options of its own, `add_arguments(parser)`; see tools/_bench.
BENCHMARKS = {
    'r2o': ('_bench.r2o', "R2O's training step against BYOL's and the published one"),
    'baselines': (
        '_bench.baselines',
        "training steps of DetCon_B and PixPro against R2O's, BYOL's",
    ),
    'regions': ('_bench.regions', 'labels to the grid of C4, masks to views, memory'),
    'kmeans': ('_bench.kmeans', 'K-means against scikit-learn and the published loop'),
    'dino': (
        '_bench.dino',
        "DINO's training step, guided and not, against the public code's and lightly's",
    ),
    'attention': ('_bench.dino', 'the same figures: AttentionRegHook on against off'),
    'loader': ('_bench.loader_report', 'data loading with and without cached superpixels'),
    'registration': ('_bench.registration', 'the exemplar to JSRT: seconds and Dice'),
}


def listing() -> str:
    """The table of benchmarks as text."""
    return '\n'.join(f'  {name:<12} {what}' for name, (_, what) in BENCHMARKS.items())


def main(argv=None) -> int:
    """Parse, measure, print, write. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'benchmarks:\n{listing()}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', nargs='?', help='which benchmark')
    parser.add_argument('--json', metavar='FILE', help='also write the figures as JSON')
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument(
        '--quick',
        action='store_true',
        help='tiny sizes, to see that it runs; the figures mean nothing',
    )
    parser.add_argument('--batch', type=int, help="images (default: the benchmark's)")
    parser.add_argument('--rounds', type=int, help='measurements of each side')
    parser.add_argument('--threads', type=int, help='default: all cores, as torch counts them')
    parser.add_argument(
        '--clock',
        choices=('wall', 'process'),
        default='wall',
        help='process: processor time, for a busy machine, with --threads 1',
    )
    parser.add_argument(
        '--images',
        metavar='FOLDER',
        help="photographs (default: $ORL_DATA, else scikit-image's own)",
    )
    name = next((a for a in (sys.argv[1:] if argv is None else argv) if a in BENCHMARKS), None)
    module = None
    if name is not None:
        try:
            module = importlib.import_module(BENCHMARKS[name][0])
        except ModuleNotFoundError as error:
            sys.exit(
                f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
                f'.venv/bin/python {sys.argv[0]} ...)'
            )
        getattr(module, 'add_arguments', lambda parser: None)(parser)
    args = parser.parse_args(argv)
    if args.name is None:
        print(f'benchmarks:\n{listing()}')
        return 0
    if args.name not in BENCHMARKS:
        parser.error(f'there is no benchmark {args.name!r}; there are:\n{listing()}')
    return _measure(module, args)


def _measure(module, args: argparse.Namespace) -> int:
    import torch

    if args.device == 'cuda' and not torch.cuda.is_available():
        print('--device cuda: torch sees no CUDA device here; use --device cpu', file=sys.stderr)
        return 2
    from _bench.clock import use_clock

    use_clock(args.clock)
    if args.threads:
        torch.set_num_threads(args.threads)
    report = module.run(args)
    report.settings['clock'] = args.clock
    print(f'\n## {args.name}' + (' (--quick: the figures mean nothing)' if args.quick else ''))
    found = report.as_dict()
    for title in ('environment', 'settings'):
        print(f'{title}: ' + ', '.join(f'{k} {v}' for k, v in found[title].items()))
    print(f'\n{report.table()}')
    if args.json:
        report.write(args.json)
        print(f'\nwritten: {args.json}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
