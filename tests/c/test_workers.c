/* The workers of a call: all run, none passes a barrier early, every task is claimed once, calls
 * can run in parallel and nested, and no thread outlives its call. */
#define _GNU_SOURCE
#include "workers.h"

#include "check.h"

#include <unistd.h>

enum { MOST = 16, PHASES = 150 };

typedef struct {
    int64_t count[MOST]; /* not atomic: only the barrier orders accesses */
    _Atomic int64_t early, runs;
    atomic_llong next;
    atomic_int claimed[1000];
    int parts;
} stress;

static void march(ep_workers *workers, int part, int parts, void *context) {
    stress *s = context;
    atomic_fetch_add(&s->runs, 1);
    if (part == 0) {
        s->parts = parts;
    }
    for (int64_t phase = 1; phase <= PHASES; phase++) {
        s->count[part] = phase;
        if ((phase + part) % 97 == 0) {
            usleep(100); /* one worker is late, so the others sleep */
        }
        ep_workers_wait(workers);
        for (int other = 0; other < parts; other++) {
            atomic_fetch_add(&s->early, s->count[other] != phase);
        }
        ep_workers_wait(workers);
    }
}

static void test_barrier(void) {
    for (int parts = -1; parts <= MOST; parts += parts < 4 ? 1 : 6) {
        stress s = {.parts = -1};
        ep_workers_run(parts, march, &s);
        CHECK(s.early == 0);
        CHECK(s.parts == (parts < 1 ? 1 : parts) && s.runs == s.parts);
        for (int part = 0; part < s.parts; part++) {
            CHECK(s.count[part] == PHASES);
        }
    }
}

static void claim(ep_workers *workers, int part, int parts, void *context) {
    (void)parts;
    stress *s = context;
    for (int round = 0; round < 20; round++) {
        for (int64_t i; (i = ep_workers_claim(&s->next)) < 1000;) {
            atomic_fetch_add(&s->claimed[i], 1);
        }
        ep_workers_wait(workers);
        if (part == 0) {
            for (int i = 0; i < 1000; i++) {
                atomic_fetch_add(&s->early, atomic_exchange(&s->claimed[i], 0) != 1);
            }
            atomic_store(&s->next, 0);
        }
        ep_workers_wait(workers);
    }
}

static void test_tasks_are_dealt_once(void) {
    static stress s;
    ep_workers_run(5, claim, &s);
    CHECK(s.early == 0);
}

static void within(ep_workers *workers, int part, int parts, void *context) {
    (void)workers;
    (void)part;
    (void)parts;
    stress s = {.parts = -1};
    ep_workers_run(3, march, &s);
    if (s.early || s.parts != 3) {
        atomic_fetch_add((_Atomic int64_t *)context, 1);
    }
}

static void test_workers_within_workers(void) {
    _Atomic int64_t wrong = 0;
    ep_workers_run(3, within, &wrong);
    CHECK(wrong == 0);
}

static void leave(ep_workers *workers, int part, int parts, void *context) {
    (void)workers;
    (void)part;
    atomic_fetch_add((_Atomic int64_t *)context, parts > 0);
}

/* Run many calls, and one that requests more workers than the maximum. If threads were not joined,
 * the system would run out of threads. */
static void test_many(void) {
    _Atomic int64_t runs = 0;
    for (int i = 0; i < 200; i++) {
        ep_workers_run(4, leave, &runs);
    }
    CHECK(runs == 800);
    runs = 0;
    ep_workers_run(100000, leave, &runs);
    CHECK(runs >= 1 && runs <= 1024);
}

int main(void) {
    test_barrier();
    test_tasks_are_dealt_once();
    test_workers_within_workers();
    test_many();
    return failures != 0;
}
