"""model-index.yml and the metafiles: complete, true to the configs, read by the stock readers."""

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

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / 'model-index.yml'
CONFIGS = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
}
COLUMNS = {
    'box': 'Thesis COCO Box AP',
    'mask': 'Thesis COCO Mask AP',
    'voc': 'Thesis VOC mIoU',
    'cityscapes': 'Thesis Cityscapes mIoU',
}
# specs: the names that people type.
PROMISED = (
    [
        f'configs/r2o/{name}.py'
        for name in (
            'r50_in1k',
            'r50_in1k_100e',
            'r50_in1k_official',
            'r50_in100_k4',
            'r50_in100_k16',
            'r50_in100_k64',
            'demo',
        )
    ]
    + [
        f'configs/baselines/{name}_r50_in1k.py'
        for name in (
            'supervised',
            'random',
            'mocov1',
            'mocov2',
            'byol',
            'densecl',
            'detcon-b',
            'detcon-b_100e',
            'detcon-b_paper',
            'pixpro',
            'vader',
            'infomin',
        )
    ]
    + [
        f'configs/medino/vits16_chexpert_{name}.py'
        for name in ('dino', 'dino-cxr-aug', 'triangular', 'average', 'deformable')
    ]
)


@pytest.fixture(scope='module')
def index():
    return load(str(INDEX))


@pytest.fixture(scope='module')
def raw():
    """The metafiles as they are written: page -> content."""
    return {
        Path(path).parent.name: yaml.safe_load((ROOT / path).read_text())
        for path in yaml.safe_load(INDEX.read_text())['Import']
    }


@pytest.fixture(scope='module')
def models(raw):
    return [model for content in raw.values() for model in content['Models']]


@pytest.fixture
def hub(monkeypatch):
    """mmpretrain's, with its own models and ours."""
    from mmpretrain.apis.model import ModelHub

    ModelHub._register_mmpretrain_models()
    monkeypatch.setattr(ModelHub, '_models_dict', dict(ModelHub._models_dict))
    # Paths of configs start at the repository, as in mmpretrain's and mmdet's own metafiles.
    ModelHub.register_model_index(INDEX, config_prefix=ROOT)
    return ModelHub


def test_all_metafiles_are_imported(raw):
    files = {path.parent.name for path in (ROOT / 'projects').glob('*/metafile.yml')}
    assert set(raw) == files
    pages = {path.parent.name for path in (ROOT / 'projects').glob('*/README.md')}
    assert files <= pages


def test_every_config_is_listed_once(models):
    listed = Counter(model['Config'] for model in models)
    assert sorted(CONFIGS - set(listed)) == [], 'list them in projects/*/metafile.yml'
    assert sorted(set(listed) - CONFIGS) == []
    assert max(listed.values()) == 1
    assert sorted(set(PROMISED) - set(listed)) == []


def test_names_follow_the_configs(models):
    """One config, one name, which also no other folder's config has."""
    for model in models:
        words = list(Path(model['Config']).with_suffix('').parts[1:])
        if words[0] in ('baselines', 'transfer'):
            del words[0]
        assert model['Name'] == '_'.join(words)
    assert max(Counter(model['Name'] for model in models).values()) == 1


def test_nothing_is_claimed_that_did_not_run(models):
    """No full-size run: the thesis's numbers are metadata, not results."""
    for model in models:
        assert (model['Results'], model['Weights']) == (None, None), model['Name']


def test_metadata_are_the_configs(models):
    for model in models:
        cfg = Config.fromfile(str(ROOT / model['Config']), import_custom_modules=False)
        meta, name = model['Metadata'], model['Name']
        loop = cfg.get('train_cfg') or {}
        assert meta.get('Epochs') == loop.get('max_epochs'), name
        assert meta.get('Iterations') == loop.get('max_iters'), name
        if 'Batch Size' in meta:
            made_small = 'small' in name or 'demo' in name
            assert meta['Batch Size'] == (
                cfg.train_dataloader.batch_size if made_small else cfg.auto_scale_lr.base_batch_size
            ), name
        if 'Training Techniques' in meta:
            assert meta['Training Techniques'] == [
                cfg.optim_wrapper.optimizer.type.removeprefix('orl_mm.')
            ], name
        assert ('Batch Size' in meta) == bool(loop.get('max_epochs') or loop.get('max_iters')), name


