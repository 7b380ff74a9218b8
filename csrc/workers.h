/* workers: the threads of one call, and the barrier between its phases. The only file that
 * uses threads. Threads are created when a call starts and joined before it returns: no idle
 * threads, no state between calls, nothing that a fork could break. A call runs many steps, so
 * creating and joining the threads (about 20 us each) costs little. */
#ifndef EP_WORKERS_H
#define EP_WORKERS_H

#include "base.h"

#include <stdatomic.h>

enum { EP_WORKERS_MOST = 1024 }; /* maximum number of workers */

typedef struct ep_workers ep_workers;
/* The function that every worker runs; part 0 is the calling thread. */
typedef void (*ep_work)(ep_workers *workers, int part, int parts, void *context);

/* Runs `work` on up to `parts` workers (fewer if threads cannot be created: results must not depend
 * on their number) and returns when all have finished. */
void ep_workers_run(int parts, ep_work work, void *context);
/* Barrier: returns when all workers have called it. Writes before it are visible to all workers
 * after it. */
void ep_workers_wait(ep_workers *workers);
/* Claims a task: returns *next and increments it atomically. The caller resets *next between two
 * barriers. */
EP_INLINE int64_t ep_workers_claim(atomic_llong *next) {
    return atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
}

#endif
