"""The report's numbers by hand, its choice of pictures, and its files."""

import json

import numpy as np
import pytest
from PIL import Image

from orl_mm.map_cache.entry import CacheError
from orl_mm.registration.quality import Outcome, Quality
from orl_mm.registration.report import Record, choose, collect, read_truth, summarize, write_report
from orl_mm.visualization import figure_to_rgb
from orl_mm.visualization.registrations import report_picture

PARTS = ('left', 'right')


def record(name, status='deformable', similarity=0.8, folded=0.0, reason='', **dice):
    quality = None if similarity is None else Quality((0.95, similarity), (1.0, 1.0), folded)
    return Record(name, Outcome(status, reason, quality), dice)


RECORDS = [
    record('a.png', similarity=0.9, left=0.9, right=0.8),
    record('b.png', similarity=0.7, left=0.7),
    record('c.png', similarity=0.8, left=0.95, right=0.85),
    record(
        'd.png', 'affine', 0.4, 0.02, 'deformable: 2.00% of the field folded', left=0.5, right=0.4
    ),
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
    assert left['least'] == 0.5
    assert right['images'] == 3
    assert right['median'] == 0.8
    assert 'dice' not in summarize([record('a.png')], PARTS)
    assert summarize([record('e.png', 'template', None)], PARTS)['images'] == 1


def test_choice_is_by_dice_or_else_by_similarity():
    chosen = [(title, r.image) for title, r in choose(RECORDS)]
    assert chosen == [
        ('best', 'c.png'),
        ('median', 'a.png'),
        ('worst', 'b.png'),
        ('affine instead', 'd.png'),
        ('template instead', 'e.png'),
    ]
    plain = [record(f'{i}.png', similarity=s) for i, s in enumerate((0.5, 0.9, 0.7))]
    assert [r.image for _, r in choose(plain)] == ['1.png', '2.png', '0.png']
    many = choose([record(f'{i}.png', 'template', None) for i in range(9)], count=2)
    assert len(many) == 2
    assert choose([]) == []


def test_dice_is_at_the_truths_resolution(tmp_path):
    """Template rows 0-3 of 8; truth rows 0-8 of 16: 2 * 8 / (8 + 9) of 16 columns each."""
    for part, rows in dict(left=9, third=3).items():
        path = tmp_path / 'masks' / part / 'x.png'
        path.parent.mkdir(parents=True)
        mask = np.zeros((16, 16), np.uint8)
        mask[:rows] = 255
        Image.fromarray(mask).save(path)
    (tmp_path / 'images').mkdir()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / 'images' / 'x.png')
    truth = read_truth(str(tmp_path))
    records = collect(
        FakeCache(), ['/images/p/x.png', '/images/missing.png', '/images/y.png'], truth
    )
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
    listed = (tmp_path / 'fallbacks.txt').read_text().splitlines()
    assert listed == [
        'd.png\taffine\tdeformable: 2.00% of the field folded',
        'e.png\ttemplate\tthe image is constant',
    ]


def test_picture_shows_the_outlines():
    """Without truth two columns; where nothing is outlined the image's grey is seen."""
    seen = []

    def read(path):
        seen.append(path)
        return np.full((20, 30), 77, np.uint8)

    chosen = [('best', RECORDS[0]), ('template instead', RECORDS[4])]
    plain = [(title, Record(r.image, r.outcome)) for title, r in chosen]
    two = figure_to_rgb(report_picture(plain, FakeCache(), read, cell=64))
    three = figure_to_rgb(report_picture(chosen, FakeCache(), read, {}, cell=64))
    assert seen[0] == '/images/a.png'
    assert three.shape[1] > two.shape[1]
    colours = {tuple(c) for c in two.reshape(-1, 3)}
    assert (77, 77, 77) in colours
    assert (255, 176, 0) in colours
    assert (100, 220, 255) in colours


def test_kinds_of_reasons_are_counted(tmp_path):
    records = [
        record(f'{i}.png', 'template', 0.1, reason=f'deformable: similarity 0.{i} at left')
        for i in range(3)
    ]
    write_report(str(tmp_path), FakeCache(), records)
    assert (
        '| template: deformable: similarity at left | 3 |' in (tmp_path / 'report.md').read_text()
    )
