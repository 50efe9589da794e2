/* Element-wise leaves, and those over the rows or columns of a matrix. Included by simd_leaf.h. */

/* y = f(x), n elements: whole vectors, then a masked one. */
#define MAP(NAME, EXPRESSION)                                  \
    static void FN(NAME)(const void *x_, void *y_, int64_t n)  \
    {                                                          \
        const REAL *x = x_;                                    \
        REAL *y = y_;                                          \
        int64_t i;                                             \
        for (i = 0; i + VL <= n; i += VL) {                    \
            vec v = v_load(x + i);                             \
            v_store(y + i, EXPRESSION);                        \
        }                                                      \
        if (i < n) {                                           \
            vec v = v_load_n(x + i, (int)(n - i));             \
            v_store_n(y + i, EXPRESSION, (int)(n - i));        \
        }                                                      \
    }

/* y = f(a, b) */
#define MAP2(NAME, EXPRESSION)                                                \
    static void FN(NAME)(const void *a_, const void *b_, void *y_, int64_t n) \
    {                                                                         \
        const REAL *a_p = a_, *b_p = b_;                                      \
        REAL *y = y_;                                                         \
        int64_t i;                                                            \
        for (i = 0; i + VL <= n; i += VL) {                                   \
            vec a = v_load(a_p + i), b = v_load(b_p + i);                     \
            v_store(y + i, EXPRESSION);                                       \
        }                                                                     \
        if (i < n) {                                                          \
            vec a = v_load_n(a_p + i, (int)(n - i));                          \
            vec b = v_load_n(b_p + i, (int)(n - i));                          \
            v_store_n(y + i, EXPRESSION, (int)(n - i));                       \
        }                                                                     \
    }

MAP(leaf_exp, v_exp(v))
MAP(leaf_sigmoid, v_sigmoid(v))
MAP(leaf_tanh, v_tanh(v))
MAP(leaf_relu, v_max(v_all(0), v))
MAP2(leaf_sigmoid_back, a * b * (1 - b))
MAP2(leaf_tanh_back, a * (1 - b * b))
MAP2(leaf_relu_back, v_from_bits(v_less(v_all(0), b) & v_bits(a)))
MAP2(leaf_mul, a * b)

#undef MAP
#undef MAP2

/* n numbers, or zeros where there is no source; the last two vectors overlap. */
INLINE void FN(fill)(REAL *to, const REAL *from, int64_t n)
{
    int64_t i;
    if (n < VL) {
        if (n > 0)
            v_store_n(to, from ? v_load_n(from, (int)n) : v_all(0), (int)n);
        return;
    }
    for (i = 0; i < n - VL; i += VL)
        v_store(to + i, from ? v_load(from + i) : v_all(0));
    v_store(to + n - VL, from ? v_load(from + n - VL) : v_all(0));
}

static void FN(leaf_move_runs)(const run_t *runs, int64_t count)
{
    int64_t i;
    for (i = 0; i < count; i++) {
        FN(fill)(runs[i].to, runs[i].from, runs[i].n);
        FN(fill)((REAL *)runs[i].to + runs[i].n, NULL, runs[i].zeros);
    }
}

static void FN(leaf_log)(const void *x_, void *y_, int64_t n)
{
    const REAL *x = x_;
    REAL *y = y_;
    int64_t i;
    for (i = 0; i < n; i++)
        y[i] = CONSTANT(logf, log)(x[i]);
}

static void FN(leaf_add)(void *d_, const void *s_, int64_t n)
{
    REAL *d = d_;
    const REAL *s = s_;
    int64_t i;
    for (i = 0; i + VL <= n; i += VL)
        v_store(d + i, v_load(d + i) + v_load(s + i));
    for (; i < n; i++)
        d[i] += s[i];
}

static void FN(leaf_axpy)(double alpha_, const void *x_, void *y_, int64_t n)
{
    const REAL alpha = (REAL)alpha_, *x = x_;
    REAL *y = y_;
    int64_t i;
    for (i = 0; i + VL <= n; i += VL)
        v_store(y + i, v_load(y + i) + alpha * v_load(x + i));
    for (; i < n; i++)
        y[i] += alpha * x[i];
}

