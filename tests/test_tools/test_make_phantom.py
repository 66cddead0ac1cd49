import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from orl_mm.datasets import ChestXRayParts, ImageLabelCsv
from orl_mm.datasets.phantom import FINDINGS, PARTS, make_phantom
from orl_mm.datasets.transforms import LoadParts, LoadXray
from tests.small import load_tool


@pytest.fixture(scope='module')
def main():
    return load_tool('make_phantom').main


def test_folder_of_phantoms(main, tmp_path, capfd):
    """The files equal what make_phantom returns, and the data sets read them."""
    out = tmp_path / 'phantom'
    main(f'{out} --num 8 --size 64 --seed 5 --workers 2 --chunk 2'.split())
    printed = capfd.readouterr()
    assert '8 PHANTOM images made, 0 were there' in printed.out
    assert '100%' in printed.err
    assert 'img/s' in printed.err

    truth = make_phantom(3, 5, 64)
    dataset = ChestXRayParts(str(out), pipeline=[LoadXray(), LoadParts()])
    assert len(dataset) == 8
    assert dataset.metainfo['parts'] == PARTS
    sample = dataset[3]
    assert Path(sample['img_path']).name == 'phantom_00003.png'
    assert np.array_equal(sample['img'][..., 0], truth.image)
    for mask, part in zip(sample['part_masks'], PARTS, strict=False):
        assert np.array_equal(mask.numpy().astype(bool), truth.masks[part])

    lists = {name: f'{out}/splits/{name}.txt' for name in ('score', 'segmenter', 'exemplar')}
    score = ChestXRayParts(str(out), list_file=lists['score'])
    train = ChestXRayParts(str(out), list_file=lists['segmenter'], exclude_file=lists['exemplar'])
    assert (len(score), len(train)) == (2, 5)
    images = dict(img_path='images')
    labels = ImageLabelCsv(
        'labels.csv', data_root=str(out), data_prefix=images, label_columns=FINDINGS
    )
    assert labels.get_data_info(3)['gt_score'].tolist() == list(truth.findings.values())
    assert 'PHANTOM' in json.loads((out / 'phantom.json').read_text())['spec']['note']


def test_continues_and_grows(main, tmp_path, capfd):
    out = tmp_path / 'phantom'
    args = [str(out), '--size', '64', '--workers', '1']
    main([*args, '--num', '6'])
    kept = out / 'images/phantom_00002.png'
    before = kept.stat().st_mtime_ns
    (out / 'images/phantom_00004.png').unlink()
    main([*args, '--num', '9'])
    assert '4 PHANTOM images made, 5 were there' in capfd.readouterr().out
    assert kept.stat().st_mtime_ns == before
    assert len((out / 'labels.csv').read_text().splitlines()) == 10


def test_other_settings_need_overwrite(main, tmp_path, capfd):
    out = tmp_path / 'phantom'
    main([str(out), '--num', '4', '--size', '64', '--workers', '1'])
    other = [str(out), '--num', '4', '--size', '80', '--workers', '1']
    with pytest.raises(SystemExit) as stop:
        main(other)
    assert stop.value.code == 2
    assert 'size 64 instead of 80' in capfd.readouterr().err
    main([*other, '--overwrite'])
    assert '4 PHANTOM images made, 0 were there' in capfd.readouterr().out
    assert cv2.imread(str(out / 'images/phantom_00000.png'), 0).shape == (80, 80)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--num', '3'], 'num=3'),
        (['--size', '10'], 'size=10'),
        (['--seed', '-1'], 'seed=-1'),
        (['--workers', '0'], "--workers: '0' must be at least 1"),
        (['--nmu', '9'], 'did you mean --num'),
    ],
)
def test_mistakes(main, tmp_path, capfd, args, message):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'p'), *args])
    assert stop.value.code == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / 'p').exists()
