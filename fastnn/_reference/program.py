"""Walk a program's calls in Python: the twin of the compiled executor.

A bound call is ``(kernel, slots, numbers, adds, apart, shard)``, see ``Call`` in :mod:`fastnn.ops._base`; a slot is
None or ``(base, byte offset, shape, dtype code, repeated)``. Calls of a shard may run beside those of the others in the
same stage; here they run one after the other. The kernel is a name, or a function of Python's: a user's own code, which
is called as ``function(arrays, kept, accumulate)`` with a dict of the workspace's, and may raise. It leaves for another
call what it wants under a key of its own, and under ``"undo"`` a function to call if one of the list raises.
"""

import functools
import importlib
import inspect
import time

import numpy as np

__all__ = ["Executor", "Stepper"]


def quiet(kernel):
    """Return a kernel that passes NaN and infinity on without NumPy's warnings, as its compiled twin does."""

    @functools.wraps(kernel)
    def run(*arguments, **options):
        with np.errstate(all="ignore"):
            return kernel(*arguments, **options)

    return run


KERNELS = {}
for _family in (
    "linear", "activation", "random", "norm", "shape", "merge", "embedding", "lstm", "lstm_peephole", "rnn",
    "gru", "scan", "loss", "metric", "optimizer",
):  # fmt: skip
    _module = importlib.import_module(f"{__package__}.{_family}")
    KERNELS.update({name: quiet(getattr(_module, name)) for name in _module.__all__})
#: The kernels that write parameters' gradients, or add to them.
ADDING = {name for name, kernel in KERNELS.items() if "accumulate" in inspect.signature(kernel).parameters}


class Workspace:
    """The arena of one run, and the views of the arrays that it was last run with."""

    def __init__(self, arena_bytes):
        # Float numbers that nobody wrote would be found at once.
        self.arena = np.full(arena_bytes, 0xFF, dtype=np.uint8)
        self.kept = {}
        self.error = None
        self.forget()

    def forget(self):
        """Let go of the arrays of the last run: they may be large, and are not ours."""
        self.arrays = None
        self.views = {}

    def failure(self):
        """Return what a function of Python's raised and so ended the last slice, and forget it; None if none did."""
        error, self.error = self.error, None
        return error


