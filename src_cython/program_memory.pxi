# The memory of one run, and arrays that look into it. Included by program.pyx.

cdef class Memory:
    """The bytes of an arena, an object of their own: arrays that Python code was given may outlive the workspace."""

    cdef char* start
    cdef char* arena      # aligned

    def __dealloc__(self):
        free(self.start)


cdef class Workspace:
    """The arena of one run and the calls' arguments with pointers into it."""

    cdef Memory memory
    cdef args_t* args
    cdef args_t** inner   # of the calls of each list of steps
    cdef int n_args
    cdef void** bases
    cdef int n_bases
    cdef list bound       # of an Entry: its arrays, where they are what the pointers were last worked out for
    # Of the calls that are Python's alone:
    cdef list owners      # the arrays of the run at hand; None between runs
    cdef dict kept        # what they leave for one another, as the forward pass for the backward pass
    cdef object error     # what one raised

    def __dealloc__(self):
        cdef int k
        if self.inner != NULL:
            for k in range(self.n_args):
                free(self.inner[k])
        free(self.inner)
        free(self.args)
        free(self.bases)

    cdef int take(self, list arrays) except -1:
        """Note the arrays of a run; two runs in one memory would write through each other's pointers."""
        if self.owners is not None:
            raise RuntimeError(
                "expected one pass of forward(x, training=True), backward(dy) or a stream at a time, got another one "
                "while it ran, from another thread or from a layer's own code; predict(x) is for any number of threads."
            )
        self.owners = arrays
        return 0

    def failure(self):
        """Return what ended the last slice early, and forget it; see the twin."""
        error, self.error = self.error, None
        return error


cdef int[4] TYPES = [cnp.NPY_FLOAT32, cnp.NPY_FLOAT64, cnp.NPY_INT64, cnp.NPY_UINT64]   # by a slot's dtype code


cdef void* elements(cnp.ndarray a, int type_number) except? NULL:
    """Return where the elements of an array stand, one after the other."""
    if cnp.PyArray_TYPE(a) != type_number or not cnp.PyArray_ISCARRAY_RO(a):
        raise TypeError(f"run_slice: expected an order of int64 and figures of float64, contiguous, got {a.dtype}.")
    return cnp.PyArray_DATA(a)


cdef object view(Workspace w, slot):
    """Return the array of one argument, which keeps the memory that it stands in."""
    cdef cnp.npy_intp[MAX_AXES] n
    cdef int d, base
    cdef int64_t offset
    if slot is None:
        return None
    base, offset, shape, code, _ = slot
    if w.bases[base] == NULL:
        return None
    for d in range(len(shape)):
        n[d] = shape[d]
    array = cnp.PyArray_SimpleNewFromData(len(shape), n, TYPES[<int>code], <char*>w.bases[base] + offset)
    cnp.set_array_base(array, w.memory if base == 0 else w.owners[base])
    return array
