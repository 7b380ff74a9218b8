/* workers: see workers.h. */
#define _GNU_SOURCE
#include "workers.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum {
    SPINS = 4000,  /* about 20-40 us of spinning before the first yield */
    YIELDS = 200,  /* yields before sleeping */
};

struct ep_workers {
    ep_work work;
    void *context;
    atomic_int parts; /* 0 until the number of workers is known */
    _Alignas(EP_ALIGN) atomic_int arrived;
    _Alignas(EP_ALIGN) atomic_int phase;
    _Alignas(EP_ALIGN) atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

typedef struct {
    ep_workers *workers;
    int part;
    pthread_t thread;
} member;

EP_INLINE void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns once *word differs from `old`. */
static void await_change(ep_workers *workers, atomic_int *word, int old) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old) {
            return;
        }
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old) {
            return;
        }
        sched_yield();
    }
    pthread_mutex_lock(&workers->mutex);
    atomic_fetch_add(&workers->sleepers, 1);
    while (atomic_load(word) == old) {
        pthread_cond_wait(&workers->changed, &workers->mutex);
    }
    atomic_fetch_sub(&workers->sleepers, 1);
    pthread_mutex_unlock(&workers->mutex);
}

/* Stores a value and wakes the threads that wait for it to change. The store and the load must be
 * sequentially consistent: then either a thread about to sleep sees the new value, or this thread
 * sees that there is a sleeper. */
static void announce(ep_workers *workers, atomic_int *word, int value) {
    atomic_store(word, value);
    if (atomic_load(&workers->sleepers) > 0) {
        pthread_mutex_lock(&workers->mutex);
        pthread_cond_broadcast(&workers->changed);
        pthread_mutex_unlock(&workers->mutex);
    }
}

void ep_workers_wait(ep_workers *workers) {
    int parts = atomic_load_explicit(&workers->parts, memory_order_relaxed);
    if (parts == 1) {
        return;
    }
    int phase = atomic_load_explicit(&workers->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&workers->arrived, 1, memory_order_acq_rel) == parts - 1) {
        atomic_store_explicit(&workers->arrived, 0, memory_order_relaxed);
        announce(workers, &workers->phase, phase + 1);
    } else {
        await_change(workers, &workers->phase, phase);
    }
}

/* Flush subnormal numbers to zero while a worker runs: on many processors they are up to 100 times
 * slower, and decaying masses and moments become subnormal on the way to 0. The setting of the
 * calling thread is restored afterwards. */
#if defined(__SSE2__)
static unsigned flush_subnormals(void) {
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040u); /* FTZ and DAZ: flush results and inputs to zero */
    return before;
}
static void restore_subnormals(unsigned before) { __builtin_ia32_ldmxcsr(before); }
#elif defined(__aarch64__)
static uint64_t flush_subnormals(void) {
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
}
static void restore_subnormals(uint64_t before) {
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}
#else
static int flush_subnormals(void) { return 0; }
static void restore_subnormals(int before) { (void)before; }
#endif

static void *start(void *argument) {
    member *self = argument;
    (void)flush_subnormals(); /* not restored: the thread ends after its work */
    await_change(self->workers, &self->workers->parts, 0);
    int parts = atomic_load(&self->workers->parts);
    self->workers->work(self->workers, self->part, parts, self->workers->context);
    return NULL;
}

static void work_here(ep_workers *workers, int parts) {
    __typeof__(flush_subnormals()) before = flush_subnormals();
    workers->work(workers, 0, parts, workers->context);
    restore_subnormals(before);
}

void ep_workers_run(int parts, ep_work work, void *context) {
    parts = parts < 1 ? 1 : parts > EP_WORKERS_MOST ? EP_WORKERS_MOST : parts;
    ep_workers workers = {.work = work, .context = context};
    member *members = parts > 1 ? calloc((size_t)parts, sizeof *members) : NULL;
    if (parts == 1 || !members) {
        atomic_init(&workers.parts, 1);
        work_here(&workers, 1);
        free(members);
        return;
    }
    pthread_mutex_init(&workers.mutex, NULL);
    pthread_cond_init(&workers.changed, NULL);
    int made = 1;
    while (made < parts) {
        members[made] = (member){.workers = &workers, .part = made};
        if (pthread_create(&members[made].thread, NULL, start, &members[made]) != 0) {
            break;
        }
        made++;
    }
    announce(&workers, &workers.parts, made);
    work_here(&workers, made);
    for (int i = 1; i < made; i++) {
        pthread_join(members[i].thread, NULL);
    }
    pthread_cond_destroy(&workers.changed);
    pthread_mutex_destroy(&workers.mutex);
    free(members);
}
