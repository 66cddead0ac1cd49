"""The preamble of the tools and the ``orl`` command."""

import argparse
import errno
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from orl_tools import (
    Parser,
    add_common_arguments,
    command_errors,
    commands,
    config_path,
    existing_file,
    main,
    summary,
)

ROOT = Path(__file__).resolve().parents[2]
NOT_FOUND = argparse.ArgumentTypeError


def test_missing_config_suggests_the_nearest(tmp_path):
    (tmp_path / 'r50_in1k.py').touch()
    assert config_path(str(tmp_path / 'r50_in1k.py')) == str(tmp_path / 'r50_in1k.py')
    with pytest.raises(NOT_FOUND, match=f"does not exist; did you mean '{tmp_path}/r50_in1k.py'"):
        config_path(str(tmp_path / 'r50_in1kk.py'))


def test_config_of_a_package():
    assert config_path('orl_mm::r2o/demo.py') == str(ROOT / 'configs/r2o/demo.py')
    with pytest.raises(NOT_FOUND, match="did you mean 'orl_mm::r2o/demo.py'"):
        config_path('orl_mm::r2o/demoo.py')
    with pytest.raises(NOT_FOUND, match="'mmrotate' is not installed"):
        config_path('mmrotate::a/b.py')


def test_missing_checkpoint_lists_its_neighbors(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(NOT_FOUND, match='epoch_2.pth.*epoch_1.pth'):
        existing_file(str(tmp_path / 'epoch_2.pth'))
    with pytest.raises(NOT_FOUND, match='does not exist'):
        existing_file(str(tmp_path / 'no' / 'epoch_2.pth'))
    assert existing_file('https://a/b.pth')


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--laucher', 'none'], '--laucher.*did you mean --launcher'),
        (['--cfg-options', 'model'], "KEY=VALUE pairs, got 'model'"),
    ],
)
def test_mistake_in_the_command_is_one_line(words, message, capsys):
    parser = Parser(prog='train.py')
    add_common_arguments(parser)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    printed = capsys.readouterr().err
    assert (stop.value.code, printed.count('\n')) == (2, 1)
    assert re.search(message, printed)


