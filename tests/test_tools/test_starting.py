"""Every tool can be called by its name, and says what is missing where nothing is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path
    for path in (ROOT / 'tools').iterdir()
    if path.suffix in ('.py', '.sh') and path.read_text().startswith('#!')
)
WITHOUT_TORCH = (
    'train',
    'test',
    'browse',
    'visualize',
    'cache_superpixels',
    'convert_weights',
    'benchmark',
)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable(script):
    assert os.access(script, os.X_OK)
    listed = subprocess.run(
        ['git', 'ls-files', '-s', script], cwd=ROOT, text=True, capture_output=True
    )
    if listed.returncode == 0 and listed.stdout:  # a clone, and a file of it
        assert listed.stdout.startswith('100755')


@pytest.mark.parametrize('name', WITHOUT_TORCH)
def test_python_without_packages_ends_in_one_line(name):
    # -E -S: neither the user's nor the environment's packages.
    done = subprocess.run(
        [sys.executable, '-E', '-S', f'tools/{name}.py', 'r2o'],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "No module named '" in done.stderr
    assert 'make env' in done.stderr
    assert 'source .venv/bin/activate' in done.stderr


def test_launcher_without_packages_ends_in_one_line():
    done = subprocess.run(
        [
            sys.executable,
            '-I',
            '-S',
            'orl_mm/engine/launch.py',
            'tools/dist_train.sh',
            'tools/train.py',
            'configs/r2o/demo.py',
            '2',
        ],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "No module named 'torch'" in done.stderr
    assert 'make env' in done.stderr
