"""`make demo-medino` in small: phantoms, registered templates, training, score."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from orl_mm.datasets.phantom import make_phantom
from orl_mm.datasets.transforms import RegisteredTemplate
from orl_mm.map_cache.entry import CacheError
from orl_mm.weights import load_weights
from tests.small import load_tool, tiny_dino

ROOT = Path(__file__).parents[2]
PARTS = ('left_lung', 'right_lung', 'heart')


@pytest.fixture(scope='module')
def tool():
    """The main of a tool; what it changes for its process is put back."""
    patch = pytest.MonkeyPatch()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def run(name, *words):
        patch.setattr('sys.argv', [f'{name}.py', *map(str, words)])
        return load_tool(name).main()

    yield run
    patch.undo()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(scope='module')
def phantoms(tool, tmp_path_factory):
    """Twelve phantoms and, for those to train on, registered templates."""
    folder = tmp_path_factory.mktemp('phantoms')
    tool('make_phantom', folder, '--num', 12, '--size', 96, '--workers', 1)
    options = (
        f'--exemplar-root {folder} --exemplar-id phantom_00000 --folder {folder}/images '
        f'--out {folder}/templates --truth {folder} --workers 1 --settings size=96 grid=16'
    )
    tool('register_templates', *options.split())
    return folder


def test_templates_fit_their_phantoms(phantoms):
    """Through the transform: near the exact masks, and nearer than the exemplar's are."""
    template = RegisteredTemplate(str(phantoms / 'templates'), parts=PARTS)
    found, still = [], []
    exemplar = make_phantom(0, size=96).masks
    for i in range(1, 12):
        path = phantoms / 'images' / f'phantom_{i:05d}.png'
        grey = np.asarray(Image.open(path).convert('L'))
        results = template(dict(img=np.repeat(grey[..., None], 3, 2), img_path=str(path)))
        assert results['parts'] == PARTS
        assert results['template'].dtype == np.float32
        truth = make_phantom(i, size=96).masks
        for part, k in zip(PARTS, results['template'], strict=False):
            found.append(2 * (k * truth[part]).sum() / (k.sum() + truth[part].sum()))
            still.append(
                2
                * (exemplar[part] * truth[part]).sum()
                / (exemplar[part].sum() + truth[part].sum())
            )
    assert np.mean(found) > max(0.88, np.mean(still) + 0.05), (found, still)
    report = json.loads((phantoms / 'templates' / 'report.json').read_text())
    assert report
    assert (phantoms / 'templates' / 'report.png').is_file()


def test_another_image_under_the_same_name_is_refused(phantoms, tmp_path):
    template = RegisteredTemplate(str(phantoms / 'templates'))
    path = phantoms / 'images' / 'phantom_00001.png'
    with pytest.raises(CacheError, match='stale'):
        template(dict(img=np.zeros((96, 96, 3), np.uint8), img_path=str(path)))
    with pytest.raises(CacheError, match='register_templates.py'):
        template(
            dict(img=np.zeros((96, 96, 3), np.uint8), img_path=str(phantoms / 'images' / 'no.png'))
        )


def test_trained_then_scored(tool, phantoms, tmp_path):
    """The demo's own configs, a narrow network, one epoch; then tools/test.py on its checkpoint."""
    cfg = Config.fromfile(ROOT / 'configs' / 'medino' / 'demo.py')
    data = cfg.train_dataloader.dataset
    pipeline = data.pipeline
    pipeline[2].source = str(phantoms / 'templates')
    data.update(data_root=str(phantoms), list_file=str(phantoms / 'splits' / 'segmenter.txt'))
    tiny_dino(cfg, phantoms)
    cfg.train_dataloader.dataset = data
    cfg.train_cfg.max_epochs = 1
    cfg.custom_hooks[7].num_images = 2
    cfg.update(work_dir=str(tmp_path / 'run'), experiment_name=tmp_path.name, log_level='WARNING')
    Runner.from_cfg(cfg).train()
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    heads = load_weights(checkpoint)['meta']['attention_heads']
    assert heads == dict(enumerate(PARTS))
    config = tmp_path / 'attention_tiny.py'
    config.write_text(f"""_base_ = '{ROOT}/configs/transfer/phantom/attention_small.py'
model = dict(backbone=dict(_delete_=True, **{dict(cfg.model.backbone)!r}))
test_pipeline = _base_.test_pipeline
test_pipeline[2].update(scale=(32, 32))
test_dataloader = dict(num_workers=0, batch_size=2, dataset=dict(
    data_root='{phantoms}', list_file='{phantoms}/splits/score.txt', pipeline=test_pipeline))
""")
    out = tmp_path / 'metrics.json'
    options = f'--work-dir {tmp_path}/test --out {out} --out-item metrics'
    tool('test', config, checkpoint, *options.split())
    metrics = json.loads(out.read_text())
    scored = (phantoms / 'splits' / 'score.txt').read_text().split()
    assert metrics['phantom/images'] == len(scored) >= 2
    for head, part in enumerate(PARTS):
        assert metrics[f'phantom/{part}_head'] == head  # the checkpoint's map, not the best head
        assert metrics[f'phantom/{part}_low'] <= metrics[f'phantom/{part}'] <= 1
