"""The averages that count on the host are those of mmengine and mmpretrain, bit by bit."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models.utils import CosineEMA
from torch import nn

from orl_mm.models.utils.host_counted_ema import HostCountedCosineEMA, HostCountedEMA


def online():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def run(kind, updates, interval=1, **kwargs):
    """The average after as many updates of a network that moves at random."""
    model = online()
    average = kind(model, momentum=0.3, interval=interval, **kwargs)
    for _ in range(updates):
        model(torch.randn(5, 3))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update_parameters(model)
    return average, model


@pytest.mark.parametrize('interval', [1, 2])
@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [(HostCountedEMA, ExponentialMovingAverage), (HostCountedCosineEMA, CosineEMA)],
)
def test_equals_the_stock_average(ours, theirs, interval):
    MessageHub.get_instance('averages').update_info('max_iters', 7)
    mine, model = run(ours, 5, interval)
    stock, _ = run(theirs, 5, interval)
    assert list(mine.state_dict()) == list(stock.state_dict())
    for key, value in stock.state_dict().items():
        assert torch.equal(mine.state_dict()[key], value), key
    assert not torch.equal(mine.module[0].weight, model[0].weight)
    # A resumed average goes on counting.
    resumed = ours(online(), momentum=0.3, interval=interval)
    resumed.load_state_dict(mine.state_dict())
    for average in (mine, resumed, stock):
        average.update_parameters(model)
    for key, value in stock.state_dict().items():
        assert torch.equal(mine.state_dict()[key], value), key
        assert torch.equal(resumed.state_dict()[key], value), key
