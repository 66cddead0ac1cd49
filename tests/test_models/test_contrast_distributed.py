"""VADeR and InfoMin on two gloo processes are those on the joined batch, queue included."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from tests.test_models import test_distributed


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    worker = Path(__file__).with_name('contrast_worker.py')
    with mock.patch.object(test_distributed, 'WORKER', worker):
        return test_distributed.launch(2, tmp_path_factory.mktemp('ranks') / 'out.pth')


@pytest.mark.parametrize(
    'what', ['vader, even', 'vader, uneven', 'vader, empty rank', 'vader, empty job', 'infomin']
)
def test_two_processes_equal_the_joined_batch(runs, what):
    """Losses, gradients, momentum copies, and one queue in the order of the images."""
    two, one = runs['together'][what], runs['joined'][what]
    torch.testing.assert_close(two['losses'], one['losses'], atol=1e-6, rtol=1e-5)
    for key in ('grads', 'target'):
        for mine, joined in zip(two[key], one[key], strict=True):
            torch.testing.assert_close(mine, joined, atol=1e-5, rtol=1e-3)
    first, second = two['queues']
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one['queues'][0], atol=1e-5, rtol=1e-4)
    moved = any(g.abs().max() > 1e-3 for g in one['grads'])
    assert moved == (what != 'vader, empty job')
