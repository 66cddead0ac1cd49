"""Template files: polygons against hand values, maps there and back, and invalid files."""

import json
import pickle

import numpy as np
import pytest

from orl_mm.registration.template import Template, draw_polygons, read_template, write_template


def test_area_of_a_triangle():
    """Half of base times height, whatever the raster."""
    for height, width in ((32, 32), (20, 50)):
        drawn = draw_polygons([[[0.1, 0.9], [0.7, 0.9], [0.4, 0.2]]], height, width)
        assert drawn.mean() == pytest.approx(0.5 * 0.6 * 0.7, abs=2e-3)


def test_corners_are_x_then_y_from_the_upper_left():
    drawn = draw_polygons([[[0.5, 0], [1, 0], [1, 0.25], [0.5, 0.25]]], 8, 4)
    expected = np.zeros((8, 4))
    expected[:2, 2:] = 1
    assert np.allclose(drawn, expected)


def test_shares_of_a_cell():
    """A rectangle that ends in a quarter of a cell covers a quarter of it; two are a union."""
    rectangles = [[[0, 0], [x, 0], [x, 1], [0, 1]] for x in (0.3125, 0.25)]
    drawn = draw_polygons(rectangles, 4, 4)
    assert np.allclose(drawn, [[1, 0.25, 0, 0]] * 4)


def test_shipped_triangles_are_on_the_patients_sides():
    template = read_template('cxr_triangles', size=64)
    assert template.parts == ('left_lung', 'right_lung', 'heart')
    columns = np.arange(64) + 0.5
    left, right, heart = [(m.sum(0) * columns).sum() / m.sum() / 64 for m in template.maps]
    assert right < 0.4 < heart < 0.6 < left  # the left lung is on the viewer's right
    assert all(0.03 < m.mean() < 0.2 for m in template.maps)


def test_maps_there_and_back(tmp_path):
    maps = np.random.default_rng(0).random((2, 5, 7), np.float32)
    template = Template(('a', 'b'), maps, dict(images=3, of=['x']))
    write_template(tmp_path / 'deep' / 'mean.npz', template)
    found = read_template(tmp_path / 'deep' / 'mean.npz')
    assert np.array_equal(found.maps, maps)
    assert found.parts == ('a', 'b')
    assert found.provenance == dict(images=3, of=['x'])
    assert [p.name for p in (tmp_path / 'deep').iterdir()] == ['mean.npz']


@pytest.mark.parametrize(
    ('parts', 'maps', 'word'),
    [
        (('a',), np.full((1, 2, 2), 255.0), '255'),
        (('a',), np.full((1, 2, 2), np.nan), 'nan'),
        (('a', 'b'), np.ones((1, 2, 2)), 'needs maps'),
        (('a', 'a'), np.ones((2, 2, 2)), 'differ'),
        (('a',), np.ones((2, 2)), 'needs maps'),
    ],
)
def test_invalid_templates(parts, maps, word):
    with pytest.raises(ValueError, match=word):
        Template(parts, maps)


@pytest.mark.parametrize(
    ('content', 'word'),
    [
        ('nonsense', 'no polygons'),
        ('{"parts": {}}', 'no part'),
        ('{"polygons": 1}', 'no polygons'),
        ('{"parts": {"a": [[[0, 0], [1, 1]]]}}', 'at least 3'),
        ('{"parts": {"a": [[[0, 0], [100, 0], [0, 50]]]}}', 'shares'),
        ('{"parts": {"a": [[["x", 0], [1, 0], [0, 1]]]}}', 'corners'),
    ],
)
def test_invalid_polygon_files(tmp_path, content, word):
    path = tmp_path / 'bad.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=word) as error:
        read_template(path)
    assert 'bad.json' in str(error.value)


def test_invalid_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='cxr_triangles'):
        read_template(tmp_path / 'none.npz')
    (tmp_path / 'x.txt').write_text('')
    with pytest.raises(ValueError, match='.json file of polygons or a .npz'):
        read_template(tmp_path / 'x.txt')
    (tmp_path / 'cut.npz').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(ValueError, match='holds no template'):
        read_template(tmp_path / 'cut.npz')
    with pytest.raises(ValueError, match='.npz'):
        write_template(tmp_path / 'x.json', Template(('a',), np.ones((1, 1, 1))))


class Trap:
    def __reduce__(self):
        return print, ('code of a file has run',)


def test_pickles_in_a_file_are_not_run(tmp_path, capsys):
    """Neither an array of objects nor a file that is a pickle."""
    about = np.array(json.dumps(dict(parts=['a'], provenance={})))
    np.savez(tmp_path / 'objects.npz', about=about, maps=np.array([Trap()], object))
    (tmp_path / 'pickle.npz').write_bytes(pickle.dumps(Trap()))
    for name in ('objects.npz', 'pickle.npz'):
        with pytest.raises(ValueError, match='holds no template'):
            read_template(tmp_path / name)
    assert 'has run' not in capsys.readouterr().out
