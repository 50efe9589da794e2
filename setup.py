"""Build ``src_cython/*.pyx`` into ``fastnn/_compiled/``; everything else about the package is in pyproject.toml.

Environment variables read while building:

FASTNN_REQUIRE_COMPILED=1  a failed compilation is an error (default: the package installs on NumPy alone)
FASTNN_SKIP_COMPILED=1     do not compile at all
FASTNN_DEBUG=1             bounds checks and debug symbols
FASTNN_SANITIZE=1          AddressSanitizer and UndefinedBehaviorSanitizer
"""

import glob
import os
import re
import sys

from setuptools import Extension, setup


def switch(name):
    return os.environ.get(name, "") not in ("", "0")


REQUIRE, DEBUG, SANITIZE = (switch("FASTNN_" + s) for s in ("REQUIRE_COMPILED", "DEBUG", "SANITIZE"))


def compiler_flags():
    if sys.platform == "win32":
        return ["/O2"], []
    # After CFLAGS of the environment, so that a distribution's -O2 does not replace -O3.
    flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
    # Cython's generated code and the deliberate fall-throughs of the tables are not ours to rewrite.
    flags += ["-Wno-unused-function", "-Wno-unused-variable", "-Wno-psabi"]
    flags.append("-pthread")
    if DEBUG or SANITIZE:
        # Sanitizers show lines only; full symbols of the instrumented vector code take the compiler half as long again.
        flags += ["-g1" if SANITIZE else "-g", "-fno-omit-frame-pointer"]
    if SANITIZE:
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize=alignment"]
        # Instrumented vector code takes the compiler minutes at -O3.
        return [*flags, "-O1", *sanitizers], [*sanitizers, "-pthread"]
    return flags, ["-pthread"]


def write_blas_int():
    """Declare the integer of SciPy's BLAS: plain int, or from SciPy 1.18 on its own blas_int (32 or 64 bits)."""
    import scipy.linalg

    with open(os.path.join(os.path.dirname(scipy.linalg.__file__), "cython_blas.pxd")) as file:
        own_type = "blas_int" in file.read()
    os.makedirs("build/generated", exist_ok=True)
    with open("build/generated/blas_int.pxd", "w") as file:
        file.write("from scipy.linalg.cython_blas cimport blas_int\n" if own_type else "ctypedef int blas_int\n")


def read_by(path, seen):
    """Collect the project's files that a source includes or cimports, so that a change of one rebuilds no others."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    names = re.findall(r'(?:include|extern from|SIMD_LEAVES|SIMD_HALF_LEAVES) "([\w.]+)"', text)
    names += [name + ".pxd" for name in re.findall(r"^(?:from|cimport) (?:fastnn\._compiled\.)?(\w+)", text, re.M)]
    names.append(os.path.basename(path)[:-4] + ".pxd")
    for name in names:
        for folder in ("src_cython", "fastnn/_compiled"):
            found = f"{folder}/{name}"
            if os.path.exists(found) and found not in seen:
                seen.add(found)
                read_by(found, seen)
    return seen


def extensions():
    import numpy
    from Cython.Build import cythonize

    write_blas_int()

    compile_args, link_args = compiler_flags()
    modules = [
        Extension(
            "fastnn._compiled." + os.path.basename(path)[:-4],
            [path],
            include_dirs=[numpy.get_include(), "src_cython"],
            depends=sorted(read_by(path, set())),  # or a changed header would not be rebuilt
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_25_API_VERSION")],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
        for path in sorted(glob.glob("src_cython/*.pyx"))
    ]
    directives = {
        "language_level": 3,
        "boundscheck": DEBUG,
        "wraparound": False,
        "initializedcheck": DEBUG,
        "cdivision": True,
        "binding": True,
        "embedsignature": False,
    }
    built = cythonize(
        modules,
        include_path=["src_cython", "build/generated", "."],
        compiler_directives=directives,
        build_dir="build/cython",
        quiet=True,
    )
    for module in built:  # cythonize makes new Extensions, and does not pass this on
        module.optional = not REQUIRE
    return built


setup(
    ext_modules=[] if switch("FASTNN_SKIP_COMPILED") else extensions(),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
