"""The data of a run are checked before its first step, by one process of each node."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config

from orl_mm.datasets.layouts import LAYOUTS, Layout
from orl_mm.engine.cli import UserError
from orl_mm.engine.hooks import check_data_hook
from orl_mm.registry import HOOKS
from tests.segmentation_files import write_cityscapes, write_voc
from tests.test_engine.tiny import listen, tiny_runner

LISTS = 'ImageSets/Segmentation'
MASKS = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')


@pytest.fixture(autouse=True)
def no_local_rank(monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)


def build(layout='voc', **options):
    return HOOKS.build(dict(type='orl_mm.CheckDataHook', layout=layout, **options))


def runner(validates=True, **datasets):
    """The part of a runner that the hook uses: loaders of ``train``, ``val`` and ``test``."""
    lines = []
    loaders = {f'{name}_dataloader': dict(dataset=dataset) for name, dataset in datasets.items()}
    return SimpleNamespace(
        cfg=Config(loaders),
        val_loop=object() if validates else None,
        logger=SimpleNamespace(info=lines.append),
        lines=lines,
    )


def voc(root, split):
    lists = f'{LISTS}/{split}.txt'
    return dict(type='PascalVOCDataset', data_root=str(root), ann_file=lists, data_prefix=MASKS)


def test_each_phase_checks_what_it_reads(tmp_path):
    """train, val and test may be in three folders; one that is not read may be absent."""
    train, val = write_voc(tmp_path / 'a', train=2), write_voc(tmp_path / 'b', val=1)
    run = runner(train=voc(train, 'train'), val=voc(val, 'val'), test=voc(tmp_path / 'c', 'val'))
    build().before_train(run)
    assert [line.split(':')[0] for line in run.lines if not line.startswith('note')] == [
        f'voc in {train}',
        f'voc in {val}',
    ]
    with pytest.raises(UserError, match='/c is not a folder'):
        build().before_test(run)
    (val / LISTS / 'val.txt').unlink()
    with pytest.raises(UserError, match=r'no list \S+/val\.txt'):
        build().before_train(run)
    run.val_loop = None  # --no-validate
    build().before_train(run)


def test_wrapped_data_sets_are_checked(tmp_path):
    root = write_voc(tmp_path, train=2)
    joined = dict(type='ConcatDataset', datasets=[voc(root, 'train'), voc(root, 'aug')])
    wrapped = dict(type='RepeatDataset', times=2, dataset=joined)
    with pytest.raises(UserError, match=r'no list \S+/aug\.txt'):
        build().before_train(runner(validates=False, train=wrapped))


def test_the_config_names_the_folders_that_are_checked(tmp_path):
    """A sample of the data without train: trained and scored on val."""
    root = write_cityscapes(tmp_path, val=1)
    val, train = (
        dict(
            data_root=str(root),
            data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}'),
        )
        for split in ('val', 'train')
    )
    build('cityscapes').before_train(runner(train=val, val=val))
    with pytest.raises(UserError, match='no image .*leftImg8bit/train'):
        build('cityscapes').before_train(runner(validates=False, train=train))


def test_a_check_without_parts_gets_the_folder_and_its_options(monkeypatch):
    seen = []

    def check(checker, labels=False):
        seen.append((checker.root, labels, checker.every_file))

    monkeypatch.setitem(LAYOUTS, 'other', Layout('data/other', check, (('*', 'fix it'),)))
    build('other', labels=True).before_test(runner(test=dict(type='X', data_root='data/x')))
    assert seen == [('data/x', True, False)]


def test_the_first_problems_and_how_to_see_all(monkeypatch):
    def check(checker):
        for i in range(5):
            checker.problem(f'fault {i}')

    monkeypatch.setitem(LAYOUTS, 'other', Layout('data/other', check, (('*', 'fix it'),)))
    with pytest.raises(UserError) as error:
        build('other').before_test(runner(test=dict(data_root='x')))
    assert str(error.value) == (
        'the data cannot be used: fault 0; fix it; fault 1; fix it; fault 2; fix it; and 2 more '
        'problems, which tools/check_data.py other lists'
    )


def test_all_processes_stop_for_the_one_that_checked(monkeypatch, tmp_path):
    """The second process of a node does not check, and gets the problems of the first."""
    monkeypatch.setenv('LOCAL_RANK', '1')
    run = runner(test=voc(tmp_path / 'none', 'val'))
    sent = []

    def gather(data, theirs=()):
        sent.append(data)
        return [list(theirs), data, list(theirs)]  # another node says the same

    monkeypatch.setattr(check_data_hook, 'all_gather_object', gather)
    build().before_test(run)
    assert sent == [[]]
    assert not run.lines
    monkeypatch.setattr(check_data_hook, 'all_gather_object', lambda data: gather(data, ['lost']))
    with pytest.raises(UserError) as error:
        build().before_test(run)
    assert str(error.value) == 'the data cannot be used: lost'


def test_in_a_runner_before_the_first_step(tmp_path):
    """Without data set configs nothing is checked; with one, no step is taken."""
    hooks = [dict(type='orl_mm.CheckDataHook', layout='voc')]
    tiny_runner(tmp_path / 'a', hooks=hooks, epochs=1).train()
    made = tiny_runner(tmp_path / 'b', hooks=hooks, epochs=1)
    messages = listen(made)
    made.cfg.train_dataloader = dict(dataset=voc(tmp_path / 'none', 'train'))
    with pytest.raises(UserError, match='none is not a folder'):
        made.train()
    assert made.model.steps == 0
    assert any('nothing' in message for message in messages)


def test_unknown_layout():
    with pytest.raises(ValueError, match="no layout 'vok'.*voc"):
        build('vok')
