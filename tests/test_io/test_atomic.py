import os

import pytest

from orl_mm.io.atomic import write_atomic


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / 'a' / 'x.png'
    write_atomic(target, b'old')

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', broken)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, b'new')
    assert target.read_bytes() == b'old'
    assert os.listdir(target.parent) == ['x.png']
    assert target.stat().st_mode & 0o777 == 0o644
