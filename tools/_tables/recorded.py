"""The result of a transfer run: what its work directory has recorded, or a test."""

from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from .evaluate import evaluate, stored_file, stored_result
from .sessions import Moment, moment_of
from .thesis import NATURAL
from .transfer import CONFIGS, METRICS, OFFICIAL, TransferRun, differences, test_settings

PARTIAL, OTHERWISE, PRETRAINING = '†', '‡', '§'
MARKS: dict[str, str] = {
    PARTIAL: 'not known to be of the whole official test set',
    OTHERWISE: "not trained and tested as the thesis's config says, or not to the end",
    PRETRAINING: "not pretrained for the row's epochs",
}


class Record(NamedTuple):
    """Numbers of one checkpoint, and where they are from.

    Attributes:
        values (dict): Column -> percent.
        source (str): In words, with the file.
        images (tuple, optional): The fewest and the most images that they can be of.
        tested (dict): Settings of the test, see :func:`.transfer.test_settings`.
    """

    values: dict[str, float]
    source: str
    images: tuple[int, int] | None
    tested: dict[str, Any]


class Result(NamedTuple):
    """A record, and what keeps it from standing beside the thesis's number.

    Attributes:
        run (TransferRun): The run.
        record (Record, optional): None where nothing is recorded and nothing may be tested.
        recipe (str): Name of the transfer config if it is another one than the thesis's.
        doubts (list): Mark and reason of each.
        aside (list): Recorded numbers that were not taken, and why.
    """

    run: TransferRun
    record: Record | None
    recipe: str
    doubts: list[tuple[str, str]]
    aside: list[str]


def result_of(
    run: TransferRun, options: dict | None = None, test: bool | None = None, again: bool = False
) -> Result:
    """Numbers of a run's last checkpoint.

    In this order: what an earlier table has stored, the latest test in the folder, the
    validation at that moment of the training, a test now.

    Args:
        run (TransferRun): The run.
        options (dict, optional): Further options of a test's config.
        test (bool, optional): True: test, whatever the folder has recorded. False: never.
        again (bool): Test anew also what an earlier table has stored.
    """
    record, aside = None, []
    if not test and not again:
        record = _stored(run, options) or _recorded_test(run, aside) or _validation(run)
    if record is None and test is not False:
        cfg = _config(run, options)
        record = _of_test(run, cfg, evaluate(cfg.copy(), run.checkpoint, run.dataset, again))
        if record is None:
            aside.append(
                f'the test of {run.checkpoint} gave no {_metric(run)}: a detector without '
                'a single detection has none'
            )
    recipe, changed = differences(
        run, test_settings(run.config) if record is None else record.tested
    )
    doubts = [*_partial(run, record), *_unfinished(run), *_pretraining(run)]
    if changed:
        doubts.append(
            (
                OTHERWISE,
                f'differs from configs/transfer/{run.dataset}/{recipe}.py: ' + '; '.join(changed),
            )
        )
        recipe = ''
    return Result(run, record, recipe, doubts, aside)


def _config(run: TransferRun, options: dict | None) -> Config:
    cfg = run.config.copy()
    cfg.work_dir = f'work_dirs/tables/{run.dataset}'
    cfg.merge_from_dict(options or {})
    return cfg


def _stored(run: TransferRun, options: dict | None) -> Record | None:
    if not stored_file(run.checkpoint, run.dataset).is_file():
        return None  # before all of the checkpoint is read for its digest
    cfg = _config(run, options)
    found = stored_result(cfg, run.checkpoint, run.dataset)
    return None if found is None else _of_test(run, cfg, found)


def _of_test(run: TransferRun, cfg: Config, found: dict[str, Any]) -> Record | None:
    prefix = 'coco/' if run.dataset == 'coco' else ''
    metrics = {f'{prefix}{key}': value for key, value in found['metrics'].items()}
    images = found.get('images')
    if not _has(run, metrics):
        return None
    return Record(
        _values(run, metrics),
        f'test, {stored_file(run.checkpoint, run.dataset)}',
        None if images is None else (images, images),
        test_settings(cfg),
    )


