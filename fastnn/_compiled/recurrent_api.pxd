"""The recurrent cells for other modules, users' own included, on raw pointers; see fastnn/cython_api."""

from libc.stdint cimport int64_t

from fastnn._compiled.dot cimport floating

cdef int64_t rnn_saved_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil
cdef int64_t rnn_scratch_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil
cdef void rnn_forward(int64_t B, int64_t T, int64_t I, int64_t H, int activation, const floating* x,
                      const floating* w_ih, const floating* w_hh, const floating* b, const floating* h0,
                      const int64_t* lengths, floating* y, floating* h_n, floating* saved,
                      floating* scratch) noexcept nogil
cdef void rnn_step(int64_t B, int64_t I, int64_t H, int activation, const floating* x, const floating* w_ih,
                   const floating* w_hh, const floating* b, const floating* h, floating* h_new,
                   floating* scratch) noexcept nogil
cdef void rnn_backward(int64_t B, int64_t T, int64_t I, int64_t H, int activation, const floating* dy,
                       const floating* dh_n, const floating* x, const floating* w_ih, const floating* w_hh,
                       const floating* h0, const int64_t* lengths, const floating* saved, floating* dx, floating* dw_ih,
                       floating* dw_hh, floating* db, floating* dh0, floating* scratch, bint accumulate) noexcept nogil

cdef int64_t gru_saved_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil
cdef int64_t gru_scratch_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil
cdef void gru_forward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* x, const floating* w_ih,
                      const floating* w_hh, const floating* b, const floating* b_hn, const floating* h0,
                      const int64_t* lengths, floating* y, floating* h_n, floating* saved,
                      floating* scratch) noexcept nogil
cdef void gru_step(int64_t B, int64_t I, int64_t H, const floating* x, const floating* w_ih, const floating* w_hh,
                   const floating* b, const floating* b_hn, const floating* h, floating* h_new,
                   floating* scratch) noexcept nogil
cdef void gru_backward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* dy, const floating* dh_n,
                       const floating* x, const floating* w_ih, const floating* w_hh, const floating* b_hn,
                       const floating* h0, const int64_t* lengths, const floating* saved, floating* dx, floating* dw_ih,
                       floating* dw_hh, floating* db, floating* db_hn, floating* dh0, floating* scratch,
                       bint accumulate) noexcept nogil

cdef int64_t lstm_saved_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil
cdef int64_t lstm_scratch_size(int64_t B, int64_t T, int64_t I, int64_t H, int itemsize) noexcept nogil
cdef void lstm_forward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* x, const floating* w_ih,
                       const floating* w_hh, const floating* b, const floating* h0, const floating* c0,
                       const int64_t* lengths, floating* y, floating* h_n, floating* c_n, floating* saved,
                       floating* scratch) noexcept nogil
cdef void lstm_step(int64_t B, int64_t I, int64_t H, const floating* x, const floating* w_ih, const floating* w_hh,
                    const floating* b, const floating* h, const floating* c, floating* h_new, floating* c_new,
                    floating* scratch) noexcept nogil
cdef void lstm_backward(int64_t B, int64_t T, int64_t I, int64_t H, const floating* dy, const floating* dh_n,
                        const floating* dc_n, const floating* x, const floating* w_ih, const floating* w_hh,
                        const floating* h0, const floating* c0, const int64_t* lengths, const floating* saved,
                        floating* dx, floating* dw_ih, floating* dw_hh, floating* db, floating* dh0, floating* dc0,
                        floating* scratch, bint accumulate) noexcept nogil
