"""model-index.yml and the metafiles: as projects/metafiles.py makes them, for the stock readers."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from mmengine.config.utils import _get_cfg_metainfo
from modelindex.load_model_index import load

from orl_mm.tables.natural import NATURAL, THESIS
from projects import metafiles

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / 'model-index.yml'
SPECS = """r2o/r50_in1k r2o/r50_in1k_100e r2o/r50_in1k_official r2o/r50_in100_k4 r2o/r50_in100_k16
r2o/r50_in100_k64 r2o/demo baselines/supervised_r50_in1k baselines/random_r50_in1k
baselines/mocov1_r50_in1k baselines/mocov2_r50_in1k baselines/byol_r50_in1k
baselines/densecl_r50_in1k baselines/detcon-b_r50_in1k baselines/detcon-b_100e_r50_in1k
baselines/detcon-b_paper_r50_in1k baselines/pixpro_r50_in1k baselines/vader_r50_in1k
baselines/infomin_r50_in1k medino/vits16_chexpert_dino medino/vits16_chexpert_dino-cxr-aug
medino/vits16_chexpert_triangular medino/vits16_chexpert_average
medino/vits16_chexpert_deformable"""


@pytest.fixture(scope='module')
def pages():
    """Project -> content of the committed metafile."""
    files = yaml.safe_load(INDEX.read_text())['Import']
    return {Path(file).parent.name: yaml.safe_load((ROOT / file).read_text()) for file in files}


@pytest.fixture(scope='module')
def models(pages):
    return [model for page in pages.values() for model in page['Models']]


def test_files_are_as_the_command_writes_them(pages, models):
    """For the configs that are listed: one of a user's own beside them need not be."""
    assert metafiles.metafiles([model['Config'] for model in models]) == pages


def test_configs_that_people_type_are_listed_once(models):
    listed = Counter(model['Config'] for model in models)
    assert set(listed.values()) == set(Counter(m['Name'] for m in models).values()) == {1}
    assert {f'configs/{name}.py' for name in SPECS.split()} <= set(listed)
    assert not [config for config in listed if not (ROOT / config).is_file()]


def test_entries_by_hand(models):
    entries = {model['Config']: model for model in models}
    assert entries['configs/r2o/r50_in1k.py'] == {
        'Name': 'r2o_r50_in1k',
        'Metadata': {
            'Epochs': 300,
            'Batch Size': 4096,
            'Training Techniques': ['LARS'],
            'Training Data': 'ImageNet-1k',
            'Thesis COCO Box AP': 40.9,
            'Thesis COCO Mask AP': 37.8,
            'Thesis VOC mIoU': 74.3,
            'Thesis Cityscapes mIoU': 75.6,
        },
        'In Collection': 'R2O',
        'Results': None,
        'Weights': None,
        'Config': 'configs/r2o/r50_in1k.py',
    }
    guided = entries['configs/medino/vits16_chexpert_average.py']['Metadata']
    assert guided['Thesis CheXpert mAUC'] == 86.2
    assert guided['Thesis Montgomery Right Lung AP'] == 50.3
    small = entries['configs/r2o/small/r2o.py']['Metadata']
    assert (small['Batch Size'], small['Training Data']) == (32, '1,152 photographs')
    # Every number of the thesis is listed.
    numbers = [v for m in models for k, v in m['Metadata'].items() if k.startswith('Thesis')]
    rows = {row for table in NATURAL.values() for row in table}
    printed = {(r, c) for t in NATURAL.values() for r in rows for c in t.get(r, {})}
    columns = len([1 for _, column in printed if column in metafiles.COLUMNS])
    assert len(numbers) == columns + 5 * 6
    assert set(THESIS['columns']) == set(metafiles.COLUMNS)


def test_stock_readers(pages, models):
    """modelindex has no complaint and loses nothing; mim joins lists of text by commas."""
    index = load(str(INDEX))
    assert index.check(silent=True) == []
    assert len(index.models) == len(models)
    names = {collection.name for collection in index.collections}
    assert len(names) == sum(len(page['Collections']) for page in pages.values())
    assert {model.in_collection for model in index.models} == names
    full = {model.name: model.full_model for model in index.models}
    for name, model in full.items():
        assert model.paper['URL'].startswith('https://'), name
        assert model.readme_content(), name
        assert model.metadata.data['Architecture'], name
    techniques = full['byol_r50_in1k'].metadata.data['Training Techniques']
    assert techniques == ['Momentum target', 'LARS']
    for page in pages.values():
        for item in (*page['Collections'], *page['Models']):
            for key, value in item['Metadata'].items():
                assert isinstance(value, (str, int, float, list)), (item['Name'], key)
                assert '(' not in key  # read as a unit
                assert not isinstance(value, list) or all(isinstance(v, str) for v in value)


def test_mmpretrain_lists_and_builds_them(monkeypatch, models):
    import mmpretrain
    from mmpretrain import get_model, list_models
    from mmpretrain.apis.model import ModelHub

    ModelHub._register_mmpretrain_models()
    theirs = set(ModelHub._models_dict)
    monkeypatch.setattr(ModelHub, '_models_dict', dict(ModelHub._models_dict))
    # Paths of configs start at the repository, as in mmpretrain's own metafiles.
    ModelHub.register_model_index(INDEX, config_prefix=ROOT)
    names = {model['Name'] for model in models}
    assert names <= set(list_models())
    stock = load(os.path.join(os.path.dirname(mmpretrain.__file__), '.mim', 'model-index.yml'))
    assert not names & ({model.name.lower() for model in stock.models} | theirs)
    for model in models:
        found = ModelHub._models_dict[model['Name']]
        assert Path(found.config) == ROOT / model['Config']
        assert found.weights is None
    assert ModelHub.get('r2o_r50_in1k').config.train_cfg.max_epochs == 300
    built = get_model('r2o_small_r2o')
    assert (type(built).__name__, built.backbone.depth) == ('R2O', 18)


def test_in_an_installed_package(tmp_path, models):
    """setup.py puts all where mim and mmengine look, with every file that an index names."""
    source = tmp_path / 'source'
    for name in ('orl_mm', 'configs', 'tools', 'projects'):
        ignore = shutil.ignore_patterns('__pycache__', '*.egg-info')
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'model-index.yml'):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / 'requirements.txt', source)
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', tmp_path / 'lib'],
        cwd=source,
        check=True,
        capture_output=True,
    )
    package = tmp_path / 'lib' / 'orl_mm'
    assert (package / 'models' / 'selfsup' / 'r2o.py').is_file()
    assert (package / 'tables' / 'thesis.yml').is_file()
    mim = package / '.mim'
    found = _get_cfg_metainfo(str(package), 'baselines/byol_r50_in1k.py')  # as mmengine.hub does
    assert found['Name'] == 'byol_r50_in1k'
    assert (mim / found['Config']).is_file()
    index = load(str(mim / 'model-index.yml'))
    assert index.check(silent=True) == []
    assert {model.config for model in index.models} == {model['Config'] for model in models}
    assert all((mim / model.config).is_file() for model in index.models)
    assert Config.fromfile(str(mim / 'configs/r2o/r50_in1k.py')).model.type == 'orl_mm.R2O'
    assert (mim / 'tools' / 'train.py').is_file()
    assert not list(mim.rglob('__pycache__'))
