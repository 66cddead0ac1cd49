"""The decoder against its layers written out, and its shapes at full size."""

import pytest
import torch
import torch.nn.functional as F

from orl_mm.models.baselines.vader_neck import PyramidDecoder


def stages(channels, sizes, num=2):
    return tuple(torch.randn(num, c, *s) for c, s in zip(channels, sizes, strict=False))


def written_out(weights, feats, groups):
    """Lateral 1 x 1, nearest top-down, 3 x 3; then the branches, by the tensors' names."""

    def conv(x, name, padding=0):
        return F.conv2d(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'), padding=padding)

    inner = [conv(x, f'pyramid.inner_blocks.{i}.0') for i, x in enumerate(feats)]
    for i in (2, 1, 0):
        inner[i] = inner[i] + F.interpolate(inner[i + 1], size=inner[i].shape[-2:])
    levels = [conv(x, f'pyramid.layer_blocks.{i}.0', 1) for i, x in enumerate(inner)]
    merged = torch.zeros(())
    for level, doublings in ((0, 0), (1, 1), (2, 2), (3, 3)):
        x = levels[level]
        for block in range(max(doublings, 1)):
            name = f'branches.{level}.{block}'
            x = conv(x, f'{name}.conv', 1)
            x = F.group_norm(x, groups, weights[f'{name}.gn.weight'], weights[f'{name}.gn.bias'])
            x = F.relu(x)
            if doublings:
                x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
        merged = merged + x
    return conv(merged, 'last')


def test_equals_its_layers_written_out():
    channels = (4, 6, 8, 10)
    neck = PyramidDecoder(channels, pyramid_channels=5, out_channels=6, num_groups=3)
    for p in neck.parameters():  # biases and norms that matter
        torch.nn.init.normal_(p, std=0.5)
    feats = stages(channels, [(16, 24), (8, 12), (4, 6), (2, 3)])
    (out,) = neck(feats)
    assert out.shape == (2, 6, 16, 24)
    torch.testing.assert_close(out, written_out(dict(neck.named_parameters()), feats, 3))


def test_full_size_gives_128_x_56_x_56():
    neck = PyramidDecoder().eval()
    with torch.no_grad():
        (out,) = neck(stages((256, 512, 1024, 2048), [(56, 56), (28, 28), (14, 14), (7, 7)], 1))
    assert out.shape == (1, 128, 56, 56)
    convs = {name: tuple(p.shape) for name, p in neck.named_parameters() if p.dim() == 4}
    assert convs['branches.3.0.conv.weight'] == (128, 256, 3, 3)
    assert convs['branches.3.2.conv.weight'] == (128, 128, 3, 3)
    assert [len(b) for b in neck.branches] == [1, 1, 2, 3]
    assert neck.branches[0][0].norm.num_groups == 32


def test_odd_sizes_fit():
    neck = PyramidDecoder((2, 2, 2, 2), 4, 4, 2)
    (out,) = neck(stages((2, 2, 2, 2), [(13, 9), (7, 5), (4, 3), (2, 2)]))
    assert out.shape == (2, 4, 13, 9)


def test_bad_input():
    with pytest.raises(ValueError, match='out_indices='):
        PyramidDecoder((2, 2), 4, 4, 2)((torch.zeros(1, 2, 4, 4),))
    with pytest.raises(ValueError, match='two stages'):
        PyramidDecoder((2,))
    with pytest.raises(ValueError, match='num_groups must divide out_channels=128, got 7'):
        PyramidDecoder(num_groups=7)