def test_numbers_of_the_thesis(models):
    """Those of tools/tables.py, which its own tests hold against two copies."""
    sys.path.insert(0, str(ROOT / 'tools'))
    from _tables.thesis import NATURAL, TABLE_3_1, TABLE_3_2

    wanted = {}
    for table in NATURAL.values():
        for row in table:
            wanted.setdefault(row.key, {}).update(
                {COLUMNS[column]: number for column, number in row.numbers.items()}
            )
    for key in ('dino', 'dino-cxr-aug', 'triangular', 'average', 'deformable'):
        wanted[f'vits16_chexpert_{key}'] = {
            'Thesis CheXpert mAUC': TABLE_3_2[key],
            **{
                f'Thesis {title} {part.replace("_", " ").title()} AP': column[key]
                for name, title in (('jsrt', 'JSRT'), ('montgomery', 'Montgomery'))
                for part, column in TABLE_3_1[name].items()
            },
        }
    for model in models:
        path = Path(model['Config'])
        key = path.stem if path.parent.name in ('r2o', 'baselines', 'medino') else None
        assert {
            name: number for name, number in model['Metadata'].items() if name.startswith('Thesis')
        } == wanted.pop(key, {}), path
    assert wanted == {}


def test_the_stock_reader(index, raw, models):
    """modelindex, which mim and mmpretrain read with: no complaint, nothing lost."""
    assert index.check(silent=True) == []
    assert len(index.models) == len(models)
    names = {collection.name for collection in index.collections}
    assert len(names) == sum(len(content['Collections']) for content in raw.values())
    assert {model.in_collection for model in index.models} == names  # no empty one either
    for model in index.models:
        full = model.full_model  # with what it has from its collection
        assert full.paper['URL'].startswith('https://'), model.name
        assert full.readme_content(), model.name
        assert full.metadata.data['Architecture'], model.name
    full = {model.name: model.full_model for model in index.models}['byol_r50_in1k']
    assert full.metadata.data['Training Techniques'] == ['Momentum target', 'LARS']


def test_what_mim_makes_of_it(raw):
    """mim joins lists by commas and takes lists of dicts for inference times."""
    for content in raw.values():
        for item in (*content['Collections'], *content['Models']):
            for key, value in item['Metadata'].items():
                if isinstance(value, list):
                    assert {type(word) for word in value} == {str}, item['Name']
                else:
                    assert isinstance(value, (str, int, float)), (item['Name'], key)
                assert '(' not in key  # read as a unit


def test_mmpretrain_lists_and_builds_them(hub, models):
    from mmpretrain import get_model, list_models

    assert {model['Name'] for model in models} <= set(list_models())
    assert list_models('detcon-b')[0] == 'detcon-b_100e_r50_in1k'
    for model in models:
        found = hub._models_dict[model['Name']]
        assert Path(found.config) == ROOT / model['Config']
        assert found.weights is None
    config = hub.get('r2o_r50_in1k').config
    assert config.model.type == 'orl_mm.R2O'
    assert config.train_cfg.max_epochs == 300
    built = get_model('r2o_small_r2o')
    assert type(built).__name__ == 'R2O'
    assert built.backbone.depth == 18


def test_names_are_not_mmpretrains(models):
    import mmpretrain

    theirs = load(os.path.join(os.path.dirname(mmpretrain.__file__), '.mim', 'model-index.yml'))
    assert not {model['Name'] for model in models} & {m.name.lower() for m in theirs.models}


def test_in_an_installed_package(tmp_path):
    """setup.py puts all where mim and mmengine look, with every file that an index names."""
    source = tmp_path / 'source'
    for name in ('orl_mm', 'configs', 'tools', 'projects'):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '*.egg-info')
        )
    for name in (
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'model-index.yml',
        'requirements.txt',
    ):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', tmp_path / 'lib'],
        cwd=source,
        check=True,
        capture_output=True,
    )
    package = tmp_path / 'lib' / 'orl_mm'
    assert (package / 'models' / 'selfsup' / 'r2o.py').is_file()
    mim = package / '.mim'
    found = _get_cfg_metainfo(str(package), 'baselines/byol_r50_in1k.py')  # as mmengine.hub does
    assert found['Name'] == 'byol_r50_in1k'
    assert (mim / found['Config']).is_file()
    index = load(str(mim / 'model-index.yml'))
    assert index.check(silent=True) == []
    assert {model.config for model in index.models} == CONFIGS
    assert all((mim / model.config).is_file() for model in index.models)
    assert Config.fromfile(str(mim / 'configs/r2o/r50_in1k.py')).model.type == 'orl_mm.R2O'
    assert (mim / 'tools' / 'train.py').is_file()
    assert not list(mim.rglob('__pycache__'))
