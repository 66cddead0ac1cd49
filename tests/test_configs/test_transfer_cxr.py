"""Configs of attention AP and linear probes: settings, images that are left out, small runs."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from orl_mm.datasets.chest_xray_parts import read_split
from orl_mm.datasets.chexpert import FOURTEEN
from orl_mm.registry import HOOKS, MODELS
from tests.small import call_tool, ends_in_one_line, kinds
from tests.test_engine.guided import VIT, build, dino

ROOT = Path(__file__).resolve().parents[2]
TRANSFER = ROOT / 'configs' / 'transfer'
ATTENTION = [
    'jsrt/attention_vits16',
    'jsrt/attention_small',
    'montgomery/attention_vits16',
    'montgomery/attention_small',
]
PROBES = [
    'chexpert/linear_vits16',
    'chexpert/linear_vits16_1pct',
    'chexpert/linear_vits16_10pct',
    'chexpert/linear_vits16_random',
    'chexpert/linear_vits16_dino-in1k',
    'montgomery/linear_tb_small',
]


def load(name):
    return Config.fromfile(TRANSFER / f'{name}.py')


def hooks(cfg):
    return [hook.type for hook in cfg.custom_hooks]


@pytest.mark.parametrize('name', ATTENTION)
def test_attention(name):
    """The whole image squashed to the model's size; the patch grid is 14 x 14 throughout."""
    cfg = load(name)
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    (resize,) = [t for t in cfg.test_dataloader.dataset.pipeline if t.type == 'Resize']
    size = cfg.model.backbone.img_size
    assert resize.scale == (size, size)
    assert not resize.get('keep_ratio')
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 6, 14, 14)
    assert 'orl_mm.StoredHeadsHook' in hooks(cfg)
    assert cfg.model.network == 'auto'
    assert size == (112 if 'small' in name else 224)
    data = cfg.test_dataloader.dataset
    if name.startswith('jsrt'):
        assert (data.list_file, data.parts) == ('jsrt_score', ('left_lung', 'right_lung', 'heart'))
    else:
        assert (data.list_file, data.parts) == (None, ('left_lung', 'right_lung'))
    assert cfg.test_evaluator == dict(type='orl_mm.AttentionAP', prefix=name.split('/')[0])


def test_backbones_are_those_of_pretraining():
    """Also in the names of their weights: the checkpoints load."""
    for small, name in ((False, 'vits16_chexpert_dino'), (True, 'small/dino')):
        theirs = Config.fromfile(ROOT / 'configs/medino' / f'{name}.py').model.backbone
        mine = load('jsrt/attention_' + ('small' if small else 'vits16')).model.backbone
        different = {key for key in {*theirs, *mine} if theirs.get(key) != mine.get(key)}
        assert different <= {'init_cfg', 'drop_path_rate'}


def test_lists_of_images_that_trained_something():
    score, exemplar, segmenter = (
        set(read_split(f'jsrt_{name}')) for name in ('score', 'exemplar', 'segmenter')
    )
    assert not score & (exemplar | segmenter)
    assert (len(score), len(exemplar), len(segmenter)) == (47, 1, 150)


@pytest.mark.parametrize('name', PROBES)
def test_probes(name):
    """DINO's eval_linear.py, and the thesis: 100 epochs, one layer, nothing drawn at random."""
    cfg = load(name)
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0)
    assert cfg.auto_scale_lr == dict(base_batch_size=256, enable=True)
    (schedule,) = cfg.param_scheduler
    assert schedule == dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)
    assert cfg.train_cfg.max_epochs == 100
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert kinds(loader.dataset.pipeline) == 'orl_mm.LoadXray Resize PackInputs'
        size = cfg.model.backbone.img_size
        assert loader.dataset.pipeline[1].scale == (size, size)
    assert 'orl_mm.FrozenFeaturesHook' in hooks(cfg)
    assert all(HOOKS.get(hook) for hook in hooks(cfg))
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    if name.startswith('chexpert'):
        assert cfg.train_dataloader.batch_size == 128
        assert cfg.model.num_classes == 6
        assert (train.ann_file, test.ann_file) == ('train.csv', 'valid.csv')
        assert train.classes == test.classes == 'six'
        assert train.uncertain == 'usual'
        assert 'fraction' not in test
    else:
        assert train.data_root.endswith('shenzhen')
        assert test.data_root.endswith('montgomery')
    fraction = dict([('chexpert/linear_vits16_1pct', 0.01), ('chexpert/linear_vits16_10pct', 0.1)])
    assert train.fraction == fraction.get(name, 1.0)
    start = cfg.model.backbone.init_cfg
    if name.endswith('random'):
        assert start == dict(type='orl_mm.ViTInit')
    else:
        assert (start.type, start.prefix) == ('orl_mm.PretrainedBackbone', 'evaluated')
        assert start.checkpoint == (
            'pretrained/dino_vits16.pth' if 'in1k' in name else start.checkpoint
        )


def write_chexpert(root, patients=20):
    """Frontal images of CheXpert's layout, whose brightness says Edema."""
    draw = np.random.default_rng(0)
    for split in ('train', 'valid'):
        lines = [','.join(['Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA', *FOURTEEN])]
        for i in range(patients):
            name = f'{split}/patient{i:05}/study1/view1_frontal.jpg'
            path = root / 'chexpert' / name
            path.parent.mkdir(parents=True)
            Image.fromarray(draw.integers(0, 60, (48, 40), np.uint8) + 120 * (i % 2)).save(path)
            cells = dict.fromkeys(FOURTEEN, '')
            cells.update(Edema=f'{i % 2}.0', Cardiomegaly=f'{i % 3 // 2}.0')
            cells['Atelectasis'] = '-1.0' if split == 'train' and i == 3 else '1.0'
            path = f'CheXpert-v1.0-small/{name}'
            lines.append(','.join([path, 'Male', '50', 'Frontal', 'PA', *cells.values()]))
        (root / 'chexpert' / f'{split}.csv').write_text('\n'.join(lines) + '\n')


