# The short ways from Python into a program, for arrays just like the last ones; included by program.pyx.
#
# At the sizes of small nets, checking arguments in Python costs more than the kernels. Each class here takes exactly one
# kind of array and says None to all else, which then goes the long way round.

cdef struct format_t:   # the one kind of array that is taken or given
    int type_number
    int ndim
    cnp.npy_intp[MAX_AXES] shape


cdef int fill_format(format_t* format, tuple shape, bint is_double) except -1:
    cdef int i
    format.type_number = cnp.NPY_FLOAT64 if is_double else cnp.NPY_FLOAT32
    format.ndim = len(shape)
    for i in range(format.ndim):
        format.shape[i] = shape[i]
    return 0


cdef inline bint fits(format_t* format, object x) noexcept:
    """Whether x is an array of this type and shape, plain in memory."""
    cdef int i
    if not cnp.PyArray_CheckExact(x):
        return False
    if (cnp.PyArray_TYPE(<cnp.ndarray>x) != format.type_number or cnp.PyArray_NDIM(<cnp.ndarray>x) != format.ndim
            or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>x)):
        return False
    for i in range(format.ndim):
        if cnp.PyArray_DIM(<cnp.ndarray>x, i) != format.shape[i]:
            return False
    return True


cdef inline bint fits_lengths(format_t* format, object lengths) noexcept:
    """Whether these are plain lengths, from 0 to T, of a batch (B, T, ...) of this shape."""
    cdef int64_t* numbers
    cdef cnp.npy_intp i
    if not cnp.PyArray_CheckExact(lengths):
        return False
    if (cnp.PyArray_TYPE(<cnp.ndarray>lengths) != cnp.NPY_INT64 or cnp.PyArray_NDIM(<cnp.ndarray>lengths) != 1
            or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>lengths)
            or cnp.PyArray_DIM(<cnp.ndarray>lengths, 0) != format.shape[0]):
        return False
    numbers = <int64_t*>cnp.PyArray_DATA(<cnp.ndarray>lengths)
    for i in range(format.shape[0]):
        if not 0 <= numbers[i] <= format.shape[1]:
            return False
    return True


cdef inline object fresh(format_t* format):
    return cnp.PyArray_EMPTY(format.ndim, format.shape, format.type_number, 0)


cdef class Entry:
    """From one array to the output of a program; made by :meth:`Executor.entry`. Any number of threads may run it."""

    cdef Executor executor
    cdef section_t section
    cdef list arrays
    cdef list pool   # the program's workspaces; the other ways of running it leave theirs there too
    cdef int input, output, lengths
    cdef format_t taken, given

    def run(self, x):
        """Return the output; None if x is not exactly what the program was bound for, or the backend has changed."""
        if selected[0] or not fits(&self.taken, x):
            return None
        return self.walk(x, None)

    def run_ragged(self, x, lengths):
        """Return the output of ragged sequences; None as from run, or if these are not int64 lengths of x."""
        if selected[0] or not fits(&self.taken, x) or not fits_lengths(&self.taken, lengths):
            return None
        return self.walk(x, lengths)

    cdef inline object walk(self, x, lengths):
        cdef Workspace w
        y = fresh(&self.given)
        try:
            w = <Workspace>self.pool.pop()
        except IndexError:
            w = self.executor.workspace()
        if w.bound is not self.arrays:
            self.executor.bind(w, self.arrays)
            w.bound = self.arrays
        self.executor.point(w, self.input, cnp.PyArray_DATA(<cnp.ndarray>x))
        self.executor.point(w, self.output, cnp.PyArray_DATA(<cnp.ndarray>y))
        if lengths is not None:
            self.executor.point(w, self.lengths, cnp.PyArray_DATA(<cnp.ndarray>lengths))
        with nogil:
            self.executor.walk(self.section, w, False)
        self.pool.append(w)
        return y


