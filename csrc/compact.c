/* compact: see compact.h. */
#include "compact.h"

#include <stdlib.h>
#include <string.h>

/* What a change does to every axis. */
typedef struct {
    ep_choice *choice; /* (n_axes) */
    int64_t *added; /* (n_axes) number of new places, which have no source */
    int64_t *newborn; /* (n_axes) how many of them are at the end of the axis */
    ep_run *runs; /* memory of all choices */
} change;

static void forget(change *c) {
    free(c->choice);
    free(c->added);
    free(c->runs);
}

/* Finds what `places` changes. False: out of memory; free with forget() in either case. */
static bool find_change(const ep_net *net, const ep_places *places, change *c) {
    int64_t n = 1;
    for (int i = 0; i < net->n_axes; i++) {
        n += places[i].source ? places[i].n : 0;
    }
    c->choice = calloc((size_t)ep_max(1, net->n_axes), sizeof *c->choice);
    c->added = calloc((size_t)ep_max(1, 2 * net->n_axes), sizeof *c->added);
    c->runs = malloc((size_t)n * sizeof *c->runs);
    if (!c->choice || !c->added || !c->runs) {
        return false;
    }
    c->newborn = c->added + net->n_axes;
    ep_run *at = c->runs;
    for (int i = 0; i < net->n_axes; i++) {
        const ep_places *p = &places[i];
        int64_t stay = 0;
        for (int64_t j = 0; p->source && j < p->n; j++) {
            stay += p->source[j] >= 0;
        }
        if (!p->source || (p->n == stay && stay == net->axes[i].n && p->born == 0)) {
            continue; /* all places stay */
        }
        c->choice[i] = (ep_choice){p->n, ep_runs_of(p->source, p->n, at), at};
        c->added[i] = p->n - stay;
        at += p->n;
        while (c->newborn[i] < p->n && p->source[p->n - 1 - c->newborn[i]] < 0) {
            c->newborn[i]++;
        }
    }
    return true;
}

/* Copies an array of `rank` axes that has the sizes of `net` to one that has the new sizes. */
static void move(const ep_net *net, ep_real *to, const ep_real *from, int rank, const int *axis,
                 const change *c) {
    int64_t size[EP_RANK];
    ep_choice choice[EP_RANK];
    for (int d = 0; d < rank; d++) {
        size[d] = net->axes[axis[d]].n;
        choice[d] = c->choice[axis[d]];
    }
    ep_gather(to, from, rank, size, choice);
}

/* The network after the change. Owns what changes and shares the rest with `net`. */
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
    ep_slab *slabs[] = {d->net.numbers, d->net.gradients, d->net.first, d->net.second,
                        d->net.spare,   d->net.x,         d->net.dx,    d->net.workspace};
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
            memcpy(axis->birth, p->source ? p->birth : old->birth,
                   (size_t)axis->n * sizeof *axis->birth);
        }
    }
    return true;
}

/* ---- slabs ----------------------------------------------------------------------------------- */

/* Sets *to to a slab for n elements: `slab` itself if it can be reused, else a new one. */
static bool take(const ep_net *net, ep_slab *slab, int64_t n, int64_t room, ep_slab **to) {
    *to = ep_net_reusable(net, slab, n) ? ep_slab_keep(slab) : ep_slab_new(ep_max(n, room));
    return *to != NULL;
}

/* The slabs of tensors, in the order in which they move. */
typedef struct {
    ep_slab **slab[4];
    int n;
} slabs;

/* Returns those whose values are needed after the change: all but the gradients of a step that
 * another one follows. */
static slabs moving(ep_net *net) {
    return (slabs){{&net->numbers, &net->first, &net->second, &net->gradients},
                   net->continues ? 3 : 4};
}

/* Sets the slabs of the draft. Each slab moves to the one that the previous one has left; the first
 * moves to the spare slab, and the last becomes spare. Slabs that a view reads stay as they are,
 * and new ones replace them. */
static bool take_slabs(draft *d, ep_net *net, int64_t size) {
    slabs from = moving(net), to = moving(&d->net);
    ep_slab *left = net->spare;
    bool ok = true;
    for (int i = 0; ok && i < from.n; i++) {
        ok = take(net, left, size, net->room, to.slab[i]);
        left = *from.slab[i];
    }
    if (ok && net->continues) {
        ok = take(net, net->gradients, size, net->room, &d->net.gradients);
    }
    if (ok && ep_net_reusable(net, left, net->room)) {
        d->net.spare = ep_slab_keep(left);
    }
    int64_t rows = net->capacity, n = d->net.width * rows, room = net->room_width * rows;
    if (ok && net->x) {
        ok = take(net, net->continues ? net->x : NULL, n, room, &d->net.x) &&
             take(net, net->continues ? net->dx : NULL, n, room, &d->net.dx);
    }
    if (ok && net->workspace) {
        n = ep_net_workspace(&d->net, net->workers);
        ok = take(net, net->workspace, n, n, &d->net.workspace);
    }
    return ok;
}