class Executor:
    """Lists of bound calls.

    Parameters
    ----------
    sections : dict of str to list
        Bound calls by the name of their list.
    n_bases : int
        Number of memory blocks, the arena included.
    arena_bytes : int
        Size of a workspace's arena.
    dtype : numpy.dtype
        float32 or float64: dtype of the kernels to run.
    """

    def __init__(self, sections, n_bases, arena_bytes, dtype):
        self.sections = sections
        self.n_bases = n_bases
        self.arena_bytes = arena_bytes
        self.dtype = np.dtype(dtype)

    def workspace(self):
        """Return memory to run in; one for each concurrent run."""
        return Workspace(self.arena_bytes)

    def run(self, section, workspace, arrays, accumulate=False):
        """Run one list of calls; ``arrays`` are the memory blocks in order, the first (the arena) is ignored."""
        if workspace.arrays is not None:
            raise RuntimeError(
                "expected one pass of forward(x, training=True), backward(dy) or a stream at a time, got another one "
                "while it ran, from another thread or from a layer's own code; predict(x) is for any number of threads."
            )
        try:
            whole = self._walk(section, workspace, arrays, accumulate)
        finally:
            workspace.forget()
        if not whole:
            raise workspace.failure()

    def _walk(self, section, workspace, arrays, accumulate=False):
        """Run a list of calls; False if a function of Python's raised, which the workspace holds then."""
        if workspace.arrays is None or any(a is not b for a, b in zip(arrays, workspace.arrays, strict=True)):
            workspace.arrays, workspace.views = list(arrays), {}
        views = workspace.views.get(section)
        if views is None:
            views = workspace.views[section] = [
                [self._view(workspace, slot) for slot in slots] for _, slots, *_ in self.sections[section]
            ]
        for (kernel, _, numbers, adds, apart, _), tensors in zip(self.sections[section], views, strict=True):
            add = adds or (accumulate and not apart)
            if callable(kernel):
                try:
                    kernel(tensors, workspace.kept, add)
                except BaseException as error:  # Ctrl-C too: the compiled walk cannot do otherwise
                    workspace.error = error
                    undo = workspace.kept.pop("undo", None)
                    if undo is not None:
                        undo()
                    return False
            elif not isinstance(kernel, str):
                self._run_steps(kernel, tensors)
            elif kernel in ADDING:
                KERNELS[kernel](*tensors, *numbers, accumulate=add)
            else:
                KERNELS[kernel](*tensors, *numbers)
        return True

    def _run_steps(self, steps, tensors):
        """Run a list of calls for each step, its memory blocks moving through the tensors of the call."""
        inner = Executor({"steps": steps.calls}, len(steps.moves), 0, self.dtype)
        flat = [None if tensor is None else tensor.reshape(-1).view(np.uint8) for tensor in tensors]
        order = range(steps.steps - 1, -1, -1) if steps.backwards else range(steps.steps)
        for t in order:
            workspace = Workspace(0)
            arrays = []
            for tensor, offset, stride in steps.moves:
                arrays.append(None if tensor < 0 or flat[tensor] is None else flat[tensor][offset + t * stride :])
            workspace.arena = arrays[0]
            inner._walk("steps", workspace, arrays)

    def entry(self, section, pool, arrays, places, input_shape, output_shape):
        """Return the short way from one array to the output: a callable ``entry(x)``, or None if there is none.

        For a program with lengths it is ``entry(x, lengths)``. The callable returns a new array, or None if x is not
        exactly the kind of array that the program was bound for. Walking the calls in Python costs so much more than
        checking x that there is no short way here.

        Parameters
        ----------
        section : str
            The list to run.
        pool : list
            Workspaces that are free: each call takes one, or makes one, and puts it back.
        arrays : list
            As for :meth:`run`; those of the input, its lengths and the output do not matter.
        places : dict of str to int
            Their numbers among the arrays: "input", "output" and, for a ragged input, "lengths".
        input_shape, output_shape : tuple of int
        """
        return None

    def loop(self, arrays, places, input_shape, output_shape):
        """Return the short way of a loop written by hand, or None as there is none here.

        It is an object with ``forward(x)``, which returns a new output, and ``backward(dy, accumulate)``, which returns
        a new dx; either returns None for an array of another kind. For a program with lengths it has
        ``forward_ragged(x, lengths)`` instead.

        Parameters
        ----------
        arrays : list
            As for :meth:`run`; those of inputs and outputs do not matter.
        places : dict of str to int
            Numbers among them of "input", "output", "dinput", "doutput", "state" and, for a ragged input, "lengths".
        input_shape, output_shape : tuple of int
        """
        return None

    def arm(self, stepper, arrays, places, input_shape, output_shape):
        """Let a stream make calls with arrays of this shape the short way; there is none here.

        Parameters
        ----------
        stepper : Stepper
        arrays : list
            As for :meth:`run`; "carry_in" and "carry_out" among them change places with each call.
        places : dict of str to int
            Numbers of the arrays by name.
        input_shape, output_shape : tuple of int
        """

    def run_slice(
        self, section, workspace, arrays, batch_size, tail, gathers, index, position, per_epoch, stats, history, seconds
    ):
        """Run whole batches of an epoch or several until time is up; return the number of examples now done.

        A function of Python's that raises ends the slice too: ``workspace.failure()`` is then what it raised, and the
        number is that after the last whole batch.

        Parameters
        ----------
        section : str
            The list to run for each batch.
        workspace, arrays
            As for :meth:`run`; the arrays that ``gathers`` name hold one batch.
        batch_size : int
            Examples in a batch.
        tail : tuple or None
            ``(executor, workspace, arrays, size, gathers)`` of the shorter batch that ends an epoch.
        gathers : list of (source, batch)
            Rows of ``source`` (N, ...) are cast into ``batch`` (batch_size, ...) before each run.
        index : (M,) int64 ndarray
            Rows in the order in which they are taken, epoch after epoch.
        position : int
            Where in ``index`` to go on.
        per_epoch : int
            Rows of an epoch.
        stats : (S, 2) float64 ndarray
            Sums that the kernels add to; written to ``history`` and cleared at the end of an epoch.
        history : (epochs, S, 2) float64 ndarray
            One row for each epoch in ``index``.
        seconds : float
            Stop after the batch that passes this.
        """
        end = time.perf_counter() + seconds
        while position < len(index):
            left = per_epoch - position % per_epoch
            if left >= batch_size:
                size, run = batch_size, (self, workspace, arrays, gathers)
            else:
                executor, tail_workspace, tail_arrays, size, tail_gathers = tail
                run = executor, tail_workspace, tail_arrays, tail_gathers
            rows = index[position : position + size]
            with np.errstate(over="ignore"):
                for source, batch in run[3]:
                    batch[...] = source[rows]
            if not run[0]._walk(section, run[1], run[2]):
                workspace.error = run[1].failure()
                break
            position += size
            if position % per_epoch == 0:
                history[position // per_epoch - 1] = stats
                stats[...] = 0
            if time.perf_counter() > end:
                break
        workspace.forget()
        if tail is not None:
            tail[1].forget()
        return position

    def _view(self, workspace, slot):
        if slot is None:
            return None
        base, offset, shape, code, repeated = slot
        block = workspace.arena if base == 0 else workspace.arrays[base]
        if block is None:
            return None
        dtype = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.uint64))[code]
        count = int(np.prod(shape)) * dtype.itemsize
        flat = block.reshape(-1).view(np.uint8)[offset : offset + count]
        view = flat.view(dtype).reshape(shape)
        return np.broadcast_to(view, (shape[0], repeated, shape[2])) if repeated else view


class Stepper:
    """Base of streams: calls like the last one may take a short way, all others go to ``slow(x)``."""

    def __call__(self, x):
        """Run the next step or block of steps."""
        return self.slow(x)

    def disarm(self):
        """Leave the short way; return whether "carry_in" and "carry_out" have changed places meanwhile."""
        return False
