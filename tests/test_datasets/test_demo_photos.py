import socket

import numpy as np
import pytest
from PIL import Image

from orl_mm.datasets import DemoPhotos, demo_photos
from orl_mm.datasets.demo_photos import photo_paths, tile_boxes, write_demo_photos


def test_the_photographs_are_in_the_installed_packages(monkeypatch):
    monkeypatch.setattr(socket, 'socket', None)  # no network, no download
    paths = photo_paths()
    assert len(paths) == len(demo_photos.PHOTOS) == 8
    for path in paths.values():
        with Image.open(path) as photo:
            assert min(photo.size) >= 300


def test_tiles_are_inside_overlap_and_cover_the_photograph():
    seen = np.zeros((427, 640), int)
    boxes = list(tile_boxes(640, 427))
    assert len(set(boxes)) == 14
    assert boxes[0] == (0, 0, 640, 427)
    for x1, y1, x2, y2 in boxes[1:]:
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 427
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 2


def test_tiles_are_written_once_and_differ(tmp_path):
    paths = write_demo_photos(str(tmp_path), side=64)
    assert len(paths) == 112
    assert paths == sorted(tmp_path.iterdir())
    times = [path.stat().st_mtime_ns for path in paths]
    assert write_demo_photos(str(tmp_path), side=64) == paths
    assert [path.stat().st_mtime_ns for path in paths] == times
    pixels = set()
    for path in paths:
        with Image.open(path) as tile:
            assert max(tile.size) == 64
            assert tile.mode == 'RGB'
            pixels.add(tile.tobytes())
    assert len(pixels) == 112


def test_a_folder_of_images_replaces_the_photographs(tmp_path):
    own, tiles = tmp_path / 'own', tmp_path / 'tiles'
    own.mkdir()
    Image.new('RGB', (9, 9)).save(own / 'a.png')
    assert len(DemoPhotos(data_root=str(own), tiles=str(tiles))) == 1
    assert not tiles.exists()
    for root in ('', str(tiles)):
        assert len(DemoPhotos(data_root=root, tiles=str(tiles))) == 112


def test_error_without_the_photographs(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_photos, 'PHOTOS', dict(cat=('skimage', 'data/no_such.png')))
    with pytest.raises(ValueError, match='folder of images'):
        write_demo_photos(str(tmp_path))
