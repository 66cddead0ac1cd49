"""DINO's head against its layers written out and torch's weight norm."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from orl_mm.models.heads.dino_head import DINOHead


def test_layers_and_prototypes_written_out():
    torch.manual_seed(0)
    head = DINOHead(12, 40, hid_channels=16, bottleneck_channels=6)
    with torch.no_grad():
        head.last_layer.weight_g.uniform_(0.5, 2.0)
    w = head.state_dict()
    x = torch.randn(5, 12)
    hidden = F.gelu(x @ w['mlp.0.weight'].T + w['mlp.0.bias'])
    hidden = F.gelu(hidden @ w['mlp.2.weight'].T + w['mlp.2.bias'])
    z = hidden @ w['mlp.4.weight'].T + w['mlp.4.bias']
    cosine = F.cosine_similarity(z[:, None], w['last_layer.weight_v'][None], dim=-1)
    torch.testing.assert_close(head(x), cosine * w['last_layer.weight_g'].T, atol=1e-6, rtol=1e-5)


def test_gradients_equal_those_of_weight_norm():
    torch.manual_seed(0)
    head = DINOHead(6, 9, num_layers=1, bottleneck_channels=4, norm_last_layer=False)
    linear = torch.nn.Linear(4, 9, bias=False)
    linear.weight.data.copy_(head.last_layer.weight_v.data)
    linear = torch.nn.utils.parametrizations.weight_norm(linear)
    linear.parametrizations.weight.original0.data.fill_(1)
    x, pull = torch.randn(5, 6), torch.randn(5, 9)
    (head(x) * pull).sum().backward()
    (linear(F.normalize(head.mlp(x), dim=-1)) * pull).sum().backward()
    for mine, its in (
        (head.last_layer.weight_g, linear.parametrizations.weight.original0),
        (head.last_layer.weight_v, linear.parametrizations.weight.original1),
    ):
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-6, rtol=1e-5)


def test_defaults_and_names_of_the_reference():
    head = DINOHead(384)
    assert {name: tuple(value.shape) for name, value in head.state_dict().items()} == {
        'mlp.0.weight': (2048, 384),
        'mlp.0.bias': (2048,),
        'mlp.2.weight': (2048, 2048),
        'mlp.2.bias': (2048,),
        'mlp.4.weight': (256, 2048),
        'mlp.4.bias': (256,),
        'last_layer.weight_v': (65536, 256),
        'last_layer.weight_g': (65536, 1),
    }
    for i in (0, 2, 4):
        assert head.mlp[i].weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert head.mlp[i].bias.abs().max() == 0
    # torch's default of a layer with 256 inputs: uniform within 1 / sqrt(256).
    v = head.last_layer.weight_v.detach()
    assert 0.0624 < v.abs().max() <= 0.0625
    assert v.std().item() == pytest.approx(0.0625 / 3**0.5, rel=0.01)
    assert (head.last_layer.weight_g == 1).all()


@pytest.mark.parametrize('norm', [True, False])
def test_only_the_length_is_frozen(norm):
    head = DINOHead(4, 5, 8, 3, norm_last_layer=norm)
    head(torch.randn(2, 4)).pow(2).sum().backward()
    assert (head.last_layer.weight_g.grad is None) == norm
    assert head.last_layer.weight_v.grad is not None


def test_batch_norm_and_copies():
    head = DINOHead(4, 5, 8, 3, with_bn=True)
    assert sum(isinstance(m, torch.nn.BatchNorm1d) for m in head.modules()) == 2
    x = torch.randn(6, 4)
    out = head(x)
    torch.testing.assert_close(deepcopy(head)(x), out)


@pytest.mark.parametrize('sizes', [dict(out_channels=0), dict(num_layers=0), dict(hid_channels=-1)])
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match='at least 1'):
        DINOHead(4, **sizes)
