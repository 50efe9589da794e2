"""Counter-based random numbers and the ops that draw them.

A draw is a function of (seed, op, step) alone, equal to ``numpy.random.Philox`` with key (seed, op) and the step in
the counter's second word. NumPy moves the counter on before it draws, so the first block is number 1; a block is four
64-bit words, each read as two 32-bit words, the low half first.
"""

from libc.math cimport ceil
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastnn._compiled.kernel cimport args_t, fill_tensor, launch, register, tensor_t

__all__ = ["advance_step", "dropout_backward", "dropout_forward", "random_words"]

cdef extern from "philox.h" nogil:
    void philox_block(uint64_t seed, uint64_t op, uint64_t block, uint64_t step, uint64_t* out) noexcept

ctypedef fused floating:
    float
    double


cdef void _advance_step(args_t* a, floating* _) noexcept nogil:
    cdef uint64_t* state = <uint64_t*>a.t[0].data   # INOUT (2,): seed, step
    state[1] += 1


cdef void _dropout(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data          # IN
    cdef const uint64_t* state = <uint64_t*>a.t[1].data      # IN  (2,): seed, step
    cdef floating* y = <floating*>a.t[2].data                # OUT
    cdef double p = a.s[0]
    cdef uint64_t op = <uint64_t>a.s[1], threshold = <uint64_t>ceil(p * 4294967296.0)
    cdef uint64_t block = <uint64_t>a.s[2] // 8 + 1           # of the first number
    cdef floating scale = <floating>(1.0 / (1.0 - p))
    cdef int64_t size = a.t[0].rows * a.t[0].cols, i, whole = size // 8 * 8
    cdef uint64_t words[4]
    cdef int k
    for i in range(0, whole, 8):
        philox_block(state[0], op, block + <uint64_t>(i // 8), state[1], words)
        for k in range(4):
            y[i + 2 * k] = x[i + 2 * k] * scale if <uint32_t>words[k] >= threshold else 0
            y[i + 2 * k + 1] = x[i + 2 * k + 1] * scale if words[k] >> 32 >= threshold else 0
    if whole < size:
        philox_block(state[0], op, block + <uint64_t>(whole // 8), state[1], words)
        for i in range(whole, size):
            k = <int>(i - whole)
            y[i] = x[i] * scale if <uint32_t>(words[k >> 1] >> (32 * (k & 1))) >= threshold else 0


cdef int ADVANCE_STEP = register("advance_step", <void*>_advance_step[float], <void*>_advance_step[double])
cdef int DROPOUT_FORWARD = register("dropout_forward", <void*>_dropout[float], <void*>_dropout[double])
cdef int DROPOUT_BACKWARD = register("dropout_backward", <void*>_dropout[float], <void*>_dropout[double])


def random_words(state, op, out):
    """Fill ``out`` (n,) uint32 with the words of (seed, op, step); ``state`` is uint64 (seed, step)."""
    cdef tensor_t t
    cdef uint64_t seed = state[0], step = state[1], number = op
    cdef uint64_t words[4]
    cdef uint32_t* target
    cdef int64_t i, size
    fill_tensor(&t, out)
    target, size = <uint32_t*>t.data, t.rows * t.cols
    with nogil:
        for i in range(size):
            if i % 8 == 0:
                philox_block(seed, number, <uint64_t>(i // 8 + 1), step, words)
            target[i] = <uint32_t>(words[(i & 7) >> 1] >> (32 * (i & 1)))


def advance_step(state):
    """step += 1. INOUT state (2,) uint64: seed, step."""
    launch(ADVANCE_STEP, (state,))


def dropout_forward(x, state, y, p, op, first=0):
    """y = x m / (1 - p), m ~ Bernoulli(1 - p).

    IN x, state (2,) uint64. OUT y. NUMBERS p in [0, 1), op the number of the op within its model; first: how many
    draws x begins after, a multiple of 8, where it is a part of something larger.
    """
    launch(DROPOUT_FORWARD, (x, state, y), (p, op, first))


def dropout_backward(dy, state, dx, p, op, first=0):
    """dx = dy m / (1 - p) with the mask of the forward pass."""
    launch(DROPOUT_BACKWARD, (dy, state, dx), (p, op, first))
