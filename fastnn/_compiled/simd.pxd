"""The leaf primitives; src_cython/simd.h says what each computes: ``L = leaf(sizeof(floating))``, then ``L.exp``."""

from libc.stdint cimport int64_t

cdef extern from "simd.h" nogil:
    ctypedef struct ahead_t:
        const void* x
        const void* w
        const void* bias
        void* z
        int64_t inputs, x_row, z_row, column, term, terms, more

    ctypedef struct run_t:
        const void* source "from"
        void* to
        int64_t n, zeros

    ctypedef struct leaf_t:
        const char* level
        int64_t VL
        void (*exp)(const void* x, void* y, int64_t n) noexcept nogil
        void (*log)(const void* x, void* y, int64_t n) noexcept nogil
        void (*sigmoid)(const void* x, void* y, int64_t n) noexcept nogil
        void (*tanh)(const void* x, void* y, int64_t n) noexcept nogil
        void (*relu)(const void* x, void* y, int64_t n) noexcept nogil
        void (*sigmoid_back)(const void* dy, const void* y, void* dx, int64_t n) noexcept nogil
        void (*tanh_back)(const void* dy, const void* y, void* dx, int64_t n) noexcept nogil
        void (*relu_back)(const void* dy, const void* y, void* dx, int64_t n) noexcept nogil
        void (*add)(void* d, const void* s, int64_t n) noexcept nogil
        void (*axpy)(double alpha, const void* x, void* y, int64_t n) noexcept nogil
        void (*scale)(void* d, double alpha, int64_t n) noexcept nogil
        void (*mul)(const void* a, const void* b, void* y, int64_t n) noexcept nogil
        void (*move_runs)(const run_t* runs, int64_t count) noexcept nogil
        double (*dot)(const void* x, const void* y, int64_t n) noexcept nogil
        double (*sumsq)(const void* x, int64_t n) noexcept nogil
        void (*softmax)(const void* x, void* y, int64_t rows, int64_t cols) noexcept nogil
        void (*softmax_back)(const void* dy, const void* y, void* dx, int64_t rows, int64_t cols) noexcept nogil
        void (*col_sum)(const void* x, int64_t rows, int64_t cols, void* out, bint accumulate) noexcept nogil
        void (*transpose)(const void* a, int64_t lda, int64_t rows, int64_t cols, void* out,
                          int64_t ldo) noexcept nogil
        void (*gemm)(int64_t m, int64_t n, int64_t k, const void* a, int64_t a_row, int64_t a_col, const void* b,
                     int64_t ldb, const void* bias, void* c, int64_t ldc, bint accumulate,
                     const void* then) noexcept nogil
        void (*gemm_pair)(int64_t m, int64_t n, int64_t k, const void* a, int64_t a_row, const void* b, int64_t k2,
                          const void* a2, int64_t a2_row, const void* b2, const void* bias, void* c,
                          int64_t ldc) noexcept nogil
        void (*sgd)(void* p, const void* g, void* v, int64_t n, double lr, double momentum, bint nesterov,
                    double decay) noexcept nogil
        void (*adam)(void* p, const void* g, void* m, void* v, int64_t n, double rate, double root, double beta1,
                     double beta2, double eps, double lr_decay) noexcept nogil
        int64_t STEP_UNITS
        int64_t PRODUCT_GROUP
        void (*to_lanes)(const void** rows, int64_t at, int64_t n, int64_t cols, void* out,
                         int64_t vectors) noexcept nogil
        void (*from_lanes)(const void* lanes, int64_t vectors, int64_t n, int64_t cols, void** rows,
                           int64_t at) noexcept nogil
        void (*pack_units)(const void* w, int64_t rows, int64_t first, int64_t K, int64_t H, void* out) noexcept nogil
        void (*pack_columns)(const void* w, int64_t ld, int64_t K, int64_t count, void* out) noexcept nogil
        void (*lanes_product)(int64_t vectors, int64_t M, int64_t K, const void* a, const void* b, const void* bias,
                              void* out, bint accumulate) noexcept nogil
        void (*lanes_outer)(int64_t vectors, int64_t steps, int64_t M, const void* a, int64_t a_step, int64_t N,
                            const void* d, int64_t d_step, void* out, int64_t ldo) noexcept nogil
        void (*lanes_sum)(int64_t vectors, int64_t steps, int64_t N, const void* d, int64_t d_step,
                          void* out) noexcept nogil
        void (*lstm_step)(int64_t vectors, int64_t inputs, int64_t H, const void* x, const void* h, const void* w,
                          const void* start, bint start_is_lanes, const void* c_prev, void* gates, void* c,
                          void* h_new) noexcept nogil
        void (*lstm_dz)(int64_t vectors, int64_t H, const void* gates, const void* c_prev, const void* h,
                        const void* dh, const void* dy, void* dc, void* dz) noexcept nogil
        void (*lstm_rows)(int64_t rows, int64_t H, int64_t width, bint keep, void* z, int64_t z_row,
                          const void* c_prev, void* c, void* h, void* y, int64_t y_row) noexcept nogil
        int64_t ROW_UNITS
        int64_t AHEAD_ROWS
        void (*lstm_row_steps)(int64_t steps, int64_t H, int64_t width, bint keep, bint back, const void* h,
                               const void* w_hh, void* z, int64_t z_step, const void* c_prev, void* c, void* h_new,
                               int64_t step, const ahead_t* ahead) noexcept nogil
        void (*lstm_rows_dz)(int64_t H, int64_t stride, const void* gates, const void* c_prev, const void* h,
                             const void* dy, void* dh, void* dc, void* dz) noexcept nogil
        int64_t (*argmax)(const void* x, int64_t n) noexcept nogil
        void (*softmax_loss)(const void* y, const void* target, int64_t label, double scale, void* dy, int64_t n,
                             double* out) noexcept nogil
        void (*sum_deviations)(const void* x, int64_t ld, const void* mean, int64_t rows, int64_t cols,
                               double* out) noexcept nogil
        void (*sum_squares)(const void* x, int64_t ld, const void* mean, int64_t rows, int64_t cols,
                            double* out) noexcept nogil
        void (*sum_slopes)(const void* dy, const void* x, int64_t ld, const void* mean, int64_t rows, int64_t cols,
                           double* sum_dy, double* sum_dy_x) noexcept nogil
        void (*normalize)(const void* x, int64_t ld, const void* mean, const void* a, const void* b, void* y,
                          int64_t rows, int64_t cols) noexcept nogil
        void (*normalize_back)(const void* dy, const void* x, int64_t ld, const void* mean, const void* a,
                               const void* b, const void* c, void* dx, int64_t rows, int64_t cols) noexcept nogil

cdef const leaf_t* leaf(int itemsize) noexcept nogil
cdef const leaf_t* half_leaf(int itemsize) noexcept nogil  # of lanes alone; NULL where there is none
