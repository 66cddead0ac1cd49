"""The two tools for looking, where attention is guided by templates and compared with masks."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from sklearn.metrics import average_precision_score

from orl_mm.datasets.demo_photos import write_demo_photos
from orl_mm.map_cache.provenance import FORMAT
from orl_mm.registration.template import Template, write_template
from orl_mm.registry import MODELS

ROOT = Path(__file__).parents[2]
GUIDED = str(ROOT / 'configs/medino/small/triangular.py')
EVALUATION = ROOT / 'configs/transfer/jsrt/attention_small.py'
PARTS = ('left_lung', 'right_lung', 'heart')
MAP = {4: 'left_lung', 1: 'heart'}


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
    for path in write_demo_photos(str(folder), side=128)[3:]:
        path.unlink()
    return folder


@pytest.fixture(scope='module')
def chests(tmp_path_factory):
    """Two images of 96 x 64 in the layout that evaluation reads; the second has no heart."""
    root = tmp_path_factory.mktemp('data')
    y, x = np.mgrid[:96, :64]
    draw = np.random.default_rng(0)
    for folder in ('images', *(f'masks/{part}' for part in PARTS)):
        (root / 'jsrt' / folder).mkdir(parents=True)
    for name in 'ab':
        Image.fromarray(draw.integers(0, 255, (96, 64), np.uint8)).save(
            root / 'jsrt' / 'images' / f'{name}.png'
        )
        for part, mask in zip(
            PARTS, (x > 40, x < 20, (x > 20) & (x < 45) & (y > 50)), strict=False
        ):
            if (name, part) != ('b', 'heart'):
                Image.fromarray(mask.astype(np.uint8) * 255).save(
                    root / 'jsrt' / 'masks' / part / f'{name}.png'
                )
    return root


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """The narrow ViT without and with assigned heads, of other weights each."""
    init_default_scope('mmpretrain')
    folder, paths = tmp_path_factory.mktemp('runs'), []
    for seed, (name, meta) in enumerate([('free', {}), ('guided', dict(attention_heads=MAP))]):
        torch.manual_seed(seed)
        vit = MODELS.build(Config.fromfile(EVALUATION).model.backbone)
        vit.init_weights()
        with torch.no_grad():  # larger queries and keys, so that attention is not flat
            vit.layers[-1].attn.qkv.weight.mul_(8)
        paths.append(folder / name / 'epoch_1.pth')
        paths[-1].parent.mkdir()
        weights = {f'teacher.backbone.{key}': value for key, value in vit.state_dict().items()}
        torch.save(dict(state_dict=weights, meta=meta), paths[-1])
    return paths


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB'))


def evaluation(chests):
    return (
        EVALUATION,
        '--cfg-options',
        f'test_dataloader.dataset.data_root={chests / "jsrt"}',
        'test_dataloader.dataset.list_file=None',
        'test_dataloader.dataset.missing=keep',
    )


def test_browse_shows_templates_in_views(tool, photos, tmp_path):
    out = tool('browse', GUIDED, '--images', photos, '--num', 2, '--out', tmp_path)
    assert out.startswith('2 views an image, 2 of them guided by left_lung, right_lung, heart\n')
    assert pixels(tmp_path / 'views.png').shape[1] == 20 + 3 * 262 - 6


def test_browse_shows_templates_beside_one_another(tool, photos, tmp_path):
    maps = np.zeros((1, 4, 4))
    maps[0, 1:3, 1:3] = 0.8
    write_template(tmp_path / 'average.npz', Template(('middle',), maps))
    sources = ('--templates', 'triangles=cxr_triangles', f'average={tmp_path / "average.npz"}')
    out = tool('browse', '--images', photos, '--out', tmp_path, *sources)
    assert out.startswith('3 images, 2 templates\n')
    sheet = pixels(tmp_path / 'templates.png')
    assert sheet.shape[1] == 20 + 3 * 262 - 6
    # The same images through a config.
    tool('browse', GUIDED, '--images', photos, '--out', tmp_path / 'config', *sources)
    assert (pixels(tmp_path / 'config' / 'templates.png') == sheet).all()


def test_browse_leaves_a_place_empty_where_no_template_is(tool, photos, tmp_path):
    registered = tmp_path / 'registered'
    registered.mkdir()
    (registered / 'templates.json').write_text(
        json.dumps(
            dict(
                format=FORMAT,
                root=str(photos),
                source=['--folder', 'x'],
                spec=dict(parts=['heart'], settings=dict(size=8)),
            )
        )
    )
    out = tool(
        'browse',
        '--images',
        photos,
        '--num',
        2,
        '--out',
        tmp_path,
        '--templates',
        f'registered={registered}',
    )
    assert out.startswith('2 templates are missing, first: the registered template of ')
    assert (tmp_path / 'templates.png').is_file()


def test_visualize_scores_assigned_and_best_heads(tool, chests, checkpoints, tmp_path):
    out = tool(
        'visualize',
        *evaluation(chests)[:1],
        *checkpoints,
        *evaluation(chests)[1:],
        '--out',
        tmp_path,
    )
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert [(row[0], row[1]) for row in rows] == [
        (name, part) for name in ('free', 'guided') for part in PARTS
    ]
    assert [row[2:4] for row in rows[3:]][::2] == [['4', 'assigned'], ['1', 'assigned']]
    assert {row[3] for row in rows[:3]} == {'best'} == {rows[4][3]}
    assert pixels(tmp_path / 'attention.png').shape[1] == 20 + 3 * 206 - 6
    assert out.strip().endswith('attention.png')
    # Independently: the network by hand, its map enlarged, scikit-learn.
    model = MODELS.build(Config.fromfile(EVALUATION).model)
    model.load_state_dict(torch.load(checkpoints[1])['state_dict'])
    image = Image.open(chests / 'jsrt' / 'images' / 'a.png').resize(
        (112, 112), Image.Resampling.BICUBIC
    )
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    x = (torch.from_numpy(np.array(image)).float()[..., None] - mean) / std
    maps = model.eval()(x.permute(2, 0, 1)[None])[0]  # 14 x 14
    big = torch.nn.functional.interpolate(maps[None], (96, 64), mode='nearest')[0, 1]
    heart = pixels(chests / 'jsrt' / 'masks' / 'heart' / 'a.png')[..., 0] > 0
    wanted = average_precision_score(heart.ravel(), big.numpy().ravel())
    assert float(rows[5][4]) == pytest.approx(wanted, abs=6e-4)  # image b shows no heart


def test_visualize_names_and_random_weights(tool, chests, checkpoints, tmp_path):
    config, *options = evaluation(chests)
    out = tool(
        'visualize',
        config,
        checkpoints[1],
        '--names',
        'mine',
        '--random',
        '--num',
        1,
        '--score',
        'iou',
        '--out',
        tmp_path,
        *options,
    )
    lines = out.splitlines()
    assert 'IOU, mean of 1 image' in lines[0]
    assert [line.split()[0] for line in lines[1:-1]] == ['random'] * 3 + ['mine'] * 3
    assert pixels(tmp_path / 'attention.png').shape[1] == 20 + 3 * 206 - 6


def test_visualize_every_head(tool, chests, checkpoints, tmp_path):
    config, *options = evaluation(chests)
    out = tool('visualize', config, *checkpoints, '--heads', 'all', '--out', tmp_path, *options)
    assert out.split() == [str(tmp_path / f'attention_{name}.png') for name in ('free', 'guided')]
    for name in ('free', 'guided'):
        assert pixels(tmp_path / f'attention_{name}.png').shape[1] == 20 + 7 * 230 - 6


def test_visualize_on_images_with_the_configs_template(tool, photos, checkpoints, tmp_path):
    out = tool('visualize', GUIDED, checkpoints[0], '--images', photos, '--out', tmp_path)
    assert len(out.splitlines()) == 1 + 3 + 1
    # Without masks and templates nothing says which head to show; all of them can be.
    with pytest.raises(SystemExit):
        tool('visualize', EVALUATION, checkpoints[0], '--images', photos, '--out', tmp_path)
    out = tool(
        'visualize',
        EVALUATION,
        checkpoints[0],
        '--images',
        photos,
        '--heads',
        'all',
        '--out',
        tmp_path,
    )
    assert out.strip() == str(tmp_path / 'attention_free.png')


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('browse', '--num', '2'), 'give a config, or --templates with --images'),
        (
            ('browse', '--images', 'PHOTOS', '--templates', 'x=nowhere'),
            'there is no template nowhere',
        ),
        (('browse', '--images', 'PHOTOS', '--templates', 'nowhere'), 'takes KEY=VALUE'),
        (('visualize', EVALUATION, 'FREE', '--names', 'a', 'b'), '2 --names for 1 checkpoints'),
        (
            ('visualize', EVALUATION, 'FREE', '--size', '0'),
            '--num, --k and --size must be at least 1',
        ),
        (
            (
                'visualize',
                EVALUATION,
                'FREE',
                '--size',
                '30',
                '--images',
                'PHOTOS',
                '--heads',
                'all',
            ),
            'not tiled by patches of 8',
        ),
        (
            ('visualize', EVALUATION, 'FREE', '--images', 'PHOTOS'),
            'no masks or templates of these images',
        ),
        (('visualize', GUIDED, 'OTHER', '--images', 'PHOTOS'), 'holds'),
        (
            ('visualize', str(ROOT / 'configs/r2o/demo.py'), 'FREE', 'FREE'),
            'one checkpoint at a time',
        ),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    args, message, tool, photos, checkpoints, tmp_path, capsys
):
    torch.save({'cls_token': torch.zeros(1), 'norm.weight': torch.ones(3)}, tmp_path / 'other.pth')
    files = dict(PHOTOS=photos, FREE=checkpoints[0], OTHER=tmp_path / 'other.pth')
    args = [files.get(arg, arg) if isinstance(arg, str) else arg for arg in args]
    with pytest.raises(SystemExit) as stop:
        tool(*args, '--out', tmp_path)
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
