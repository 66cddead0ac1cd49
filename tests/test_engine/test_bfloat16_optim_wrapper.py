"""The forward pass is in bfloat16; weights, gradients and accumulation are not touched."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

CFG = dict(type='orl_mm.BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.5))


class Seen(nn.Module):
    """A linear layer that keeps the type of what it puts out."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)

    def forward(self, x):
        out = self.layer(x)
        self.dtype = out.dtype
        return out.float().sum()


def test_step_of_rounded_products():
    """Gradient of w x is x, as bfloat16 holds it: 8 bits, so 1 + 2^-9 is 1."""
    model = Seen()
    nn.init.zeros_(model.layer.weight)
    wrapper = build_optim_wrapper(model, CFG)
    with wrapper.optim_context(model):
        loss = model(torch.tensor([[1 + 2**-9, 2.0, 3.0]]))
    wrapper.update_params(loss)
    assert model.dtype == torch.bfloat16
    assert model.layer.weight.dtype == torch.float32
    assert model.layer.weight.tolist() == [[-0.5, -1.0, -1.5]]
    model(torch.ones(1, 3))
    assert model.dtype == torch.float32  # outside it, nothing is cast


@pytest.mark.parametrize('count', [1, 2])
def test_accumulates_like_mmengine(count):
    model = Seen()
    nn.init.zeros_(model.layer.weight)
    wrapper = build_optim_wrapper(model, dict(CFG, accumulative_counts=count))
    wrapper.initialize_count_status(model, 0, 4)
    steps = []
    for _ in range(4):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 3))
        wrapper.update_params(loss)
        steps.append(model.layer.weight[0, 0].item())
    assert steps == {1: [-0.5, -1.0, -1.5, -2.0], 2: [0.0, -0.5, -0.5, -1.0]}[count]
