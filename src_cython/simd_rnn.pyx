"""The leaf primitives of the plain RNN, at the CPU level that ``simd`` has chosen."""

from fastnn._compiled.simd cimport leaf

__all__: list[str] = []

cdef extern from "simd_rnn_table.h":
    const rnn_leaf_t* const* rnn_leaves_at(const char* level) noexcept nogil

cdef const rnn_leaf_t* const* chosen = rnn_leaves_at(leaf(4).level)


cdef const rnn_leaf_t* rnn_leaf(int itemsize) noexcept nogil:
    return chosen[itemsize == 8]
