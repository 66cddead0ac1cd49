"""DetCon on two gloo processes is DetCon on the joined batch: loss, gradients, target."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from tests.test_models import test_distributed


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    worker = Path(__file__).with_name('detcon_worker.py')
    with mock.patch.object(test_distributed, 'WORKER', worker):
        return test_distributed.launch(2, tmp_path_factory.mktemp('ranks') / 'out.pth')


@pytest.mark.parametrize('what', ['authors', 'reproduction', 'loss, own False', 'loss, own True'])
def test_two_processes_equal_the_joined_batch(runs, what):
    """Equal ids on other ranks are other regions: negatives."""
    two, one = runs['together'][what], runs['joined'][what]
    torch.testing.assert_close(two['losses'], one['losses'], atol=1e-6, rtol=1e-5)
    for key in ('grads', 'target'):
        for mine, joined in zip(two[key], one[key], strict=True):
            torch.testing.assert_close(mine, joined, atol=1e-5, rtol=1e-4)
    assert any(g.abs().max() > 1e-3 for g in one['grads'])
    assert (one['losses'] > 0).all()
