"""The average of predictions and of masks, by the command, against hand values."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from PIL import Image

from orl_mm.registration.average import PartsAverage, file_digest
from orl_mm.registration.template import read_template

ROOT = Path(__file__).resolve().parents[2]


@MODELS.register_module()
class SegmentByGrey(BaseSegmentor):
    """Classes by grey level: below 64, between, from 192 on. Its one weight is the scale."""

    align_corners = False

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.scale = torch.nn.Parameter(torch.zeros(1))

    def predict(self, inputs, data_samples=None):
        grey = inputs.mean(1, keepdim=True)
        scores = torch.cat([grey < 64, (grey >= 64) & (grey < 192), grey >= 192], 1).float()
        return self.postprocess_result(scores * self.scale, data_samples)

    def extract_feat(self, inputs):
        raise NotImplementedError

    encode_decode = _forward = loss = extract_feat


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location(
        'average_template', ROOT / 'tools' / 'average_template.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        argv = [*map(str, args)]
        monkeypatch.setattr(sys, 'argv', ['average_template.py', *argv])
        module.main(argv)

    run.module = module
    return run


@pytest.fixture
def segmenter(tmp_path):
    """Config and checkpoint; the names of the classes are in the checkpoint."""
    config, checkpoint = tmp_path / 'grey.py', tmp_path / 'grey.pth'
    config.write_text("""
default_scope = 'mmseg'
model = dict(type='SegmentByGrey',
             data_preprocessor=dict(type='SegDataPreProcessor', mean=[0] * 3, std=[1] * 3))
test_dataloader = dict(dataset=dict(type='orl_mm.ChestXRayParts', data_root='nowhere', pipeline=[
    dict(type='orl_mm.LoadXray'), dict(type='Resize', scale=(16, 16), keep_ratio=False),
    dict(type='orl_mm.LoadParts'), dict(type='PackSegInputs')]))
