/* compact: see compact.h. */
#include "compact.h"

#include <stdlib.h>
#include <string.h>

/* Gathers an array of `rank` axes: `from` has the old sizes, those of `net`; `to` has the new
 * sizes, those of `places`. */
static void move(const ep_net *net, ep_real *to, const ep_real *from, int rank, const int *axis,
                 const ep_places *places) {
    int64_t size[EP_RANK], left[EP_RANK];
    const int32_t *which[EP_RANK];
    for (int d = 0; d < rank; d++) {
        size[d] = net->axes[axis[d]].n;
        which[d] = places[axis[d]].source;
        left[d] = places[axis[d]].n;
    }
    ep_gather(to, from, rank, size, which, left);
}

/* The network after the change. Owns copies of all that changes and shares the rest with `net`. */
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

static bool resize_axes(draft *d, const ep_net *net, const ep_places *places) {
    for (int i = 0; i < net->n_axes; i++) {
        const ep_axis *old = &net->axes[i];
        ep_axis *axis = &d->net.axes[i];
        const ep_places *p = &places[i];
        if (p->source) {
            axis->n = p->n;
            axis->next_birth = old->next_birth + p->born;
        }
        if (old->birth) {
            axis->birth = malloc((size_t)ep_max(1, axis->n) * sizeof *axis->birth);
            if (!axis->birth) {
                return false;
            }
            int64_t stay = axis->n - (p->source ? p->born : 0);
            for (int64_t j = 0; j < axis->n; j++) {
                axis->birth[j] = j >= stay ? (int32_t)(old->next_birth + j - stay)
                                           : old->birth[p->source ? p->source[j] : j];
            }
        }
    }
    return true;
}

static draft prepare(const ep_net *net, const ep_places *places) {
    draft d = {.net = *net};
    d.net.numbers = d.net.gradients = d.net.first = d.net.second = NULL;
    d.net.x = d.net.dx = d.net.workspace = NULL;
    d.net.axes = copied(net->axes, (size_t)net->n_axes * sizeof *net->axes);
    d.net.values = copied(net->values, (size_t)net->n_values * sizeof *net->values);
    d.net.layers = copied(net->layers, (size_t)net->n_layers * sizeof *net->layers);
    d.net.tensors = copied(net->tensors, (size_t)net->n_tensors * sizeof *net->tensors);
    for (int i = 0; d.net.axes && i < net->n_axes; i++) {
        d.net.axes[i].birth = NULL; /* owned by the old network; resize_axes allocates new ids */
    }
    if (!d.net.axes) {
        return d;
    }
    if (!d.net.values || !d.net.layers || !d.net.tensors || !resize_axes(&d, net, places)) {
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
           (!net->workspace || ep_net_reserve_workers(&d.net, net->workers, &ignored));
    return d;
}

/* True if a tensor of the layer has new places, those without a source. */
static bool has_new(const ep_net *net, const ep_layer *layer, const ep_places *places) {
    bool found = false;
    for (int i = 0; i < layer->n_tensors; i++) {
        const ep_tensor *tensor = &net->tensors[layer->tensor[i]];
        for (int d = 0; d < tensor->rank; d++) {
            const ep_places *p = &places[tensor->axis[d]];
            found = found || (p->born && p->source[p->n - 1] < 0);
        }
    }
    return found;
}

/* Initializes all tensors of layers that have new places. ep_gather then overwrites all elements
 * except those of the new places. */
static void fill_new(ep_net *net, const ep_places *places, int64_t generation) {
    ep_pass pass = ep_net_training_pass(net, 0, 1);
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        ep_noise noise = {net->seed, EP_STREAM_LAYERS + (uint64_t)layer->index};
        if (layer->kind->init && has_new(net, layer, places)) {
            layer->kind->init(&pass, layer, ep_random_fork(noise, (uint64_t)generation));
        }
    }
}

bool ep_resize(ep_net *net, const ep_places *places, int64_t generation, ep_error *error) {
    draft d = prepare(net, places);
    if (!d.ok) {
        drop(&d);
        return ep_fail(error, EP_NO_MEMORY,
                       "network: no memory to remove the extinct and to add the newborn; nothing "
                       "changed");
    }
    fill_new(&d.net, places, generation);
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *old = &net->tensors[i], *now = &d.net.tensors[i];
        ep_slab *from[] = {net->numbers, net->gradients, net->first, net->second};
        ep_slab *to[] = {d.net.numbers, d.net.gradients, d.net.first, d.net.second};
        for (int s = 0; s < EP_COUNT(from); s++) {
            move(net, to[s]->at + now->at, from[s]->at + old->at, old->rank, old->axis, places);
        }
    }
    for (int i = 0; net->x && i < net->n_values; i++) {
        const ep_value *old = &net->values[i], *now = &d.net.values[i];
        ep_slab *from[] = {net->x, net->dx}, *to[] = {d.net.x, d.net.dx};
        for (int s = 0; s < EP_COUNT(from); s++) {
            for (int64_t row = 0; row < net->rows; row++) {
                move(net, to[s]->at + now->at * net->capacity + row * now->width,
                     from[s]->at + old->at * net->capacity + row * old->width, old->rank, old->axis,
                     places);
            }
        }
    }
    draft old = {.net = *net}; /* owns everything that the draft has replaced */
    *net = d.net;
    drop(&old);
    return true;
}

void ep_places_free(ep_places *places, int n_axes) {
    for (int i = 0; places && i < n_axes; i++) {
        free(places[i].source);
    }
    free(places);
}

ep_places *ep_places_living(const ep_net *net, int64_t most) {
    ep_places *places = calloc((size_t)ep_max(1, net->n_axes), sizeof *places);
    bool ok = places != NULL;
    for (int i = 0; ok && i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_real *alive = ep_net_numbers(net, p->alive);
        int64_t n = net->axes[p->axis].n;
        ep_places *here = &places[p->axis];
        if (here->source || (most == 0 && ep_alive(net, p) == n)) {
            continue;
        }
        here->source = malloc((size_t)(n + most + 1) * sizeof *here->source);
        ok = here->source != NULL;
        for (int64_t j = 0; ok && j < n; j++) {
            if (alive[j] > 0) {
                here->source[here->n++] = (int32_t)j;
            }
        }
    }
    if (!ok) {
        ep_places_free(places, net->n_axes);
        return NULL;
    }
    return places;
}

bool ep_compact_extinct(ep_net *net, ep_error *error) {
    ep_places *places = ep_places_living(net, 0);
    if (!places) {
        return ep_fail(error, EP_NO_MEMORY,
                       "network: no memory to remove the extinct; nothing changed");
    }
    bool some = false;
    for (int i = 0; i < net->n_axes; i++) {
        some = some || places[i].source;
    }
    bool ok = !some || ep_resize(net, places, net->generation, error);
    if (ok) {
        net->waste = 0;
    }
    ep_places_free(places, net->n_axes);
    return ok;
}
