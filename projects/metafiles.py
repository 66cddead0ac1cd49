#!/usr/bin/env python
"""Write model-index.yml and projects/*/metafile.yml, which mim and mmpretrain read.

    python projects/metafiles.py

Papers and training data are in projects/collections.yml; epochs, batch size and optimizer come
from the configs, the thesis's numbers from orl_mm/tables/thesis.yml. A config that no pattern of
projects/collections.yml matches is not listed.
"""

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from orl_mm.tables.natural import NATURAL, THESIS

ROOT = Path(__file__).resolve().parents[1]
HEADER = '# Written by projects/metafiles.py.\n'
COLUMNS = {
    'box': 'COCO Box AP',
    'mask': 'COCO Mask AP',
    'voc': 'VOC mIoU',
    'cityscapes': 'Cityscapes mIoU',
}


def thesis_numbers(config: str) -> dict[str, float]:
    """The thesis's numbers of a pretraining config, by the names of the metadata."""
    path = Path(config)
    if path.parent.name not in ('r2o', 'baselines', 'medino'):
        return {}
    found = {}
    for rows in NATURAL.values():
        for column, name in COLUMNS.items():
            if column in rows.get(path.stem, {}):
                found[f'Thesis {name}'] = rows[path.stem][column]
    regimen = path.stem.removeprefix('vits16_chexpert_')
    if path.stem != regimen and regimen in THESIS['mean_auroc']:
        found['Thesis CheXpert mAUC'] = THESIS['mean_auroc'][regimen]
        for name, title in THESIS['xray_sets'].items():
            for part, row in THESIS['attention_ap'][name].items():
                words = part.replace('_', ' ').title()
                found[f'Thesis {title} {words} AP'] = row[regimen]
    return found


def model_entry(config: str, collection: str, data: str) -> dict[str, Any]:
    """The entry of a config in a metafile.

    Args:
        config (str): Path below the repository's root.
        collection (str): Name of its collection.
        data (str): What it is trained on.
    """
    cfg = Config.fromfile(str(ROOT / config), import_custom_modules=False)
    loop, metadata = cfg.get('train_cfg') or {}, {}
    for key, name in (('max_epochs', 'Epochs'), ('max_iters', 'Iterations')):
        if loop.get(key) is not None:
            metadata[name] = loop[key]
    if any(metadata.values()):
        one_machine = '/small/' in config or 'small' in Path(config).stem or 'demo' in config
        metadata['Batch Size'] = (
            cfg.train_dataloader.batch_size if one_machine else cfg.auto_scale_lr.base_batch_size
        )
        optimizer = cfg.optim_wrapper.optimizer.type
        metadata['Training Techniques'] = [optimizer.removeprefix('orl_mm.')]
    words = list(Path(config).with_suffix('').parts[1:])
    name = '_'.join(words[1:] if words[0] in ('baselines', 'transfer') else words)
    return {
        'Name': name,
        'Metadata': {**metadata, 'Training Data': data, **thesis_numbers(config)},
        'In Collection': collection,
        'Results': None,
        'Weights': None,
        'Config': config,
    }


def metafiles(configs: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Project -> content of its metafile.

    Args:
        configs (sequence, optional): Paths below the root; default: all of ``configs``.
    """
    if configs is None:
        files = [f.relative_to(ROOT) for f in (ROOT / 'configs').rglob('*.py')]
        configs = sorted(f.as_posix() for f in files if '_base_' not in f.parts)
    collections = yaml.safe_load((ROOT / 'projects' / 'collections.yml').read_text())
    found: dict[str, dict[str, Any]] = {}
    placed = {}
    for name, collection in collections.items():
        for pattern, data in collection.pop('configs').items():  # the last one that matches
            placed.update({c: (name, data) for c in configs if fnmatch.fnmatchcase(c, pattern)})
        page = found.setdefault(collection.pop('project'), dict(Collections=[], Models=[]))
        page['Collections'].append({'Name': name, **collection, 'README': 'README.md'})
        page['Models'].append(name)
    for page in found.values():
        names = page['Models']
        page['Models'] = [
            model_entry(config, *place)
            for name in names
            for config, place in sorted(placed.items())
            if place[0] == name
        ]
    return found


def main() -> None:
    pages = metafiles()
    for project, content in pages.items():
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
        (ROOT / 'projects' / project / 'metafile.yml').write_text(HEADER + text)
    files = [f'projects/{project}/metafile.yml' for project in pages]
    (ROOT / 'model-index.yml').write_text(HEADER + yaml.safe_dump({'Import': files}))


if __name__ == '__main__':
    main()
