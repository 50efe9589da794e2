"""How the benchmarks measure: two callables in one process, alternating, warmed up, the minimum of repeated runs.

A ratio taken this way moves by a few per cent from run to run on a quiet machine; the absolute times move far more. The
minimum is reported because what disturbs a run (another process, a clock change, a page fault) only ever adds time.
"""

import gc
import os
import platform
import sys
import time

#: FASTNN_BENCH_QUICK=1 runs everything once, to see that it runs; its figures mean nothing.
QUICK = os.environ.get("FASTNN_BENCH_QUICK", "") not in ("", "0")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
#: What torch and the libraries in it read for the level that FASTNN_SIMD names: its own loops, MKL, oneDNN. Of MKL's
#: settings CPUs of all makers heed the first; for AVX2 there is none like it, and its products keep what the CPU has.
TORCH_LEVELS = {
    "baseline": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    },
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def _run(function, loops, clock=time.perf_counter):
    start = clock()
    for _ in range(loops):
        function()
    return clock() - start


def _calibrate(function, min_time):
    """Warm ``function`` up and return how many calls take at least ``min_time`` seconds."""
    function()
    loops = 1
    while (elapsed := _run(function, loops)) < min_time:
        # One and a fifth as many as seem needed, at least twice and at most a hundred times as many as before.
        guess = int(1.2 * loops * min_time / max(elapsed, 1e-9))
        loops = min(max(guess, 2 * loops), 100 * loops)
    return loops


def race(functions, *, repeat=9, min_time=0.02, clock=time.perf_counter):
    """Time functions of no arguments that do the same work.

    Parameters
    ----------
    functions : list of callable
        Called without arguments; what they return is dropped.
    repeat : int
        Runs of each, alternating, so that a change of the machine's speed meets all.
    min_time : float
        Seconds that a run lasts at least: each function is called as often as that needs.
    clock : callable
        What tells the time. For a process held on one core ``time.process_time`` is the same, less what other
        processes took of that core; it counts the process's other threads too.

    Returns
    -------
    times : list of list of float
        For each function its runs, in seconds a call.
    loops : list of int
        Calls a run.
    """
    if QUICK:
        repeat, min_time = 1, 0.0
    loops = [_calibrate(function, min_time) for function in functions]
    times = [[] for _ in functions]
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeat):
            for i, function in enumerate(functions):
                times[i].append(_run(function, loops[i], clock) / loops[i])
    finally:
        if collecting:
            gc.enable()
    return times, loops


def ratio(ours, theirs, *, repeat=9, min_time=0.02):
    """Time two functions that do the same work, as :func:`race` does.

    Returns
    -------
    dict
        ``ours`` and ``theirs``, seconds a call (the fastest run's mean); ``ratio``, theirs / ours; ``loops``, calls a
        run, of both; ``spread``, the median run of ours over its fastest.
    """
    times, loops = race([ours, theirs], repeat=repeat, min_time=min_time)
    best = [min(t) for t in times]
    return {
        "ours": best[0],
        "theirs": best[1],
        "ratio": best[1] / best[0],
        "loops": tuple(loops),
        "spread": spread(times[0]),
    }


def spread(runs):
    """Return the median run over the fastest."""
    return sorted(runs)[len(runs) // 2] / min(runs)


def seconds(t):
    """Write a time with a unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if t * scale >= 1:
            return f"{t * scale:.3g} {unit}"
    return f"{t * 1e9:.3g} ns"


def _cpu():
    """Return the processor's name and the SIMD sets that matter here, from /proc/cpuinfo where it exists."""
    name, flags = platform.processor() or platform.machine(), []
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() == "flags":
                    flags = [f for f in ("avx2", "fma", "avx512f") if f in value.split()]
                    break
    except OSError:
        pass
    return f"{name} ({os.cpu_count()} cores; {' '.join(flags) or 'SIMD sets unknown'})"


def environment():
    """Describe the machine, the versions and the threads, as printed under the table."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(package):
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return None

    import fastnn as fnn

    try:
        from fastnn._compiled.simd import simd_level
    except ImportError:
        level = "none"
    else:
        level = simd_level()
    packages = [installed(p) for p in ("numpy", "scipy", "torch", "onnxruntime", "jax")]
    return {
        "CPU": _cpu(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "fastnn": f"{fnn.__version__}, backend {fnn.backend()}, SIMD level {level}",
        "beside": ", ".join(p for p in packages if p),
        "threads": ", ".join(f"{v}={os.environ.get(v, 'unset')}" for v in THREAD_VARIABLES),
        "load": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()) if hasattr(os, "getloadavg") else "unknown",
    }


def pin_threads():
    """Hold every BLAS and OpenMP pool at one thread; must run before NumPy is first imported."""
    late = "numpy" in sys.modules and any(os.environ.get(v) != "1" for v in THREAD_VARIABLES)
    if late:
        raise RuntimeError(
            "benchmarks: NumPy was imported before its threads could be pinned; run with "
            + " ".join(f"{v}=1" for v in THREAD_VARIABLES)
        )
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"


def pin_level():
    """Hold torch at the CPU level that FASTNN_SIMD names for ours; must run before torch is first imported."""
    for variable, value in TORCH_LEVELS.get(os.environ.get("FASTNN_SIMD"), {}).items():
        os.environ.setdefault(variable, value)
