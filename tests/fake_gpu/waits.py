"""Waits of a training step of each method, with small networks, in bfloat16.

Command: python tests/fake_gpu/waits.py FILE.json RANKS
"""

import json
import sys
from copy import deepcopy

import step
from mmengine.config import Config

CONFIGS = step.ROOT / 'configs'
BACKBONE = {'model.backbone.depth': 18}
VIT = dict(_delete_=True, embed_dims=24, num_layers=1, num_heads=6, feedforward_channels=24)
SMALL_VIT = {
    'model.backbone.arch': VIT,
    'model.head.out_channels': 64,
    'model.loss.out_channels': 64,
}
# Config and what makes it small.
METHODS = {
    'DINO': ('baselines/dino_vits16_in1k', SMALL_VIT),
    'MeDINO': ('medino/vits16_chexpert_triangular', SMALL_VIT),
    'R2O': ('r2o/r50_in1k', {**BACKBONE, 'model.refiner.num_clusters': 3}),
    'DetCon': ('baselines/detcon-b_r50_in1k', BACKBONE),
    'PixPro': ('baselines/pixpro_r50_in1k', BACKBONE),
    'VADeR': ('baselines/vader_r50_in1k', BACKBONE),
    'BYOL': ('baselines/byol_r50_in1k', {**BACKBONE, 'model.neck.in_channels': 512}),
    'InfoMin': (
        'baselines/infomin_r50_in1k',
        {**BACKBONE, 'model.neck.in_channels': 512, 'model.jigsaw_neck.crop_neck.in_channels': 512},
    ),
}


def main() -> None:
    """Write method -> what it waits for, and how many operators were counted."""
    step.patch_mmengine()
    step.patch_values(iterations=2)
    found: dict = {}
    for name, (path, options) in METHODS.items():
        cfg = Config.fromfile(CONFIGS / f'{path}.py')
        cfg.merge_from_dict(deepcopy(options))
        # The first step makes tables of cells that later ones use.
        steps = 2 if name in ('R2O', 'DetCon') else 1
        watch = step.count(cfg, int(sys.argv[2]), 'bfloat16', batch_size=4, steps=steps)
        operators = sum(counts.total() for counts in watch.operators.values())
        found[name] = dict(waits=watch.waits, operators=operators)
    with open(sys.argv[1], 'w') as file:
        json.dump(found, file)


if __name__ == '__main__':
    main()
