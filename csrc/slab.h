/* slab: aligned, zeroed, reference-counted blocks of numbers, the only place that allocates them.
 * A view handed out keeps its slab alive by a reference, so nothing that was once visible is ever
 * dangling. It knows nothing of what lies in a slab. */
#ifndef EP_SLAB_H
#define EP_SLAB_H

#include "base.h"

#include <stdatomic.h>

typedef struct {
    ep_real *at;  /* n numbers, EP_ALIGN aligned, one spare line behind the last */
    int64_t n;
    atomic_int references;
} ep_slab;

/* True if slabs of n elements in all, those there are and those to come, fit into the memory that
 * this process may use: the machine's, or less where a control group limits it. False for n < 0. */
bool ep_slab_fits(int64_t n);
/* A slab of n zeros with one reference, or NULL: no memory, or more than the machine has. */
ep_slab *ep_slab_new(int64_t n);
ep_slab *ep_slab_keep(ep_slab *slab);
void ep_slab_drop(ep_slab *slab); /* NULL is fine */

#ifdef EP_HOSTILE
/* Makes the n-th slab from now fail (0: the next); negative: none does. */
void ep_slab_fail_after(int n);
#endif

#endif
