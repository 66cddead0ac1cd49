"""Averages of maps against hand values, and resuming them."""

import numpy as np
import pytest

from orl_mm.registration.average import PartsAverage, file_digest, job_key, list_digest

PARTS = ('a', 'b')


def maps(*values):
    """Images whose map of ``a`` has these values everywhere, that of ``b`` a fixed corner."""
    out = np.zeros((len(values), 2, 2, 2))
    out[:, 0] = np.reshape(values, (-1, 1, 1))
    out[:, 1, 0, 1] = 1
    return out


def average_of(*batches, **options):
    average = PartsAverage(PARTS, size=2, **options)
    for values in batches:
        average.add(maps(*values))
    return average


def test_thresholded_average_is_the_share_of_images():
    found = average_of((0.2, 0.5, 0.9), (0.49,)).template({})
    assert found.maps[0].tolist() == [[0.5, 0.5], [0.5, 0.5]]  # .5 and .9 of four
    assert found.maps[1].tolist() == [[0, 1], [0, 0]]
    assert found.parts == PARTS


def test_soft_average_is_the_mean_probability():
    found = average_of((0.2, 0.5), (0.8,), threshold=None).template({})
    np.testing.assert_allclose(found.maps[0], 0.5, atol=1e-7)
    assert found.provenance['threshold'] == 'soft'


def test_provenance():
    average = average_of((1.0, 1.0), threshold=0.25)
    average.skipped += ['broken.jpg']
    assert average.template(dict(checkpoint='x.pth')).provenance == dict(
        kind='average', threshold=0.25, size=2, images=2, skipped=1, checkpoint='x.pth'
    )


def test_saved_and_resumed(tmp_path):
    path, key = tmp_path / 'x.partial', job_key(dict(a=1))
    first = PartsAverage(PARTS, size=2)
    assert not first.resume(path, key)
    first.add(maps(0.9, 0.1))
    first.position, first.skipped = 3, ['one']
    first.save(path, key)
    second = PartsAverage(PARTS, size=2)
    assert second.resume(path, key)
    assert (second.count, second.position, second.skipped) == (2, 3, ['one'])
    second.add(maps(0.9, 0.9))
    assert (second.template({}).maps[0] == 0.75).all()
    assert [p.name for p in tmp_path.iterdir()] == ['x.partial']
    with pytest.raises(ValueError, match='another checkpoint, list of images or option'):
        PartsAverage(PARTS, size=2).resume(path, job_key(dict(a=2)))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match='damaged.*delete it'):
        PartsAverage(PARTS, size=2).resume(path, key)


def test_digests_depend_on_all_of_their_input(tmp_path):
    keys = {job_key(d) for d in (dict(a=1), dict(a=2), dict(b=1), dict(a=1, b=1))}
    assert len(keys) == 4
    assert job_key(dict(a=1, b=2)) == job_key(dict(b=2, a=1))
    lists = {list_digest(names) for names in (['ab', 'c'], ['a', 'bc'], ['c', 'ab'], ['ab'])}
    assert len(lists) == 4
    (tmp_path / 'f').write_bytes(b'abc')  # FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / 'f') == (
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(threshold=0), r'\(0, 1\], got 0'),
        (dict(threshold=1.2), 'got 1.2'),
        (dict(size=0), 'got .* and 0'),
        (dict(parts='heart'), "needs parts and a size, got 'heart'"),
    ],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PartsAverage(**{'parts': PARTS, **kwargs})


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (np.zeros((1, 2, 3, 2)), r'must be \(B, 2, 2, 2\), got \(1, 2, 3, 2\)'),
        (maps(255.0), 'got 0 to 255'),
        (maps(np.nan), 'got nan'),
    ],
)
def test_maps(bad, message):
    average = PartsAverage(PARTS, size=2)
    with pytest.raises(ValueError, match=message):
        average.add(bad)
    assert average.count == 0
    assert not average.sums.any()


def test_no_average_of_nothing():
    with pytest.raises(ValueError, match='no image to average'):
        average_of().template({})
    with pytest.raises(ValueError, match=r"\['a'\] were found in none of 2 images"):
        average_of((0.1, 0.2)).template({})
