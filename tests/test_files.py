"""Files are written whole or not at all, whoever else writes the same one."""

import os
import sys

import pytest

from fastnn import _files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks parts of files as POSIX has it")


def test_a_part_that_is_being_written_is_left_alone(tmp_path):
    path = tmp_path / "m[1].st"
    handle, name = _files._new_part(path)
    (tmp_path / ".m[2].st.abc.part").write_bytes(b"of another file")
    _files.write_atomically(path, b"one")
    assert os.path.exists(name)
    os.close(handle)  # as when the process ends
    _files.write_atomically(path, b"two")
    assert not os.path.exists(name)
    assert path.read_bytes() == b"two"
    assert (tmp_path / ".m[2].st.abc.part").exists()


def test_a_part_that_was_taken_for_abandoned_is_made_again(tmp_path, monkeypatch):
    """Another writer comes between the making of a part and its lock."""
    path, flock, taken = tmp_path / "m", _files.fcntl.flock, []

    def late(file, operation):
        if not taken and not operation & _files.fcntl.LOCK_NB:
            taken.extend(tmp_path.iterdir())
            for part in taken:
                part.unlink()
        return flock(file, operation)

    monkeypatch.setattr(_files.fcntl, "flock", late)
    _files.write_atomically(path, b"content")
    assert len(taken) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["m"]
    assert path.read_bytes() == b"content"


def test_writers_side_by_side_leave_one_whole_file(tmp_path):
    """Many threads write the same path at once."""
    from concurrent.futures import ThreadPoolExecutor

    contents = [bytes([k]) * 100_000 for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: _files.write_atomically(tmp_path / "m", content), contents * 5))
    assert (tmp_path / "m").read_bytes() in contents
    assert [one.name for one in tmp_path.iterdir()] == ["m"]
