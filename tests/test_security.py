"""What `import orl_mm` touches, and what hostile files make it do: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orl_mm.io.image import UnreadableImageError, decode_image, read_stored
from orl_mm.registration.template import read_template

ROOT = Path(__file__).resolve().parents[1]

WATCH = """
import sys
import cv2, mmcv, mmpretrain, numpy, skimage, sklearn, torch, torchvision  # what orl_mm stands on
import mmpretrain.datasets, mmpretrain.models
found = []

def watch(event, args):
    writes = event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+')
    kinds = ('socket.', 'subprocess.', 'os.system', 'os.exec', 'os.fork', 'os.posix_spawn',
             'os.remove', 'os.rename', 'os.mkdir', 'os.rmdir', 'os.putenv', 'shutil.')
    if writes or event.startswith(kinds):
        found.append((event, args))

sys.addaudithook(watch)
sys.dont_write_bytecode = True
import orl_mm
print(found)
"""


@pytest.mark.slow
def test_import_opens_no_socket_starts_no_process_and_writes_nothing(tmp_path):
    out = subprocess.run(
        [sys.executable, '-c', WATCH],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.splitlines()[-1] == '[]'
    assert not list(tmp_path.iterdir())


@pytest.fixture
def events():
    """Audit events of starting programs and of unpickling while a test runs."""
    found, on = [], [True]

    def watch(event, args):
        if on[0] and event.startswith(('subprocess.', 'os.system', 'os.exec', 'pickle.find_class')):
            found.append(event)

    sys.addaudithook(watch)  # cannot be removed, only switched off
    yield found
    on[0] = False


class Evil:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_hostile_files_run_nothing(tmp_path, events):
    postscript = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n'
    (tmp_path / 'mask.png').write_bytes(postscript)
    with pytest.raises(UnreadableImageError):
        decode_image(postscript)
    with pytest.raises(UnreadableImageError):
        read_stored(str(tmp_path / 'mask.png'))
    array = np.array([Evil(tmp_path / 'made')], dtype=object)
    np.savez(tmp_path / 'a.npz', maps=array, about=array)
    with pytest.raises(ValueError, match='holds no template'):
        read_template(tmp_path / 'a.npz')
    assert not events
    assert not (tmp_path / 'made').exists()
    np.load(tmp_path / 'a.npz', allow_pickle=True)['maps']  # the file would, and is noticed
    assert (tmp_path / 'made').is_dir()
    assert events
