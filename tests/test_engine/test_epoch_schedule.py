"""Values by epoch against numbers worked out by hand."""

import math

import pytest

from orl_mm.engine.schedulers import EpochSchedule


def test_linear():
    schedule = EpochSchedule([1.0, 3.0, 0.0], [2, 4, 5])
    assert [schedule(e) for e in (0, 2, 2.5, 3, 4, 4.25, 5, 9)] == pytest.approx(
        [1, 1, 1.5, 2, 3, 2.25, 0, 0]
    )


def test_cosine():
    schedule = EpochSchedule([0.0, 8.0], [0, 4], 'cosine')
    assert [schedule(e) for e in (0, 1, 2, 4, 5)] == pytest.approx(
        [0, 4 - 4 * math.sqrt(0.5), 4, 8, 8]
    )


def test_step():
    schedule = EpochSchedule([5.0, 1.0, 2.0], [0, 3, 4], 'step')
    assert [schedule(e) for e in (0, 2.9, 3, 4, 8)] == [5, 5, 1, 2, 2]


def test_made_of_numbers_and_dicts():
    assert EpochSchedule.of(0.5)(7) == 0.5
    assert EpochSchedule.of(dict(values=[0, 1], epochs=[0, 2]))(1) == 0.5
    schedule = EpochSchedule([1.0])
    assert EpochSchedule.of(schedule) is schedule


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(values=[]), 'one epoch for each'),
        (dict(values=[1, 2]), 'one epoch for each'),
        (dict(values=[1, 2], epochs=[0]), 'one epoch for each'),
        (dict(values=[1, 2], epochs=[1, 1]), 'must increase'),
        (dict(values=[1], type='poly'), 'type must be'),
    ],
)
def test_bad_points(arguments, message):
    with pytest.raises(ValueError, match=message):
        EpochSchedule(**arguments)
