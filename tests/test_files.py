"""Files are written whole or not at all, whoever else writes the same one."""

import sys

import pytest

from fastnn import _files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks parts of files as POSIX has it")


def test_a_part_that_is_being_written_is_left_alone(tmp_path):
    path, part = tmp_path / "m[1].st", tmp_path / ".m[1].st.0123456789abcdef.part"
    (tmp_path / ".m[2].st.abc.part").write_bytes(b"of another file")
    with open(part, "xb") as file:
        _files.fcntl.flock(file, _files.fcntl.LOCK_EX)
        _files.write_atomically(path, b"one")
        assert part.exists()
    _files.write_atomically(path, b"two")
    assert not part.exists()
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


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_interruption_at_any_line_leaves_the_old_or_the_new_content(tmp_path, before):
    """KeyboardInterrupt comes at the first line of the module that is run, then at the second, until none is left."""
    path, seen = tmp_path / "m", []

    def write_interrupted(at):
        lines = 0

        def trace(frame, event, _):
            nonlocal lines
            if frame.f_code.co_filename != _files.__file__:
                return None
            if event == "line":
                lines += 1
                if lines == at:
                    raise KeyboardInterrupt
            return trace

        outer = sys.gettrace()
        sys.settrace(trace)
        try:
            _files.write_atomically(path, b"new")
        finally:
            sys.settrace(outer)

    for at in range(1, 100):
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)
        try:
            write_interrupted(at)
        except KeyboardInterrupt:
            seen.append(path.read_bytes() if path.exists() else None)
            assert [one.name for one in tmp_path.iterdir()] == ([] if seen[-1] is None else ["m"])
        else:
            break
    assert path.read_bytes() == b"new"
    assert set(seen) == {before, b"new"}
    assert len(seen) > 15


def test_writers_side_by_side_leave_one_whole_file(tmp_path):
    """Many threads write the same path at once."""
    from concurrent.futures import ThreadPoolExecutor

    contents = [bytes([k]) * 100_000 for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: _files.write_atomically(tmp_path / "m", content), contents * 5))
    assert (tmp_path / "m").read_bytes() in contents
    assert [one.name for one in tmp_path.iterdir()] == ["m"]
