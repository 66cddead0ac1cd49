#!/usr/bin/env python
"""Register one segmented exemplar to all images: the deformable templates (thesis 3.2.3).

    tools/register_templates.py --exemplar IMAGE --mask left_lung=FILE --mask heart=FILE \\
        --folder data/chexpert --out data/templates
    tools/register_templates.py --exemplar-root data/jsrt --exemplar-id JPCNN001 \\
        --config configs/medino/CONFIG.py --out data/templates --truth data/jsrt

then train with ``RegisteredTemplate(source='data/templates')``. If it is stopped, the same command
continues. A registration that failed, folded or does not fit is replaced by its affine part, or by
the global template, and listed in OUT/fallbacks.txt; OUT/report.md is a summary.
With --scheduler it runs on a Dask cluster (its workers need this package, the same paths and one
thread each: dask worker ADDRESS --nworkers CORES --nthreads 1). An image takes about 0.3 s of one
core: CheXpert's 191,000 frontal images 16 core-hours and 0.3 GB.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # as many processes as cores: one thread each
from orl_tools import (
    CONTINUES,
    KeyValueAction,
    Parser,
    add_image_arguments,
    add_worker_arguments,
    command_errors,
    existing_file,
    existing_folder,
    start,
)


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_image_arguments(parser, '; its LoadXray or LoadImage says how they are decoded')
    parser.add_argument('--out', required=True, help='folder of the templates and the report')
    parser.add_argument(
        '--exemplar', type=existing_file, metavar='IMAGE', help='the segmented image'
    )
    parser.add_argument(
        '--mask',
        action='append',
        default=[],
        metavar='PART=FILE',
        help='the mask of a part of it; repeat it for each part, or for a part in several files',
    )
    parser.add_argument(
        '--exemplar-root',
        type=existing_folder,
        metavar='DIR',
        help="instead: a parts data set (images/ and masks/PART/, or JSRT's or "
        "Montgomery's download)",
    )
    parser.add_argument('--exemplar-id', metavar='ID', help='and the image of it, without suffix')
    parser.add_argument('--parts', nargs='+', help='which parts of it, in which order')
    parser.add_argument(
        '--fallback',
        metavar='FILE',
        help='the global template, .json or .npz (default: triangles for the '
        "chest, else the exemplar's own masks)",
    )
    parser.add_argument(
        '--polarity',
        choices=('as_stored', 'check', 'mend'),
        default='as_stored',
        help='of the images, see LoadXray; with --config it says so',
    )
    parser.add_argument(
        '--settings',
        nargs='*',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='of the registration: fields of orl_mm.registration.elastix.ElastixSettings',
    )
    parser.add_argument(
        '--checks',
        nargs='*',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='that a registration must pass: fields of orl_mm.registration.quality.Checks',
    )
    parser.add_argument(
        '--truth',
        type=existing_folder,
        metavar='DIR',
        help='a parts data set with true masks: Dice in the report',
    )
    add_worker_arguments(parser, chunk=8)
    parser.add_argument(
        '--verify',
        action='store_true',
        help='decode every image and template again instead of trusting file sizes and times',
    )
    return parser.parse_args(argv)


start(__name__, parse_args)
from orl_mm.engine import cli, workers
from orl_mm.engine.image_arguments import image_source
from orl_mm.io.image_list import XRAY_EXTENSIONS
from orl_mm.map_cache.build import BuildJob
from orl_mm.registration import report
from orl_mm.registration.cache import TemplateCache, TemplateSpec
from orl_mm.registration.elastix import ElastixSettings
from orl_mm.registration.exemplar import find_exemplar, make_reference, read_exemplar
from orl_mm.registration.quality import Checks
from orl_mm.visualization import save_figure
from orl_mm.visualization.registrations import report_picture

HOW = ('--workers', '--scheduler', '--chunk', '--out', '--truth')  # not part of the result


def main(argv=None) -> None:
    args = parse_args(argv)
    with command_errors(stopped=CONTINUES):
        run(args, sys.argv[1:] if argv is None else argv)


def run(args, argv) -> None:
    settings = made(ElastixSettings, args.settings, '--settings')
    checks = made(Checks, args.checks, '--checks')
    reference = make_reference(exemplar_of(args), settings, checks, args.fallback)
    truth = report.read_truth(args.truth) if args.truth else None
    images = image_source(args, argv, XRAY_EXTENSIONS)
    job = BuildJob(
        TemplateSpec(reference, images.loader(type='LoadXray', polarity=args.polarity)),
        root=os.path.abspath(images.root),
        out=os.path.abspath(args.out),
        verify=args.verify,
        source=tuple(words_of_result(argv)),
    )
    total = len(images)
    print(
        f'{total} images below {job.root} -> {job.out}\n'
        f'parts {", ".join(reference.parts)}; fallback {reference.fallback_name}; '
        f'{job.spec.to_dict()["library"]}'
    )
    counts = workers.execute(
        job,
        images.relative_paths(),
        total,
        args,
        lambda c: dict(
            ok=c.status['deformable'],
            affine=c.status['affine'],
            fallback=c.status['template'],
            bad=len(c.unreadable),
        ),
    )
    print(
        f'{counts.written} templates made, {counts.skipped} were there: '
        f'{counts.status["deformable"]} ok, {counts.status["affine"]} affine, '
        f'{counts.status["template"]} fallback, {len(counts.unreadable)} unreadable'
    )
    write_report(job, images, truth, len(counts.unreadable))


def exemplar_of(args):
    if (args.exemplar is None) == (args.exemplar_root is None):
        raise cli.UserError(
            'name the exemplar: --exemplar IMAGE --mask PART=FILE ..., or '
            '--exemplar-root DIR --exemplar-id ID'
        )
    if args.exemplar_root is not None:
        if args.exemplar_id is None or args.mask:
            raise cli.UserError('--exemplar-root needs --exemplar-id, and no --mask')
        return find_exemplar(args.exemplar_root, args.exemplar_id, parts=args.parts)
    masks: dict[str, list[str]] = {}
    for word in args.mask:
        part, equals, path = word.partition('=')
        if not (part and equals and path):
            raise cli.UserError(f'--mask takes PART=FILE, got {word!r}')
        masks.setdefault(part, []).append(path)
    if not masks:
        raise cli.UserError('--exemplar needs a --mask PART=FILE for each part')
    unknown = [part for part in args.parts or () if part not in masks]
    if unknown:
        raise cli.UserError(f'--parts {" ".join(unknown)}: there is no --mask for it')
    return read_exemplar(args.exemplar, {part: masks[part] for part in args.parts or masks})


def made(kind, options, what):
    """Settings or checks from key=value pairs."""
    try:
        return kind(**options)
    except TypeError as error:
        fields = ', '.join(kind().to_dict())
        raise cli.UserError(f'{what} {options}: {error}; there are {fields}') from error


def words_of_result(argv):
    """The arguments that the templates depend on."""
    words, skip = [], False
    for word in argv:
        if word[:2] == '--':
            skip = word.split('=')[0] in (*HOW, '--verify', '--overwrite')
        if not skip:
            words.append(word)
    return words


def write_report(job, images, truth, unreadable) -> None:
    cache = TemplateCache(job.out)
    records = report.collect(cache, (images.path(i) for i in range(len(images))), truth)
    paths = report.write_report(job.out, cache, records, unreadable)
    chosen = report.choose(records)
    if chosen:
        figure = report_picture(
            chosen, cache, lambda path: job.spec.decode(Path(path).read_bytes(), path), truth
        )
        paths += map(str, save_figure(figure, os.path.join(job.out, 'report.png')))
    print('report: ' + ' '.join(os.path.relpath(path) for path in paths))


if __name__ == '__main__':
    main()
