"""Let tensors of FakeTensorMode be on a CUDA device that does not exist.

Import this before torch. It compiles cuda.cpp against the installed torch (once; needs g++) and
loads it. No GPU can be used in this process.
"""

import ctypes
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout's packages
SOURCE = Path(__file__).with_name('cuda.cpp')


def load() -> None:
    """Register the stand-in before torch does, which keeps the hooks of the highest priority."""
    torch = Path(importlib.util.find_spec('torch').origin).parent
    text = SOURCE.read_text() + str(torch) + (torch / 'version.py').read_text()
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir(), f'fake_cuda_{os.getuid()}_{key}.so')
    if not path.exists():
        part = path.with_suffix(f'.{os.getpid()}')
        command = ['g++', '-shared', '-fPIC', '-O1', '-std=c++20', str(SOURCE), '-o', str(part)]
        command += [f'-I{torch}/include', f'-I{torch}/include/torch/csrc/api/include']
        subprocess.run([*command, f'-L{torch}/lib', '-lc10', '-ltorch_cpu'], check=True)
        part.replace(path)
    for name in [*sorted((torch / 'lib').glob('libgomp*')), 'libc10.so', 'libtorch_cpu.so']:
        ctypes.CDLL(str(torch / 'lib' / name), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    importlib.import_module('torch')
    library.register_guard()


load()
