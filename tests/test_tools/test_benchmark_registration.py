"""The registration benchmark runs on phantoms, measures what it says, and skips aloud."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('SimpleITK')

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'benchmark.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('benchmark_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # also puts tools/ on the path, for `_bench`
    return module


def test_quick_run(benchmark, tmp_path, capsys):
    file, picture = tmp_path / 'figures.json', tmp_path / 'curve.png'
    assert (
        benchmark.main(
            [
                'registration',
                '--quick',
                '--clock',
                'process',
                '--json',
                str(file),
                '--figure',
                str(picture),
            ]
        )
        == 0
    )
    found = json.loads(file.read_text())
    assert found['settings']['data'].startswith('PHANTOMS')
    figures = {figure['name']: figure for figure in found['figures']}
    assert figures['seconds an image: tuned']['target'] == 0.5
    assert {
        f'Dice of {part}, tuned - defaults' for part in ('left_lung', 'right_lung', 'heart')
    } <= set(figures)
    results = found['details']['results']
    assert set(results) == {'no registration', 'Elastix defaults', 'tuned'}
    assert np.shape(results['tuned']['dice']) == (2, 3)
    assert np.mean(results['tuned']['dice']) > np.mean(results['no registration']['dice'])
    with Image.open(picture) as png:
        assert png.size[0] > 500


def test_skips_where_the_data_are_absent(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('ORL_CXR', str(tmp_path))
    assert benchmark.main(['registration']) == 0
    printed = capsys.readouterr().out
    assert f'SKIPPED: there is no JSRT at {tmp_path}' in printed
    assert '--data DIR' in printed


def test_settings_of_the_curve(benchmark):
    """Each differs from all others, and can be used; the ends are what they are called."""
    sys.modules.pop('_bench.registration_settings', None)
    from _bench.registration_settings import curve

    from orl_mm.registration.elastix_settings import ELASTIX_DEFAULTS, ElastixSettings

    settings = curve()
    assert len({repr(s) for s in settings.values()}) == len(settings) > 15
    assert settings['Elastix defaults'] == ELASTIX_DEFAULTS
    assert settings['tuned'] == ElastixSettings()
    for value in settings.values():
        assert value.parameters('affine')
        assert value.parameters('bspline')


@pytest.mark.slow
def test_on_jsrt(benchmark, shared_data, tmp_path):
    """Two images: the tuned setting is faster than the defaults and at least as good."""
    file = tmp_path / 'figures.json'
    benchmark.main(
        [
            'registration',
            '--data',
            str(shared_data / 'cxr' / 'jsrt'),
            '--batch',
            '3',
            '--clock',
            'process',
            '--json',
            str(file),
        ]
    )
    results = json.loads(file.read_text())['details']['results']
    tuned, defaults = results['tuned'], results['Elastix defaults']
    assert np.mean(tuned['seconds']) < 0.5 * np.mean(defaults['seconds'])
    assert np.mean(tuned['dice']) > np.mean(defaults['dice']) - 0.01
