"""Each adjustment against the failure it undoes."""

import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import mmengine.hub
import mmengine.utils
import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import MMLogger, print_log

from orl_mm import compat

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, *paths) -> subprocess.CompletedProcess:
    """Run ``code`` in a new interpreter that finds modules in ``paths`` first."""
    lines = ''.join(f'sys.path.insert(0, {str(path)!r})\n' for path in paths)
    return subprocess.run(
        [sys.executable, '-c', 'import sys\n' + lines + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
    )


LOAD_COMPAT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location(
    'compat', {str(ROOT / 'orl_mm' / 'compat.py')!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
"""


def fake_torchvision(folder: Path) -> Path:
    """A package that does what torchvision's import does about nms."""
    package = folder / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(
        textwrap.dedent("""
        import torch

        @torch.library.register_fake('torchvision::nms')
        def nms(dets, scores, iou_threshold):
            return dets
    """)
    )
    return package


def test_torchvision_without_its_library_imports(tmp_path):
    fake_torchvision(tmp_path)
    done = run(
        """
        try:
            import torchvision
        except RuntimeError as error:
            print('before:', error)
        """
        + textwrap.indent(LOAD_COMPAT, ' ' * 8)
        + """
        import torchvision, torch
        print('after:', torch.ops.torchvision.nms, torch.ops.torchvision.qnms)
        print('twice:', compat.mend_torchvision())
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert 'before: operator torchvision::nms does not exist' in done.stdout
    assert 'after: torchvision.nms torchvision.qnms' in done.stdout
    assert 'twice: False' in done.stdout


def test_working_torchvision_is_left_alone(tmp_path):
    """A library that loads stands for one that declares its own operators."""
    package = fake_torchvision(tmp_path)
    library = next(
        path
        for path in (Path(torch.__file__).parent / 'lib').iterdir()
        if path.name.startswith('libc10.')
    )
    (package / '_C.so').symlink_to(library)
    done = run(
        textwrap.dedent(LOAD_COMPAT)
        + textwrap.dedent("""
        import torch
        print('declared:', hasattr(torch.ops.torchvision, 'nms'),
              compat._torchvision_schemas)
        """),
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert 'declared: False None' in done.stdout


def test_torchvision_of_this_environment_imports():
    import torchvision

    boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.ones(2)
    try:
        kept = torchvision.ops.nms(boxes, scores, 0.5)
    except RuntimeError as error:  # its ops are absent, and it says so
        assert "Couldn't load custom C++ ops" in str(error)
    else:
        assert kept.tolist() == [0]


@pytest.fixture
def no_commands(monkeypatch):
    """Any started command fails the test."""

    def refuse(command, *args, **kwargs):
        raise AssertionError(f'started {command}')

    for name in ('check_call', 'run', 'Popen', 'call', 'check_output'):
        monkeypatch.setattr(subprocess, name, refuse)


PACKAGED = {
    'mmpretrain': 'resnet/resnet18_8xb32_in1k.py',
    'mmdet': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mmseg': 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
}


@pytest.mark.parametrize(('package', 'config'), PACKAGED.items())
def test_configs_of_packages_resolve(package, config, tmp_path, no_commands):
    pytest.importorskip(package)
    cfg = mmengine.hub.get_config(f'{package}::{config}')
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{package}::{config}'\nwork_dir = 'here'\n")
    inherited = Config.fromfile(child)
    assert inherited.work_dir == 'here'
    assert inherited.model.type == cfg.model.type
    assert package in cfg.filename


def test_absent_package_names_its_distribution(monkeypatch):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    compat.map_packages()
    assert MODULE2PACKAGE['mmseg'] == 'onedl-mmsegmentation'
    monkeypatch.undo()
    compat.map_packages()


def test_nothing_is_installed(no_commands):
    with pytest.raises(ModuleNotFoundError, match='-m pip install mmrotate'):
        mmengine.hub.get_config('mmrotate::a/b.py')
    with pytest.raises(ModuleNotFoundError, match='install no-such-thing'):
        mmengine.utils.install_package('no-such-thing')
    with pytest.raises(ModuleNotFoundError, match='no-such-thing'):
        mmengine.utils.package_utils.install_package('no-such-thing')
    assert mmengine.utils.install_package('torch') is None


def test_hub_imported_before_is_mended_too():
    done = run(
        'import mmengine.hub'
        + textwrap.dedent(LOAD_COMPAT)
        + 'print(mmengine.hub.hub.install_package.__module__)'
    )
    assert done.stdout.strip() == 'compat', done.stderr


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


def test_imports_are_silent():
    done = run(
        """
        import orl_mm
        import mmpretrain.models, mmpretrain.datasets
        for name in ('mmdet.datasets', 'mmseg.models', 'mmseg.datasets'):
            try:
                __import__(name)
            except ModuleNotFoundError:
                pass
        """,
        ROOT,
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
        import orl_mm.compat
        from mmengine.config import Config
        print(len(waited), Config(dict(lr=0.1)).pretty_text)
        """,
        ROOT,
    )
    assert (done.returncode, done.stdout.strip()) == (0, '1 lr = 0.1'), done.stderr


def test_a_damaged_yapf_cache_is_named(torn_cache):
    file, _ = torn_cache
    done = run(
        """
        import itertools, time
        time.sleep, time.monotonic = lambda seconds: None, itertools.count(0, 4).__next__
        import orl_mm.compat
        """,
        ROOT,
    )
    assert done.returncode == 1
    assert f'damaged: delete {file.parents[1]} and start again' in done.stderr
