/* slab: aligned, zeroed, reference-counted arrays. All large arrays are allocated here. A view
 * holds a reference to its slab, so it never dangles. This file does not depend on what the arrays
 * contain. */
#ifndef EP_SLAB_H
#define EP_SLAB_H

#include "base.h"

#include <stdatomic.h>

typedef struct {
    ep_real *at;  /* n elements, EP_ALIGN aligned, followed by a spare cache line */
    int64_t n;
    atomic_int references;
} ep_slab;

/* True if n elements, the total of all existing and planned slabs, fit into the memory that this
 * process may use: that of the machine, or less if a control group limits it. False for n < 0. */
bool ep_slab_fits(int64_t n);
/* Returns a slab of n zeros with one reference; NULL if memory is insufficient. */
ep_slab *ep_slab_new(int64_t n);
ep_slab *ep_slab_keep(ep_slab *slab);
void ep_slab_drop(ep_slab *slab); /* NULL is allowed */

#ifdef EP_HOSTILE
/* Makes the n-th allocation from now fail (0: the next one); negative: none. */
void ep_slab_fail_after(int n);
#endif

#endif
