#!/usr/bin/env python3
"""Measure this project's figures, each as a ratio within one run.

    tools/benchmark.py NAME [--json FILE] [--device cpu|cuda] [--quick]

Both sides of a ratio share memory format, precision and threads unless the name of the
figure says otherwise. They are measured in turns, after a warm-up, and compared by their
medians. Without a NAME the benchmarks are listed.
"""

import argparse
import importlib
import os
import sys

from orl_tools import prepare

os.environ.setdefault('KINETO_LOG_LEVEL', '5')  # torch's profiler: errors only

# Each is a file of tools/benchmarks with `run(args) -> Report` and, if it has options of
# its own, `add_arguments(parser)`.
BENCHMARKS = {
    'r2o': "R2O's training step against BYOL's and the published one",
    'baselines': "training steps of DetCon_B and PixPro against R2O's and BYOL's",
    'regions': 'labels to the grid of C4, masks to views, memory',
    'kmeans': 'K-means against scikit-learn and the published loop',
    'dino': "DINO's training step, guided and not, against the public code's",
    'attention': 'the same figures: AttentionRegHook on against off',
    'loader': 'data loading with and without cached superpixels',
    'registration': 'the exemplar to JSRT: seconds and Dice',
    'gpu': 'speed, waits and gaps on a GPU that is at hand for minutes',
    'launches': 'operators, waits and copies of a step of each method, on a stand-in GPU',
    'cost': 'step, loading and memory of the small tables, inputs of projects/cost',
}


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, print, write. Returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    listing = 'benchmarks:\n' + '\n'.join(f'  {name:<12} {x}' for name, x in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=listing, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', nargs='?', help='which benchmark')
    parser.add_argument('--json', metavar='FILE', help='also write the figures as JSON')
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--quick', action='store_true', help='a trial run with tiny sizes')
    parser.add_argument('--batch', type=int, help="images (default: the benchmark's)")
    parser.add_argument('--rounds', type=int, help='measurements of each side')
    parser.add_argument('--threads', type=int, help="default: torch's, all cores")
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
    # The name is not the value of an option, such as --json FILE.
    pairs = zip(['', *argv], argv, strict=False)
    name = next((a for o, a in pairs if a in BENCHMARKS and o not in ('--json', '--images')), None)
    module = None
    if name is not None:
        prepare()
        file = 'dino' if name == 'attention' else name
        module = importlib.import_module(f'benchmarks.{file}')
        getattr(module, 'add_arguments', lambda parser: None)(parser)
    args = parser.parse_args(argv)
    if args.name is None:
        print(listing)
        return 0
    if module is None:
        parser.error(f'there is no benchmark {args.name!r}; {listing}')
    import torch

    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no CUDA device; use --device cpu')
    if args.threads:
        torch.set_num_threads(args.threads)
    report = module.run(args)
    print(f'\n## {args.name}' + (' (--quick: the figures mean nothing)' if args.quick else ''))
    print(report)
    if args.json:
        report.write(args.json)
        print(f'\nwritten: {args.json}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
