"""RNN, GRU and LSTM at C level: pointers and sizes in, the arguments of a kernel filled, the kernel called.

fastnn/cython_api says what each function takes. The kernels are those of rnn.pyx, gru.pyx and lstm.pyx, with a single
direction.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastnn._compiled.dot cimport floating
from fastnn._compiled.gru cimport gru_memory
from fastnn._compiled.kernel cimport args_t, lookup, tensor_t
from fastnn._compiled.lstm cimport lstm_memory
from fastnn._compiled.rnn cimport rnn_memory

from fastnn._compiled.kernel import kernel_id

__all__ = []

# The modules above have entered their kernels into the table when they were imported, for their C functions.
cdef int RNN_FORWARD = kernel_id("rnn_forward"), RNN_BACKWARD = kernel_id("rnn_backward")
cdef int GRU_FORWARD = kernel_id("gru_forward"), GRU_BACKWARD = kernel_id("gru_backward")
cdef int LSTM_FORWARD = kernel_id("lstm_forward"), LSTM_BACKWARD = kernel_id("lstm_backward")

cdef struct call_t:
    args_t a
    int count  # of the tensors so far


cdef inline void begin(call_t* call) noexcept nogil:
    memset(call, 0, sizeof(call_t))


cdef inline void put(call_t* call, const void* data, int64_t B, int64_t T, int64_t F) noexcept nogil:
    """Append the next tensor (B, T, F); NULL for one that there is not."""
    cdef tensor_t* t = &call.a.t[call.count]
    call.count += 1
    if data != NULL:
        t.data = <void*>data
        t.n[0], t.n[1], t.n[2], t.rows, t.cols = B, T, F, B * T, F


cdef inline void put_none(call_t* call, int count) noexcept nogil:
    """Leave out the tensors of the reverse direction."""
    call.count += count


cdef inline void run(call_t* call, int kernel, floating* _) noexcept nogil:
    lookup(kernel, sizeof(floating) == sizeof(double))(&call.a, NULL)


# ---------------------------------------------------------------------------------------------------------------- RNN

cdef int64_t rnn_saved_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil:
    cdef int64_t saved, scratch
    rnn_memory(B, T, I, H, 1, itemsize, &saved, &scratch)
    return saved


cdef int64_t rnn_scratch_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil:
    cdef int64_t saved, scratch
    rnn_memory(B, T, I, H, 1, itemsize, &saved, &scratch)
    return scratch


cdef void rnn_forward(int64_t B, int64_t T, int64_t I, int64_t H, int activation, const floating* x,
                      const floating* w_ih, const floating* w_hh, const floating* b, const floating* h0,
                      const int64_t* lengths, floating* y, floating* h_n, floating* saved,
                      floating* scratch) noexcept nogil:
    cdef call_t call
    begin(&call)
    put(&call, x, B, T, I)
    put(&call, w_ih, I, 1, H)
    put(&call, w_hh, H, 1, H)
    put(&call, b, 1, 1, H)
    put_none(&call, 3)
    put(&call, h0, B, 1, H)
    put(&call, lengths, 1, 1, B)
    put(&call, y, B, T, H)
    put(&call, h_n, B, 1, H)
    put(&call, saved, 1, 1, 0)
    put(&call, scratch, 1, 1, 0)
    call.a.s[0] = activation
    run(&call, RNN_FORWARD, <floating*>x)


cdef void rnn_step(int64_t B, int64_t I, int64_t H, int activation, const floating* x, const floating* w_ih,
                   const floating* w_hh, const floating* b, const floating* h, floating* h_new,
                   floating* scratch) noexcept nogil:
    rnn_forward(B, 1, I, H, activation, x, w_ih, w_hh, b, h, <const int64_t*>NULL, <floating*>NULL, h_new,
                <floating*>NULL, scratch)


cdef void rnn_backward(int64_t B, int64_t T, int64_t I, int64_t H, int activation, const floating* dy,
                       const floating* dh_n, const floating* x, const floating* w_ih, const floating* w_hh,
                       const floating* h0, const int64_t* lengths, const floating* saved, floating* dx, floating* dw_ih,
                       floating* dw_hh, floating* db, floating* dh0, floating* scratch, bint accumulate) noexcept nogil:
    cdef call_t call
    begin(&call)
    put(&call, dy, B, T, H)
    put(&call, dh_n, B, 1, H)
    put(&call, x, B, T, I)
    put(&call, w_ih, I, 1, H)
    put(&call, w_hh, H, 1, H)
    put_none(&call, 2)
    put(&call, h0, B, 1, H)
    put(&call, lengths, 1, 1, B)
    put(&call, saved, 1, 1, 0)
    put(&call, dx, B, T, I)
    put(&call, dw_ih, I, 1, H)
    put(&call, dw_hh, H, 1, H)
    put(&call, db, 1, 1, H)
    put_none(&call, 3)
    put(&call, dh0, B, 1, H)
    put(&call, scratch, 1, 1, 0)
    call.a.s[0] = activation
    call.a.accumulate = accumulate
    run(&call, RNN_BACKWARD, <floating*>x)


# ---------------------------------------------------------------------------------------------------------------- GRU

cdef int64_t gru_saved_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil:
    cdef int64_t saved, scratch
    gru_memory(B, T, I, H, 1, itemsize, &saved, &scratch)
    return saved


cdef int64_t gru_scratch_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil:
    cdef int64_t saved, scratch
    gru_memory(B, T, I, H, 1, itemsize, &saved, &scratch)
    return scratch


cdef void gru_forward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* x, const floating* w_ih,
                      const floating* w_hh, const floating* b, const floating* b_hn, const floating* h0,
                      const int64_t* lengths, floating* y, floating* h_n, floating* saved,
                      floating* scratch) noexcept nogil:
    cdef call_t call
    begin(&call)
    put(&call, x, B, T, I)
    put(&call, w_ih, I, 1, 3 * H)
    put(&call, w_hh, H, 1, 3 * H)
    put(&call, b, 1, 1, 3 * H)
    put(&call, b_hn, 1, 1, H)
    put_none(&call, 4)
    put(&call, h0, B, 1, H)
    put(&call, lengths, 1, 1, B)
    put(&call, y, B, T, H)
    put(&call, h_n, B, 1, H)
    put(&call, saved, 1, 1, 0)
    put(&call, scratch, 1, 1, 0)
    run(&call, GRU_FORWARD, <floating*>x)


cdef void gru_step(int64_t B, int64_t I, int64_t H, const floating* x, const floating* w_ih, const floating* w_hh,
                   const floating* b, const floating* b_hn, const floating* h, floating* h_new,
                   floating* scratch) noexcept nogil:
    gru_forward(B, 1, I, H, x, w_ih, w_hh, b, b_hn, h, <const int64_t*>NULL, <floating*>NULL, h_new, <floating*>NULL,
                scratch)


cdef void gru_backward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* dy, const floating* dh_n,
                       const floating* x, const floating* w_ih, const floating* w_hh, const floating* b_hn,
                       const floating* h0, const int64_t* lengths, const floating* saved, floating* dx, floating* dw_ih,
                       floating* dw_hh, floating* db, floating* db_hn, floating* dh0, floating* scratch,
                       bint accumulate) noexcept nogil:
    cdef call_t call
    begin(&call)
    put(&call, dy, B, T, H)
    put(&call, dh_n, B, 1, H)
    put(&call, x, B, T, I)
    put(&call, w_ih, I, 1, 3 * H)
    put(&call, w_hh, H, 1, 3 * H)
    put(&call, b_hn, 1, 1, H)
    put_none(&call, 3)
    put(&call, h0, B, 1, H)
    put(&call, lengths, 1, 1, B)
    put(&call, saved, 1, 1, 0)
    put(&call, dx, B, T, I)
    put(&call, dw_ih, I, 1, 3 * H)
    put(&call, dw_hh, H, 1, 3 * H)
    put(&call, db, 1, 1, 3 * H)
    put(&call, db_hn, 1, 1, H)
    put_none(&call, 4)
    put(&call, dh0, B, 1, H)
    put(&call, scratch, 1, 1, 0)
    call.a.accumulate = accumulate
    run(&call, GRU_BACKWARD, <floating*>x)


# --------------------------------------------------------------------------------------------------------------- LSTM

cdef int64_t lstm_saved_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil:
    cdef int64_t saved, scratch
    lstm_memory(B, T, I, H, 1, itemsize, &saved, &scratch)
    return saved


cdef int64_t lstm_scratch_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil:
    cdef int64_t saved, scratch
    lstm_memory(B, T, I, H, 1, itemsize, &saved, &scratch)
    return scratch


cdef void lstm_forward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* x, const floating* w_ih,
                       const floating* w_hh, const floating* b, const floating* h0, const floating* c0,
                       const int64_t* lengths, floating* y, floating* h_n, floating* c_n, floating* saved,
                       floating* scratch) noexcept nogil:
    cdef call_t call
    begin(&call)
    put(&call, x, B, T, I)
    put(&call, w_ih, I, 1, 4 * H)
    put(&call, w_hh, H, 1, 4 * H)
    put(&call, b, 1, 1, 4 * H)
    put_none(&call, 3)
    put(&call, h0, B, 1, H)
    put(&call, c0, B, 1, H)
    put(&call, lengths, 1, 1, B)
    put(&call, y, B, T, H)
    put(&call, h_n, B, 1, H)
    put(&call, c_n, B, 1, H)
    put(&call, saved, 1, 1, 0)
    put(&call, scratch, 1, 1, 0)
    run(&call, LSTM_FORWARD, <floating*>x)


cdef void lstm_step(int64_t B, int64_t I, int64_t H, const floating* x, const floating* w_ih, const floating* w_hh,
                    const floating* b, const floating* h, const floating* c, floating* h_new, floating* c_new,
                    floating* scratch) noexcept nogil:
    lstm_forward(B, 1, I, H, x, w_ih, w_hh, b, h, c, <const int64_t*>NULL, <floating*>NULL, h_new, c_new,
                 <floating*>NULL, scratch)


cdef void lstm_backward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* dy, const floating* dh_n,
                        const floating* dc_n, const floating* x, const floating* w_ih, const floating* w_hh,
                        const floating* h0, const floating* c0, const int64_t* lengths, const floating* saved,
                        floating* dx, floating* dw_ih, floating* dw_hh, floating* db, floating* dh0, floating* dc0,
                        floating* scratch, bint accumulate) noexcept nogil:
    cdef call_t call
    begin(&call)
    put(&call, dy, B, T, H)
    put(&call, dh_n, B, 1, H)
    put(&call, dc_n, B, 1, H)
    put(&call, x, B, T, I)
    put(&call, w_ih, I, 1, 4 * H)
    put(&call, w_hh, H, 1, 4 * H)
    put_none(&call, 2)
    put(&call, h0, B, 1, H)
    put(&call, c0, B, 1, H)
    put(&call, lengths, 1, 1, B)
    put(&call, saved, 1, 1, 0)
    put(&call, dx, B, T, I)
    put(&call, dw_ih, I, 1, 4 * H)
    put(&call, dw_hh, H, 1, 4 * H)
    put(&call, db, 1, 1, 4 * H)
    put_none(&call, 3)
    put(&call, dh0, B, 1, H)
    put(&call, dc0, B, 1, H)
    put(&call, scratch, 1, 1, 0)
    call.a.accumulate = accumulate
    run(&call, LSTM_BACKWARD, <floating*>x)
