# Lists of calls within a program's list: those of one time step, run for each, and those of one part of a batch, run
# beside the others. Included by program.pyx.

cdef args_t* inner_args(steps_t* s) noexcept:
    """The arguments of a list's calls, all but the pointers."""
    cdef args_t* args = <args_t*>malloc(max(s.n_calls, 1) * sizeof(args_t))
    cdef int k
    if args != NULL:
        for k in range(s.n_calls):
            args[k] = s.calls[k].args
    return args


cdef void run_steps(steps_t* s, args_t* outer, args_t* args) noexcept nogil:
    """Run the list for each step."""
    cdef int i, k, b, t
    cdef char* data
    cdef move_t* move
    cdef place_t* place
    for i in range(s.n_steps):
        t = s.n_steps - 1 - i if s.backwards else i
        for b in range(s.n_bases):
            move = &s.moves[b]
            if i > 0 and move.stride == 0:
                continue
            data = <char*>outer.t[move.tensor].data if move.tensor >= 0 else NULL
            if data != NULL:
                data += move.offset + t * move.stride
            for k in range(s.first_place[b], s.first_place[b + 1]):
                place = &s.places[k]
                args[place.call].t[place.tensor].data = NULL if data == NULL else data + place.offset
        for k in range(s.n_calls):
            s.calls[k].function(&args[k], NULL)


# -- stages: parts of a batch, on several threads ----------------------------------------------------------------------

cdef struct shares_t:
    stage_t* stage
    call_t* calls
    args_t* args
    args_t** inner
    bint accumulate


cdef void run_part(void* context, int part) noexcept nogil:
    """Run one thread's calls of a stage."""
    cdef shares_t* s = <shares_t*>context
    cdef call_t* call
    cdef int k
    for k in range(s.stage.first[part], s.stage.first[part + 1]):
        call = &s.calls[k]
        s.args[k].accumulate = call.adds or (s.accumulate and not call.apart)
        if call.function != NULL:
            call.function(&s.args[k], NULL)
        else:
            run_steps(call.steps, &s.args[k], s.inner[k])


def threads_available():
    """Whether this platform has threads; without, the parts of a batch run one after the other."""
    return bool(fastnn_threads_available())
