"""Shared fixtures: where real images lie, and quiet single-threaded runs."""

import gc
import os
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
def format_each_config_once():
    """A runner has yapf format the text of its config five times: a second of each test."""
    from yapf.yapflib import yapf_api

    plain, styles = yapf_api.FormatCode, {}

    @lru_cache(maxsize=8)
    def cached(text, style):
        return plain(text, **styles[style])

    def format_code(text, **kwargs):
        styles.setdefault(repr(kwargs), kwargs)
        return cached(text, repr(kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', format_code)
        yield


@pytest.fixture(scope='module', autouse=True)
def garbage_collection_skips_modules():
    """Exclude the millions of objects of imported modules from collections, which take a third
    of the time otherwise: mmengine's datasets ask for one each time that one is built."""
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
