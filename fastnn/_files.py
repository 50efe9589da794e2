"""Files that stand whole at any moment, whatever ends the process that writes them."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
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
    handle, name = _new_part(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)  # mkstemp's 0o600 would hide the model from the group
            if fcntl is not None:  # while it is locked
                os.replace(name, path)
        if fcntl is None:  # pragma: no cover - Windows replaces no open file
            os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # it may have been interrupted after the replacement
            os.unlink(name)
        raise


def _new_part(path: Path) -> tuple[int, str]:
    """Make a file to write to, and lock it: the lock ends with the process, however that ends."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink == 0:  # another writer came between the two lines and took it for abandoned
                os.close(handle)
                continue
        return handle, name


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of this path have left: parts that no living process has locked."""
    if fcntl is None:  # pragma: no cover - Windows
        return
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError), open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(part)
