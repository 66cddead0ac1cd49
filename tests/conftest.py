"""Shared fixtures: where real images lie, and quiet single-threaded runs."""

import ast
import gc
import os
import sys
from functools import lru_cache
from pathlib import Path

import pytest


def pytest_configure(config):
    """Import what all tests need, but not in the process that only hands tests to others (-n)."""
    if getattr(config.option, 'numprocesses', None) and not hasattr(config, 'workerinput'):
        return
    import torch

    import orl_mm  # noqa: F401  (registers every part)

    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 2)))


@pytest.fixture(scope='session', autouse=True)
def configs_are_written_and_found_quickly():
    """A runner has yapf format the text of its config: seconds of each test. A base of mmdet is
    found by reading all of its metafiles: a third of a second."""
    from mmengine.config import utils
    from yapf.yapflib import yapf_api

    def checked(text, **kwargs):
        ast.parse(text)
        return text, True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', checked)
        patch.setattr(utils, 'load', lru_cache(utils.load))
        # How long a loader waits for its workers after an error, 5 s by default.
        patch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.5)
        yield


@pytest.fixture(autouse=True)
def garbage_collection_skips_modules(imported=[0]):  # noqa: B006  (counts over the session)
    """Exclude the millions of objects of imported modules from collections, which take a third
    of the time otherwise: mmengine's datasets ask for one each time that one is built."""
    if len(sys.modules) > imported[0] + 100:
        imported[0] = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def default_scope_put_back():
    """A file starts without the default scope of the one before, as if it ran alone."""
    from mmengine.registry import DefaultScope

    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict = before


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of real images ($ORL_DATA or ../shared/data); skips where it is not there."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    root = Path(os.environ.get('ORL_DATA', default))
    if not root.is_dir():
        pytest.skip(f'no real images at {root}; set ORL_DATA to have them')
    return root
