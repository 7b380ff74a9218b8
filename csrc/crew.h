/* crew: the workers of one call, and the barrier between its phases. The only file that knows
 * threads. Workers are made when a call starts and are gone when it returns: no idle threads, no
 * state between calls, and nothing that a fork could break. A call is a chunk of many steps, so
 * making them is noise (some 15 us a worker). */
#ifndef EP_CREW_H
#define EP_CREW_H

#include "base.h"

#include <stdatomic.h>

enum { EP_CREW_MOST = 1024 }; /* workers */

typedef struct ep_crew ep_crew;
/* What every worker runs; part 0 is the calling thread. */
typedef void (*ep_work)(ep_crew *crew, int part, int parts, void *context);

/* Runs `work` in up to `parts` workers (fewer if the system gives fewer: results must not depend
 * on it) and returns when all have. */
void ep_crew_run(int parts, ep_work work, void *context);
/* Returns when every worker has come here. All writes before it are seen by all after it. */
void ep_crew_wait(ep_crew *crew);
/* Deals out tasks: returns *next and moves it on. Reset it between two barriers. */
EP_INLINE int64_t ep_crew_claim(atomic_llong *next) {
    return atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
}

#endif
