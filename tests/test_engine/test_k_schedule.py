"""K by epoch against the table of projects/r2o/README.md and curves worked out by hand."""

import pytest

from orl_mm.engine.schedulers import KSchedule


def test_cosine_of_the_public_code_over_300_epochs():
    k = KSchedule('cosine', epochs=[0, 300], values=[128, 4])
    assert {e: k(e) for e in (1, 100, 150, 200, 299)} == {
        1: 127,
        100: 111,
        150: 91,
        200: 66,
        299: 4,
    }
    assert [k(0), k(300), k(400)] == [128, 4, 4]


def test_rising_cosine():
    # 4 + 124 sin(pi/12) = 36.09 and 4 + 124 sin(pi/3) = 111.4.
    k = KSchedule('cosine', epochs=[0, 300], values=[4, 128])
    assert [k(0), k(50), k(200), k(300), k(301)] == [4, 36, 111, 128, 128]


def test_runner_epochs_count_from_zero():
    k = KSchedule('cosine', epochs=[0, 300], values=[128, 4])
    assert k.at_runner_epoch(0) == 127
    assert k.at_runner_epoch(298) == 4


def test_piecewise_example_of_the_public_code():
    k = KSchedule('piecewise', epochs=[0, 150, 300], values=[1, 64, 32])
    assert [k(e) for e in (1, 149, 150, 299, 300, 1000)] == [1, 1, 64, 64, 32, 32]
    late = KSchedule('piecewise', epochs=[10, 20], values=[8, 16])
    assert late(1) == 8


def test_linear_goes_on_outside_its_points():
    k = KSchedule('linear', epochs=[10, 20, 40], values=[10, 30, 70])
    assert [k(e) for e in (10, 15, 20, 25, 40)] == [10, 20, 30, 40, 70]
    assert k(8) == 6  # slope 2 before the first point
    assert k(45) == 80  # slope 2 after the last
    assert k(1) == 1  # -8 by the line: at least one object


def test_truncation_then_limit():
    k = KSchedule('linear', epochs=[0, 1000], values=[128, 138])
    assert k(99) == 128  # 128.99
    assert k(100) is None  # 129
    assert KSchedule('constant', values=[128])(1) == 128
    assert KSchedule('constant', values=[129])(1) is None
    assert KSchedule('constant', values=[129], off_above=None)(1) == 129
    assert KSchedule('constant', values=[0.3])(1) == 1


def test_off_epochs_and_explicit_none():
    k = KSchedule('piecewise', epochs=[1, 3, 5], values=[None, 200, 16])
    assert [k(e) for e in range(1, 7)] == [None, None, None, None, 16, 16]
    assert k.off_epochs(6) == [1, 2, 3, 4]
    assert KSchedule('constant', values=[64]).off_epochs(300) == []


@pytest.mark.parametrize(
    ('args', 'word'),
    [
        (dict(type='step', values=[4]), 'step'),
        (dict(type='constant', values=[]), 'at least one'),
        (dict(type='constant', values=[4, 8]), 'piecewise'),
        (dict(type='piecewise', values=[4, 8]), 'epochs'),
        (dict(type='piecewise', values=[4, 8], epochs=[1]), 'one epoch for each'),
        (dict(type='linear', values=[4], epochs=[1]), 'two points'),
        (dict(type='linear', values=[4, None], epochs=[1, 2]), 'None'),
        (dict(type='cosine', values=[4, 8, 16], epochs=[1, 2, 3]), 'two points'),
        (dict(type='cosine', values=[4, 8], epochs=[3, 3]), 'increase'),
    ],
)
def test_errors_name_the_value_and_the_fix(args, word):
    with pytest.raises(ValueError, match=word):
        KSchedule(**args)
