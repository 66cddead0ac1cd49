"""What the tool says of itself: commands that repeat a table, options that are refused."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / 'tools' / 'evidence.py'
spec = importlib.util.spec_from_file_location('evidence', FILE)
evidence = importlib.util.module_from_spec(spec)
spec.loader.exec_module(evidence)


@pytest.mark.parametrize(
    ('typed', 'said'),
    [
        ('2.2', '2.2 --data DIR --seeds 3'),
        ('2.3 --seeds 1 --transfers linear', '2.3 --data DIR --seeds 1 --transfers linear'),
        (
            '2.2 --rows byol r2o --epochs 2 --transfer-epochs 1 --out x --jobs 1',
            '2.2 --data DIR --seeds 3 --rows byol r2o --epochs 2 --transfer-epochs 1',
        ),
        ('lambda --redo', 'lambda --data DIR'),
    ],
)
def test_command_repeats_the_table(typed, said):
    """Without what only says where and how fast; it reads as what was typed."""
    args = evidence.parse_args([*typed.split(), '--data', 'D'])
    assert evidence.command(args) == f'tools/evidence.py {said}'
    again = evidence.parse_args(evidence.command(args).split()[1:])
    for name in ('table', 'seeds', 'rows', 'transfers', 'epochs', 'transfer_epochs'):
        assert getattr(again, name) == getattr(args, name)


@pytest.mark.parametrize(
    ('typed', 'message'),
    [
        (
            '3.1 --transfers linear',
            '--transfers and --transfer-epochs are of 2.2 and 2.3, not of 3.1',
        ),
        ('objects --transfer-epochs 1', 'not of objects'),
        ('2.2 --seeds 0', 'at least 1, got 0 and 2'),
    ],
)
def test_options_that_mean_nothing(typed, message, capsys):
    with pytest.raises(SystemExit):
        evidence.parse_args([*typed.split(), '--data', 'D'])
    assert message in capsys.readouterr().err


def test_data_and_rows_are_checked_before_anything_runs(tmp_path, capsys):
    with pytest.raises(SystemExit):
        evidence.main(['3.1', '--data', str(tmp_path), '--out', str(tmp_path / 'out')])
    assert f'there is no folder {tmp_path}/jsrt' in capsys.readouterr().err
    for name in evidence.PHOTOGRAPHS:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(SystemExit):
        evidence.main(
            ['2.3', '--data', str(tmp_path), '--out', str(tmp_path / 'out'), '--rows', 'random']
        )
    assert '--rows random: table 2.3 has byol, k4' in capsys.readouterr().err
