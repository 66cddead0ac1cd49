"""The command: exemplars, images, processes, a cluster, resuming, the report, mistakes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed
import numpy as np
import pytest
from PIL import Image

from orl_mm.registration.cache import TemplateCache
from orl_mm.registration.template import Template, write_template
from tests.small import load_tool
from tests.test_registration.blobs import PARTS, affine, sample, smooth

pytest.importorskip('SimpleITK')

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'register_templates.py'
SIZE = 48


@pytest.fixture(scope='module')
def tool():
    return load_tool('register_templates')


@pytest.fixture
def data(tmp_path):
    """exemplar/ and images/, both with masks/, in the layout of the X-ray sets."""
    for folder, name, deform in (
        ('exemplar', 'ex', lambda x, y: (x, y)),
        ('set', 'a', affine),
        ('set', 'b', smooth),
    ):
        grey, masks, _ = sample(SIZE, deform)
        write(tmp_path / folder / 'images' / f'{name}.png', grey)
        for part, mask in zip(PARTS, masks, strict=False):
            write(tmp_path / folder / 'masks' / part / f'{name}.png', mask.astype(np.uint8) * 255)
    return tmp_path


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


QUICK = (
    f'--settings size={SIZE} affine_iterations=12 bspline_iterations=12 resolutions=2 grid=16 '
    'samples=256 --workers 1'
).split()


def exemplar(data):
    return f'--exemplar-root {data}/exemplar --exemplar-id ex --parts'.split() + [*PARTS]


def test_from_a_data_set_with_report(tool, data, capfd):
    write(data / 'set' / 'images' / 'flat.png', np.full((20, 20), 50, np.uint8))
    (data / 'set' / 'images' / 'bad.jpg').write_bytes(b'\xff\xd8\xff')
    out = data / 'out'
    args = [*exemplar(data), '--folder', str(data / 'set' / 'images'), '--out', str(out), *QUICK]
    tool.main([*args, '--chunk', '1'])
    printed = capfd.readouterr()
    assert '3 templates made, 0 were there: 2 ok, 0 affine, 1 fallback, 1 unreadable' in printed.out
    assert '100%' in printed.err
    assert 'img/s' in printed.err
    assert 'fallback=1' in printed.err
    assert 'bad=1' in printed.err
    tool.main([*args, '--truth', str(data / 'set')])
    assert '0 templates made, 3 were there' in capfd.readouterr().out
    report = json.loads((out / 'report.json').read_text())
    assert report['summary']['deformable'] == 2
    assert report['summary']['unreadable'] == 1
    assert all(v['mean'] > 0.85 and v['images'] == 2 for v in report['summary']['dice'].values())
    assert 'constant' in (out / 'fallbacks.txt').read_text()
    assert 'bad.jpg' in (out / 'unreadable.txt').read_text()
    with Image.open(out / 'report.png') as png:
        assert png.size[0] > 700
    cache = TemplateCache(str(out))
    assert cache.parts == PARTS
    assert cache.read(str(data / 'set' / 'images' / 'a.png')).any()


def test_from_single_files_and_a_list(tool, data, capfd):
    """The same exemplar by its files: the entries are the same, bit for bit."""
    folder = data / 'exemplar'
    masks = ' '.join(f'--mask {p}={folder}/masks/{p}/ex.png' for p in PARTS)
    listing = data / 'list.txt'
    listing.write_text('images/b.png\n')
    one, two = data / 'one', data / 'two'
    source = f'{masks} --list {listing} --root {data}/set --out {one}'
    tool.main([*f'--exemplar {folder}/images/ex.png {source}'.split(), *QUICK])
    tool.main([*exemplar(data), *f'--folder {data}/set/images --out {two}'.split(), *QUICK])
    assert len(list(one.rglob('*.png.png'))) == 1
    assert (one / 'images' / 'b.png.png').read_bytes() == (two / 'b.png.png').read_bytes()
    with pytest.raises(ValueError, match='is missing') as error:
        TemplateCache(str(one)).read(str(data / 'set' / 'images' / 'a.png'))
    command = shlex.split(str(error.value).splitlines()[-1])
    assert command[1] == 'tools/register_templates.py'
    rebuilt = command[2:]
    assert '--workers' not in rebuilt
    assert rebuilt[-2:] == ['--out', str(one)]
    listing.write_text('images/a.png\nimages/b.png\n')
    tool.main([*rebuilt, '--workers', '1'])
    assert TemplateCache(str(one)).read(str(data / 'set' / 'images' / 'a.png')).any()


def test_from_a_config_with_its_loader(tool, data, capfd):
    """RGB images that are no X-rays; the training pipeline says how they are decoded."""
    for name in ('a', 'b'):
        with Image.open(data / 'set' / 'images' / f'{name}.png') as png:
            grey = np.asarray(png)
        rgba = np.stack([grey, 255 - grey, grey // 2, np.full_like(grey, 255)], -1)
        rgba[:4, :, 3] = 0
        write(data / 'set' / 'images' / f'{name}.png', rgba)
    config = data / 'config.py'
    config.write_text(f"""
