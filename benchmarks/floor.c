/* floor: run only the matrix products of a training step, for a lower limit of its time. Several
 * threads run a list of products repeatedly, by the single-threaded cblas_sgemm of a BLAS or by
 * ep_gemm. They wait for each other at a spinning barrier, but only if one reads what another
 * wrote. This file does not depend on networks: floor.py makes the list and chooses how each
 * product is split. It also measures the latency between two processors. */
#define _GNU_SOURCE
#include "gemm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { ROW_MAJOR = 101, PLAIN = 111, TURNED = 112, MOST = 64, EDGE = 16 };
enum { BY_ROWS, BY_COLUMNS, BY_ONE, BY_TIMES };

typedef void (*sgemm)(int order, int turn_a, int turn_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

/* A product `c` (m, n) = `a` (m, k) `b` (k, n), added to `c` if `add`. If `turn_a` is set, `a` is
 * stored transposed (k, m); if `turn_b` is set, `b` is stored (n, k). The product is repeated
 * `times` times, for the blocks of a large product or for many small products; `a`, `b` and `c` are
 * the same each time, so that they stay in cache. */
typedef struct {
    int32_t m, n, k, turn_a, turn_b;
    int32_t split; /* how threads share the work: BY_ROWS, BY_COLUMNS, BY_TIMES or BY_ONE */
    int32_t wait; /* 1: wait at a barrier before the product */
    int32_t times;
    int32_t add;
    int32_t unused;
    int64_t apart; /* elements between the results `c` of two threads, if split BY_TIMES */
    const float *a, *b;
    float *c;
} product;

typedef struct {
    const product *products;
    int n, threads;
    int64_t steps;
    sgemm blas; /* NULL: ep_gemm */
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int phase;
} crowd;

typedef struct {
    crowd *crowd;
    int part;
} member;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void meet(crowd *crowd) {
    if (crowd->threads == 1) {
        return;
    }
    int phase = atomic_load_explicit(&crowd->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&crowd->arrived, 1, memory_order_acq_rel) == crowd->threads - 1) {
        atomic_store_explicit(&crowd->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&crowd->phase, phase + 1, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&crowd->phase, memory_order_acquire) == phase) {
        relax();
    }
}

/* Return the first of n indices that belongs to part `part`: a multiple of EDGE if n is large. */
static int cut(int n, int part, int parts) {
    int at = (int)ep_split(n, part, parts);
    return part == parts || n < 2 * EDGE * parts ? at : at / EDGE * EDGE;
}

static void multiply(const crowd *crowd, const product *p, int part, float *scratch) {
    int i0 = 0, i1 = p->m, j0 = 0, j1 = p->n;
    int64_t times = p->times, own = 0;
    if (p->split == BY_TIMES) {
        times = ep_split(times, part + 1, crowd->threads) - ep_split(times, part, crowd->threads);
        own = part * p->apart;
    } else if (p->split == BY_ROWS) {
        i0 = cut(p->m, part, crowd->threads);
        i1 = cut(p->m, part + 1, crowd->threads);
    } else if (p->split == BY_COLUMNS) {
        j0 = cut(p->n, part, crowd->threads);
        j1 = cut(p->n, part + 1, crowd->threads);
    } else if (part) {
        return;
    }
    if (i1 <= i0 || j1 <= j0) {
        return;
    }
    const float *a = p->a + (p->turn_a ? i0 : (int64_t)i0 * p->k);
    const float *b = p->b + (p->turn_b ? (int64_t)j0 * p->k : j0);
    float *c = p->c + own + (int64_t)i0 * p->n + j0;
    ep_product ours = {.m = i1 - i0,
                       .n = j1 - j0,
                       .k = p->k,
                       .a = a,
                       .a_row = p->turn_a ? 1 : p->k,
                       .a_step = p->turn_a ? p->m : 1,
                       .b = b,
                       .b_step = p->turn_b ? 1 : p->n,
                       .b_col = p->turn_b ? p->k : 1,
                       .c = c,
                       .c_row = p->n,
                       .add = p->add};
    for (int64_t i = 0; i < times; i++) {
        if (crowd->blas) {
            crowd->blas(ROW_MAJOR, p->turn_a ? TURNED : PLAIN, p->turn_b ? TURNED : PLAIN, i1 - i0,
                        j1 - j0, p->k, 1, a, p->turn_a ? p->m : p->k, b, p->turn_b ? p->k : p->n,
                        (float)p->add, c, p->n);
        } else {
            ep_gemm(&ours, scratch);
        }
    }
}

static void *work(void *argument) {
    const member *self = argument;
    crowd *crowd = self->crowd;
    _Alignas(EP_ALIGN) float scratch[EP_GEMM_SCRATCH];
    meet(crowd);
    for (int64_t step = 0; step < crowd->steps; step++) {
        for (int i = 0; i < crowd->n; i++) {
            if (crowd->products[i].wait) {
                meet(crowd);
            }
            multiply(crowd, &crowd->products[i], self->part, scratch);
        }
        meet(crowd);
    }
    return NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Return the seconds that `steps` steps take; a negative number if threads cannot be created. */
double floor_run(const product *products, int n, int threads, int64_t steps, sgemm blas);
double floor_run(const product *products, int n, int threads, int64_t steps, sgemm blas) {
    if (threads < 1 || threads > MOST) {
        return -1;
    }
    crowd crowd = {.products = products, .n = n, .threads = threads, .steps = steps, .blas = blas};
    member members[MOST];
    pthread_t handles[MOST];
    for (int part = 0; part < threads; part++) {
        members[part] = (member){&crowd, part};
    }
    double begin = now();
    for (int part = 1; part < threads; part++) {
        if (pthread_create(&handles[part], NULL, work, &members[part]) != 0) {
            return -1; /* existing threads wait forever: the process must end */
        }
    }
    work(&members[0]);
    for (int part = 1; part < threads; part++) {
        pthread_join(handles[part], NULL);
    }
    return now() - begin;
}

/* ---- latency between two processors ---------------------------------------------------------- */

enum { TRIPS = 2000 };

static void *echo(void *argument) {
    atomic_int *flag = argument;
    for (int i = 0; i < TRIPS; i++) {
        while (atomic_load_explicit(flag, memory_order_acquire) != 2 * i + 1) {
            relax();
        }
        atomic_store_explicit(flag, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

/* Return the nanoseconds for a cache line to go to another thread and back: about 50 if two
 * processors share a cache, several hundred if not. The host of a virtual machine may move its
 * processors, so this can change during a measurement. */
double floor_trip(void);
double floor_trip(void) {
    _Alignas(64) atomic_int flag;
    pthread_t thread;
    atomic_init(&flag, 0);
    if (pthread_create(&thread, NULL, echo, &flag) != 0) {
        return -1;
    }
    double begin = 0;
    for (int i = 0; i < TRIPS; i++) {
        atomic_store_explicit(&flag, 2 * i + 1, memory_order_release);
        while (atomic_load_explicit(&flag, memory_order_acquire) != 2 * i + 2) {
            relax();
        }
        if (i == 0) { /* the other thread is ready */
            begin = now();
        }
    }
    double seconds = now() - begin;
    pthread_join(thread, NULL);
    return 1e9 * seconds / (TRIPS - 1);
}
