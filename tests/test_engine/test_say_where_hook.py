import logging
from types import SimpleNamespace

from orl_mm.engine.hooks import SayWhereHook


def messages(tmp_path, caplog):
    logger = logging.getLogger('say_where')
    now = dict(work_dir=str(tmp_path), log_dir=str(tmp_path / 'now'), timestamp='now')
    with caplog.at_level('INFO', logger='say_where'):
        SayWhereHook().after_train(SimpleNamespace(logger=logger, **now))
    return caplog.records[-1].getMessage().splitlines()


def test_names_the_files_that_exist(tmp_path, caplog):
    assert messages(tmp_path, caplog) == ['Done.']
    (tmp_path / 'objects').mkdir()
    (tmp_path / 'now').mkdir()
    checkpoint, picture, log = (
        tmp_path / p for p in ('iter_9.pth', 'objects/latest.png', 'now/now.log')
    )
    for path in (checkpoint, picture, log):
        path.write_text('')
    (tmp_path / 'last_checkpoint').write_text(str(checkpoint))
    lines = messages(tmp_path, caplog)
    assert [line.split() for line in lines[1:]] == [
        ['checkpoint:', str(checkpoint)],
        ['picture:', str(picture)],
        ['log:', str(log)],
    ]
