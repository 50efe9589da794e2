/* The BLAS's own threads, held at one while a program multiplies: a program's threads are its own affair.

   The setting belongs to the whole process, so products that overlap share one hold: the first one in notes what stands
   there and sets 1, the last one out puts it back. Nothing happens where the two functions were never handed in. */

#ifndef FASTNN_BLAS_HOLD_H
#define FASTNN_BLAS_HOLD_H

#if defined(_WIN32)

static inline int fastnn_hold_with(void *get, void *set) { return get == NULL && set == NULL; }
static inline void fastnn_hold(void) {}
static inline void fastnn_let_go(void) {}

#else

#include <pthread.h>
#include <sched.h>
#include <stddef.h>

static struct {
    int (*get)(void);
    void (*set)(int);
    char lock;
    int inside;     /* products under way */
    int held;       /* the setting is 1, or about to be, and before has to be put back */
    int before;
    int hooked;
} fastnn_blas;

static inline void fastnn_blas_lock(void)
{
    while (__atomic_test_and_set(&fastnn_blas.lock, __ATOMIC_ACQUIRE))
        sched_yield();
}

static inline void fastnn_blas_unlock(void) { __atomic_clear(&fastnn_blas.lock, __ATOMIC_RELEASE); }

/* The child of a fork has none of the products under way; what they held, its next product puts back. */
static void fastnn_blas_after_fork(void)
{
    fastnn_blas.inside = 0;
    fastnn_blas_unlock();
}

static inline int fastnn_hold_with(void *get, void *set)
{
    if (!fastnn_blas.hooked)
        fastnn_blas.hooked = pthread_atfork(NULL, NULL, fastnn_blas_after_fork) == 0;
    if (!fastnn_blas.hooked)
        return 0;
    fastnn_blas_lock();
    fastnn_blas.get = (int (*)(void))get;
    fastnn_blas.set = (void (*)(int))set;
    fastnn_blas_unlock();
    return 1;
}

static inline void fastnn_hold(void)
{
    if (fastnn_blas.set == NULL)
        return;
    fastnn_blas_lock();
    if (fastnn_blas.inside++ == 0 && !fastnn_blas.held) {
        fastnn_blas.before = fastnn_blas.get();
        if (fastnn_blas.before != 1) {
            fastnn_blas.held = 1;
            fastnn_blas.set(1);
        }
    }
    fastnn_blas_unlock();
}

static inline void fastnn_let_go(void)
{
    if (fastnn_blas.set == NULL)
        return;
    fastnn_blas_lock();
    if (--fastnn_blas.inside == 0 && fastnn_blas.held) {
        fastnn_blas.set(fastnn_blas.before);
        fastnn_blas.held = 0;
    }
    fastnn_blas_unlock();
}

#endif
#endif
