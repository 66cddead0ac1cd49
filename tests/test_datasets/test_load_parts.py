import numpy as np
import pytest
import torch

from orl_mm.datasets.transforms import LoadParts
from orl_mm.registry import TRANSFORMS
from tests import xray_files as files


@pytest.fixture
def sample(tmp_path):
    """An image of 40 x 80 (height x width) whose masks have twice its size."""
    left = np.zeros((80, 160), np.uint8)
    left[10:20, 100:130] = 255
    heart = np.zeros((80, 160), np.uint8)
    heart[70, 3] = 255
    paths = dict(
        left=[str(files.write(tmp_path / 'left.png', left))],
        heart=[str(files.write(tmp_path / 'heart.gif', heart))],
    )
    return dict(img_path='x.png', ori_shape=(40, 80), part_paths=paths)


def test_masks_in_their_own_resolution(sample):
    out = TRANSFORMS.build(dict(type='orl_mm.LoadParts')).transform(sample)
    masks = out['part_masks']
    assert out['parts'] == ('left', 'heart')
    assert (masks.dtype, masks.shape) == (torch.uint8, (2, 80, 160))
    assert masks[0].sum() == masks[0, 10:20, 100:130].sum() == 300
    assert masks[1].nonzero().tolist() == [[70, 3]]


def test_parts_by_name_and_order(sample):
    out = LoadParts(['heart', 'liver', 'left']).transform(sample)
    assert out['parts'] == ('heart', 'left')  # what the image does not have is absent
    assert out['part_masks'].sum(dim=(1, 2)).tolist() == [1, 300]
    assert LoadParts(['liver']).transform(sample)['part_masks'].shape == (0, 40, 80)


def test_union_of_several_files(sample, tmp_path):
    more = np.zeros((80, 160), np.uint8)
    more[15:30, 100:130] = 255
    sample['part_paths']['left'].append(str(files.write(tmp_path / 'more.png', more)))
    masks = LoadParts(['left']).transform(sample)['part_masks']
    assert masks.sum() == masks[0, 10:30, 100:130].sum() == 600


TRUTH = np.zeros((8, 8), bool)
TRUTH[2:5, 3:6] = True
SOFT = TRUTH.astype(np.uint8) * 255
SOFT[1, 3:6], SOFT[4, 3:6] = 100, 140  # below and above one half


@pytest.mark.parametrize(
    ('array', 'suffix'),
    [
        (TRUTH, 'png'),
        (TRUTH.astype(np.uint8), 'png'),
        (SOFT, 'png'),
        (TRUTH.astype(np.uint16) * 65535, 'png'),
        (np.dstack([TRUTH.astype(np.uint8) * 255] * 3), 'png'),
        (TRUTH.astype(np.uint8) * 255, 'gif'),
    ],
    ids=['one_bit', 'zero_one', 'antialiased', '16_bit', 'rgb', 'palette'],
)
def test_kinds_of_files(tmp_path, array, suffix):
    path = files.write(tmp_path / f'm.{suffix}', array)
    out = LoadParts().transform(dict(part_paths=dict(x=[str(path)])))
    assert np.array_equal(out['part_masks'][0].numpy().astype(bool), TRUTH)


def test_empty_mask(sample, tmp_path, monkeypatch):
    logged = []
    log = lambda message, **_: logged.append(message)  # noqa: E731
    monkeypatch.setattr('orl_mm.datasets.transforms.load_parts.print_log', log)
    empty = str(files.write(tmp_path / 'empty.png', np.zeros((80, 160), np.uint8)))
    sample['part_paths']['heart'] = [empty]
    with pytest.raises(ValueError, match="heart is empty.*empty.png.*empty='drop'"):
        LoadParts().transform(dict(sample))
    out = LoadParts(empty='drop').transform(dict(sample))
    assert (out['parts'], len(out['part_masks'])) == (('left',), 1)
    (message,) = logged
    assert 'heart' in message
    assert 'empty.png' in message


def test_masks_of_another_size(sample, tmp_path):
    """Masks may have another scale, but not another aspect ratio."""
    with pytest.raises(ValueError, match='80 x 160 do not cover the image of 40 x 40.*x.png'):
        LoadParts().transform(dict(sample, ori_shape=(40, 40)))
    assert LoadParts().transform(dict(sample, ori_shape=(813, 1625)))['parts']  # rounded: 0.1 %
    with pytest.raises(ValueError, match='aspect ratio'):
        LoadParts(aspect_tolerance=0).transform(dict(sample, ori_shape=(813, 1625)))
    other = str(files.write(tmp_path / 'o.png', np.full((40, 80), 255, np.uint8)))
    sample['part_paths']['heart'] = [other]
    with pytest.raises(ValueError, match='differ in size.*heart'):
        LoadParts().transform(dict(sample))
    sample['part_paths']['left'].append(other)
    with pytest.raises(ValueError, match='one part differ in size.*left.png'):
        LoadParts(['left']).transform(dict(sample))


def test_unreadable_mask(sample, tmp_path):
    (tmp_path / 'bad.png').write_bytes(b'\x89PNG\r\n\x1a\nxx')
    for path in (tmp_path / 'bad.png', tmp_path / 'gone.png'):
        sample['part_paths']['heart'] = [str(path)]
        with pytest.raises(ValueError, match=f'cannot be read: .*{path.name}'):
            LoadParts().transform(dict(sample))
