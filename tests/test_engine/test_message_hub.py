"""Scalars of a device are read when somebody asks for them, and not before."""

import pytest
import torch
from mmengine.logging import MessageHub

from orl_mm.engine.message_hub import DeferredMessageHub


class DeviceScalar(torch.Tensor):
    """A tensor that says it is on a GPU, and counts how often it is read."""

    device = torch.device('cuda')
    reads = 0

    def tolist(self):
        DeviceScalar.reads += 1
        return self.as_subclass(torch.Tensor).tolist()

    item = tolist


@pytest.fixture
def hub(request):
    DeviceScalar.reads = 0
    return DeferredMessageHub.take_over(MessageHub.get_instance(request.node.name))


def step(hub, value):
    hub.update_scalar('train/loss', torch.tensor(value).as_subclass(DeviceScalar))
    hub.update_scalar('train/acc', torch.tensor([2 * value]).as_subclass(DeviceScalar), 3)
    hub.update_scalar('train/lr', value)


def test_equals_the_stock_hub(hub, request):
    stock = MessageHub.get_instance(f'{request.node.name} stock')
    for value in (1.5, 0.1, 2.25):
        step(hub, value)
        for key, number, count in (('loss', value, 1), ('acc', 2 * value, 3), ('lr', value, 1)):
            stock.update_scalar(f'train/{key}', torch.tensor(number).item(), count)
    hub.get_scalar('train/lr')
    assert DeviceScalar.reads == 0
    for key, history in stock.log_scalars.items():
        found = hub.log_scalars[key].data
        torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(history.data[0]))
        assert found[1].tolist() == history.data[1].tolist()
    assert DeviceScalar.reads == 1  # all of them at once


@pytest.mark.parametrize(
    'read',
    [
        lambda hub: hub.get_scalar('train/loss').current(),
        lambda hub: hub.state_dict()['log_scalars']['train/loss'].current(),
        lambda hub: hub.log_scalars['train/loss'].current(),
    ],
)
def test_each_reader_sees_the_last_value(hub, read):
    step(hub, 0.5)
    assert read(hub) == 0.5
    hub.update_scalar('train/loss', 0.75)
    assert read(hub) == 0.75
    step(hub, 0.25)
    hub.update_scalar('train/loss', 4.0)  # after the one that waits
    assert read(hub) == 4.0
    assert MessageHub.get_instance(hub.instance_name) is hub


def test_a_missing_key_is_named(hub):
    with pytest.raises(KeyError, match='train/none'):
        hub.get_scalar('train/none')
