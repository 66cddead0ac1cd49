"""The average of predictions and of masks, by the command, against hand values."""

import json

import numpy as np
import pytest
import torch
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from PIL import Image

from orl_mm.registration.average import PartsAverage, file_digest
from orl_mm.registration.template import read_template
from tests.small import load_tool


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
    """Run a command line given as text."""
    module = load_tool('average_template')

    def run(command):
        monkeypatch.setattr('sys.argv', ['average_template.py', *command.split()])
        module.main(command.split())

    run.module = module
    return run


def write_checkpoint(path, scale):
    classes = dict(classes=('background', 'middle', 'bright'))
    state = dict(scale=torch.tensor([scale]))
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=classes)), path)


@pytest.fixture
def segmenter(tmp_path):
    """Config and checkpoint, as one text; the class names are in the checkpoint."""
    (tmp_path / 'grey.py').write_text("""
default_scope = 'mmseg'
model = dict(type='SegmentByGrey',
             data_preprocessor=dict(type='SegDataPreProcessor', mean=[0] * 3, std=[1] * 3))
test_dataloader = dict(dataset=dict(type='orl_mm.ChestXRayParts', data_root='nowhere', pipeline=[
    dict(type='orl_mm.LoadXray'), dict(type='Resize', scale=(16, 16), keep_ratio=False),
    dict(type='orl_mm.LoadParts'), dict(type='PackSegInputs')]))
""")
    write_checkpoint(tmp_path / 'grey.pth', 20.0)
    return f'{tmp_path}/grey.py {tmp_path}/grey.pth'


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
    tool(f'{segmenter} --folder {images} --out {out} --size 8 --batch-size 3 --workers 0')
    template = read_template(out)
    assert template.parts == ('middle', 'bright')
    np.testing.assert_allclose(cells(template), expected())
    about = template.provenance
    assert (about['images'], about['skipped'], about['threshold']) == (4, 1, 0.5)
    assert (about['config'], about['checkpoint']) == ('grey.py', 'grey.pth')
    assert about['checkpoint_sha256'] == file_digest(tmp_path / 'grey.pth')
    assert set(about['versions']) == {'torch', 'onedl-mmsegmentation', 'orl-mm'}
    assert str(tmp_path) not in json.dumps(about)
    printed = capsys.readouterr().out
    assert '4 images, middle 28.1% of the area, bright 25.0%' in printed  # 3/4 * 3/8
    assert '1 images could not be read, first cut.png' in printed
    assert not list(out.parent.glob('*.partial'))


def test_soft_average_and_chosen_parts(tool, segmenter, images, tmp_path):
    """Scores 1, 0, 0: the softmax of the class seen is e / (e + 2), of others 1 / (e + 2)."""
    write_checkpoint(tmp_path / 'grey.pth', 1.0)
    out = tmp_path / 'soft.npz'
    command = f'{segmenter} --folder {images} --out {out} --size 8 --workers 0 --parts bright'
    tool(f'{command} --soft')
    template = read_template(out)
    assert template.parts == ('bright',)
    assert template.provenance['threshold'] == 'soft'
    wanted = (1 + (np.e - 1) * expected()[1:]) / (np.e + 2)
    np.testing.assert_allclose(cells(template), wanted, rtol=1e-6)
    with pytest.raises(SystemExit) as stop:  # a thresholded average is a different template
        tool(command)
    assert stop.value.code == 2


def test_training_data_of_a_config_in_another_scope(tool, segmenter, images, tmp_path):
    (tmp_path / 'pretraining.py').write_text("""
default_scope = 'mmpretrain'
train_dataloader = dict(dataset=dict(type='orl_mm.ImageList', data_root='nowhere', pipeline=[
    dict(type='orl_mm.LoadXray'), dict(type='RandomFlip', prob=1.), dict(type='PackInputs')]))
""")
    data = f'--cfg-options train_dataloader.dataset.data_root={images}'
    out = f'--out {tmp_path}/config.npz --size 8 --workers 0'
    tool(f'{segmenter} --config {tmp_path}/pretraining.py {data} {out}')
    np.testing.assert_allclose(cells(read_template(tmp_path / 'config.npz')), expected())


