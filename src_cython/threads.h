/* A pool of threads for stages of a program: fastnn_parallel(run, context, n) is run(context, k) for k = 0 .. n - 1.

   The caller does k = 0, workers do the others; they are made when first needed and kept. What a worker has not begun
   when the caller is through with his own, as one whose core another process has, the caller does too. Waiting is a few
   microseconds of spinning, with the core left to whoever else can run, then a condition variable. There is one pool,
   and one thread at a time uses it: whoever finds it in use does all k himself, in order, with the same result, as who
   runs a k is no part of what it computes.

   Without POSIX threads everything runs in the caller, and fastnn_threads_available() is 0. Include it in one module:
   the pool is static. */

#ifndef FASTNN_THREADS_H
#define FASTNN_THREADS_H

#define FASTNN_MAX_THREADS 64

#if defined(_WIN32) || (defined(__EMSCRIPTEN__) && !defined(__EMSCRIPTEN_PTHREADS__)) || defined(__wasi__)

static int fastnn_threads_available(void) { return 0; }

static void fastnn_parallel(void (*run)(void *context, int k), void *context, int n)
{
    for (int k = 0; k < n; k++)
        run(context, k);
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What lies between two stages of a small net, as a batch norm or a loss, takes one thread 5 to 40 us. */
#define FASTNN_SPIN_NS 50000

/* What two threads write stands in cache lines of its own; two, as CPUs fetch them in pairs. */
#define FASTNN_APART __attribute__((aligned(128)))

typedef struct {                /* where a thread waits until its number is 0 */
    FASTNN_APART int left;      /* things still to come */
    int asleep;                 /* it waits for wake, which somebody has to signal */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
} fastnn_gate_t;

static struct {
    int in_use;
    int ready;                  /* gates are set up, in this process */
    int hooked;                 /* the child of a fork is looked after */
    int spins;                  /* threads that may spin at a time: as many as there are processors */
    int workers;
    void (*run)(void *context, int k);
    void *context;
    int n;
    fastnn_gate_t done;         /* the caller's */
    fastnn_gate_t start[FASTNN_MAX_THREADS];
} fastnn_pool;

static int fastnn_threads_available(void) { return 1; }

static inline void fastnn_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static void fastnn_gate_open(fastnn_gate_t *gate)
{
    gate->left = gate->asleep = 0;
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->wake, NULL);
}

/* Close an open gate behind us; 0 if another thread has done so, for whom it was opened then. */
static inline int fastnn_take(fastnn_gate_t *gate)
{
    int open = 0;
    return __atomic_compare_exchange_n(&gate->left, &open, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline int fastnn_passes(fastnn_gate_t *gate) { return __atomic_load_n(&gate->left, __ATOMIC_SEQ_CST) == 0; }

static void fastnn_wait(fastnn_gate_t *gate, int spins)
{
    struct timespec t;
    long long until = 0, now;
    while (spins) {
        for (int i = 0; i < 32; i++) {
            if (fastnn_passes(gate))
                return;
            fastnn_pause();
        }
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &t);
        now = t.tv_sec * 1000000000LL + t.tv_nsec;
        if (until == 0)
            until = now + FASTNN_SPIN_NS;
        else if (now > until)
            break;
    }
    pthread_mutex_lock(&gate->mutex);
    /* In the one order of these accesses, either the wait below sees left = 0, or fastnn_count sees asleep = 1. */
    __atomic_store_n(&gate->asleep, 1, __ATOMIC_SEQ_CST);
    while (!fastnn_passes(gate))
        pthread_cond_wait(&gate->wake, &gate->mutex);
    __atomic_store_n(&gate->asleep, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&gate->mutex);
}

/* One of the things a gate waits for has come. */
static void fastnn_count(fastnn_gate_t *gate)
{
    if (__atomic_sub_fetch(&gate->left, 1, __ATOMIC_SEQ_CST) == 0 && __atomic_load_n(&gate->asleep, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&gate->mutex);
        pthread_cond_signal(&gate->wake);
        pthread_mutex_unlock(&gate->mutex);
    }
}

static void *fastnn_worker(void *number)
{
    int k = (int)(size_t)number;
    fastnn_gate_t *start = &fastnn_pool.start[k];
    for (int spins = 1;;) {
        fastnn_wait(start, spins);
        if (!fastnn_take(start))
            continue;   /* the caller was here first */
        spins = fastnn_pool.n <= fastnn_pool.spins;
        fastnn_pool.run(fastnn_pool.context, k);
        fastnn_count(&fastnn_pool.done);
    }
    return NULL;
}

/* In the child of a fork there are no workers, and locks may be in the hands of threads that are not there. */
static void fastnn_after_fork(void) { memset(&fastnn_pool, 0, sizeof fastnn_pool); fastnn_pool.hooked = 1; }

static int fastnn_processors(void)
{
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* Make workers until there are as many as wanted, or the system has no more. */
static void fastnn_hire(int wanted)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    if (!fastnn_pool.ready) {
        fastnn_gate_open(&fastnn_pool.done);
        fastnn_pool.spins = fastnn_processors();
        fastnn_pool.ready = 1;
    }
    if (!fastnn_pool.hooked)
        fastnn_pool.hooked = pthread_atfork(NULL, NULL, fastnn_after_fork) == 0;
    if (!fastnn_pool.hooked || pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 1 << 20);   /* musl's 128 KiB might not do for a BLAS */
    /* Ctrl-C and the like are for the threads that were there before. What a thread does to itself stays its own, so
       that faulthandler can report it. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (fastnn_pool.workers < wanted) {
        int k = fastnn_pool.workers + 1;
        fastnn_gate_open(&fastnn_pool.start[k]);
        fastnn_pool.start[k].left = 1;
        if (pthread_create(&thread, &attributes, fastnn_worker, (void *)(size_t)k) != 0)
            break;
        fastnn_pool.workers = k;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

static void fastnn_parallel(void (*run)(void *context, int k), void *context, int n)
{
    int k, helpers = (n < FASTNN_MAX_THREADS ? n : FASTNN_MAX_THREADS) - 1;
    if (n < 2 || __atomic_exchange_n(&fastnn_pool.in_use, 1, __ATOMIC_ACQUIRE)) {
        for (k = 0; k < n; k++)
            run(context, k);
        return;
    }
    if (fastnn_pool.workers < helpers) {
        fastnn_hire(helpers);
        if (fastnn_pool.workers < helpers)
            helpers = fastnn_pool.workers;
    }
    fastnn_pool.run = run;
    fastnn_pool.context = context;
    fastnn_pool.n = n;
    __atomic_store_n(&fastnn_pool.done.left, helpers, __ATOMIC_SEQ_CST);
    for (k = 1; k <= helpers; k++)
        fastnn_count(&fastnn_pool.start[k]);
    run(context, 0);
    for (k = helpers + 1; k < n; k++)
        run(context, k);
    for (k = 1; k <= helpers; k++)
        if (fastnn_take(&fastnn_pool.start[k])) {
            run(context, k);
            fastnn_count(&fastnn_pool.done);
        }
    fastnn_wait(&fastnn_pool.done, n <= fastnn_pool.spins);
    __atomic_store_n(&fastnn_pool.in_use, 0, __ATOMIC_RELEASE);
}

#endif
#endif
