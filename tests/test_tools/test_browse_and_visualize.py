"""tools/browse.py and tools/visualize.py, run in this process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from sklearn.metrics import average_precision_score

from orl_mm.map_cache.provenance import FORMAT
from orl_mm.registration.template import Template, write_template
from orl_mm.registry import MODELS
from tests.small import call_tool, write_photographs

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/r2o/demo.py'
BYOL = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'
GUIDED = ROOT / 'configs/medino/small/triangular.py'
EVALUATION = ROOT / 'configs/transfer/jsrt/attention_small.py'
PARTS = ('left_lung', 'right_lung', 'heart')
MAP = {4: 'left_lung', 1: 'heart'}


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command and return its output; exit codes arrive as SystemExit."""

    def run(command):
        call_tool(monkeypatch, command)
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('photos'), 3, patch=64)


@pytest.fixture(scope='module')
def network():
    """The demo's network, whose target differs from the online network."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(str(DEMO))
    torch.manual_seed(3)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    with torch.no_grad():
        for parameter in model.target.parameters():
            shuffled = parameter.flatten()[torch.randperm(parameter.numel())]
            parameter.copy_(shuffled.view_as(parameter))
    return model


@pytest.fixture(scope='module')
def evaluation(tmp_path_factory):
    """Options for two images of 96 x 64 with masks; the second image has no heart."""
    root = tmp_path_factory.mktemp('data') / 'jsrt'
    y, x = np.mgrid[:96, :64]
    draw = np.random.default_rng(0)
    masks = dict(zip(PARTS, (x > 40, x < 20, (x > 20) & (x < 45) & (y > 50)), strict=True))
    for folder in ('images', *(f'masks/{part}' for part in PARTS)):
        (root / folder).mkdir(parents=True)
    for name in 'ab':
        image = Image.fromarray(draw.integers(0, 255, (96, 64), np.uint8))
        image.save(root / 'images' / f'{name}.png')
        for part, mask in masks.items():
            if (name, part) != ('b', 'heart'):
                image = Image.fromarray(mask.astype(np.uint8) * 255)
                image.save(root / 'masks' / part / f'{name}.png')
    data = 'test_dataloader.dataset'
    return f'--cfg-options {data}.data_root={root} {data}.list_file=None {data}.missing=keep', root


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """A narrow ViT without and with assigned heads."""
    init_default_scope('mmpretrain')
    folder, paths = tmp_path_factory.mktemp('runs'), []
    for seed, (name, meta) in enumerate([('free', {}), ('guided', dict(attention_heads=MAP))]):
        torch.manual_seed(seed)
        vit = MODELS.build(Config.fromfile(str(EVALUATION)).model.backbone)
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


def width_of(columns, cell=256):
    return 20 + columns * (cell + 6) - 6


@pytest.mark.parametrize(
    ('config', 'columns', 'printed'),
    [
        (DEMO, 6, '2 views an image, '),  # image, superpixels, two views and their superpixels
        (BYOL, 2, '2 views an image\n'),
        (GUIDED, 3, f'2 views an image, 2 of them guided by {", ".join(PARTS)}\n'),
    ],
)
def test_browse_shows_views(run, photos, tmp_path, config, columns, printed):
    out = run(f'browse {config} --images {photos} --num 2 --out {tmp_path}')
    assert out.startswith(printed)
    assert out.strip().endswith(str(tmp_path / 'views.png'))
    assert pixels(tmp_path / 'views.png').shape[1] == width_of(columns)


def test_browse_is_reproducible_and_follows_the_seed(run, photos, tmp_path):
    sheets = []
    for seed in (0, 0, 1):
        run(f'browse {DEMO} --images {photos} --num 1 --out {tmp_path} --seed {seed}')
        sheets.append(pixels(tmp_path / 'views.png'))
    assert (sheets[0] == sheets[1]).all()
    assert (sheets[0] != sheets[2]).any()


def test_browse_shows_templates_side_by_side(run, photos, tmp_path):
    maps = np.zeros((1, 4, 4))
    maps[0, 1:3, 1:3] = 0.8
    write_template(tmp_path / 'average.npz', Template(('middle',), maps))
    sources = f'--templates triangles=cxr_triangles average={tmp_path}/average.npz'
    out = run(f'browse --images {photos} --out {tmp_path} {sources}')
    assert out.startswith('3 images, 2 templates\n')
    sheet = pixels(tmp_path / 'templates.png')
    assert sheet.shape[1] == width_of(3)
    # The same images through a config.
    run(f'browse {GUIDED} --images {photos} --out {tmp_path}/config {sources}')
    assert (pixels(tmp_path / 'config' / 'templates.png') == sheet).all()


def test_browse_reports_missing_templates(run, photos, tmp_path):
    registered = tmp_path / 'registered'
    registered.mkdir()
    spec = dict(parts=['heart'], settings=dict(size=8))
    provenance = dict(format=FORMAT, root=str(photos), source=['--folder', 'x'], spec=spec)
    (registered / 'templates.json').write_text(json.dumps(provenance))
    templates = f'--templates registered={registered}'
    out = run(f'browse --images {photos} --num 2 --out {tmp_path} {templates}')
    assert out.startswith('2 templates are missing, first: the registered template of ')
    assert (tmp_path / 'templates.png').is_file()


def test_visualize_objects_of_a_target_network_and_of_a_backbone(run, photos, network, tmp_path):
    torch.save(dict(state_dict=network.state_dict()), tmp_path / 'full.pth')
    torch.save(network.backbone.state_dict(), tmp_path / 'backbone.pth')
    torch.save(network.target['backbone'].state_dict(), tmp_path / 'target.pth')
    pictures = {}
    for name in ('full', 'backbone', 'target'):
        options = f'--images {photos} --num 3 --k 3 --out {tmp_path}/{name}'
        lines = run(f'visualize {DEMO} {tmp_path}/{name}.pth {options}').strip().splitlines()
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


def test_visualize_several_k_beside_random_weights(run, photos, network, tmp_path):
    torch.save(network.backbone.state_dict(), tmp_path / 'b.pth')
    out = run(f'visualize {DEMO} {tmp_path}/b.pth --images {photos} --num 2 --k 2 5 --random')
    assert [line.split()[-4] for line in out.splitlines()[1:5]] == ['2', '5', '2', '5']
    assert pixels(tmp_path / 'objects.png').shape[1] == width_of(6)


def test_visualize_scores_assigned_and_best_heads(run, evaluation, checkpoints, tmp_path):
    options, root = evaluation
    out = run(
        f'visualize {EVALUATION} {checkpoints[0]} {checkpoints[1]} {options} --out {tmp_path}'
    )
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert [(row[0], row[1]) for row in rows] == [
        (name, part) for name in ('free', 'guided') for part in PARTS
    ]
    assert [row[2:4] for row in rows[3:]][::2] == [['4', 'assigned'], ['1', 'assigned']]
    assert {row[3] for row in rows[:3]} == {'best'} == {rows[4][3]}
    assert pixels(tmp_path / 'attention.png').shape[1] == width_of(3, 200)
    assert out.strip().endswith('attention.png')
    # Independently: the network by hand, its map enlarged, scikit-learn.
    model = MODELS.build(Config.fromfile(str(EVALUATION)).model)
    model.load_state_dict(torch.load(checkpoints[1])['state_dict'])
    image = Image.open(root / 'images' / 'a.png').resize((112, 112), Image.Resampling.BICUBIC)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    x = (torch.from_numpy(np.array(image)).float()[..., None] - mean) / std
    maps = model.eval()(x.permute(2, 0, 1)[None])[0]  # 14 x 14
    big = torch.nn.functional.interpolate(maps[None], (96, 64), mode='nearest')[0, 1]
    heart = pixels(root / 'masks' / 'heart' / 'a.png')[..., 0] > 0
    wanted = average_precision_score(heart.ravel(), big.numpy().ravel())
    assert float(rows[5][4]) == pytest.approx(wanted, abs=6e-4)  # image b shows no heart


def test_visualize_names_and_random_weights(run, evaluation, checkpoints, tmp_path):
    out = run(
        f'visualize {EVALUATION} {checkpoints[1]} --names mine --random --num 1 --score iou '
        f'--out {tmp_path} {evaluation[0]}'
    )
    lines = out.splitlines()
    assert 'IOU, mean of 1 image' in lines[0]
    assert [line.split()[0] for line in lines[1:-1]] == ['random'] * 3 + ['mine'] * 3
    assert pixels(tmp_path / 'attention.png').shape[1] == width_of(3, 200)


def test_visualize_every_head(run, evaluation, checkpoints, tmp_path):
    both = f'{checkpoints[0]} {checkpoints[1]}'
    out = run(f'visualize {EVALUATION} {both} --heads all --out {tmp_path} {evaluation[0]}')
    pictures = [tmp_path / f'attention_{name}.png' for name in ('free', 'guided')]
    assert out.split() == [str(path) for path in pictures]
    for path in pictures:
        assert pixels(path).shape[1] == width_of(7, 224)


def test_visualize_on_images_with_the_configs_template(run, photos, checkpoints, tmp_path):
    options = f'{checkpoints[0]} --images {photos} --out {tmp_path}'
    out = run(f'visualize {GUIDED} {options}')
    assert len(out.splitlines()) == 1 + 3 + 1
    # Without masks and templates no head stands for a part; all of them can be shown.
    out = run(f'visualize {EVALUATION} {options} --heads all')
    assert out.strip() == str(tmp_path / 'attention_free.png')


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('browse configs/r2o/none.py', 'does not exist'),
        (f'browse {DEMO} --images /no/such/folder', "'/no/such/folder' does not exist"),
        (f'browse {DEMO} --images {ROOT}/configs', 'no image in'),
        (f'browse {DEMO} --num 0', '--num must be at least 1'),
        ('browse --num 2', 'give a config, or --templates with --images'),
        ('browse --images PHOTOS --templates x=nowhere', 'there is no template nowhere'),
        ('browse --images PHOTOS --templates nowhere', 'takes KEY=VALUE'),
        (f'visualize {DEMO} none.pth', "'none.pth' does not exist"),
        (f'visualize {DEMO} TEXT --images PHOTOS --num 1', 'cannot be read'),
        (f'visualize {DEMO} OTHER --images PHOTOS --num 1', 'holds 2 of the 100 tensors'),
        (f'visualize {BYOL} OTHER', 'no refiner'),
        (f'visualize {DEMO} OTHER --k 0', 'at least 1'),
        (f'visualize {DEMO} FREE FREE', 'one checkpoint at a time'),
        (f'visualize {EVALUATION} FREE --names a b', '2 --names for 1 checkpoints'),
        (f'visualize {EVALUATION} FREE --size 0', '--num, --k and --size must be at least 1'),
        (f'visualize {EVALUATION} FREE --size 30 --images PHOTOS --heads all', 'by patches of 8'),
        (f'visualize {EVALUATION} FREE --images PHOTOS', 'no masks or templates of these images'),
        (f'visualize {GUIDED} VIT --images PHOTOS', 'holds'),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    run, command, message, photos, checkpoints, tmp_path, capsys
):
    (tmp_path / 'text.pth').write_text('no checkpoint')
    other = {'conv1.weight': torch.zeros(1, 2), 'layer1.0.conv1.weight': torch.zeros(3)}
    torch.save(other, tmp_path / 'other.pth')
    torch.save({'cls_token': torch.zeros(1), 'norm.weight': torch.ones(3)}, tmp_path / 'vit.pth')
    for word in ('TEXT', 'OTHER', 'VIT'):
        command = command.replace(word, str(tmp_path / f'{word.lower()}.pth'))
    command = command.replace('PHOTOS', str(photos)).replace('FREE', str(checkpoints[0]))
    with pytest.raises(SystemExit) as stop:
        run(f'{command} --out {tmp_path}')
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
