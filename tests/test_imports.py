"""Imports point one way; configs import nothing."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / 'orl_mm').rglob('*.py'))
CONFIGS = sorted((ROOT / 'configs').rglob('*.py'))

OURS = sorted({path.relative_to(ROOT / 'orl_mm').parts[0].removesuffix('.py') for path in SOURCES})

# Folder -> what no file in it may import.
FORBIDDEN = {
    'orl_mm': ('mmdet', 'mmseg', 'tools'),
    'orl_mm/structures': ('orl_mm.models', 'orl_mm.engine', 'orl_mm.datasets'),
    'orl_mm/datasets': ('orl_mm.models', 'orl_mm.engine', 'mmpretrain.models'),
    'orl_mm/io': tuple(
        f'orl_mm.{name}' for name in OURS if name not in ('errors', 'io', 'structures', 'registry')
    ),
    'orl_mm/map_cache': tuple(
        f'orl_mm.{name}' for name in OURS if name not in ('errors', 'io', 'map_cache', 'registry')
    ),
    **{
        f'orl_mm/{name}': (
            'orl_mm.datasets',
            'orl_mm.models',
            'orl_mm.engine',
            'orl_mm.visualization',
            'mmpretrain.models',
        )
        for name in ('superpixels', 'registration')
    },
    'orl_mm/models': ('orl_mm.engine', 'orl_mm.datasets'),
    'orl_mm/models/utils': (
        'orl_mm.models.necks',
        'orl_mm.models.heads',
        'orl_mm.models.losses',
        'orl_mm.models.refiners',
        'orl_mm.models.selfsup',
        'orl_mm.models.baselines',
    ),
    'orl_mm/models/necks': ('orl_mm.models.selfsup', 'orl_mm.models.baselines'),
    'orl_mm/models/heads': ('orl_mm.models.selfsup', 'orl_mm.models.baselines'),
    'orl_mm/models/losses': ('orl_mm.models.selfsup', 'orl_mm.models.baselines'),
    'orl_mm/models/refiners': ('orl_mm.models.selfsup', 'orl_mm.models.baselines'),
    'orl_mm/models/selfsup': ('orl_mm.models.baselines',),
    'orl_mm/weights': ('orl_mm.models', 'orl_mm.engine', 'orl_mm.datasets', 'orl_mm.superpixels'),
    # Hooks speak to models through plain attributes; pure functions they may use.
    'orl_mm/engine': tuple(
        f'orl_mm.models.{part}'
        for part in (
            'baselines',
            'data_preprocessors',
            'heads',
            'losses',
            'necks',
            'positives',
            'refiners',
            'selfsup',
        )
    ),
}


def imported(path: Path, root: Path = ROOT) -> set:
    """Absolute names of everything that the file at ``path`` imports."""
    package = path.relative_to(root).with_suffix('').parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*start, *filter(None, [node.module])])
            names.update(f'{module}.{alias.name}' for alias in node.names)
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + '.')


@pytest.mark.parametrize('folder', FORBIDDEN)
def test_imports_point_one_way(folder):
    files = [path for path in SOURCES if (ROOT / folder) in path.parents]
    assert files
    wrong = [
        f'{path.relative_to(ROOT)} imports {name}'
        for path in files
        for name in sorted(imported(path))
        if any(within(name, package) for package in FORBIDDEN[folder])
    ]
    assert not wrong, '\n'.join(wrong)


def test_no_package_imports_one_that_imports_it():
    """Between the packages of orl_mm, seen as wholes, no chain of imports leads back."""
    arrows: dict = {}
    for path in SOURCES:
        name = path.relative_to(ROOT / 'orl_mm').parts[0].removesuffix('.py')
        ours = {n.split('.')[1] for n in imported(path) if n.startswith('orl_mm.')} - {name}
        arrows.setdefault(name, set()).update(ours & set(OURS) - {'__init__'})
    arrows.pop('__init__')
    list(TopologicalSorter(arrows).static_order())  # raises CycleError with the chain


def test_reader_resolves_relative_imports(tmp_path):
    """The rule above sees through every form of import."""
    path = tmp_path / 'orl_mm' / 'models' / 'utils' / 'x.py'
    path.parent.mkdir(parents=True)
    path.write_text(
        'from ..heads import H\nfrom . import y\nimport mmdet.ops\n'
        'def f():\n    from ...engine.hooks import z\n'
    )
    assert imported(path, tmp_path) == {
        'orl_mm.models.heads.H',
        'orl_mm.models.utils.y',
        'mmdet.ops',
        'orl_mm.engine.hooks.z',
    }


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.name)
def test_configs_import_nothing(path):
    assert imported(path) == set()
