"""tools/check_data.py: exit status, one line a problem, options of one data set only."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from orl_mm.datasets.layouts import LAYOUTS
from tests.coco_files import write_coco
from tests.small import load_tool

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'check_data.py'


@pytest.fixture(scope='module')
def tool():
    return load_tool('check_data')


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / 'coco')


def test_status_0_and_a_count(tool, coco, capsys):
    assert tool.main(['coco', str(coco)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'coco in {coco}: 4 train2017 annotations, ')
    assert [line.split(':')[0] for line in lines] == [f'coco in {coco}', 'note', 'ok']


def test_status_1_and_a_line_a_problem(tool, coco, capsys):
    for name in ('train2017/000000000002.jpg', 'val2017/000000000101.jpg'):
        (coco / name).unlink()
    assert tool.main(['coco', str(coco)]) == 1
    problems = [line for line in capsys.readouterr().out.splitlines() if 'PROBLEM' in line]
    assert len(problems) == 2
    assert 'ok' not in problems[-1]
    for line, part in zip(problems, ('000000000002.jpg', '000000000101.jpg'), strict=False):
        assert line.startswith('PROBLEM: 1 of ')
        assert part in line
        assert 'extract' in line


@pytest.mark.parametrize('name', list(LAYOUTS))
def test_every_data_set_by_its_default_folder(tool, name, tmp_path, monkeypatch, capsys):
    """A missing folder is a problem that names it, with and without --all."""
    monkeypatch.chdir(tmp_path)
    for options in ([], ['--all']):
        assert tool.main([name, *options]) == 1
        assert f'PROBLEM: {LAYOUTS[name].root} is not a folder; ' in capsys.readouterr().out


def test_options_of_one_data_set(tool, tmp_path, capsys):
    (tmp_path / 'train' / 'n1').mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'train' / 'n1' / 'a.png')
    names = tmp_path / 'mine.txt'
    names.write_text('n1\n')
    assert tool.main(['imagenet', str(tmp_path)]) == 0
    assert tool.main(['imagenet100', '--classes', str(names), str(tmp_path)]) == 0
    capsys.readouterr()
    for arguments in (['--labels', str(tmp_path)], [str(tmp_path), '--labels']):
        assert tool.main(['imagenet', *arguments]) == 1
        assert 'has no folder val' in capsys.readouterr().out
    names.write_text('n1\nn7\n')
    assert tool.main(['imagenet100', str(tmp_path), '--classes', str(names)]) == 1
    assert f'no folder in {tmp_path}/train: n7' in capsys.readouterr().out
    for arguments in (['coco', '--labels'], ['imagenet', '--classes', 'x']):
        with pytest.raises(
            ValueError, match=f'{arguments[1][2:]} is not an option of {arguments[0]}'
        ):
            tool.main(arguments)


def test_unknown_data_set(tool):
    with pytest.raises(ValueError, match="there is no layout 'imagnet'; choose one of imagenet"):
        tool.main(['imagnet'])


def test_from_the_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TOOL), 'coco', 'none'], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "'none' is no folder" in done.stderr
    assert 'Traceback' not in done.stderr