static draft prepare(ep_net *net, const ep_places *places) {
    draft d = {.net = *net};
    d.net.numbers = d.net.gradients = d.net.first = d.net.second = d.net.spare = NULL;
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
    int64_t more = 4 * size + (net->x ? 2 * d.net.width * net->capacity : 0);
    d.ok = (net->room || ep_slab_fits(ep_net_allocated(net) + more)) && take_slabs(&d, net, size);
    return d;
}

/* ---- the change ------------------------------------------------------------------------------ */

/* True if an axis of one of the layer's tensors gets places without a source (see ep_places). */
static bool has_new(const ep_net *net, const ep_layer *layer, const change *c) {
    bool found = false;
    for (int i = 0; i < layer->n_tensors; i++) {
        const ep_tensor *tensor = &net->tensors[layer->tensor[i]];
        for (int d = 0; d < tensor->rank; d++) {
            found = found || c->added[tensor->axis[d]] > 0;
        }
    }
    return found;
}

/* Initializes the tensors of each layer for which has_new() is true; of weights, only the elements
 * of the new places. move_tensors() then overwrites all elements except those. */
static void fill_new(ep_net *net, const change *c, int64_t generation) {
    ep_pass pass = ep_net_training_pass(net, 0, 1);
    pass.newborn = c->newborn;
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        ep_noise noise = {net->seed, EP_STREAM_LAYERS + (uint64_t)layer->index};
        if (layer->kind->init && has_new(net, layer, c)) {
            layer->kind->init(&pass, layer, ep_random_fork(noise, (uint64_t)generation));
        }
    }
}

static void clear(const ep_net *net, ep_slab *slab) {
    memset(slab->at, 0, (size_t)net->begin[EP_ROLES] * sizeof *slab->at);
}

static void move_tensors(const ep_net *net, ep_net *to, const ep_slab *from, const ep_slab *slab,
                         const change *c) {
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *old = &net->tensors[i];
        move(net, slab->at + to->tensors[i].at, from->at + old->at, old->rank, old->axis, c);
    }
}

static void move_activations(const ep_net *net, ep_net *to, const change *c) {
    ep_slab *from[] = {net->x, net->dx}, *slab[] = {to->x, to->dx};
    for (int i = 0; i < net->n_values; i++) {
        const ep_value *old = &net->values[i], *now = &to->values[i];
        for (int s = 0; s < EP_COUNT(from); s++) {
            for (int64_t row = 0; row < net->rows; row++) {
                move(net, slab[s]->at + now->at * net->capacity + row * now->width,
                     from[s]->at + old->at * net->capacity + row * old->width, old->rank, old->axis,
                     c);
            }
        }
    }
}

bool ep_resize(ep_net *net, const ep_places *places, int64_t generation, ep_error *error) {
    change c = {0};
    draft d = {0};
    if (find_change(net, places, &c)) {
        d = prepare(net, places);
    }
    if (!d.ok) {
        drop(&d);
        forget(&c);
        return ep_fail(error, EP_NO_MEMORY,
                       "network: no memory to remove the extinct and to add the newborn; nothing "
                       "changed");
    }
    slabs from = moving(net), to = moving(&d.net);
    for (int i = 0; i < from.n; i++) {
        clear(&d.net, *to.slab[i]);
        if (i == 0) {
            fill_new(&d.net, &c, generation);
        }
        move_tensors(net, &d.net, *from.slab[i], *to.slab[i], &c);
    }
    if (net->continues) {
        clear(&d.net, d.net.gradients);
    } else if (net->x) {
        move_activations(net, &d.net, &c);
    }
    draft old = {.net = *net}; /* refers to the replaced arrays, which drop() frees */
    *net = d.net;
    drop(&old);
    forget(&c);
    return true;
}

void ep_places_free(ep_places *places, int n_axes) {
    for (int i = 0; places && i < n_axes; i++) {
        free(places[i].source);
        free(places[i].birth);
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
        here->birth = malloc((size_t)(n + most + 1) * sizeof *here->birth);
        ok = here->source != NULL && here->birth != NULL;
        for (int64_t j = 0; ok && j < n; j++) {
            if (alive[j] > 0) {
                here->birth[here->n] = (int32_t)ep_birth(&net->axes[p->axis], j);
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