def _recorded_test(run: TransferRun, aside: list[str]) -> Record | None:
    """Of the tests after the training: the latest of this checkpoint, as the run's config tests."""
    wanted = test_settings(run.config)
    for session in reversed(run.tests):
        if not _has(run, session.test):
            continue
        of = (session.config or {}).get('load_from')
        if of is None or not _same_file(of, run.checkpoint):
            aside.append(f'{session.test_file} is of {of}')
        elif test_settings(session.config) != wanted:
            aside.append(f'{session.test_file} was tested on other data or otherwise')
        else:
            return Record(
                _values(run, session.test),
                f'test, {session.test_file}',
                session.images('test', _metric(run)),
                wanted,
            )
    return None


def _validation(run: TransferRun) -> Record | None:
    if run.trained is None or run.moment is None:
        return None
    found = run.trained.validation(run.moment, _metric(run))
    if found is None or not _has(run, found):
        return None
    return Record(
        _values(run, found),
        f'validation, {run.trained.scalars_file}',
        run.trained.images('val', _metric(run)),
        test_settings(run.config, 'val'),
    )


def _same_file(of: str, checkpoint: Path) -> bool:
    """Also of a folder that was moved since."""
    path, here = Path(of), checkpoint.resolve()
    return path.name == here.name and path.parent.name == here.parent.name


def _metric(run: TransferRun) -> str:
    return next(iter(METRICS[run.dataset].values()))[0]


def _has(run: TransferRun, metrics: dict[str, Any]) -> bool:
    return all(isinstance(metrics.get(key), Real) for key, _ in METRICS[run.dataset].values())


def _values(run: TransferRun, metrics: dict[str, Any]) -> dict[str, float]:
    # mmengine keeps them as float32: 15.17 comes back as 15.170000076.
    return {
        column: round(scale * float(metrics[key]), 4)
        for column, (key, scale) in METRICS[run.dataset].items()
    }


def _partial(run: TransferRun, record: Record | None) -> Iterator[tuple[str, str]]:
    if record is None:
        return
    official = OFFICIAL[run.dataset]
    if record.images is None:
        yield PARTIAL, f'no log says on how many images; officially {official}'
    elif not record.images[0] <= official <= record.images[1]:
        yield PARTIAL, f'{count(record.images)} of {official} images'


def count(images: tuple[int, int]) -> str:
    """``51``, or ``49 to 56`` where the log has batches only."""
    return ' to '.join(map(str, dict.fromkeys(images)))


def _unfinished(run: TransferRun) -> Iterator[tuple[str, str]]:
    loop = run.config.get('train_cfg') or {}
    last = next(
        (
            Moment(kind, loop[f'max_{kind}s'])
            for kind in ('epoch', 'iter')
            if loop.get(f'max_{kind}s')
        ),
        None,
    )
    if run.checkpoint.name.startswith('best_'):
        yield OTHERWISE, f'{run.checkpoint.name} was chosen by its score on these images'
    if run.trained is None:
        yield OTHERWISE, f'no log of the training that wrote {run.checkpoint.name}'
    elif last is None or run.moment.kind != last.kind or run.moment.number < last.number:
        yield OTHERWISE, f'{run.checkpoint.name} is not the end, {last}'


def _pretraining(run: TransferRun) -> Iterator[tuple[str, str]]:
    """Epochs of the pretrained checkpoint, where its name has them, against the row's."""
    moment = moment_of(Path(run.start)) if run.start else None
    expected = row_epochs(run.row)
    if moment is None or moment.kind != 'epoch' or not expected:
        return
    if moment.number not in expected:
        yield (
            PRETRAINING,
            (
                f'{run.start} was pretrained for {moment.number} epochs, the row is of '
                + ' or '.join(map(str, sorted(expected)))
            ),
        )


def row_epochs(row: str) -> list[int]:
    """As the thesis prints them, else as the config of pretraining says."""
    found = {item.epochs for rows in NATURAL.values() for item in rows if item.key == row}
    if found - {None}:
        return sorted(found - {None})
    for folder in ('r2o', 'baselines'):
        file = CONFIGS / folder / f'{row}.py'
        if file.is_file():
            config = Config.fromfile(str(file), import_custom_modules=False)
            return [config.train_cfg.max_epochs]
    return []
