/* compact: see compact.h. */
#include "compact.h"

#include <stdlib.h>
#include <string.h>

/* Gathers one array of `rank` axes from `from`, at the sizes in `net`, to `to`. */
static void move(const ep_net *net, ep_real *to, const ep_real *from, int rank, const int *axis,
                 const int32_t *const *keep, const int64_t *kept) {
    int64_t size[EP_RANK], left[EP_RANK];
    const int32_t *which[EP_RANK];
    for (int d = 0; d < rank; d++) {
        size[d] = net->axes[axis[d]].n;
        which[d] = keep[axis[d]];
        left[d] = kept[axis[d]];
    }
    ep_gather(to, from, rank, size, which, left);
}

/* The network after the removal: owns copies of all that changes, shares the rest with `net`. */
typedef struct {
    ep_net net;
    bool ok;
} draft;

static void *copied(const void *from, size_t bytes) {
    void *to = malloc(bytes ? bytes : 1);
    if (to) {
        memcpy(to, from, bytes);
    }
    return to;
}

static void drop(draft *d) {
    ep_slab *slabs[] = {d->net.numbers, d->net.gradients, d->net.first,    d->net.second,
                        d->net.x,       d->net.dx,        d->net.workspace};
    for (int i = 0; i < EP_COUNT(slabs); i++) {
        ep_slab_drop(slabs[i]);
    }
    for (int i = 0; d->net.axes && i < d->net.n_axes; i++) {
        free(d->net.axes[i].birth);
    }
    free(d->net.axes);
    free(d->net.values);
    free(d->net.layers);
    free(d->net.tensors);
}

static bool shrink_axes(draft *d, const ep_net *net, const int32_t *const *keep,
                        const int64_t *kept) {
    for (int i = 0; i < net->n_axes; i++) {
        const ep_axis *old = &net->axes[i];
        ep_axis *axis = &d->net.axes[i];
        if (keep[i]) {
            axis->n = kept[i];
        }
        if (old->birth) {
            axis->birth = malloc((size_t)ep_max(1, axis->n) * sizeof *axis->birth);
            if (!axis->birth) {
                return false;
            }
            for (int64_t j = 0; j < axis->n; j++) {
                axis->birth[j] = old->birth[keep[i] ? keep[i][j] : j];
            }
        }
    }
    return true;
}

static draft prepare(const ep_net *net, const int32_t *const *keep, const int64_t *kept) {
    draft d = {.net = *net};
    d.net.numbers = d.net.gradients = d.net.first = d.net.second = NULL;
    d.net.x = d.net.dx = d.net.workspace = NULL;
    d.net.axes = copied(net->axes, (size_t)net->n_axes * sizeof *net->axes);
    d.net.values = copied(net->values, (size_t)net->n_values * sizeof *net->values);
    d.net.layers = copied(net->layers, (size_t)net->n_layers * sizeof *net->layers);
    d.net.tensors = copied(net->tensors, (size_t)net->n_tensors * sizeof *net->tensors);
    for (int i = 0; d.net.axes && i < net->n_axes; i++) {
        d.net.axes[i].birth = NULL; /* owned by the old network; shrink_axes allocates new ids */
    }
    if (!d.net.axes) {
        return d;
    }
    if (!d.net.values || !d.net.layers || !d.net.tensors || !shrink_axes(&d, net, keep, kept)) {
        return d;
    }
    int64_t size = ep_net_measure(&d.net);
    bool active = net->x != NULL;
    int64_t more = 4 * size + (active ? 2 * d.net.width * net->capacity : 0);
    ep_error ignored;
    d.ok = ep_slab_fits(ep_net_allocated(net) + more) && (d.net.numbers = ep_slab_new(size)) &&
           (d.net.gradients = ep_slab_new(size)) && (d.net.first = ep_slab_new(size)) &&
           (d.net.second = ep_slab_new(size)) &&
           (!active || ((d.net.x = ep_slab_new(d.net.width * net->capacity)) &&
                        (d.net.dx = ep_slab_new(d.net.width * net->capacity)))) &&
           ep_net_reserve_workers(&d.net, (int)ep_max(1, net->workers), &ignored);
    return d;
}

bool ep_compact(ep_net *net, const int32_t *const *keep, const int64_t *kept, ep_error *error) {
    draft d = prepare(net, keep, kept);
    if (!d.ok) {
        drop(&d);
        return ep_fail(error, EP_NO_MEMORY,
                       "network: no memory to remove the extinct; nothing changed");
    }
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *old = &net->tensors[i], *now = &d.net.tensors[i];
        ep_slab *from[] = {net->numbers, net->gradients, net->first, net->second};
        ep_slab *to[] = {d.net.numbers, d.net.gradients, d.net.first, d.net.second};
        for (int s = 0; s < EP_COUNT(from); s++) {
            move(net, to[s]->at + now->at, from[s]->at + old->at, old->rank, old->axis, keep, kept);
        }
    }
    for (int i = 0; net->x && i < net->n_values; i++) {
        const ep_value *old = &net->values[i], *now = &d.net.values[i];
        ep_slab *from[] = {net->x, net->dx}, *to[] = {d.net.x, d.net.dx};
        for (int s = 0; s < EP_COUNT(from); s++) {
            for (int64_t row = 0; row < net->rows; row++) {
                move(net, to[s]->at + now->at * net->capacity + row * now->width,
                     from[s]->at + old->at * net->capacity + row * old->width, old->rank, old->axis,
                     keep, kept);
            }
        }
    }
    draft old = {.net = *net}; /* releases all that the draft replaces */
    *net = d.net;
    drop(&old);
    return true;
}

bool ep_compact_extinct(ep_net *net, ep_error *error) {
    const int32_t **keep = calloc((size_t)net->n_axes, sizeof *keep);
    int64_t *kept = calloc((size_t)net->n_axes, sizeof *kept);
    bool ok = keep && kept, some = false;
    for (int i = 0; ok && i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_real *alive = ep_net_numbers(net, p->alive);
        int64_t n = net->axes[p->axis].n, left = 0;
        if (ep_alive(net, p) == n) {
            continue;
        }
        int32_t *index = malloc((size_t)n * sizeof *index);
        ok = index != NULL;
        for (int64_t j = 0; ok && j < n; j++) {
            if (alive[j] > 0) {
                index[left++] = (int32_t)j;
            }
        }
        keep[p->axis] = index;
        kept[p->axis] = left;
        some = true;
    }
    if (!ok) {
        ep_fail(error, EP_NO_MEMORY, "network: no memory to remove the extinct; nothing changed");
    } else if (some) {
        ok = ep_compact(net, keep, kept, error);
    }
    if (ok) {
        net->waste = 0;
    }
    for (int i = 0; keep && i < net->n_axes; i++) {
        free((void *)keep[i]);
    }
    free(keep);
    free(kept);
    return ok;
}
