/* slab: see slab.h. */
#define _GNU_SOURCE
#include "slab.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { EP_HUGE = 2 << 20 }; /* bytes of a huge page; slabs larger than this ask for them */

#ifdef EP_HOSTILE
static atomic_int fail_after = -1; /* the hostile test build's one piece of global state */

void ep_slab_fail_after(int n) { atomic_store(&fail_after, n); }

static bool told_to_fail(void) {
    int left = atomic_load(&fail_after);
    if (left < 0) {
        return false;
    }
    atomic_store(&fail_after, left - 1);
    return left == 0;
}
#endif

/* More than the machine's memory can never be filled: refuse it here, where the caller can still
 * be told, and not where an optimistic kernel ends the process. */
static bool exceeds_machine(int64_t bytes) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 && bytes / page >= pages;
}

ep_slab *ep_slab_new(int64_t n) {
    int64_t padded = n < 0 || n > INT64_MAX / 16 ? -1 : n + 2 * (int64_t)EP_LINE;
    int64_t bytes = ep_times(padded, sizeof(ep_real));
    if (bytes < 0 || exceeds_machine(bytes)) {
        return NULL;
    }
#ifdef EP_HOSTILE
    if (told_to_fail()) {
        return NULL;
    }
#endif
    size_t align = bytes >= EP_HUGE ? (size_t)EP_HUGE : (size_t)EP_ALIGN;
    size_t whole = ((size_t)bytes + align - 1) / align * align;
    ep_slab *slab = malloc(sizeof *slab);
    void *at = slab ? aligned_alloc(align, whole) : NULL;
    if (!at) {
        free(slab);
        return NULL;
    }
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (align == EP_HUGE) {
        (void)madvise(at, whole, MADV_HUGEPAGE); /* a wish: fewer TLB misses */
    }
#endif
    memset(at, 0, whole);
    slab->at = at;
    slab->n = n;
    atomic_init(&slab->references, 1);
    return slab;
}

ep_slab *ep_slab_keep(ep_slab *slab) {
    atomic_fetch_add_explicit(&slab->references, 1, memory_order_relaxed);
    return slab;
}

void ep_slab_drop(ep_slab *slab) {
    if (slab && atomic_fetch_sub_explicit(&slab->references, 1, memory_order_acq_rel) == 1) {
        free(slab->at);
        free(slab);
    }
}
