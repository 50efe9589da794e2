"""Walk a program's calls below the interpreter: the twin of ``fastnn/_reference/program.py``.

An executor holds the calls of one program with offsets in place of pointers and never changes. A workspace holds an
arena and a copy of the calls' arguments with pointers, which are worked out anew only when an array has moved. The walk
itself, and a slice of whole training steps, run without the GIL; a call of a user's own Python code takes it for its
turn.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cimport numpy as cnp

import numpy as np

from fastnn._compiled.kernel cimport MAX_SCALARS, MAX_TENSORS, args_t, kernel_t, lookup, numpy_flag

from fastnn._compiled.kernel import kernel_id

cdef extern from "threads.h" nogil:
    void fastnn_parallel(void (*run)(void*, int) noexcept nogil, void* context, int n)
    int fastnn_threads_available()

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int TIME_UTC
    int timespec_get(timespec*, int)

cnp.import_array()

__all__ = ["Executor", "Stepper"]

cdef enum:
    ALIGNMENT = 64
    MAX_FEEDS = 32
    MAX_AXES = 32   # NumPy's limit before 2.0
    MAX_PARTS = 64  # threads


cdef bint* selected = numpy_flag()   # the NumPy backend is chosen: nothing here may run


cdef double now() noexcept nogil:
    cdef timespec t
    timespec_get(&t, TIME_UTC)
    return t.tv_sec + 1e-9 * t.tv_nsec


cdef struct place_t:   # one tensor of one call, in the list of those that stand in one base
    int call
    int tensor
    int64_t offset     # bytes

cdef struct move_t:    # where one base of a list of steps stands: a tensor of the call that runs it
    int tensor
    int64_t offset     # bytes
    int64_t stride     # bytes from step to step

cdef struct call_t

cdef struct steps_t:   # a list of calls that runs once for each step
    call_t* calls
    place_t* places
    int* first_place
    int n_calls, n_bases, n_steps
    bint backwards
    move_t* moves      # of each base

cdef struct call_t:
    kernel_t function # NULL: Python's, in Executor.python, or steps
    steps_t* steps
    bint adds
    bint apart        # its parameters' gradients are apart from the model's: nothing is in them from before
    args_t args       # all but the pointers

cdef struct stage_t:   # calls that one thread runs in order, beside those of the other parts of the batch
    int n_parts
    int first[MAX_PARTS + 1]   # of each part, and the end

cdef struct section_t:
    int first
    int last
    int n_stages      # 0: no part of it is shared out
    stage_t* stages
    bint python       # some of its calls are Python's
    bint plain        # all of them are kernels


cdef int parts_of(section_t* section) noexcept nogil:
    """In how many parts the batch is shared out."""
    cdef int i, parts = 1
    for i in range(section.n_stages):
        parts = max(parts, section.stages[i].n_parts)
    return parts


include "program_gather.pxi"
include "program_lists.pxi"
include "program_memory.pxi"


cdef class Executor:
    """Lists of bound calls; see the twin for the arguments."""

    cdef call_t* calls
    cdef place_t* places  # sorted by base
    cdef int* first_place # of each base, and the end
    cdef int n_calls
    cdef int n_bases
    cdef int64_t arena_bytes
    cdef bint is_double
    cdef dict numbers     # name of a section -> its number
    cdef dict python      # number of a call -> function and slots, where it is Python's
    cdef list nested      # executors of lists of steps
    cdef section_t[8] sections

    def __cinit__(self, dict sections, int n_bases, int64_t arena_bytes, dtype):
        cdef int k = 0, i, is_double = np.dtype(dtype).itemsize == 8
        cdef call_t* call
        cdef list places = [[] for _ in range(n_bases)]
        self.n_bases, self.arena_bytes = n_bases, arena_bytes
        self.is_double = is_double
        self.n_calls = sum(len(calls) for calls in sections.values())
        self.calls = <call_t*>calloc(max(self.n_calls, 1), sizeof(call_t))
        if self.calls == NULL:
            raise MemoryError()
        self.numbers, self.python, self.nested = {}, {}, []
        for name, bound in sections.items():
            i = len(self.numbers)
            self.numbers[name] = i
            self.sections[i].first = k
            self.sections[i].plain = True
            self.find_stages(&self.sections[i], bound)
            for kernel, slots, scalars, adds, apart, _ in bound:
                call = &self.calls[k]
                call.adds, call.apart = adds, apart
                if callable(kernel):
                    self.python[k] = kernel, slots
                    self.sections[self.numbers[name]].python = True
                    self.sections[self.numbers[name]].plain = False
                    k += 1
                    continue
                if isinstance(kernel, str):
                    call.function = lookup(kernel_id(kernel), is_double)
                else:
                    self.sections[self.numbers[name]].plain = False
                    self.nest(call, kernel, dtype)
                if len(slots) > MAX_TENSORS or len(scalars) > MAX_SCALARS:
                    raise ValueError(f"{kernel}: too many arguments for kernel.pxd's args_t.")
                fill_call(&call.args, slots, scalars)
                for i, slot in enumerate(slots):
                    if slot is not None:
                        places[slot[0]].append((k, i, slot[1]))
                k += 1
            self.sections[self.numbers[name]].last = k
        self.places = <place_t*>malloc(max(sum(map(len, places)), 1) * sizeof(place_t))
        self.first_place = <int*>malloc((n_bases + 1) * sizeof(int))
        if self.places == NULL or self.first_place == NULL:
            raise MemoryError()
        k = 0
        for i in range(n_bases):
            self.first_place[i] = k
            for place in places[i]:
                self.places[k].call, self.places[k].tensor, self.places[k].offset = place
                k += 1
        self.first_place[n_bases] = k

    cdef int find_stages(self, section_t* section, list bound) except -1:
        """Find the stretches of calls that threads share out, and those between, which run alone."""
        cdef list stages = []   # lists of the first calls of each part, and the end
        cdef list ends = None
        cdef object before = None
        cdef int number = section.first, i, k
        for *_, shard in bound:
            same = ends is not None and (shard is None) == (before is None)
            if not same or (shard is not None and shard[0] != before[0]):
                ends = [number]
                stages.append(ends)
            elif shard is not None and shard[1] != before[1]:
                ends.append(number)
            before = shard
            number += 1
        for i in range(len(stages)):
            stages[i].append(stages[i + 1][0] if i + 1 < len(stages) else number)
        if all(shard is None for *_, shard in bound):
            return 0
        section.plain = False
        section.n_stages = len(stages)
        section.stages = <stage_t*>calloc(len(stages), sizeof(stage_t))
        if section.stages == NULL:
            raise MemoryError()
        for i, ends in enumerate(stages):
            section.stages[i].n_parts = len(ends) - 1
            for k in range(len(ends)):
                section.stages[i].first[k] = ends[k]
        return 0

    cdef int nest(self, call_t* call, kernel, dtype) except -1:
        """Prepare a list of steps, the ``Steps`` of fastnn.ops."""
        cdef Executor inner = Executor({"steps": kernel.calls}, len(kernel.moves), 0, dtype)
        cdef steps_t* s = <steps_t*>calloc(1, sizeof(steps_t))
        cdef int i
        if s == NULL:
            raise MemoryError()
        call.steps = s
        self.nested.append(inner)
        s.calls, s.places, s.first_place = inner.calls, inner.places, inner.first_place
        s.n_calls, s.n_bases, s.n_steps, s.backwards = inner.n_calls, inner.n_bases, kernel.steps, kernel.backwards
        s.moves = <move_t*>calloc(s.n_bases, sizeof(move_t))
        if s.moves == NULL:
            raise MemoryError()
        for i in range(s.n_bases):
            s.moves[i].tensor, s.moves[i].offset, s.moves[i].stride = kernel.moves[i]
        return 0

    def __dealloc__(self):
        cdef int k
        if self.calls != NULL:
            for k in range(self.n_calls):
                if self.calls[k].steps != NULL:
                    free(self.calls[k].steps.moves)
                    free(self.calls[k].steps)
        for k in range(8):
            free(self.sections[k].stages)
        free(self.calls)
        free(self.places)
        free(self.first_place)

    def workspace(self):
        """Return memory to run in; one for each concurrent run."""
        cdef Workspace w = Workspace.__new__(Workspace)
        cdef int k
        w.memory = Memory.__new__(Memory)
        w.memory.start = <char*>malloc(self.arena_bytes + ALIGNMENT)
        w.args = <args_t*>malloc(max(self.n_calls, 1) * sizeof(args_t))
        w.bases = <void**>calloc(self.n_bases, sizeof(void*))
        if w.memory.start == NULL or w.args == NULL or w.bases == NULL:
            raise MemoryError(f"a workspace of {self.arena_bytes} bytes could not be had; use smaller batches.")
        # Float numbers that nobody wrote would be found at once.
        memset(w.memory.start, 0xFF, self.arena_bytes + ALIGNMENT)
        w.memory.arena = <char*>((<size_t>w.memory.start + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT)
        w.n_bases, w.kept = self.n_bases, {}
        if self.nested:
            w.n_args = self.n_calls
            w.inner = <args_t**>calloc(self.n_calls, sizeof(args_t*))
            if w.inner == NULL:
                raise MemoryError()
        for k in range(self.n_calls):
            w.args[k] = self.calls[k].args
            if self.calls[k].steps != NULL:
                w.inner[k] = inner_args(self.calls[k].steps)
                if w.inner[k] == NULL:
                    raise MemoryError()
        self.point(w, 0, w.memory.arena)
        return w

    cdef void point(self, Workspace w, int base, void* data) noexcept nogil:
        """Set the pointers of all tensors in one base."""
        cdef int k
        cdef place_t* place
        w.bases[base] = data
        for k in range(self.first_place[base], self.first_place[base + 1]):
            place = &self.places[k]
            w.args[place.call].t[place.tensor].data = NULL if data == NULL else <char*>data + place.offset

    cdef int bind(self, Workspace w, list arrays) except -1:
        """Work out the pointers into the arrays that do not stand where they stood at the last run.

        They are valid while the caller holds the arrays; between runs they are addresses to compare with, no more.
        """
        cdef int i
        cdef void* data
        if len(arrays) != self.n_bases or w.n_bases != self.n_bases:
            raise ValueError(f"run: expected {self.n_bases} arrays, got {len(arrays)}.")
        w.bound = None
        for i in range(1, self.n_bases):
            data = NULL if arrays[i] is None else cnp.PyArray_DATA(<cnp.ndarray>arrays[i])
            if data != w.bases[i]:
                self.point(w, i, data)
        return 0

    cdef bint walk(self, section_t section, Workspace w, bint accumulate) noexcept nogil:
        """Run a list of calls; False if one raised, which the workspace holds then."""
        cdef int k
        cdef args_t* args = w.args
        if not section.plain:
            if section.n_stages:
                return self.walk_stages(section, w, accumulate)
            return self.walk_mixed(section.first, section.last, w, accumulate)
        for k in range(section.first, section.last):
            args[k].accumulate = accumulate or self.calls[k].adds
            self.calls[k].function(&args[k], NULL)
        return True

    cdef bint walk_stages(self, section_t section, Workspace w, bint accumulate) noexcept nogil:
        """Share out the stages that have parts; the others run here."""
        cdef int i
        cdef shares_t shares
        cdef stage_t* stage
        shares.calls, shares.args, shares.inner, shares.accumulate = self.calls, w.args, w.inner, accumulate
        for i in range(section.n_stages):
            stage = &section.stages[i]
            if stage.n_parts > 1:
                shares.stage = stage
                fastnn_parallel(run_part, &shares, stage.n_parts)
            elif not self.walk_mixed(stage.first[0], stage.first[1], w, accumulate):
                return False
        return True

    cdef bint walk_mixed(self, int first, int last, Workspace w, bint accumulate) noexcept nogil:
        cdef int k
        cdef args_t* args = w.args
        for k in range(first, last):
            args[k].accumulate = self.calls[k].adds or (accumulate and not self.calls[k].apart)
            if self.calls[k].function != NULL:
                self.calls[k].function(&args[k], NULL)
            elif self.calls[k].steps != NULL:
                run_steps(self.calls[k].steps, &args[k], w.inner[k])
            elif not self.call_python(k, w):
                return False
        return True

    cdef bint call_python(self, int k, Workspace w) noexcept with gil:
        try:
            function, slots = self.python[k]
            function([view(w, slot) for slot in slots], w.kept, bool(w.args[k].accumulate))
        except BaseException as error:  # Ctrl-C too: this frame has nobody to raise to
            w.error = error
            undo = w.kept.pop("undo", None)
            if undo is not None:
                undo()
            return False
        return True

    def run(self, str section, Workspace workspace, list arrays, bint accumulate=False):
        """Run one list of calls; ``arrays`` are the memory blocks in order, the first (the arena) is ignored."""
        cdef section_t s = self.sections[<int>self.numbers[section]]
        cdef bint whole
        workspace.take(arrays)
        try:
            self.bind(workspace, arrays)
        except ValueError:
            workspace.owners = None
            raise
        with nogil:
            whole = self.walk(s, workspace, accumulate)
        workspace.owners = None
        if not whole:
            raise workspace.failure()

    def entry(self, str section, list pool, list arrays, dict places, tuple input_shape, tuple output_shape):
        """Return a callable for one input array; see the twin."""
        cdef Entry e = Entry.__new__(Entry)
        e.executor, e.section = self, self.sections[<int>self.numbers[section]]
        if e.section.python:
            return None
        e.arrays, e.pool = list(arrays), pool
        e.input, e.output, e.lengths = places["input"], places["output"], places.get("lengths", -1)
        fill_format(&e.taken, input_shape, self.is_double)
        fill_format(&e.given, output_shape, self.is_double)
        # A method takes its argument as it is, an object that is called wants a tuple of it.
        return e.run if e.lengths < 0 else e.run_ragged

    def loop(self, list arrays, dict places, tuple input_shape, tuple output_shape):
        """Return a forward and a backward pass on single arrays; see the twin."""
        cdef Loop l = Loop.__new__(Loop)
        l.executor = self
        l.forth, l.back = self.sections[<int>self.numbers["forward"]], self.sections[<int>self.numbers["backward"]]
        if l.forth.python or l.back.python:
            return None
        l.arrays, l.workspace = list(arrays), self.workspace()
        if "lengths" in places:
            l.lengths = l.arrays[places["lengths"]] = np.zeros(input_shape[0], np.int64)
        l.input, l.output, l.dinput, l.doutput, l.state = (
            places.get(name, -1) for name in ("input", "output", "dinput", "doutput", "state")
        )
        fill_format(&l.taken, input_shape, self.is_double)
        fill_format(&l.given, output_shape, self.is_double)
        self.bind(l.workspace, l.arrays)
        if l.output >= 0 and self.reads(l.back, l.output):
            l.kept = cnp.PyArray_EMPTY(l.given.ndim, l.given.shape, l.given.type_number, 0)
        return l

    def arm(self, Stepper stepper, list arrays, dict places, tuple input_shape, tuple output_shape):
        """Let a stream make calls with arrays of this shape the short way; see the twin."""
        stepper.arm(self, arrays, places, input_shape, output_shape)

    cdef bint reads(self, section_t section, int base) noexcept:
        """Whether calls of a section have arguments in a base."""
        cdef int k
        for k in range(self.first_place[base], self.first_place[base + 1]):
            if section.first <= self.places[k].call < section.last:
                return True
        return False

    def run_slice(
        self, str section, Workspace workspace, list arrays, int64_t batch_size, tail, list gathers,
        cnp.ndarray index, int64_t position, int64_t per_epoch, cnp.ndarray stats, cnp.ndarray history,
        double seconds,
    ):
        """Run whole batches of an epoch or several until time is up; see the twin."""
        cdef section_t s = self.sections[<int>self.numbers[section]], tail_s
        cdef batch_feeds_t feeds
        cdef batch_feeds_t tail_feeds
        cdef Executor tail_executor = self
        cdef Workspace tail_workspace = workspace
        cdef int64_t tail_size = 0, n_stats = cnp.PyArray_SIZE(stats)
        cdef const int64_t* order = <const int64_t*>elements(index, cnp.NPY_INT64)
        cdef double* sums = <double*>elements(stats, cnp.NPY_FLOAT64)
        cdef double* rows = <double*>elements(history, cnp.NPY_FLOAT64)   # as many numbers each
        self.bind(workspace, arrays)
        fill_batch(&feeds, gathers, batch_size, parts_of(&s))
        tail_s = s
        if tail is not None:
            tail_executor, tail_workspace, tail_arrays, tail_size, tail_gathers = tail
            tail_executor.bind(tail_workspace, tail_arrays)
            tail_s = tail_executor.sections[<int>tail_executor.numbers[section]]
            fill_batch(&tail_feeds, tail_gathers, tail_size, parts_of(&tail_s))
        if cnp.PyArray_SIZE(index) == 0 or per_epoch <= 0:
            return position

        workspace.owners = arrays
        if tail is not None:
            tail_workspace.owners = tail_arrays
        # A batch of the whole data is the same in each epoch: its order means nothing.
        cdef bint once = batch_size == per_epoch, fed = False
        cdef int64_t end = cnp.PyArray_SIZE(index), since = 0, stride = 1
        cdef double start = now(), elapsed
        with nogil:
            while position < end:
                if per_epoch - position % per_epoch >= batch_size:
                    if not (once and fed):
                        gather(&feeds, order + position)
                        fed = True
                    if not self.walk(s, workspace, False):
                        break
                    position += batch_size
                else:
                    gather(&tail_feeds, order + position)
                    if not tail_executor.walk(tail_s, tail_workspace, False):
                        break
                    position += tail_size
                if position % per_epoch == 0:
                    memcpy(rows + (position // per_epoch - 1) * n_stats, sums, n_stats * sizeof(double))
                    memset(sums, 0, n_stats * sizeof(double))
                since += 1
                if since >= stride:
                    # Reading the clock costs as much as a tiny net's forward pass: look about every 100 us.
                    elapsed = now() - start
                    if elapsed >= seconds or elapsed < 0:
                        break
                    if elapsed < 1e-4 * (stride + 1) and stride < 1024:
                        stride *= 2
                    since = 0
        workspace.owners = tail_workspace.owners = None
        if tail is not None and tail_workspace.error is not None:
            workspace.error = tail_workspace.failure()
        return position


include "program_entries.pxi"


cdef int fill_call(args_t* args, slots, scalars) except -1:
    """Write down shapes and numbers."""
    cdef int i, d
    for i in range(len(slots)):
        if slots[i] is None:
            continue
        _, _, shape, _, repeated = slots[i]
        d = len(shape)
        args.t[i].n[0] = shape[0] if d >= 2 else 1
        args.t[i].n[1] = shape[1] if d == 3 else 1
        args.t[i].n[2] = shape[d - 1]
        if repeated:
            args.t[i].n[1] = repeated
            args.t[i].repeated = True
        args.t[i].rows = args.t[i].n[0] * args.t[i].n[1]
        args.t[i].cols = args.t[i].n[2]
    for i in range(len(scalars)):
        args.s[i] = scalars[i]
    return 0
