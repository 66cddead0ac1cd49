"""Objects against the truth of a small VOC, called as from the command line."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from orl_mm.datasets.object_masks import voc_objects
from orl_mm.evaluation.object_agreement import object_agreement
from orl_mm.registry import MODELS
from orl_mm.superpixels.priors import slic
from orl_mm.tables.objects import Scorer

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / 'configs/r2o/demo.py')
SMALL = (
    '--cfg-options',
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.neck.projector.in_channels=64',
    'train_dataloader.dataset.pipeline.2.size=64',
)


@pytest.fixture(scope='module')
def main():
    sys.path.insert(0, str(ROOT / 'tools'))
    import score_objects

    yield score_objects.main
    sys.path.remove(str(ROOT / 'tools'))


@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    """Five images: a bright square of class 3 on noise; the mask says where."""
    root, draw = tmp_path_factory.mktemp('voc'), np.random.default_rng(0)
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    names = [f'{i}' for i in range(5)]
    (root / 'ImageSets/Segmentation/val.txt').write_text('\n'.join(names))
    for i, name in enumerate(names):
        image, mask = draw.integers(0, 60, (64, 64, 3)), np.zeros((64, 64))
        where = slice(8, 30 + 4 * i), slice(16, 48)
        image[where] = (230, 200, 30)
        mask[where] = 3
        Image.fromarray(image.astype(np.uint8)).save(
            root / 'JPEGImages' / f'{name}.jpg', quality=95
        )
        Image.fromarray(mask.astype(np.uint8)).save(root / 'SegmentationClass' / f'{name}.png')
    return root


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """A work directory with two checkpoints of one network."""
    init_default_scope('mmpretrain')
    cfg, folder = Config.fromfile(DEMO), tmp_path_factory.mktemp('run')
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.neck.projector.in_channels = 64
    torch.manual_seed(3)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    for epoch in (2, 10):
        torch.save(dict(state_dict=model.state_dict()), folder / f'epoch_{epoch}.pth')
    return folder


def test_numbers_figure_and_picture(main, voc, checkpoints, tmp_path, capsys):
    out = {name: tmp_path / f'out/objects.{name}' for name in ('json', 'svg', 'png', 'md')}
    again = tmp_path / 'again'  # the same network trained once more
    again.mkdir()
    saved = torch.load(checkpoints / 'epoch_2.pth')
    draw = torch.Generator().manual_seed(0)
    saved['state_dict'] = {
        k: v + 0.5 * v.std() * torch.randn(v.shape, generator=draw) if v.dim() == 4 else v
        for k, v in saved['state_dict'].items()
    }
    for epoch in (2, 10):
        torch.save(saved, again / f'epoch_{epoch}.pth')
    options = (
        f'mine={checkpoints} mine={again} --voc {voc} --batch 4 --k 3 --seeds 2 --num 3 '
        f'--json {out["json"]} --markdown {out["md"]} --figure {out["svg"]} --picture {out["png"]}'
    )
    main([DEMO, *options.split(), *SMALL])
    rows = json.loads(out['json'].read_text())['rows']
    assert [(r['network'], r['step'], r['trainings'], r['clusterings']) for r in rows] == [
        ('prior masks', 0, 1, 1),
        ('random network', 0, 2, 2),
        ('mine', 2, 2, 4),
        ('mine', 10, 2, 4),
    ]
    # The prior masks by hand; JPEG's pixels, so from the files.
    found = []
    for i in range(5):
        image = np.asarray(Image.open(voc / 'JPEGImages' / f'{i}.jpg'))
        mask = np.asarray(Image.open(voc / 'SegmentationClass' / f'{i}.png')) == 3
        # In the pipeline's channel order: RGB and BGR give SLIC other colors.
        found.append(object_agreement(slic(image, 100), mask[None]).best_overlap[0])
    assert rows[0]['best_overlap'] == pytest.approx(np.mean(found))
    assert rows[0]['low'] <= rows[0]['best_overlap_large'] <= rows[0]['high']
    for row in rows[1:]:
        assert row['above_prior'] == pytest.approx(
            row['best_overlap_large'] - rows[0]['best_overlap_large']
        )
        assert row['regions'] <= 3
    # Equal weights are found equally, whatever else was scored before.
    assert {k: v for k, v in rows[2].items() if k not in ('step', 'checkpoint')} == {
        k: v for k, v in rows[3].items() if k not in ('step', 'checkpoint')
    }
    text = capsys.readouterr().out
    assert out.pop('md').read_text().strip() in text
    assert all(path.stat().st_size > 1000 for path in out.values())
    assert '| mine | 10 | VOC |' in text
    assert '| mine | 2 |' not in text


class Bright(torch.nn.Module):
    """Finds what is bright, at half the resolution."""

    refiner = SimpleNamespace()

    def data_preprocessor(self, data, training):
        return data

    def find_objects(self, x0, regions, counts):
        assert len(x0) == len(regions) == len(counts) == 4
        return (x0[:, 1, ::2, ::2] > 128).long()


def test_each_image_meets_its_own_truth(main, voc):
    """Through mini-batches in another order, filled up, and back to the size of the truth."""
    cfg = Config.fromfile(DEMO)
    cfg.train_dataloader.dataset.pipeline[2].size = 64
    scorer = Scorer(cfg, batch_size=4)
    scorer.load(dict(VOC=voc_objects(voc, size=64)))
    scorer.add('bright', Bright(), seed=1)
    assert min(image.best_overlap[0] for image in scorer.entries[0].images) > 0.98


@pytest.mark.parametrize(
    ('args', 'message'), [(['r=/no/such'], 'no work directory or checkpoint'), (['r'], 'NAME=PATH')]
)
def test_mistakes_end_in_one_line(main, voc, args, message, capsys):
    with pytest.raises(SystemExit) as end:
        main([DEMO, *args, '--voc', str(voc), *SMALL])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    with pytest.raises(SystemExit):
        main([DEMO])
    assert 'give --voc DIR' in capsys.readouterr().err
