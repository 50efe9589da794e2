"""The leaf primitives of the GRU, at the CPU level that ``simd`` has chosen."""

from fastnn._compiled.simd cimport leaf

__all__: list[str] = []

cdef extern from "simd_gru_table.h":
    const gru_leaf_t* const* gru_leaves_at(const char* level) noexcept nogil

cdef const gru_leaf_t* const* chosen = gru_leaves_at(leaf(4).level)


cdef const gru_leaf_t* gru_leaf(int itemsize) noexcept nogil:
    return chosen[itemsize == 8]