static void FN(leaf_scale)(void *d_, double alpha_, int64_t n)
{
    const REAL alpha = (REAL)alpha_;
    REAL *d = d_;
    int64_t i;
    for (i = 0; i + VL <= n; i += VL)
        v_store(d + i, alpha * v_load(d + i));
    for (; i < n; i++)
        d[i] *= alpha;
}

static double FN(leaf_dot)(const void *x_, const void *y_, int64_t n)
{
    const REAL *x = x_, *y = y_;
    vec sum0 = v_all(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    int64_t i;
    for (i = 0; i + 4 * VL <= n; i += 4 * VL) { /* four chains hide the latency of the addition */
        sum0 = v_fma(v_load(x + i), v_load(y + i), sum0);
        sum1 = v_fma(v_load(x + i + VL), v_load(y + i + VL), sum1);
        sum2 = v_fma(v_load(x + i + 2 * VL), v_load(y + i + 2 * VL), sum2);
        sum3 = v_fma(v_load(x + i + 3 * VL), v_load(y + i + 3 * VL), sum3);
    }
    for (; i + VL <= n; i += VL)
        sum0 = v_fma(v_load(x + i), v_load(y + i), sum0);
    if (i < n)
        sum1 = v_fma(v_load_n(x + i, (int)(n - i)), v_load_n(y + i, (int)(n - i)), sum1);
    return v_sum((sum0 + sum1) + (sum2 + sum3));
}

static double FN(leaf_sumsq)(const void *x_, int64_t n)
{
    const REAL *x = x_;
    double sum[8] = {0}, total = 0;
    int64_t i, k;
    for (i = 0; i + 8 <= n; i += 8)
        for (k = 0; k < 8; k++)
            sum[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++)
        total += (double)x[i] * (double)x[i];
    for (k = 0; k < 8; k++)
        total += sum[k];
    return total;
}

/* ----------------------------------------------------------------------------------------------------------- rows */

static void FN(leaf_softmax)(const void *x_, void *y_, int64_t rows, int64_t cols)
{
    const REAL *x = x_;
    REAL *y = y_;
    int64_t r, i;
    for (r = 0; r < rows; r++, x += cols, y += cols) {
        vec top = v_all(-(REAL)INFINITY), sum = v_all(0), largest, scale;
        ivec bad = v_less(top, top); /* none; v_max lets a NaN pass only from its second operand */
        for (i = 0; i < cols; i += VL) {
            int n = cols - i < VL ? (int)(cols - i) : VL;
            vec v = n == VL ? v_load(x + i) : v_load_or(x + i, n, -(REAL)INFINITY);
            bad |= v_unordered(v);
            top = v_max(top, v);
        }
        largest = v_all(v_largest(v_select(bad, v_all((REAL)NAN), top)));
        for (i = 0; i < cols; i += VL) {
            int n = cols - i < VL ? (int)(cols - i) : VL;
            vec e;
            if (n == VL) {
                e = v_exp(v_load(x + i) - largest);
                v_store(y + i, e);
            } else { /* exp(-infinity) = 0: the lanes beyond the row add nothing */
                e = v_exp(v_load_or(x + i, n, -(REAL)INFINITY) - largest);
                v_store_n(y + i, e, n);
            }
            sum += e;
        }
        scale = v_all(1 / v_sum(sum));
        for (i = 0; i + VL <= cols; i += VL)
            v_store(y + i, v_max(v_all((REAL)TINY), v_load(y + i) * scale));
        if (i < cols)
            v_store_n(y + i, v_max(v_all((REAL)TINY), v_load_n(y + i, (int)(cols - i)) * scale), (int)(cols - i));
    }
}

static void FN(leaf_softmax_back)(const void *dy_, const void *y_, void *dx_, int64_t rows, int64_t cols)
{
    const REAL *dy = dy_, *y = y_;
    REAL *dx = dx_;
    int64_t r, i;
    for (r = 0; r < rows; r++, dy += cols, y += cols, dx += cols) {
        vec sum = v_all(0);
        for (i = 0; i + VL <= cols; i += VL)
            sum = v_fma(v_load(dy + i), v_load(y + i), sum);
        if (i < cols)
            sum = v_fma(v_load_n(dy + i, (int)(cols - i)), v_load_n(y + i, (int)(cols - i)), sum);
        sum = v_all(v_sum(sum));
        for (i = 0; i + VL <= cols; i += VL)
            v_store(dx + i, v_load(y + i) * (v_load(dy + i) - sum));
        if (i < cols) {
            int n = (int)(cols - i);
            v_store_n(dx + i, v_load_n(y + i, n) * (v_load_n(dy + i, n) - sum), n);
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- columns */

/* Sums over rows go through registers in runs of this many, which are then added up: the rounding error grows with
 * the run and the number of runs, not with the number of rows. */
#define ROW_RUN 256

/* One stripe of n <= VL columns. */
INLINE void FN(column_stripe)(const REAL *x, int64_t rows, int64_t cols, int n, REAL *out, int accumulate)
{
    vec total = accumulate ? v_load_n(out, n) : v_all(0);
    int64_t r, from;
    for (from = 0; from < rows; from += ROW_RUN) {
        int64_t to = from + ROW_RUN < rows ? from + ROW_RUN : rows;
        vec sum = v_all(0), other = sum;
        for (r = from; r < to; r++) {
            vec next = other + (n == VL ? v_load(x + r * cols) : v_load_n(x + r * cols, n));
            other = sum; /* the two chains take turns */
            sum = next;
        }
        total += sum + other;
    }
    v_store_n(out, total, n);
}

static void FN(leaf_col_sum)(const void *x, int64_t rows, int64_t cols, void *out, int accumulate)
{
    int64_t c;
    for (c = 0; c + VL <= cols; c += VL)
        FN(column_stripe)((const REAL *)x + c, rows, cols, VL, (REAL *)out + c, accumulate);
    if (c < cols)
        FN(column_stripe)((const REAL *)x + c, rows, cols, (int)(cols - c), (REAL *)out + c, accumulate);
}

#undef ROW_RUN

/* ----------------------------------------------------------------------------------------------------- optimizers */

static void FN(leaf_sgd)(void *p_, const void *g_, void *v_, int64_t n, double lr_, double momentum_, int nesterov,
                         double decay_)
{
    const REAL lr = (REAL)lr_, momentum = (REAL)momentum_, decay = (REAL)decay_, *grad = g_;
    REAL *p_all = p_, *velocity = v_;
    int64_t i;
    for (i = 0; i < n; i += VL) {
        int k = n - i < VL ? (int)(n - i) : VL;
        vec p = v_load_n(p_all + i, k), g = v_fma(v_all(decay), p, v_load_n(grad + i, k));
        if (velocity) {
            vec v = v_fma(v_all(momentum), v_load_n(velocity + i, k), g);
            v_store_n(velocity + i, v, k);
            g = nesterov ? v_fma(v_all(momentum), v, g) : v;
        }
        v_store_n(p_all + i, p - lr * g, k);
    }
}

static void FN(leaf_adam)(void *p_, const void *g_, void *m_, void *v_, int64_t n, double rate_, double root_,
                          double beta1, double beta2, double eps_, double lr_decay_)
{
    const REAL rate = (REAL)rate_, eps = (REAL)eps_, keep = (REAL)(1 - lr_decay_), inverse_root = (REAL)(1 / root_);
    const REAL move1 = (REAL)(1 - beta1), move2 = (REAL)(1 - beta2), *grad = g_;
    REAL *p_all = p_, *m_all = m_, *second = v_;
    int64_t i;
    for (i = 0; i < n; i += VL) {
        int k = n - i < VL ? (int)(n - i) : VL;
        vec p = v_load_n(p_all + i, k), g = v_load_n(grad + i, k);
        vec m = v_load_n(m_all + i, k), v = v_load_n(second + i, k);
        m = m + move1 * (g - m);
        v = v + move2 * (g * g - v);
        p = p * keep;
        p = p - rate * m / (v_sqrt(v) * inverse_root + eps);
        v_store_n(m_all + i, m, k);
        v_store_n(second + i, v, k);
        v_store_n(p_all + i, p, k);
    }
}
