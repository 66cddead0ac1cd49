"""The demo, as `make demo DATA=folder` runs it, in two steps."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.small import call_tool, write_photographs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def _random_states():
    """What the tool seeds in this process is put back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.mark.usefixtures('_random_states')
def test_demo_on_a_folder_of_images(tmp_path, monkeypatch, capfd):
    folder = write_photographs(tmp_path / 'photos', 5)
    monkeypatch.setenv('ORL_DEMO_DATA', str(folder))
    out = tmp_path / 'demo'
    call_tool(
        monkeypatch,
        f'train {ROOT}/configs/r2o/demo.py --work-dir {out} --no-persistent-workers --cfg-options '
        'train_cfg.max_iters=2 train_dataloader.batch_size=3 train_dataloader.num_workers=0 '
        'param_scheduler.0.warmup=1 param_scheduler.0.end=2 '
        'custom_hooks.4.num_images=1 model.backbone.base_channels=16 '
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
