"""Declarations for users' own Cython; see ``__init__.pxd`` beside this file, and docs/cython.md."""

from pathlib import Path

__all__ = ["get_include"]


def get_include() -> str:
    """Return the folder in which Cython finds ``fastnn/cython_api``, for ``cythonize(include_path=[...])``.

    It is needed where fastnn is not found on ``sys.path`` by its folder: in an editable install, for instance.

    Returns
    -------
    str
        The folder that holds the package fastnn.

    Examples
    --------
    >>> import os
    >>> import fastnn as fnn
    >>> os.path.exists(os.path.join(fnn.get_include(), "fastnn", "cython_api", "__init__.pxd"))
    True
    """
    return str(Path(__file__).resolve().parent.parent.parent)
