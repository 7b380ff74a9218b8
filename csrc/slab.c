/* slab: see slab.h. */
#define _GNU_SOURCE
#include "slab.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <fcntl.h>
#include <sys/mman.h>
#endif

enum { EP_HUGE = 2 << 20 }; /* bytes of a huge page; larger slabs request huge pages */

#ifdef EP_HOSTILE
static atomic_int fail_after = -1; /* the only global state; only in the test build EP_HOSTILE */

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

/* ---- available memory ------------------------------------------------------------------------ */

#ifdef __linux__
enum { TEXT = 4096, NAME = 64 };

/* Reads the start of a file as text. Returns its length, or -1. */
static int64_t read_text(const char *path, char text[TEXT]) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int64_t n = file < 0 ? -1 : read(file, text, TEXT - 1);
    if (file >= 0) {
        close(file);
    }
    text[n < 0 ? 0 : n] = 0;
    return n;
}

/* Returns the smallest limit of a control group and its ancestors, at most `least`. Limits that
 * cannot be read, or are "max", are ignored. */
static int64_t least_limit(const char *root, char *group, const char *file, int64_t least) {
    for (;;) {
        char path[TEXT + 2 * NAME], text[TEXT];
        ep_format(path, sizeof path, "%s%s/%s", root, group, file);
        if (read_text(path, text) > 0 && text[0] >= '0' && text[0] <= '9') {
            long long limit = strtoll(text, NULL, 10);
            least = limit > 0 && limit < least ? limit : least;
        }
        char *last = strrchr(group, '/');
        if (!last) {
            return least;
        }
        *last = 0;
    }
}

/* Returns the memory limit of this process's control groups, at most `least`. /proc/self/cgroup has
 * a line "number:controllers:/path" for every hierarchy. */
static int64_t group_limit(int64_t least) {
    char text[TEXT];
    if (read_text("/proc/self/cgroup", text) <= 0) {
        return least;
    }
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = 0;
        }
        char *controllers = strchr(line, ':'),
             *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = 0;
        if (strcmp(controllers, ":memory") == 0) {
            least = least_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", least);
        } else if (strcmp(controllers, ":") == 0) {
            least = least_limit("/sys/fs/cgroup", path, "memory.max", least);
        }
    }
    return least;
}
#endif

/* True if a request is larger than memory. The caller then gets an error instead of being killed by
 * an overcommitting kernel. Small requests skip reading the limits from files. */
static bool exceeds_machine(int64_t bytes) {
    const int64_t small = 64 << 20;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t most = pages > 0 && page > 0 ? ep_times(pages, page) : -1;
    most = most < 0 ? INT64_MAX : most;
#ifdef __linux__
    most = bytes > small ? group_limit(most) : most;
#endif
    return bytes > small && bytes >= most;
}

static int64_t bytes_of(int64_t n) {
    int64_t padded = n < 0 || n > INT64_MAX / 16 ? -1 : n + 2 * (int64_t)EP_LINE;
    return ep_times(padded, sizeof(ep_real));
}

bool ep_slab_fits(int64_t n) {
    int64_t bytes = bytes_of(n);
    return bytes >= 0 && !exceeds_machine(bytes);
}

ep_slab *ep_slab_new(int64_t n) {
    int64_t bytes = bytes_of(n);
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
        (void)madvise(at, whole, MADV_HUGEPAGE); /* fewer TLB misses; failure is harmless */
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
