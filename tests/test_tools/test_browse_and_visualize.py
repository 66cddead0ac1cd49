"""The two tools for looking, called as from the command line, in this process."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from orl_mm.datasets.demo_photos import write_demo_photos
from orl_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / 'configs/r2o/demo.py')
BYOL = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool; what it printed. Exit codes arrive as SystemExit."""

    def run(name, *args):
        spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for path in write_demo_photos(str(folder), side=128)[6:]:
        path.unlink()
    return folder


@pytest.fixture(scope='module')
def network():
    """The demo's network with weights from elsewhere."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(DEMO)
    torch.manual_seed(3)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    with torch.no_grad():  # the target differs from the online network
        for parameter in model.target.parameters():
            shuffled = parameter.flatten()[torch.randperm(parameter.numel())]
            parameter.copy_(shuffled.view_as(parameter))
    return model


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB'))


def test_browse_shows_r2o_views_with_superpixels(tool, photos, tmp_path):
    out = tool('browse', DEMO, '--images', photos, '--num', 3, '--out', tmp_path)
    assert '2 views an image, ' in out
    assert out.strip().endswith(str(tmp_path / 'views.png'))
    sheet = pixels(tmp_path / 'views.png')
    assert sheet.shape[1] == 20 + 6 * 262 - 6  # image, superpixels, two views and their masks
    first = sheet.copy()
    tool('browse', DEMO, '--images', photos, '--num', 3, '--out', tmp_path)
    assert (pixels(tmp_path / 'views.png') == first).all()
    tool('browse', DEMO, '--images', photos, '--num', 3, '--out', tmp_path, '--seed', 1)
    again = pixels(tmp_path / 'views.png')
    assert (again != first).any()


def test_browse_shows_the_views_of_byol(tool, photos, tmp_path):
    out = tool('browse', BYOL, '--images', photos / 'astronaut_00.jpg', '--out', tmp_path)
    assert out.startswith('2 views an image\n')
    assert pixels(tmp_path / 'views.png').shape[1] == 20 + 2 * 262 - 6


def test_visualize_tells_networks_apart(tool, photos, network, tmp_path):
    torch.save(dict(state_dict=network.state_dict()), tmp_path / 'full.pth')
    torch.save(network.backbone.state_dict(), tmp_path / 'backbone.pth')
    torch.save(network.target['backbone'].state_dict(), tmp_path / 'target.pth')
    pictures = {}
    for name in ('full', 'backbone', 'target'):
        out = tool(
            'visualize',
            DEMO,
            tmp_path / f'{name}.pth',
            '--images',
            photos,
            '--num',
            3,
            '--k',
            3,
            '--out',
            tmp_path / name,
        )
        lines = out.strip().splitlines()
        assert lines[-1] == str(tmp_path / name / 'objects.png')
        kind, k, objects, largest, spread = lines[1].split()
        assert (kind, k) == ('checkpoint', '3')
        assert 1 <= float(objects) <= 3
        assert 1 / 3 <= float(largest.rstrip('%')) / 100 <= 1
        assert 0 <= float(spread) <= 1
        pictures[name] = pixels(tmp_path / name / 'objects.png')[40:]  # below the title
    # A training state shows its target network, a backbone itself.
    assert (pictures['full'] == pictures['target']).all()
    assert (pictures['full'] != pictures['backbone']).any()


def test_visualize_several_k_beside_random_weights(tool, photos, network, tmp_path):
    torch.save(network.backbone.state_dict(), tmp_path / 'b.pth')
    out = tool(
        'visualize',
        DEMO,
        tmp_path / 'b.pth',
        '--images',
        photos,
        '--num',
        2,
        '--k',
        2,
        5,
        '--random',
    )
    assert [line.split()[-4] for line in out.splitlines()[1:5]] == ['2', '5', '2', '5']
    assert pixels(tmp_path / 'objects.png').shape[1] == 20 + 6 * 262 - 6


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('browse', 'configs/r2o/none.py'), 'does not exist'),
        (('browse', DEMO, '--images', '/no/such/folder'), "'/no/such/folder' does not exist"),
        (('browse', DEMO, '--images', str(ROOT / 'configs')), 'no image in'),
        (('browse', DEMO, '--num', '0'), '--num must be at least 1'),
        (('visualize', DEMO, 'none.pth'), "'none.pth' does not exist"),
        (('visualize', DEMO, 'TEXT'), 'cannot be read'),
        (('visualize', DEMO, 'OTHER'), 'holds 2 of the 100 tensors'),
        (('visualize', BYOL, 'OTHER'), 'no refiner'),
        (('visualize', DEMO, 'OTHER', '--k', '0'), 'at least 1'),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(args, message, tool, photos, tmp_path, capsys):
    (tmp_path / 'text.pth').write_text('no checkpoint')
    other = {'conv1.weight': torch.zeros(1, 2), 'layer1.0.conv1.weight': torch.zeros(3)}
    torch.save(other, tmp_path / 'other.pth')
    files = dict(TEXT=tmp_path / 'text.pth', OTHER=tmp_path / 'other.pth')
    args = [files.get(arg, arg) for arg in args]
    if args[0] == 'visualize' and args[1] == DEMO:
        args += ['--images', photos, '--num', 1]
    with pytest.raises(SystemExit) as stop:
        tool(*args)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