def test_a_probe_trains_and_is_tested(tmp_path, monkeypatch):
    """Through both tools, from a checkpoint of DINO, on half of the patients."""
    write_chexpert(tmp_path)
    monkeypatch.setenv('ORL_CXR', str(tmp_path))
    torch.save(dict(state_dict=build(dino()).state_dict()), tmp_path / 'dino.pth')
    config = tmp_path / 'probe.py'
    config.write_text(f"""
_base_ = '{TRANSFER}/chexpert/linear_vits16.py'
model = dict(backbone=dict(arch={dict(VIT['arch'], _delete_=True)}, img_size=32, patch_size=8,
                           init_cfg=dict(checkpoint='{tmp_path}/dino.pth')))
_pipeline = _base_.train_dataloader['dataset']['pipeline']
_pipeline[1].update(scale=(32, 32))
train_dataloader = dict(batch_size=4, num_workers=0,
                        dataset=dict(fraction=0.5, pipeline=_pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1.))
train_cfg = dict(max_epochs=10)
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
""")
    said = []
    monkeypatch.setattr(
        logging.Logger, 'handle', lambda self, record: said.append(record.getMessage())
    )
    call_tool(monkeypatch, f'train {config} --work-dir {tmp_path}/run')
    call_tool(monkeypatch, f'test {config} {tmp_path}/run/epoch_10.pth --work-dir {tmp_path}/test')
    log = '\n'.join(said)
    assert 'Features of 10 train images' in log
    assert 'Features of 20 val images' in log
    assert "uncertain labels by {'Atelectasis': 'ones', 'Edema': 'ones', 'default': 'zeros'}" in log
    assert 'AUROC of 20 images of 20 patients' in log
    assert 'Atelectasis has only 1 in 20 images' in log  # skipped, by name
    results = json.loads(next((tmp_path / 'test').rglob('2*.json')).read_text())
    assert results['chexpert/Edema'] > 0.95
    assert results['chexpert/classes'] == 2
    assert 'chexpert/Atelectasis' not in results
    validated = [text for text in said if text.startswith('Epoch(val)')][-1]
    assert f'chexpert/Edema: {results["chexpert/Edema"]:.4f}' in validated


def test_probe_without_weights_stops(tmp_path, monkeypatch, capsys):
    """Never silently on random features."""
    write_chexpert(tmp_path)
    monkeypatch.setenv('ORL_CXR', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = f'train {TRANSFER}/chexpert/linear_vits16.py --work-dir run --cfg-options '
    command += 'train_dataloader.num_workers=0 val_dataloader.num_workers=0'
    said = 'there is no checkpoint work_dirs/vits16_chexpert_deformable/epoch_30.pth'
    ends_in_one_line(monkeypatch, capsys, command, said)


@pytest.fixture(scope='module')
def small_vit():
    """The backbone of the small configs, random."""
    init_default_scope('mmpretrain')
    return MODELS.build(dict(load('jsrt/attention_small').model.backbone))


def attention_test(folder):
    """The command that tests ``folder``/x.pth."""
    return (
        f'test {TRANSFER}/jsrt/attention_small.py {folder}/x.pth --work-dir {folder} '
        '--cfg-options test_dataloader.num_workers=0'
    )


def test_attention_through_the_tool(shared_data, tmp_path, monkeypatch, small_vit):
    """On JSRT's 47, with the heads that the checkpoint names."""
    monkeypatch.setenv('ORL_CXR', str(shared_data / 'cxr'))
    weights = {f'teacher.backbone.{key}': value for key, value in small_vit.state_dict().items()}
    torch.save(
        dict(state_dict=weights, meta=dict(attention_heads={4: 'heart'})), tmp_path / 'x.pth'
    )
    out = tmp_path / 'metrics.json'
    call_tool(monkeypatch, f'{attention_test(tmp_path)} --out {out} --out-item metrics')
    found = json.loads(out.read_text())
    assert found['jsrt/images'] == 47
    assert found['jsrt/heart_head'] == 4
    assert found['jsrt/heart_assigned'] == 1
    assert found['jsrt/left_lung_assigned'] == 0
    assert 0 < found['jsrt/heart_low'] < found['jsrt/heart'] < found['jsrt/heart_high'] < 0.5


@pytest.mark.parametrize(
    ('meta', 'prefix', 'said'),
    [
        (
            dict(attention_heads={0: 'left_lung', 6: 'heart'}),
            'backbone.',
            'guided the heads.*6 heads',
        ),
        ({}, 'encoder.layers.', 'holds 0 of the 54 tensors of VisionTransformer'),
    ],
)
def test_checkpoints_that_do_not_fit_end_in_one_line(
    shared_data, tmp_path, monkeypatch, capsys, small_vit, meta, prefix, said
):
    monkeypatch.setenv('ORL_CXR', str(shared_data / 'cxr'))
    weights = {
        prefix + key.replace('.', '_' if prefix != 'backbone.' else '.'): value
        for key, value in small_vit.state_dict().items()
    }
    torch.save(dict(state_dict=weights, meta=meta), tmp_path / 'x.pth')
    ends_in_one_line(monkeypatch, capsys, attention_test(tmp_path), said)