train_dataloader = dict(dataset=dict(type='orl_mm.ImageList', data_root={str(data / 'set')!r},
    pipeline=[dict(type='orl_mm.LoadImage', background=0)]))
""")
    out = data / 'out'
    tool.main([*exemplar(data), '--config', str(config), '--out', str(out), *QUICK])
    assert len(list((out / 'images').iterdir())) == 2
    from orl_mm.datasets.transforms import LoadImage

    path = str(data / 'set' / 'images' / 'a.png')
    read = lambda **o: LoadImage(**o).transform(dict(img_path=path))['img']  # noqa: E731
    assert TemplateCache(str(out)).read(path, read(background=0)).shape == (3, SIZE, SIZE)
    with pytest.raises(ValueError, match='decoded differently'):
        TemplateCache(str(out)).read(path, read(background=255))


def test_fallback_of_a_file(tool, data, capfd):
    write(data / 'flat' / 'flat.png', np.full((20, 20), 50, np.uint8))
    maps = np.zeros((3, 8, 8), np.float32)
    maps[:, :4] = 1
    write_template(data / 'average.npz', Template(PARTS, maps))
    words = f'--folder {data}/flat --out {data}/out --fallback {data}/average.npz'
    tool.main([*exemplar(data), *words.split(), *QUICK])
    got = TemplateCache(str(data / 'out')).read(str(data / 'flat' / 'flat.png'))
    assert got[:, : SIZE // 2].all()
    assert not got[:, SIZE // 2 :].any()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ('--folder {set}/no {ex}', "--folder: .*no' is no folder"),
        ('--folder {set}', 'name the exemplar: --exemplar IMAGE'),
        ('--folder {set} {ex} --exemplar {image}', 'name the exemplar'),
        ('--folder {set} --exemplar-root {exroot}', 'needs --exemplar-id'),
        ('--folder {set} --exemplar-root {exroot} --exemplar-id exx', "no image 'exx'; did you"),
        ('--folder {set} --exemplar {image}', 'needs a --mask PART=FILE'),
        ('--folder {set} --exemplar {image} --mask disc', "takes PART=FILE, got 'disc'"),
        (
            '--folder {set} --exemplar {image} --mask disc=no.png',
            'disc has no mask: no.png does not exist',
        ),
        ('--folder {set} --exemplar {image} --mask disc={disc} --parts bar', 'bar: there is no'),
        ('--folder {set} --exemplar {image} --mask disc={empty}', 'mask of disc is empty'),
        ('--folder {set} --exemplar {image} --mask disc={wide}', r'mask of disc is \(48, 96\)'),
        ('--folder {set} {ex} --settings grit=3', "--settings .*'grit'.*; there are size"),
        ('--folder {set} {ex} --settings grid=1', 'grid=1 must be'),
        ('--folder {set} {ex} --settings grid=wide', '--settings .*wide'),
        ('--folder {set} {ex} --checks area=0.1', 'area=0.1'),
        ('--folder {set} {ex} --fallback no.npz', 'there is no template no.npz'),
        ('--folder {set} {ex} --fallback cxr_triangles', 'lacks disc, bar, lid'),
        ('--folder {set} {ex} --truth {set}/no', 'is no folder'),
        ('--folder {set} {ex} --workers 0', "--workers: '0' must be at least 1"),
        ('--folder {set} {ex} --scheduler tcp://127.0.0.1:9', 'no Dask scheduler answers'),
    ],
)
def test_mistakes_end_in_one_line(tool, data, capsys, monkeypatch, words, said):
    dask = distributed.Client
    monkeypatch.setattr(
        distributed, 'Client', lambda address, timeout: dask(address, timeout='0.2s')
    )
    write(data / 'empty.png', np.zeros((SIZE, SIZE), np.uint8))
    write(data / 'wide.png', np.full((SIZE, 2 * SIZE), 255, np.uint8))
    root = data / 'exemplar'
    ex, image, disc = shlex.join(exemplar(data)), root / 'images/ex.png', root / 'masks/disc/ex.png'
    masks = dict(disc=disc, empty=data / 'empty.png', wide=data / 'wide.png')
    words = words.format(set=data / 'set/images', ex=ex, exroot=root, image=image, **masks)
    with pytest.raises(SystemExit) as stop:
        tool.main([*shlex.split(words), '--out', str(data / 'out')])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert len([line for line in err.splitlines() if re.search(said, line)]) == 1, err
    assert 'Traceback' not in err
    assert 'usage:' not in err


def test_templates_made_otherwise_are_refused(tool, data, capsys):
    args = [*exemplar(data), '--folder', str(data / 'set' / 'images'), '--out', str(data / 'out')]
    tool.main([*args, *QUICK])
    with pytest.raises(SystemExit):
        tool.main([*args, *QUICK[:-2], 'seed=3', *QUICK[-2:]])
    err = capsys.readouterr().err
    assert 'settings.seed 0 instead of 3' in err
    with pytest.raises(SystemExit):
        tool.main([*args, *QUICK, '--polarity', 'mend'])
    assert "loader.polarity 'as_stored' instead of 'mend'" in capsys.readouterr().err
    command = shlex.split(err[err.index('python tools/') :])
    tool.main([*command[2:], '--workers', '1'])
    assert TemplateCache(str(data / 'out')).provenance['spec']['settings']['seed'] == 3


@pytest.mark.slow
def test_killed_command_goes_on(data):
    """SIGKILL of the command and its workers, in the middle; then it ends as if undisturbed."""
    for i in range(12):
        write(data / 'many' / f'{i}.png', np.roll(sample(SIZE, smooth)[0], i, 1))
    words = [sys.executable, str(TOOL), *exemplar(data), '--folder', str(data / 'many')]
    more = [w.replace('=12', '=400') for w in QUICK[:-2]] + ['--workers', '2', '--chunk', '1']
    broken, whole = data / 'broken', data / 'whole'
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child = subprocess.Popen([*words, '--out', broken, *more], start_new_session=True, **quiet)
    deadline = time.time() + 120
    while len(list(broken.glob('*.png.png'))) < 3 and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = len(list(broken.glob('*.png.png')))
    assert 3 <= done < 12
    again = subprocess.run(
        [*words, '--out', str(broken), *more], capture_output=True, text=True, check=True
    )
    there = int(re.search(r'(\d+) were there', again.stdout)[1])
    assert done <= there < 12
    subprocess.run([*words, '--out', str(whole), *more], check=True, capture_output=True)
    for i in range(12):
        assert (broken / f'{i}.png.png').read_bytes() == (whole / f'{i}.png.png').read_bytes()