@pytest.mark.parametrize(
    ('ranks', 'printed'),
    [
        ({}, 'train.py: wrong; do this\n'),
        (dict(RANK='1', LOCAL_RANK='1'), ''),
        (dict(RANK='8', LOCAL_RANK='0'), f'train.py on {os.uname().nodename}: wrong; do this\n'),
    ],
)
def test_error_is_printed_once_per_node(ranks, printed, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    for name in ('RANK', 'LOCAL_RANK', 'ORL_TRACEBACK'):
        monkeypatch.delenv(name, raising=False)
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop, command_errors():
        raise ValueError('wrong;\n  do this')
    assert (stop.value.code, capsys.readouterr().err) == (2, printed)


def test_traceback_on_request_and_for_other_errors(monkeypatch):
    with pytest.raises(KeyError), command_errors():
        raise KeyError('a')
    with pytest.raises(FileNotFoundError), command_errors(ValueError):
        raise FileNotFoundError
    monkeypatch.setenv('ORL_TRACEBACK', '1')
    with pytest.raises(ValueError, match='wrong'), command_errors():
        raise ValueError('wrong')


def raised_by(call):
    try:
        call()
    except OSError as error:
        return error


@pytest.mark.parametrize(
    ('error', 'printed'),
    [
        (lambda folder: OSError(errno.ENOSPC, 'No space', 'out/x'), 'out/x: No space; free some'),
        (lambda folder: OSError(errno.EROFS, 'Read-only', 'x'), 'x: Read-only; .*choose another'),
        (lambda folder: raised_by((folder / 'file').mkdir), 'file: .*a file is where a folder'),
        (lambda folder: raised_by((folder / 'file/a').touch), 'file/a: .*a file is where a folder'),
        (lambda folder: raised_by(folder.read_text), ': Is a directory; .*in place of a file'),
        (
            lambda folder: RuntimeError('DataLoader worker (pid 9) is killed by signal: Killed.'),
            'a data worker was killed.*num_workers.*--resume',
        ),
    ],
)
def test_errors_of_disks_and_workers(error, printed, tmp_path, monkeypatch, capsys):
    """In one line with path and fix, also where only other errors are expected."""
    monkeypatch.delenv('RANK', raising=False)
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit), command_errors(KeyError):
        raise error(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(printed, line)


def test_orl_lists_every_tool(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(commands())
    assert {'train', 'cache-superpixels', 'check-data', 'dist-train'} <= set(commands())
    assert all(len(line.split(None, 1)[1]) > 10 for line in lines)
    assert summary(ROOT / 'tools/train.py') in lines[list(commands()).index('train')]


def test_orl_runs_the_tool(monkeypatch):
    started = []
    monkeypatch.setattr(os, 'execvp', lambda file, words: started.append((file, words)))
    main(['cache-superpixels', '--out', 'x'])
    main(['cache_superpixels'])
    main(['dist-train', 'c.py', '2'])
    tool = str(ROOT / 'tools/cache_superpixels.py')
    assert started == [
        (sys.executable, [sys.executable, tool, '--out', 'x']),
        (sys.executable, [sys.executable, tool]),
        ('bash', ['bash', str(ROOT / 'tools/dist_train.sh'), 'c.py', '2']),
    ]


def test_orl_suggests_the_nearest_command():
    with pytest.raises(SystemExit, match="no command 'trian'; did you mean 'train'"):
        main(['trian'])


@pytest.mark.parametrize(
    'words',
    [
        ['train.py', 'configs/nope.py'],
        ['train.py', 'configs/r2o/demo.py', '--resume', 'nope.pth'],
        ['test.py', 'configs/r2o/demo.py', 'nope.pth'],
        ['browse.py', 'orl_mm::r2o/nope.py'],
        ['visualize.py', 'configs/r2o/demo.py', 'nope.pth'],
        ['cache_superpixels.py', '--folder', 'nope', '--out', 'x'],
        ['register_templates.py', '--folder', 'nope', '--out', 'x'],
        ['convert_cxr.py', 'nope', 'x'],
    ],
    ids=' '.join,
)
def test_wrong_path_is_answered_before_the_slow_imports(words):
    code = f"""
import runpy, sys
sys.argv = {words!r}
sys.path.insert(0, 'tools')
try:
    runpy.run_path('tools/' + sys.argv[0], run_name='__main__')
except SystemExit as stop:
    print(stop.code, sorted({{'torch', 'cv2', 'mmpretrain', 'skimage'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == '2 []\n', done.stderr
    assert 'nope' in done.stderr
    assert done.stderr.count('\n') == 1


@pytest.mark.slow
def test_installed_wheel_works_outside_a_checkout(tmp_path):
    """Build a wheel, install it beside this environment's packages, train a package config."""
    source, venv = tmp_path / 'source', tmp_path / 'venv'
    ignored = shutil.ignore_patterns('.venv', '.git', 'work_dirs', '__pycache__', 'build', 'data')
    shutil.copytree(ROOT, source, ignore=ignored)

    def run(*words, **kwargs):
        done = subprocess.run(words, capture_output=True, text=True, timeout=900, **kwargs)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    run(*pip, 'wheel', '--no-build-isolation', '--no-deps', str(source), '-w', str(tmp_path))
    run(sys.executable, '-m', 'venv', '--without-pip', str(venv))
    packages = sysconfig.get_path('purelib', vars=dict(base=str(venv), platbase=str(venv)))
    Path(packages, 'shared.pth').write_text(sysconfig.get_path('purelib'))
    wheel = str(next(tmp_path.glob('*.whl')))
    python = str(venv / 'bin' / 'python')
    run(*pip, '--python', python, 'install', '--no-deps', wheel)

    out = tmp_path / 'elsewhere'
    out.mkdir()
    orl = str(venv / 'bin' / 'orl')
    assert 'cache-superpixels' in run(orl, cwd=out)
    (out / 'own.py').write_text("_base_ = 'orl_mm::r2o/demo.py'\ntrain_cfg = dict(max_iters=1)")
    few = ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0', 'custom_hooks=[]']
    run(orl, 'train', 'own.py', '--work-dir', 'own', '--cfg-options', *few, cwd=out)
    assert (out / 'own' / 'iter_1.pth').is_file()
    few.append('train_cfg.max_iters=1')
    words = ['orl_mm::r2o/demo.py', '1', '--work-dir', 'dist', '--cfg-options', *few]
    run(orl, 'dist-train', *words, cwd=out)
    assert (out / 'dist' / 'iter_1.pth').is_file()


@pytest.mark.parametrize(
    ('word', 'value'),
    [
        ('/data/my photos äöü 图', '/data/my photos äöü 图'),
        ('/data/a,b/c, d', '/data/a,b/c, d'),
        ('photos/a=b', 'photos/a=b'),
        ("'/data/my photos'", '/data/my photos'),
        ('[/a b/c.txt, /d e.txt]', ['/a b/c.txt', '/d e.txt']),
        ('(a b,2, [x y])', ('a b', 2, ['x y'])),
        ('a new name', 'a new name'),
        ('1,2,3', [1, 2, 3]),
        ('[1, 2.5, true, None]', [1, 2.5, True, None]),
        ('[[1, 2],(3,4)]', [[1, 2], (3, 4)]),
        ('a,b', ['a', 'b']),
        ('1e-3', 1e-3),
        ('None', None),
        ('False', False),
        ('', ''),
    ],
)
def test_values_of_cfg_options_arrive_whole(word, value):
    parser = Parser()
    add_common_arguments(parser)
    assert parser.parse_args(['--cfg-options', f'a.b={word}']).cfg_options == {'a.b': value}


def test_a_folder_with_a_comma_is_one_value(tmp_path, monkeypatch):
    (tmp_path / 'one, two').mkdir()
    monkeypatch.chdir(tmp_path)
    parser = Parser()
    add_common_arguments(parser)
    options = parser.parse_args(['--cfg-options', 'root=one, two', 'other=one, three']).cfg_options
    assert options == dict(root='one, two', other=['one', 'three'])
