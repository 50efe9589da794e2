"""The CPU level of the leaf primitives: found at import, or forced by FASTNN_SIMD=baseline|avx2|avx512."""

import os

__all__ = ["simd_level", "simd_levels"]

cdef extern from "simd_table.h":
    const leaf_t* leaf_table[3][2]
    int leaf_levels() noexcept nogil
    const leaf_t* half_leaves(const leaf_t* whole) noexcept nogil

cdef const leaf_t* chosen[2]
cdef const leaf_t* chosen_halves[2]


cdef const leaf_t* leaf(int itemsize) noexcept nogil:
    return chosen[itemsize == 8]


cdef const leaf_t* half_leaf(int itemsize) noexcept nogil:
    return chosen_halves[itemsize == 8]


def simd_levels():
    """Return the names of the levels that this build and this processor have, the simplest first."""
    cdef int i
    return tuple([leaf_table[i][0].level.decode() for i in range(leaf_levels())])


def simd_level():
    """Return the name of the level in use."""
    return chosen[0].level.decode()


cdef int choose() except -1:
    cdef int level = leaf_levels() - 1, i
    wanted = os.environ.get("FASTNN_SIMD", "")
    if wanted:
        available = simd_levels()
        if wanted not in ("baseline", "avx2", "avx512"):
            raise ValueError(
                f"FASTNN_SIMD: expected one of {', '.join(available)} (what this machine has), got {wanted!r}."
            )
        if wanted not in available:
            raise ImportError(
                f"FASTNN_SIMD={wanted}: this processor or this build lacks it; available: {', '.join(available)}."
            )
        level = available.index(wanted)
    for i in range(2):
        chosen[i] = leaf_table[level][i]
        chosen_halves[i] = half_leaves(chosen[i])
    return 0


choose()
