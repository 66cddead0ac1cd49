"""``result.json``: of a training with validations, and of a test, by real runs of mmseg."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from orl_mm.engine.hooks import ResultHook
from orl_mm.evaluation.results import (
    config_digest,
    file_digest,
    flat_settings,
    plain,
    read_result,
    write_json,
)
from tests.voc_transfer import tiny_voc


def run(cfg, work_dir, name, load_from=None):
    cfg = deepcopy(cfg)
    cfg.work_dir, cfg.experiment_name, cfg.load_from = str(work_dir), name, load_from
    runner = Runner.from_cfg(cfg)
    runner.register_hook(ResultHook(command=f'tools/{name}.py'))
    return runner


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A work directory after a training of two epochs, and its config."""
    pytest.importorskip('mmseg')
    cfg = tiny_voc(tmp_path_factory.mktemp('voc'))
    folder = tmp_path_factory.mktemp('run') / 'voc_fcn_r50_byol_r50_in1k'
    run(cfg, folder, 'train').train()
    return folder, cfg


def test_training_and_its_validation(trained):
    folder, cfg = trained
    result = read_result(folder)
    assert set(result) == {'train', 'val'}
    train, val = result['train'], result['val']
    assert train['command'] == 'tools/train.py'
    assert train['progress'] == dict(by='epoch', done=2, total=2)
    assert train['world_size'] == 1
    checkpoint = dict(file=str(folder / 'epoch_2.pth'), digest=file_digest(folder / 'epoch_2.pth'))
    assert train['checkpoint'] == val['checkpoint'] == checkpoint
    assert train['config']['model'] == plain(cfg.model.to_dict())
    assert config_digest(cfg) == val['config_digest']
    assert val['images']['count'] == 3
    # mIoU from the counts of each image, class by class.
    areas = {}
    for image in val['images']['iou']:
        for c, pair in image.items():
            areas[c] = areas.get(c, np.zeros(2)) + pair
    ious = [intersect / union for intersect, union in areas.values()]
    assert len(val['images']['iou']) == 3
    assert val['metrics']['mIoU'] == pytest.approx(100 * np.mean(ious), abs=0.01)


def test_test_adds_its_section(trained, tmp_path):
    folder, cfg = trained
    before = read_result(folder)
    runner = run(cfg, folder, 'test', str(folder / 'epoch_2.pth'))
    metrics = runner.test()
    result = read_result(folder)
    assert result['train'] == before['train']
    assert result['test']['metrics'] == pytest.approx(metrics)
    assert result['test']['metrics']['mIoU'] == before['val']['metrics']['mIoU']
    assert result['test']['images'] == before['val']['images']
    assert result['test']['checkpoint'] == before['train']['checkpoint']
    # Many images have no values of their own.
    few = run(cfg, tmp_path, 'few', str(folder / 'epoch_1.pth'))
    few._hooks[-1].max_images = 2
    few.test()
    assert read_result(tmp_path)['test']['images'] == dict(count=3)


def test_digest_of_what_decides_a_score(trained):
    _, cfg = trained
    same, other = deepcopy(cfg), deepcopy(cfg)
    same.test_dataloader.update(num_workers=3, batch_size=2, pin_memory=True)
    same.train_dataloader.batch_size = 7
    other.model.decode_head.dilation = 3
    assert config_digest(same) == config_digest(cfg) != config_digest(other)
    assert config_digest(plain(cfg.to_dict())) == config_digest(cfg)


def test_settings_by_dotted_keys():
    config = dict(a=[dict(type='A', init_cfg='x'), (1, None)], data_root='/d', b=dict(_scope_='m'))
    assert flat_settings(config) == {'a.0.type': 'A', 'a.1.0': 1}
    assert flat_settings(config, keep_root=True)['data_root'] == '/d'


def test_files_are_plain_json(tmp_path):
    content = {1: (torch.tensor(2.0), np.float32(0.5), float('nan'), float('inf')), 'b': None}
    write_json(tmp_path / 'sub' / 'result.json', content)
    assert read_result(tmp_path / 'sub') == {'1': [2.0, 0.5, None, 'inf'], 'b': None}
    (tmp_path / 'result.json').write_text('{')
    assert read_result(tmp_path) == read_result(tmp_path / 'none') == {}
    assert json.loads((tmp_path / 'sub' / 'result.json').read_text())
