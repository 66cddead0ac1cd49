import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from orl_mm.datasets import ChestXRayParts, CheXpert, ImageLabelCsv, ImageList
from orl_mm.datasets.chexpert import FOURTEEN
from orl_mm.datasets.transforms import LoadParts, LoadXray
from tests import xray_files as files
from tests.small import load_tool

ROOT = Path(__file__).resolve().parents[2]
IMAGES = dict(img_path='images')
LEFT, RIGHT = files.disc(64, 0.72, 0.4), files.disc(64, 0.28, 0.4)


@pytest.fixture(scope='module')
def main():
    module = load_tool('convert_cxr')
    return lambda *args: module.main([*map(str, args), '--workers', '1'])


def chest(size: int = 64) -> np.ndarray:
    lungs = files.disc(size, 0.28, 0.4) | files.disc(size, 0.72, 0.4)
    return np.where(lungs > 0, 40, 180).astype(np.uint8)


def grey(path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert image.ndim == 2
    assert image.dtype == np.uint8
    return image


@pytest.fixture
def folder(tmp_path):
    """A DICOM, a 12-bit PNG, an inverted JPEG, a cut PNG, and a csv that names them."""
    root = tmp_path / 'folder'
    files.write(root / 'deep' / 'c.jpg', 255 - chest(), quality=95)
    (root / 'a.1.2.dcm').write_bytes(files.dicom_bytes(chest().astype(np.uint16) * 16))
    cv2.imwrite(str(root / 'b.png'), chest(96)[:64].astype(np.uint16) * 16)
    (root / 'd.png').write_bytes((root / 'b.png').read_bytes()[:200])
    (root / 'labels.csv').write_text(
        'image,tb,note\na.1.2.dcm,1,"x, y"\nb.png,0,a.dcm\ndeep/c.jpg,0,\n'
    )
    return root


def test_folder_with_dicom(main, folder, tmp_path, capfd):
    out = tmp_path / 'out'
    main(folder, out, '--size', 32, '--format', 'png', '--polarity', 'mend')
    printed = capfd.readouterr()
    assert '3 images made, 0 were there; labels.csv' in printed.out
    assert '1 unreadable images: see' in printed.out
    assert '1 inverted images: see' in printed.out
    assert '100%' in printed.err
    assert 'img/s' in printed.err
    assert 'd.png\t' in (out / 'unreadable.txt').read_text()
    assert (out / 'inverted.txt').read_text() == f'{folder / "deep/c.jpg"}\n'

    # Stored bits as in LoadXray; each pixel the mean of 2 x 2.
    source = LoadXray().transform(dict(img_path=str(folder / 'a.1.2.dcm')))['img'][..., 0]
    means = source.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(grey(out / 'images/a.1.2.png') - means).max() <= 0.5
    assert grey(out / 'images/b.png').shape == (32, 48)  # the shorter side
    mended = grey(out / 'images/deep/c.png').astype(int)
    assert np.abs(mended - cv2.resize(chest(), (32, 32), interpolation=cv2.INTER_AREA)).max() < 20

    rows = list(csv.reader((out / 'labels.csv').read_text().splitlines()))
    assert rows[1:] == [
        ['a.1.2.png', '1', 'x, y'],
        ['b.png', '0', 'a.dcm'],
        ['deep/c.png', '0', ''],
    ]
    dataset = ImageLabelCsv(
        'labels.csv', data_root=str(out), label_columns=['tb'], data_prefix=IMAGES, missing='error'
    )
    assert len(dataset) == 3
    assert len(ImageList(str(out))) == 3  # no mask, no unfinished file among them


def test_files_without_suffix(main, folder, tmp_path, capfd):
    (folder / 'labels.csv').unlink()
    (folder / 'd.png').unlink()
    (folder / 'a.1.2.dcm').rename(folder / '1.2.840.77')
    main(folder, tmp_path / 'out', '--every-file', '--size', 32)
    assert '3 images made' in capfd.readouterr().out
    assert grey(tmp_path / 'out/images/1.2.840.77.jpg').shape == (32, 32)


def test_continues_where_it_was_stopped(main, folder, tmp_path, capfd):
    out = tmp_path / 'out'
    args = (folder, out, '--size', 32, '--polarity', 'check')
    main(*args)
    kept = out / 'images/b.jpg'
    before = kept.stat().st_mtime_ns
    (out / 'images/a.1.2.jpg').unlink()
    time.sleep(0.02)
    files.write(folder / 'deep/c.jpg', 250 - chest(), quality=95)  # another image
    capfd.readouterr()
    main(*args)
    printed = capfd.readouterr().out
    assert '2 images made, 1 were there' in printed
    assert '1 unreadable images: see' in printed
    assert kept.stat().st_mtime_ns == before
    main(*args)
    assert '0 images made, 3 were there' in capfd.readouterr().out
    assert 'c.jpg' in (out / 'inverted.txt').read_text()  # though nothing was looked at again
    shutil.copy(folder / 'b.png', folder / 'd.png')
    main(*args)
    assert not (out / 'unreadable.txt').exists()


def test_other_settings_need_overwrite(main, folder, tmp_path, capfd):
    out = tmp_path / 'out'
    main(folder, out, '--size', 32)
    with pytest.raises(SystemExit) as stop:
        main(folder, out, '--size', 16)
    assert stop.value.code == 2
    assert 'size 32 instead of 16' in capfd.readouterr().err
    main(folder, out, '--size', 16, '--overwrite')
    assert '3 images made, 0 were there' in capfd.readouterr().out
    assert grey(out / 'images/b.jpg').shape == (16, 24)


def test_jsrt_download(main, tmp_path, capfd):
    root, out = tmp_path / 'jsrt', tmp_path / 'out'
    shown = cv2.resize(chest(), (2048, 2048), interpolation=cv2.INTER_NEAREST).astype(np.uint16)
    for stem in ('JPCLN001', 'JPCNN002'):
        (root / 'All247images').mkdir(parents=True, exist_ok=True)
        (root / 'All247images' / f'{stem}.IMG').write_bytes(files.jsrt_bytes(shown * 16))
        masks = root / f'scratch/fold{2 - int(stem[-1]) % 2}/masks'
        for name, mask in (('left lung', LEFT), ('right lung', RIGHT)):
            large = cv2.resize(mask, (1024, 1024), interpolation=cv2.INTER_NEAREST)
            files.write(masks / name / f'{stem}.gif', large)
    files.write(root / 'scratch/fold1/masks/heart/JPCLN001.gif', files.disc(1024, 0.55, 0.7))
    main(root, out, '--size', 64, '--format', 'png')
    printed = capfd.readouterr().out
    assert '2 images (jsrt)' in printed
    assert '2 images made, 0 were there; labels.csv' in printed
    assert (out / 'labels.csv').read_text() == 'image,nodule\nJPCLN001.png,1\nJPCNN002.png,0\n'
    dataset = ChestXRayParts(str(out), missing='keep', pipeline=[LoadXray(), LoadParts()])
    first, second = dataset[0], dataset[1]
    assert np.abs(first['img'][..., 0] - chest() * (16.0 * 255 / 4095)).max() <= 0.5
    assert first['parts'] == ('left_lung', 'right_lung', 'heart')
    assert second['parts'] == ('left_lung', 'right_lung')
    assert np.array_equal(first['part_masks'][0] * 255, LEFT)
    assert np.array_equal(first['part_masks'][1] * 255, RIGHT)
    assert first['part_masks'][2].float().mean() == pytest.approx(np.pi * 0.15**2, rel=0.03)


def test_montgomery_download(main, tmp_path, capfd):
    """Left and right are told by the masks, not the folders; masks that do not fit are listed."""
    root, out = tmp_path / 'MontgomerySet', tmp_path / 'out'
    for stem, width in (('MCUCXR_0001_0', 64), ('MCUCXR_0104_1', 64), ('MCUCXR_0108_1', 32)):
        files.write(root / 'CXR_png' / f'{stem}.png', chest()[:, :width])
        files.write(root / 'ManualMask/leftMask' / f'{stem}.png', RIGHT > 0)
        files.write(root / 'ManualMask/rightMask' / f'{stem}.png', LEFT > 0)
    main(root, out, '--size', 64)
    printed = capfd.readouterr().out
    assert '3 images (montgomery)' in printed
    assert '1 unreadable images: see' in printed
    assert 'MCUCXR_0108_1' in (out / 'unreadable.txt').read_text()
    assert 'aspect' in (out / 'unreadable.txt').read_text()
    dataset = ChestXRayParts(str(out), pipeline=[LoadParts()])
    assert len(dataset) == 2
    assert np.array_equal(dataset[1]['part_masks'][0] * 255, LEFT)
    tb = ImageLabelCsv(
        'labels.csv', data_root=str(out), label_columns='tb', data_prefix=IMAGES, missing='skip'
    )
    assert [tb.get_data_info(i)['gt_score'].item() for i in range(2)] == [0, 1]


def test_chexpert_download(main, tmp_path, capfd):
    """Frontal images in their folders, csv files with the new names; CheXpert reads the result."""
    root, out = tmp_path / 'CheXpert-v1.0', tmp_path / 'small'
    header = ['Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA', *FOURTEEN]
    for split, patient in (('train', 1), ('valid', 2)):
        rows = []
        for i, view in enumerate(('frontal', 'lateral'), 1):
            path = f'CheXpert-v1.0/{split}/patient0000{patient}/study1/view{i}_{view}.jpg'
            rows.append([path, 'Male', 50, view.title(), 'PA', *(['1.0'] + [''] * 13)])
            files.write(tmp_path / path, chest(), quality=95)
        with open(root / f'{split}.csv', 'w', newline='') as file:
            csv.writer(file).writerows([header, *rows])
    main(root, out, '--size', 32, '--format', 'png')
    printed = capfd.readouterr().out
    assert '2 images (chexpert)' in printed
    assert 'train.csv, valid.csv' in printed
    assert [p.name for p in sorted(out.rglob('*.png'))] == ['view1_frontal.png'] * 2
    for split in ('train', 'valid'):
        dataset = CheXpert(
            f'{split}.csv', str(out), classes=['No Finding'], missing='error', pipeline=[LoadXray()]
        )
        assert len(dataset) == 1
        assert dataset[0]['img'].shape == (32, 32, 3)
        assert dataset[0]['patient'] == f'patient0000{1 + (split == "valid")}'


def test_square_and_never_enlarged(main, tmp_path):
    files.write(tmp_path / 'in' / 'a.png', chest()[:, :48])
    main(tmp_path / 'in', tmp_path / 'out', '--size', 999, '--format', 'png')
    assert np.array_equal(grey(tmp_path / 'out/images/a.png'), chest()[:, :48])
    main(tmp_path / 'in', tmp_path / 'sq', '--size', 32, '--square')
    assert grey(tmp_path / 'sq/images/a.jpg').shape == (32, 32)


def test_disjoint_parts_stay_disjoint(main, shared_data, tmp_path, capfd):
    """Real masks of JSRT, at half their size."""
    root = tmp_path / 'jsrt'
    for folder in ('images', 'masks/left_lung', 'masks/right_lung', 'masks/heart'):
        (root / folder).mkdir(parents=True)
        for path in sorted((shared_data / 'cxr/jsrt' / folder).iterdir())[:6]:
            shutil.copy(path, root / folder)
    main(root, tmp_path / 'out', '--size', 128)
    assert '6 images (parts)' in capfd.readouterr().out
    large, small = (
        ChestXRayParts(str(f), pipeline=[LoadParts()]) for f in (root, tmp_path / 'out')
    )
    for a, b in zip(large, small, strict=False):
        a, b = a['part_masks'], b['part_masks']
        assert a.sum(dim=0).max() == 1 == b.sum(dim=0).max()
        assert b.float().mean((1, 2)).allclose(a.float().mean((1, 2)), rtol=0.05)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['nowhere', 'out'], "'nowhere' is no folder"),
        (['in', 'in/out'], 'must not lie in SOURCE'),
        (['in', 'out', '--window', '5'], 'window'),
        (['in', 'out', '--window', 'a,b'], 'BLACK,WHITE'),
        (['in', 'out', '--size', '0'], 'size=0'),
        (['in', 'out'], 'no image below'),
        (['in', 'out', '--kind', 'jsrt'], 'All247images'),
    ],
)
def test_mistakes(main, tmp_path, capfd, monkeypatch, args, message):
    (tmp_path / 'in').mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(*args)
    assert stop.value.code == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_two_sources_of_one_name(main, tmp_path, capfd):
    for name in ('a.png', 'a.jpg'):
        files.write(tmp_path / 'in' / name, chest())
    with pytest.raises(SystemExit):
        main(tmp_path / 'in', tmp_path / 'out')
    assert 'would both become images/a.jpg' in capfd.readouterr().err


@pytest.mark.slow
def test_killed_run_continues(tmp_path):
    """SIGKILL in the middle: no half file counts, and the same command ends the work."""
    for i in range(300):
        files.write(tmp_path / 'in' / f'{i:03d}.png', chest(512))
    out = tmp_path / 'out'
    tool, options = ROOT / 'tools/convert_cxr.py', '--size 256 --format png --workers 2 --chunk 2'
    command = f'{sys.executable} {tool} {tmp_path}/in {out} {options}'.split()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list((out / 'images').glob('*.png')) if out.is_dir() else ()) < 30:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = int(done.stdout.split(' images made')[0].split()[-1])
    assert 0 < made < 300
    assert all(grey(p).shape == (256, 256) for p in (out / 'images').iterdir())
    assert len(list((out / 'images').iterdir())) == 300