cdef class Loop:
    """A training loop's forward and backward pass on single arrays; made by :meth:`Executor.loop`."""

    cdef Executor executor
    cdef section_t forth, back
    cdef list arrays
    cdef Workspace workspace
    cdef int input, output, dinput, doutput, state
    cdef format_t taken, given
    cdef object kept               # a copy of the output, where the backward pass reads it: the caller may change his
    cdef object x                  # held until the backward pass
    cdef object lengths            # None, or a copy of those of the forward pass
    cdef uint64_t[2] drawn         # the random state of the forward pass

    @property
    def output_shape(self):
        """What :meth:`backward` takes."""
        return tuple(self.given.shape[i] for i in range(self.given.ndim))

    def forward(self, x):
        """Return the output; None if x is not exactly what the program was bound for, or the backend has changed."""
        if selected[0] or not fits(&self.taken, x):
            return None
        return self.walk(x)

    def forward_ragged(self, x, lengths):
        """Return the output of ragged sequences; None as from forward, or if these are not int64 lengths of x."""
        if selected[0] or not fits(&self.taken, x) or not fits_lengths(&self.taken, lengths):
            return None
        memcpy(cnp.PyArray_DATA(<cnp.ndarray>self.lengths), cnp.PyArray_DATA(<cnp.ndarray>lengths),
               cnp.PyArray_NBYTES(<cnp.ndarray>self.lengths))
        return self.walk(x)

    cdef inline object walk(self, x):
        cdef Workspace w = self.workspace
        cdef void* random = NULL
        y = fresh(&self.given)
        w.take(self.arrays)
        if self.state >= 0:
            random = cnp.PyArray_DATA(<cnp.ndarray>self.arrays[self.state])
            self.executor.point(w, self.state, random)
        self.executor.point(w, self.input, cnp.PyArray_DATA(<cnp.ndarray>x))
        self.executor.point(w, self.output, cnp.PyArray_DATA(<cnp.ndarray>y))
        with nogil:
            self.executor.walk(self.forth, w, False)
        w.owners = None
        if self.kept is not None:
            memcpy(cnp.PyArray_DATA(<cnp.ndarray>self.kept), cnp.PyArray_DATA(<cnp.ndarray>y),
                   cnp.PyArray_NBYTES(<cnp.ndarray>y))
        if random != NULL:
            memcpy(self.drawn, random, sizeof(self.drawn))
        self.x = x
        return y

    def backward(self, dy, bint accumulate):
        """Return dx; None if dy is not exactly an array like the output."""
        cdef Workspace w = self.workspace
        if not fits(&self.given, dy):
            return None
        dx = fresh(&self.taken)
        w.take(self.arrays)
        if self.kept is not None:
            self.executor.point(w, self.output, cnp.PyArray_DATA(<cnp.ndarray>self.kept))
        if self.state >= 0:
            self.executor.point(w, self.state, self.drawn)
        if self.dinput >= 0:
            self.executor.point(w, self.dinput, cnp.PyArray_DATA(<cnp.ndarray>dx))
        self.executor.point(w, self.doutput, cnp.PyArray_DATA(<cnp.ndarray>dy))
        with nogil:
            self.executor.walk(self.back, w, accumulate)
        w.owners = None
        self.x = None
        return dx


cdef class Stepper:
    """Base of streams: a step like the last one runs at once, all else goes to ``slow``; see the twin."""

    cdef Executor executor
    cdef section_t section
    cdef list arrays
    cdef Workspace even_steps, odd_steps   # they read the states in one memory and write to the other
    cdef bint armed, odd, brief             # brief: a single step
    cdef int input, output
    cdef format_t taken, given
    cdef object __weakref__

    def __call__(self, x):
        """Run the next step or block of steps."""
        cdef Workspace w
        cdef Executor executor = self.executor
        if not self.armed or selected[0] or not fits(&self.taken, x):
            return self.slow(x)
        y = fresh(&self.given)
        w = self.odd_steps if self.odd else self.even_steps
        w.take(self.arrays)
        executor.point(w, self.input, cnp.PyArray_DATA(<cnp.ndarray>x))
        executor.point(w, self.output, cnp.PyArray_DATA(<cnp.ndarray>y))
        if self.brief:
            executor.walk(self.section, w, False)   # so short that letting others run would cost more
        else:
            with nogil:
                executor.walk(self.section, w, False)
        w.owners = None
        self.odd = not self.odd
        return y

    cdef int arm(self, Executor executor, list arrays, dict places, tuple input_shape, tuple output_shape) except -1:
        """Make calls with arrays of this shape the short way."""
        cdef int i
        cdef list swapped = list(arrays)
        self.executor, self.section = executor, executor.sections[<int>executor.numbers["forward"]]
        if self.section.python:
            return 0
        if "carry_in" in places:
            i = places["carry_in"]
            swapped[i], swapped[places["carry_out"]] = arrays[places["carry_out"]], arrays[i]
        self.arrays = [list(arrays), swapped]   # they hold what the workspaces point to
        self.even_steps, self.odd_steps = executor.workspace(), executor.workspace()
        executor.bind(self.even_steps, arrays)
        executor.bind(self.odd_steps, swapped)
        self.input, self.output = places["input"], places["output"]
        fill_format(&self.taken, input_shape, executor.is_double)
        fill_format(&self.given, output_shape, executor.is_double)
        self.armed, self.odd = True, False
        self.brief = len(input_shape) == 2 or input_shape[1] == 1
        return 0

    def disarm(self):
        """Leave the short way; return whether the states stand in the second of the two memories now."""
        cdef bint odd = self.armed and self.odd
        self.armed = self.odd = False
        return odd
