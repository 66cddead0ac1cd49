"""The demo, as `make demo DATA=folder` runs it, in two steps."""

import importlib.util
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.small import write_photographs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def train(monkeypatch):
    """tools/train.py's main; what it changes for its process is put back."""
    spec = importlib.util.spec_from_file_location('train_tool', ROOT / 'tools' / 'train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, words)])
        module.main()

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield run
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def test_demo_on_a_folder_of_images(train, tmp_path, monkeypatch, capfd):
    folder = write_photographs(tmp_path / 'photos', 5)
    monkeypatch.setenv('ORL_DEMO_DATA', str(folder))
    out = tmp_path / 'demo'
    train(
        ROOT / 'configs' / 'r2o' / 'demo.py',
        '--work-dir',
        out,
        '--no-persistent-workers',
        '--cfg-options',
        'train_cfg.max_iters=2',
        'train_dataloader.batch_size=3',
        'train_dataloader.num_workers=0',
        'param_scheduler.0.warmup=1',
        'param_scheduler.0.end=2',
        'custom_hooks.4.num_images=2',
        'model.backbone.base_channels=16',
        'model.neck.projector.in_channels=128',
    )
    checkpoint, picture = out / 'iter_2.pth', out / 'objects' / 'latest.png'
    assert torch.load(checkpoint, weights_only=False)['meta']['iter'] == 2
    assert len(np.unique(np.asarray(Image.open(picture)).reshape(-1, 3), axis=0)) > 20
    assert Image.open(picture).size == Image.open(out / 'objects' / 'step_0000002.png').size
    (log,) = out.glob('*/*.log')
    said = capfd.readouterr()
    for text in (log.read_text(), said.out + said.err):
        places = text[text.index('Done.') :].splitlines()[1:4]
        assert [line.split() for line in places] == [
            ['checkpoint:', str(checkpoint)],
            ['picture:', str(picture)],
            ['log:', str(log)],
        ]