def test_interrupted_and_continued(tool, segmenter, images, tmp_path, monkeypatch, capsys):
    whole, broken = tmp_path / 'whole.npz', tmp_path / 'broken.npz'
    listing = tmp_path / 'list.txt'
    listing.write_text(''.join(f'{i}.png\n' for i in (3, 1, 0, 2)))
    options = f'--list {listing} --root {images} --size 8 --batch-size 1 --workers 0'
    command = f'{segmenter} {options} --out'
    tool(f'{command} {whole}')
    calls, add = [], PartsAverage.add

    def stop_at_the_third(self, maps):
        calls.append(len(maps))
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, maps)

    tool.module.SAVE_EVERY = 0
    monkeypatch.setattr(PartsAverage, 'add', stop_at_the_third)
    with pytest.raises(SystemExit, match='the same command continues'):
        tool(f'{command} {broken}')
    assert not broken.exists()
    monkeypatch.setattr(PartsAverage, 'add', add)
    capsys.readouterr()
    tool(f'{command} {broken}')
    assert 'going on after 2 of 4 images' in capsys.readouterr().out
    one, two = read_template(whole), read_template(broken)
    assert (one.maps == two.maps).all()
    assert one.provenance == two.provenance
    tool(f'{command} {broken}')
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
    tool(f'--masks {root} --out {out} --size 4')
    template = read_template(out)
    assert template.parts == ('left_lung', 'heart')
    assert template.provenance['source'] == 'masks'
    assert (template.maps[0] == [[0, 0, 1, 1]] * 4).all()
    third = 1 / 3
    np.testing.assert_allclose(template.maps[1], [[0] * 4] * 2 + [[1, 1, third, third]] * 2)
    (tmp_path / 'ids.txt').write_text('1\n')
    more = f'--list {tmp_path}/ids.txt --overwrite --parts heart'
    tool(f'--masks {root} --out {out} --size 4 {more}')
    assert (read_template(out).maps == [[[0] * 4] * 2 + [[1] * 4] * 2]).all()


def test_corrected_masks_of_the_same_ids_need_overwrite(tool, tmp_path, capsys):
    for part in ('images', 'masks/heart'):
        (tmp_path / 'data' / part).mkdir(parents=True)
    Image.new('L', (8, 8)).save(tmp_path / 'data/images/0.png')
    Image.new('L', (8, 8), 255).save(tmp_path / 'data/masks/heart/0.png')
    command = f'--masks {tmp_path}/data --out {tmp_path}/masks.npz --size 4'
    tool(command)
    tool(command)
    assert 'is finished already' in capsys.readouterr().out
    half = np.zeros((8, 8), np.uint8)
    half[4:] = 255
    Image.fromarray(half).save(tmp_path / 'data/masks/heart/0.png')
    with pytest.raises(SystemExit):
        tool(command)
    assert 'exists with other settings' in capsys.readouterr().err
    tool(f'{command} --overwrite')
    assert read_template(tmp_path / 'masks.npz').maps.mean() == 0.5


SEGMENT = '{segmenter} --out x.npz --folder {images} '


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('--out x.npz', 'either CONFIG CHECKPOINT or --masks'),
        ('{segmenter} --out x.npz', 'which images'),
        ('{segmenter} --folder {images} --out x.png', 'must end in .npz'),
        ('--masks {images} --out x.npz --folder {images}', 'only --list chooses'),
        ('grey.py nothing.pth --folder {images} --out x.npz', 'does not exist'),
        ('grey.py grey.py --folder {images} --out x.npz', 'cannot be read'),
        ('{segmenter} --folder nowhere --out x.npz', "'nowhere' is no folder"),
        (SEGMENT + '--parts heart', "not ['heart']"),
        (SEGMENT + '--threshold 0', 'threshold must lie in (0, 1]'),
        (SEGMENT + '--size 0', 'at least 1'),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    command, message, tool, segmenter, images, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        tool(command.format(segmenter=segmenter, images=images))
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / 'x.npz').exists()


def test_a_segmenter_that_finds_nothing(tool, segmenter, tmp_path, capsys):
    folder = tmp_path / 'white'
    folder.mkdir()
    Image.new('L', (16, 16), 255).save(folder / 'white.png')
    with pytest.raises(SystemExit):
        tool(f'{segmenter} --folder {folder} --out {tmp_path}/x.npz --workers 0')
    assert "['middle'] were found in none of 1 images" in capsys.readouterr().err
