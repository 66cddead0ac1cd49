"""Each change that the tools apply to other packages, against the failure it corrects."""

import logging
import subprocess
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import MMLogger, print_log
from orl_tools import config_path, prepare

from tests.interpreter import run

ROOT = Path(__file__).resolve().parents[2]


PACKAGED = {
    'mmpretrain': 'resnet/resnet18_8xb32_in1k.py',
    'mmdet': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mmseg': 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
}


@pytest.fixture
def no_commands(monkeypatch):
    """Fail the test if it starts a command, such as pip."""

    def refuse(command, *args, **kwargs):
        raise AssertionError(f'started {command}')

    for name in ('check_call', 'run', 'Popen', 'call', 'check_output'):
        monkeypatch.setattr(subprocess, name, refuse)


@pytest.mark.parametrize(('package', 'config'), PACKAGED.items())
def test_configs_of_packages_resolve(package, config, tmp_path, no_commands):
    pytest.importorskip(package)
    cfg = Config.fromfile(config_path(f'{package}::{config}'))
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{package}::{config}'\nwork_dir = 'here'\n")
    inherited = Config.fromfile(child)
    assert inherited.work_dir == 'here'
    assert inherited.model.type == cfg.model.type


def test_absent_package_names_its_distribution(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    prepare()
    assert MODULE2PACKAGE['mmseg'] == 'onedl-mmsegmentation'
    monkeypatch.undo()
    prepare()
    assert MODULE2PACKAGE['mmseg'] == 'mmseg'


def test_noise_is_dropped_and_nothing_else(capsys):
    # Modules take print_log from mmengine.logging when they are imported.
    from mmengine.logging import print_log as quiet

    quiet('Could not import OneDL', level=logging.DEBUG)
    quiet('Could not import OneDL. Skipping OneDL datasets.')
    assert capsys.readouterr().out == ''
    quiet('could not import anything else')
    print_log('kept', level=logging.DEBUG)
    assert capsys.readouterr().out == 'could not import anything else\nkept\n'

    logger, seen = MMLogger('noise'), []
    logger.addHandler(
        type(
            'Seen',
            (logging.Handler,),
            {'emit': lambda self, record: seen.append(record.getMessage())},
        )()
    )
    logger.warning('Line NMS.\nThis model cannot work without CUDA, therefore')
    logger.warning('This GPU is warm')
    assert seen == ['This GPU is warm']


def test_imports_of_a_tool_print_nothing():
    done = run(
        """
        from orl_tools import prepare
        prepare()
        import orl_mm
        for name in ('mmpretrain.datasets', 'mmdet.datasets', 'mmseg.models', 'mmseg.datasets'):
            try:
                __import__(name)
            except ModuleNotFoundError:
                pass
        """,
        ROOT / 'tools',
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.fixture
def torn_cache(tmp_path, monkeypatch):
    """yapf's cache as another process has written half of it; returns the file and its whole."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert run('import yapf.yapflib.yapf_api').returncode == 0
    file = next(tmp_path.glob('YAPF/*/Grammar*.pickle'))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert 'pickle data was truncated' in run('import yapf.yapflib.yapf_api').stderr
    return file, whole


@pytest.mark.parametrize('written', [0, 0.5])
def test_yapf_waits_for_a_cache_being_written(torn_cache, written):
    file, whole = torn_cache
    file.write_bytes(whole[: int(written * len(whole))])
    other = file.with_suffix('.whole')
    other.write_bytes(whole)
    done = run(
        f"""
        import os, time
        waited = []
        time.sleep = lambda seconds: (waited.append(1), os.replace({str(other)!r}, {str(file)!r}))
        from orl_tools import prepare
        prepare()
        from mmengine.config import Config
        print(len(waited), Config(dict(lr=0.1)).pretty_text)
        """,
        ROOT / 'tools',
    )
    assert (done.returncode, done.stdout.strip()) == (0, '1 lr = 0.1'), done.stderr


def test_a_damaged_yapf_cache_is_named(torn_cache):
    file, _ = torn_cache
    done = run(
        """
        import itertools, time
        time.sleep, time.monotonic = lambda seconds: None, itertools.count(0, 4).__next__
        from orl_tools import prepare
        prepare()
        """,
        ROOT / 'tools',
    )
    assert done.returncode == 1
    assert f'damaged: delete {file.parents[1]} and start again' in done.stderr
