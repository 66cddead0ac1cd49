"""Tools are executable, and name the missing package in an empty environment."""

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


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable(script):
    assert os.access(script, os.X_OK)
    listed = subprocess.run(
        ['git', 'ls-files', '-s', script], cwd=ROOT, text=True, capture_output=True
    )
    if listed.returncode == 0 and listed.stdout:  # a clone, and a file of it
        assert listed.stdout.startswith('100755')


NAMES = [
    'train',
    'test',
    'browse',
    'visualize',
    'cache_superpixels',
    'convert_weights',
    'benchmark',
]
LAUNCH = 'orl_mm/engine/launch.py tools/dist_train.sh tools/train.py configs/r2o/demo.py 2'


@pytest.mark.parametrize('command', [*(f'tools/{name}.py r2o' for name in NAMES), LAUNCH])
def test_python_without_packages_ends_in_one_line(command):
    words = [sys.executable, '-E', '-S', *command.split()]  # without installed packages
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "No module named '" in done.stderr
    assert 'make env' in done.stderr
    assert 'source .venv/bin/activate' in done.stderr or command == LAUNCH
