"""Each channel has mean 0 and variance 1, whatever its scale; frozen statistics in evaluation."""

import pytest
import torch

from orl_mm.registry import MODELS


def test_features_of_any_scale_become_alike():
    torch.manual_seed(0)
    norm = MODELS.build(dict(type='FeatureNorm', in_channels=[3, 2]))
    x, y = torch.randn(4, 3, 5, 5), torch.randn(4, 2, 3, 3)
    scale = torch.tensor([1e-2, 1.0, 50.0])[None, :, None, None]
    first, second = norm((x * scale + 7, y))
    plain = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True, unbiased=False)
    # Of the first channel, eps=1e-5 is a tenth of the variance.
    assert torch.allclose(first[:, 1:], plain[:, 1:], atol=1e-4)
    assert torch.allclose(
        first[:, 0], plain[:, 0] / (1 + 1e-5 / (x[:, 0].var() * 1e-4)) ** 0.5, atol=2e-3
    )
    assert second.shape == y.shape
    assert not list(norm.parameters())
    kept = norm.norms[1].running_mean.clone()
    norm.eval()((x, y + 1))
    assert torch.equal(norm.norms[1].running_mean, kept)


def test_another_number_of_maps_is_refused():
    norm = MODELS.build(dict(type='FeatureNorm', in_channels=4))
    with pytest.raises(ValueError, match='2 feature maps for in_channels of 1'):
        norm([torch.zeros(1, 4, 2, 2)] * 2)
