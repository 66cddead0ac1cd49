"""The report's numbers by hand, its choice of pictures, and its files."""

import json
from unittest.mock import Mock

import numpy as np
import pytest

from orl_mm.map_cache.entry import CacheError
from orl_mm.registration.quality import Outcome, Quality
from orl_mm.registration.report import Record, choose, collect, read_truth, summarize, write_report
from orl_mm.visualization import figure_to_rgb
from orl_mm.visualization.registrations import report_picture
from tests.xray_files import write

PARTS = ('left', 'right')
FOLDED = 'deformable: 2.00% of the field folded'


def record(name, status='deformable', similarity=0.8, folded=0.0, reason='', **dice):
    quality = None if similarity is None else Quality((0.95, similarity), (1.0, 1.0), folded)
    return Record(name, Outcome(status, reason, quality), dice)


RECORDS = [
    record('a.png', similarity=0.9, left=0.9, right=0.8),
    record('b.png', similarity=0.7, left=0.7),
    record('c.png', similarity=0.8, left=0.95, right=0.85),
    record('d.png', 'affine', 0.4, 0.02, FOLDED, left=0.5, right=0.4),
    record('e.png', 'template', None, reason='the image is constant'),
]


class FakeCache:
    """Masks of known overlap with the truth, and an image without an entry."""

    root, parts = '/images', PARTS
    provenance = dict(spec=dict(settings=dict(size=8), library='SimpleITK 0'))

    def relative(self, path):
        return path.removeprefix(f'{self.root}/')

    def read(self, path):
        return self.outcome(path).masks

    def outcome(self, path):
        if path.endswith('missing.png'):
            raise CacheError('is missing')
        masks = np.zeros((2, 8, 8), np.uint8)
        masks[0, :4] = 1
        masks[1, :, :2] = 1
        return Outcome('deformable', '', Quality((0.9, 0.8), (1.0, 1.0), 0.0), masks)


def test_summary_by_hand():
    found = summarize(RECORDS, PARTS)
    assert [found[k] for k in ('images', 'deformable', 'affine', 'template')] == [5, 3, 1, 1]
    assert found['similarity']['mean'] == pytest.approx((0.9 + 0.7 + 0.8 + 0.4) / 4)
    assert found['folded'] == 1
    left, right = found['dice']['left'], found['dice']['right']
    assert left['mean'] == pytest.approx((0.9 + 0.7 + 0.95 + 0.5) / 4)
    assert (left['least'], right['images'], right['median']) == (0.5, 3, 0.8)
    assert 'dice' not in summarize([record('a.png')], PARTS)
    assert summarize([record('e.png', 'template', None)], PARTS)['images'] == 1


def test_choice_is_by_dice_or_else_by_similarity():
    chosen = {title: r.image[0] for title, r in choose(RECORDS)}
    assert list(chosen) == ['best', 'median', 'worst', 'affine instead', 'template instead']
    assert ''.join(chosen.values()) == 'cabde'
    plain = [record(f'{i}.png', similarity=s) for i, s in enumerate((0.5, 0.9, 0.7))]
    assert [r.image for _, r in choose(plain)] == ['1.png', '2.png', '0.png']
    many = choose([record(f'{i}.png', 'template', None) for i in range(9)], count=2)
    assert len(many) == 2
    assert choose([]) == []


def test_dice_at_the_resolution_of_the_truth(tmp_path):
    """Template rows 0-3 of 8; truth rows 0-8 of 16: 2 * 8 / (8 + 9) of 16 columns each."""
    for folder, rows in {'masks/left': 9, 'masks/third': 3, 'images': 0}.items():
        mask = np.zeros((16, 16), np.uint8)
        mask[:rows] = 255
        write(tmp_path / folder / 'x.png', mask)
    images = ['/images/p/x.png', '/images/missing.png', '/images/y.png']
    records = collect(FakeCache(), images, read_truth(str(tmp_path)))
    assert [r.image for r in records] == ['p/x.png', 'y.png']
    assert records[0].dice == pytest.approx({'left': 16 / 17})
    assert records[1].dice == {}


def test_files(tmp_path):
    paths = write_report(str(tmp_path), FakeCache(), RECORDS, unreadable=2)
    assert [p.split('/')[-1] for p in paths] == ['report.json', 'report.md', 'fallbacks.txt']
    found = json.loads((tmp_path / 'report.json').read_text())
    assert found['summary']['unreadable'] == 2
    assert len(found['images']) == 5
    assert found['images'][3]['reason'].endswith('folded')
    text = (tmp_path / 'report.md').read_text()
    assert '| 5 | 3 | 1 | 1 | 2 |' in text
    assert '| left | 0.762 |' in text
    assert '| affine: deformable: of the field folded | 1 |' in text
    listed = (tmp_path / 'fallbacks.txt').read_text()
    assert listed == f'd.png\taffine\t{FOLDED}\ne.png\ttemplate\tthe image is constant\n'
    reasons = [f'deformable: similarity 0.{i} at left' for i in range(3)]
    records = [record(f'{r}.png', 'template', 0.1, reason=r) for r in reasons]
    write_report(str(tmp_path), FakeCache(), records)
    text = (tmp_path / 'report.md').read_text()
    assert '| template: deformable: similarity at left | 3 |' in text


def test_picture_shows_the_outlines():
    """Without truth there are two columns; the image's grey is seen between the outlines."""
    read = Mock(return_value=np.full((20, 30), 77, np.uint8))
    chosen = [('best', RECORDS[0]), ('template instead', RECORDS[4])]
    plain = [(title, Record(r.image, r.outcome)) for title, r in chosen]
    two = figure_to_rgb(report_picture(plain, FakeCache(), read, cell=64))
    three = figure_to_rgb(report_picture(chosen, FakeCache(), read, {}, cell=64))
    assert read.call_args_list[0].args == ('/images/a.png',)
    assert three.shape[1] > two.shape[1]
    colors = {tuple(c) for c in two.reshape(-1, 3)}
    assert {(77, 77, 77), (255, 176, 0), (100, 220, 255)} <= colors
