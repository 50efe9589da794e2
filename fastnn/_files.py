"""Files that stand whole at any moment, whatever ends the process that writes them."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: there an abandoned file stays
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that at any moment the old or the new content stands there, whole.

    The content goes to a new file ``.<name>.<letters>.part`` beside it, which then takes its place. A process that is
    killed meanwhile leaves that file; the next write of the same path removes it.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected an existing folder to save into; create {path.parent} first.")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected the name of a file, got a folder.")
    _remove_abandoned(path)
    done = False
    while not done:
        # A new name each time: another writer that has opened the last one may still remove what bears its name.
        # Known before the file is made: at whatever line Ctrl-C comes, it is found and removed.
        part = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
        try:
            done = _write_part(part, content, path)
            if fcntl is None:  # pragma: no cover - Windows replaces no open file
                os.replace(part, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # it may have been interrupted after the replacement
                os.unlink(part)
            raise


def _write_part(part: Path, content: bytes, path: Path) -> bool:
    """Write the new file and, while it is locked, put it in its place. The lock ends with the process, however it ends.

    False where another writer came between its making and its lock, and took it for abandoned.
    """
    with open(part, "xb") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink == 0:
                return False
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if fcntl is not None:
            os.replace(part, path)
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of this path have left: parts that no living process has locked."""
    if fcntl is None:  # pragma: no cover - Windows
        return
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError), open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(part)
