"""Lists of samples that are cut or empty: the message has the file, whichever data set reads it."""

import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from orl_mm.engine.cli import UserError, config_errors


@DATASETS.register_module()
class ListedSamples(BaseDataset):
    """A line a sample, as mmseg's data sets read their lists."""

    def load_data_list(self):
        with open(self.ann_file) as file:
            return [dict(name=line.strip()) for line in file]


@DATASETS.register_module()
class JsonSamples(BaseDataset):
    """As mmengine reads its own json files."""


def build(tmp_path, kind, text):
    file = 'train.json' if kind == 'JsonSamples' else 'train.txt'
    (tmp_path / file).write_text(text)
    with config_errors():
        return DATASETS.build(dict(type=kind, data_root=str(tmp_path), ann_file=file))


def test_lists_of_samples_pass(tmp_path):
    assert len(build(tmp_path, 'ListedSamples', 'a\nb\n')) == 2
    one = '{"metainfo": {}, "data_list": [{"img_path": "a"}]}'
    assert len(build(tmp_path, 'JsonSamples', one)) == 1


@pytest.mark.parametrize(
    ('kind', 'text', 'said'),
    [
        ('ListedSamples', '', 'train.txt names no sample'),
        ('JsonSamples', '{"metainfo": {}, "data_list": []}', 'train.json names no sample'),
        ('JsonSamples', '{"metainfo": {}, "data_list": [{', 'train.json is cut short or no json'),
    ],
)
def test_file_and_fix_are_named(kind, text, said, tmp_path):
    with pytest.raises(UserError) as error:
        build(tmp_path, kind, text)
    assert str(error.value).startswith(f'{kind}: {tmp_path}/{said}')
    assert 'projects/data/README.md' in str(error.value) or 'extract it again' in str(error.value)


@DATASETS.register_module()
class Asserting(BaseDataset):
    """As mmseg's ``PascalVOCDataset``: one assertion has a text, the other none."""

    def load_data_list(self):
        # Raised, since pytest writes texts into assertions.
        raise AssertionError(
            *([] if self.test_mode else [f'Failed to load `ann_file` {self.ann_file}'])
        )


@pytest.mark.parametrize(
    ('test_mode', 'said'),
    [
        (False, 'Failed to load `ann_file` {root}/train.txt;'),
        (True, "a file or folder of data_root='{root}', ann_file='train.txt' is not there;"),
    ],
)
def test_an_assertion_of_a_data_set_is_told_with_its_files(test_mode, said, tmp_path):
    with pytest.raises(UserError) as error, config_errors():
        DATASETS.build(
            dict(
                type='Asserting', data_root=str(tmp_path), ann_file='train.txt', test_mode=test_mode
            )
        )
    assert str(error.value).startswith(f'Asserting: {said.format(root=tmp_path)}')
    assert 'name its folder' in str(error.value)
    assert 'tools/check_data.py' in str(error.value)


@DATASETS.register_module()
class Faulty(BaseDataset):
    """An assertion that has nothing to do with files."""

    def load_data_list(self):
        raise AssertionError('ids are not unique')


def test_other_assertions_do_not_speak_of_folders(tmp_path):
    with pytest.raises(UserError) as error, config_errors():
        DATASETS.build(dict(type='Faulty', data_root=str(tmp_path)))
    assert str(error.value) == 'Faulty: ids are not unique'