""")
    torch.save(
        dict(
            state_dict=dict(scale=torch.tensor([20.0])),
            meta=dict(dataset_meta=dict(classes=('background', 'middle', 'bright'))),
        ),
        checkpoint,
    )
    return config, checkpoint


@pytest.fixture
def images(tmp_path):
    """Four images of different sizes: bright above, the left of the rest middle in three."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for i, (height, width) in enumerate([(16, 16), (32, 16), (16, 48), (64, 64)]):
        grey = np.zeros((height, width), np.uint8)
        if i:
            grey[:, : width // 2] = 128
        grey[: height // 4] = 255
        Image.fromarray(grey).save(folder / f'{i}.png')
    return folder


def expected(images=4, middle=3):
    maps = np.zeros((2, 4, 4))
    maps[0, 1:, :2] = middle / images
    maps[1, :1] = 1
    return maps


def cells(template):
    """The 8 x 8 maps as 4 x 4 cells, which are all of one value."""
    blocks = template.maps.reshape(-1, 4, 2, 4, 2)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    return blocks[:, :, 0, :, 0]


def test_predictions_are_averaged_over_images_of_any_size(
    tool, segmenter, images, tmp_path, capsys
):
    (images / 'cut.png').write_bytes((images / '0.png').read_bytes()[:30])
    out = tmp_path / 'new' / 'average.npz'
    tool(
        *segmenter, '--folder', images, '--out', out, '--size', 8, '--batch-size', 3, '--workers', 0
    )
    template = read_template(out)
    assert template.parts == ('middle', 'bright')
    np.testing.assert_allclose(cells(template), expected())
    about = template.provenance
    assert (about['images'], about['skipped'], about['threshold']) == (4, 1, 0.5)
    assert (about['config'], about['checkpoint']) == ('grey.py', 'grey.pth')
    assert about['checkpoint_sha256'] == file_digest(segmenter[1])
    assert set(about['versions']) == {'torch', 'onedl-mmsegmentation', 'orl-mm'}
    assert str(tmp_path) not in json.dumps(about)
    printed = capsys.readouterr().out
    assert '4 images, middle 28.1% of the area, bright 25.0%' in printed  # 3/4 * 3/8
    assert '1 images could not be read, first cut.png' in printed
    assert not list(out.parent.glob('*.partial'))


def test_soft_average_and_chosen_parts(tool, segmenter, images, tmp_path):
    out = tmp_path / 'soft.npz'
    # Scores 1, 0, 0: the softmax of the class that is seen is e / (e + 2), of others 1 / (e + 2).
    torch.save(
        dict(
            state_dict=dict(scale=torch.ones(1)),
            meta=dict(dataset_meta=dict(classes=('background', 'middle', 'bright'))),
        ),
        segmenter[1],
    )
    tool(
        *segmenter,
        '--folder',
        images,
        '--out',
        out,
        '--size',
        8,
        '--soft',
        '--workers',
        0,
        '--parts',
        'bright',
    )
    template = read_template(out)
    assert template.parts == ('bright',)
    assert template.provenance['threshold'] == 'soft'
    wanted = (1 + (np.e - 1) * expected()[1:]) / (np.e + 2)
    np.testing.assert_allclose(cells(template), wanted, rtol=1e-6)
    with pytest.raises(SystemExit) as stop:  # a thresholded average is another one
        tool(*segmenter, '--folder', images, '--out', out, '--size', 8, '--parts', 'bright')
    assert stop.value.code == 2


def test_the_training_data_of_a_config_in_another_scope(tool, segmenter, images, tmp_path):
    (tmp_path / 'pretraining.py').write_text("""
default_scope = 'mmpretrain'
train_dataloader = dict(dataset=dict(type='orl_mm.ImageList', data_root='nowhere', pipeline=[
    dict(type='orl_mm.LoadXray'), dict(type='RandomFlip', prob=1.), dict(type='PackInputs')]))
""")
    out = tmp_path / 'config.npz'
    tool(
        *segmenter,
        '--config',
        tmp_path / 'pretraining.py',
        '--cfg-options',
        f'train_dataloader.dataset.data_root={images}',
        '--out',
        out,
        '--size',
        8,
        '--workers',
        0,
    )
    np.testing.assert_allclose(cells(read_template(out)), expected())


def test_interrupted_and_gone_on_with(tool, segmenter, images, tmp_path, monkeypatch, capsys):
    whole, broken = tmp_path / 'whole.npz', tmp_path / 'broken.npz'
    listing = tmp_path / 'list.txt'
    listing.write_text(''.join(f'{i}.png\n' for i in (3, 1, 0, 2)))
    command = [
        *segmenter,
        '--list',
        listing,
        '--root',
        images,
        '--size',
        8,
        '--batch-size',
        1,
        '--workers',
        0,
        '--out',
    ]
    tool(*command, whole)
    calls, add = [], PartsAverage.add

    def stop_at_the_third(self, maps):
        calls.append(len(maps))
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, maps)

    tool.module.SAVE_EVERY = 0
    monkeypatch.setattr(PartsAverage, 'add', stop_at_the_third)
    with pytest.raises(SystemExit, match='the same command continues'):
        tool(*command, broken)
    assert not broken.exists()
    monkeypatch.setattr(PartsAverage, 'add', add)
    capsys.readouterr()
    tool(*command, broken)
    assert 'going on after 2 of 4 images' in capsys.readouterr().out
    one, two = read_template(whole), read_template(broken)
    assert (one.maps == two.maps).all()
    assert one.provenance == two.provenance
    tool(*command, broken)
    assert 'is finished already' in capsys.readouterr().out


def test_masks_are_averaged_without_a_network(tool, tmp_path):
    root = tmp_path / 'data'
    for part in ('images', 'masks/left_lung', 'masks/heart'):
        (root / part).mkdir(parents=True)
    for i in range(3):
        Image.new('L', (8, 8)).save(root / f'images/{i}.png')
        left, heart = np.zeros((2, 8, 8), np.uint8)
        left[:, 4:], heart[4:, : 4 * (i % 2) + 4] = 255, 255
        Image.fromarray(left).save(root / f'masks/left_lung/{i}.png')
        Image.fromarray(heart).save(root / f'masks/heart/{i}.png')
    out = tmp_path / 'masks.npz'
    tool('--masks', root, '--out', out, '--size', 4)
    template = read_template(out)
    assert template.parts == ('left_lung', 'heart')
    assert template.provenance['source'] == 'masks'
    assert (template.maps[0] == [[0, 0, 1, 1]] * 4).all()
    third = 1 / 3
    np.testing.assert_allclose(template.maps[1], [[0] * 4] * 2 + [[1, 1, third, third]] * 2)
    (tmp_path / 'ids.txt').write_text('1\n')
    tool(
        '--masks',
        root,
        '--out',
        out,
        '--size',
        4,
        '--list',
        tmp_path / 'ids.txt',
        '--overwrite',
        '--parts',
        'heart',
    )
    assert (read_template(out).maps == [[[0] * 4] * 2 + [[1] * 4] * 2]).all()


def test_corrected_masks_of_the_same_ids_are_another_job(tool, tmp_path, capsys):
    for part in ('images', 'masks/heart'):
        (tmp_path / 'data' / part).mkdir(parents=True)
    Image.new('L', (8, 8)).save(tmp_path / 'data/images/0.png')
    Image.new('L', (8, 8), 255).save(tmp_path / 'data/masks/heart/0.png')
    command = ['--masks', tmp_path / 'data', '--out', tmp_path / 'masks.npz', '--size', 4]
    tool(*command)
    tool(*command)
    assert 'is finished already' in capsys.readouterr().out
    half = np.zeros((8, 8), np.uint8)
    half[4:] = 255
    Image.fromarray(half).save(tmp_path / 'data/masks/heart/0.png')
    with pytest.raises(SystemExit):
        tool(*command)
    assert 'was made otherwise' in capsys.readouterr().err
    tool(*command, '--overwrite')
    assert read_template(tmp_path / 'masks.npz').maps.mean() == 0.5


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--out', 'x.npz'), 'either CONFIG CHECKPOINT or --masks'),
        (('CONFIG', 'CHECKPOINT', '--out', 'x.npz'), 'which images'),
        (('CONFIG', 'CHECKPOINT', '--folder', 'IMAGES', '--out', 'x.png'), 'must end in .npz'),
        (('--masks', 'IMAGES', '--out', 'x.npz', '--folder', 'IMAGES'), 'only --list chooses'),
        (('CONFIG', 'nothing.pth', '--folder', 'IMAGES', '--out', 'x.npz'), 'does not exist'),
        (('CONFIG', 'CONFIG', '--folder', 'IMAGES', '--out', 'x.npz'), 'cannot be read'),
        (
            ('CONFIG', 'CHECKPOINT', '--folder', 'nowhere', '--out', 'x.npz'),
            "'nowhere' is no folder",
        ),
        (
            ('CONFIG', 'CHECKPOINT', '--folder', 'IMAGES', '--out', 'x.npz', '--parts', 'heart'),
            "not ['heart']",
        ),
        (
            ('CONFIG', 'CHECKPOINT', '--folder', 'IMAGES', '--out', 'x.npz', '--threshold', '0'),
            'threshold must lie in (0, 1]',
        ),
        (
            ('CONFIG', 'CHECKPOINT', '--folder', 'IMAGES', '--out', 'x.npz', '--size', '0'),
            'at least 1',
        ),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    args, message, tool, segmenter, images, tmp_path, monkeypatch, capsys
):
    names = dict(CONFIG=segmenter[0], CHECKPOINT=segmenter[1], IMAGES=images)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        tool(*(names.get(arg, arg) for arg in args))
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / 'x.npz').exists()


def test_a_segmenter_that_finds_nothing(tool, segmenter, tmp_path, capsys):
    folder = tmp_path / 'dark'
    folder.mkdir()
    Image.new('L', (16, 16), 255).save(folder / 'white.png')
    with pytest.raises(SystemExit):
        tool(*segmenter, '--folder', folder, '--out', tmp_path / 'x.npz', '--workers', 0)
    assert "['middle'] were found in none of 1 images" in capsys.readouterr().err
