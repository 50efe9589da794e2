"""What a call of the LSTM's kernels needs, for other modules."""

from libc.stdint cimport int64_t

# Elements of ``saved``, which the forward pass leaves for the backward one, and of either pass's ``scratch``.
cdef void lstm_memory(int64_t B, int64_t T, int64_t I, int64_t H, int64_t D, int itemsize, int64_t* saved,
                      int64_t* scratch) noexcept nogil
