"""tools/tables.py: is a network better than its template, with an interval over patients?"""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    for name in [n for n in sys.modules if n.split('.')[0] == '_tables']:
        monkeypatch.delitem(sys.modules, name)
    from _tables import compare

    return compare


def test_interval_is_over_patients(compare):
    """Two patients of many images each: only their two means are drawn, whatever the images."""
    images = [f'{i:02d}' for i in range(40)]
    gains = dict(zip(images, [0.1] * 20 + [-0.1] * 20, strict=False))
    mine = dict(
        details=dict(heart={i: 0.5 + gains[i] for i in images}),
        patients={i: 'one' if n < 20 else 'two' for n, i in enumerate(images)},
    )
    template = dict(details=dict(heart={i: 0.5 for i in images}))
    found = compare.above(mine, template)['heart']
    assert found['difference'] == pytest.approx(0)
    # Both draws are of one patient in half of the resamples: the ends are their means.
    assert (found['low'], found['high']) == pytest.approx((-0.1, 0.1))
    alone = compare.above(dict(mine, patients={}), template)['heart']
    assert np.abs([alone['low'], alone['high']]).max() < 0.05


def test_only_images_of_both_count(compare):
    mine = dict(details=dict(heart=dict(a=0.5, b=0.9), lung=dict(a=1.0)), patients={})
    template = dict(details=dict(heart=dict(a=0.3, c=0.1)))
    found = compare.above(mine, template)
    assert set(found) == {'heart'}
    assert found['heart']['difference'] == pytest.approx(0.2)
