import re
import shlex
import subprocess
import sys
from pathlib import Path

import distributed
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from orl_mm.datasets.transforms import GenerateSuperpixels, LoadImage
from tests.small import load_tool

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'cache_superpixels.py'


@pytest.fixture(scope='module')
def main():
    return load_tool('cache_superpixels').main


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / 'images' / f'class{i % 2}' / f'{i}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(small).resize((70, 50)).save(path)
    return tmp_path / 'images'


def load(images, out, relative='class0/0.jpg', **options):
    results = LoadImage().transform(dict(img_path=str(images / relative)))
    return GenerateSuperpixels(cache=str(out), **options).transform(results)


def test_folder_with_processes(main, images, tmp_path, capfd):
    (images / 'bad.jpg').write_bytes(b'\xff\xd8\xff')
    out = tmp_path / 'cache'
    args = (
        f'--folder {images} --out {out} --method grid --size 32 --params num_cells=4 '
        '--workers 2 --chunk 2'
    ).split()
    main(args)
    printed = capfd.readouterr()
    assert '6 masks made, 0 were there' in printed.out
    assert '1 unreadable images: see' in printed.out
    assert '100%' in printed.err
    assert 'img/s' in printed.err
    sample = load(images, out, size=32, method='grid', num_cells=4)
    assert sample['num_regions'] == 16
    main(args)
    assert '0 masks made, 6 were there' in capfd.readouterr().out


def test_list(main, images, tmp_path, capfd):
    listing = tmp_path / 'list.txt'
    listing.write_text('class0/0.jpg\nclass1/3.jpg\n')
    out = tmp_path / 'cache'
    main(f'--list {listing} --root {images} --out {out} --method grid --workers 1'.split())
    assert len(list(out.rglob('*.png'))) == 2
    with pytest.raises(ValueError, match='is missing') as error:
        load(images, out, 'class0/2.jpg', method='grid')
    command = shlex.split(str(error.value).splitlines()[-1])
    assert command[2:6] == ['--list', str(listing), '--root', str(images)]


@pytest.mark.parametrize(
    'data',
    [
        dict(type='orl_mm.ImageList'),
        dict(type='CustomDataset', data_prefix='', with_label=False),
        dict(type='RepeatDataset', times=2),
    ],
)
def test_config(main, images, tmp_path, capfd, data):
    """The data set, the prior and the folder come from a training config."""
    out, config = tmp_path / 'cache', tmp_path / 'config.py'
    slic = dict(type='orl_mm.GenerateSuperpixels', method='slic', size=40, num_segments=12)
    inner = dict(
        data_root=str(images), pipeline=[dict(type='orl_mm.LoadImage', background=0), slic]
    )
    if data['type'] == 'RepeatDataset':
        data = dict(data, dataset=dict(inner, type='orl_mm.ImageList'))
    else:
        data = dict(inner, **data)
    loader, imports = dict(dataset=data), dict(imports=['orl_mm'])
    cfg = dict(default_scope='mmpretrain', custom_imports=imports, train_dataloader=loader)
    Config(cfg).dump(str(config))
    main(f'--config {config} --out {out} --workers 1 --cfg-options work_dir=x'.split())
    sample = load(images, out, size=40, num_segments=12)
    assert sample['regions'].shape == (40, 40)
    with pytest.raises(ValueError, match='size 40 instead of 41') as error:
        load(images, out, size=41, num_segments=12)
    assert f'--config {config} --cfg-options work_dir=x --method' in str(error.value)


FOLDER = '--folder {images} --out x '


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('--folder {images}/no --out x', "--folder: .*no' is no folder"),
        ('--folder {images}', '--out=FOLDER'),
        (FOLDER + '--params n=1', 'no parameter n'),
        (FOLDER + '--params n', 'KEY=VALUE'),
        (FOLDER + '--workers 0', "--workers: '0' must be at least 1"),
        (FOLDER + '--method slick', "method='slick' is not one"),
        (FOLDER + '--import nowhere', "No module named 'nowhere'"),
        ('--folder {images} --outt x', 'did you mean --out'),
        ('--list {images}/no.txt --out x', 'no.txt. is no file'),
        ('--config none.py --out x', "config 'none.py' does not exist"),
        ('--config {config} --out x', "data_root='/no/such' is not a folder"),
        ('--config {config} --out x --cfg-options hooks.7.a=1', 'does not fit the config'),
        (
            '--folder {images} --out {images}/../x --scheduler tcp://127.0.0.1:9',
            'no Dask scheduler answers at tcp://127.0.0.1:9',
        ),
    ],
)
def test_mistakes_end_in_one_line(main, images, tmp_path, capsys, monkeypatch, words, message):
    dask = distributed.Client
    monkeypatch.setattr(
        distributed, 'Client', lambda address, timeout: dask(address, timeout='0.2s')
    )
    config = tmp_path / 'config.py'
    config.write_text(
        "default_scope = 'mmpretrain'\nhooks = [1]\ntrain_dataloader = dict("
        "dataset=dict(type='orl_mm.ImageList', data_root='/no/such'))"
    )
    with pytest.raises(SystemExit) as stop:
        main(words.format(images=images, config=config).split())
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert len([line for line in err.splitlines() if re.search(message, line)]) == 1, err
    assert 'Traceback' not in err
    assert 'usage:' not in err


def test_message_leads_to_a_working_rebuild(main, images, tmp_path):
    out = tmp_path / 'cache'
    main(['--folder', str(images), '--out', str(out), '--method', 'grid', '--workers', '1'])
    with pytest.raises(ValueError, match='num_cells 10 instead of 3') as error:
        load(images, out, method='grid', num_cells=3)
    main(shlex.split(str(error.value).splitlines()[-1])[2:])
    assert load(images, out, method='grid', num_cells=3)['num_regions'] == 9


@pytest.mark.slow
def test_command_line_on_two_dask_processes(images, tmp_path):
    out = tmp_path / 'cache'
    command = f'{sys.executable} {TOOL} --folder {images} --out {out} --chunk 1 --scheduler'
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        words = [*command.split(), cluster.scheduler_address]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert '6 masks made' in done.stdout
    assert len(list(out.rglob('*.png'))) == 6
