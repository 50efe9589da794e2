"""fastnn's kernels for your own Cython: ``from fastnn.cython_api cimport dot``. Guide: docs/cython.md.

Every function is ``noexcept nogil``, takes raw pointers, and exists for float and double (``dsdot`` for float). Sizes
and strides are int64_t and count elements. A vector's pointer is that of its first element, also when its stride is
negative; a matrix is row-major, with ``lda`` elements from one row to the next. Nothing is checked: vectors may be of
any length, but a matrix's sizes and strides must not exceed ``blas_int_max()``, and outputs must not overlap inputs
(except that axpy and copy allow x and y to be the same vector).

    dot(n, x, incx, y, incy)                                      sum_i x_i y_i
    dsdot(n, x, incx, y, incy)                                    the same in double, of float vectors
    axpy(n, alpha, x, incx, y, incy)                              y += alpha x
    scal(n, alpha, x, incx)                                       x *= alpha
    copy(n, x, incx, y, incy)                                     y = x
    nrm2(n, x, incx)                                              sqrt(sum_i x_i^2)
    gemv(trans, m, n, alpha, a, lda, x, incx, beta, y, incy)      y = alpha op(A) x + beta y, A (m, n)
    ger(m, n, alpha, x, incx, y, incy, a, lda)                    A += alpha x y^T, A (m, n)
    gemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
                                                                  C = alpha op(A) op(B) + beta C, C (m, n)

The recurrent cells, rnn, gru and lstm, are those of ``fastnn.functional`` with one direction; the declarations of their
arguments stand in ``fastnn/_compiled/recurrent_api.pxd``. Arrays are dense and row-major: x (B, T, I), y (B, T, H), states
(B, H), w_ih (I, G H), w_hh (H, G H), b (G H,) with G = 1, 3 or 4 gates, lengths (B,). Each cell has

    lstm_forward      a sequence: y and the final states, and what the backward pass needs, ``saved``
    lstm_step         one step: the new states
    lstm_backward     the gradients, written, or added where ``accumulate`` is true (those of the parameters)
    lstm_saved_size, lstm_scratch_size   the elements that ``saved`` and ``scratch`` must hold, for an itemsize
"""

from fastnn._compiled.dot cimport (
    c_axpy as axpy,
    c_copy as copy,
    c_dot as dot,
    c_dsdot as dsdot,
    c_nrm2 as nrm2,
    c_scal as scal,
    floating,
)
from fastnn._compiled.gemm cimport blas_int_max, c_gemm as gemm, c_gemv as gemv, c_ger as ger
from fastnn._compiled.recurrent_api cimport (
    gru_backward,
    gru_forward,
    gru_saved_size,
    gru_scratch_size,
    gru_step,
    lstm_backward,
    lstm_forward,
    lstm_saved_size,
    lstm_scratch_size,
    lstm_step,
    rnn_backward,
    rnn_forward,
    rnn_saved_size,
    rnn_scratch_size,
    rnn_step,
)
