"""A training step never waits for the device, counted on the stand-in GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = Path(__file__).resolve().parents[1] / 'fake_gpu'
METHODS = ('R2O', 'DetCon', 'PixPro', 'VADeR', 'BYOL', 'InfoMin', 'DINO', 'MeDINO')

pytestmark = pytest.mark.skipif(shutil.which('g++') is None, reason='the stand-in needs g++')


@pytest.fixture(
    scope='module', params=[pytest.param(1, marks=pytest.mark.slow), 128], ids='{} ranks'.format
)
def found(request, tmp_path_factory):
    """In a process of its own, since the stand-in takes the place of CUDA."""
    file = tmp_path_factory.mktemp('waits') / 'found.json'
    env = dict(os.environ, OMP_NUM_THREADS='1')
    command = [sys.executable, str(STAND_IN / 'waits.py'), str(file), str(request.param)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(file.read_text())


@pytest.mark.parametrize('method', METHODS)
def test_no_waits(found, method):
    assert found[method]['waits'] == {}
    assert found[method]['operators'] > 100
