/* walk: see walk.h. */
#include "walk.h"

enum {
    NEAR = 1 << 17, /* number of elements that stay in the L2 cache until they are read */
    /* A chunk of rows has at least 1 / WORTH activation elements per weight of the layer, because
     * all weights are read once per chunk. */
    WORTH = 4,
};

/* True if layer i couples the samples of `pass` in this direction. */
static bool couples(const ep_net *net, const ep_pass *pass, int i, ep_way way) {
    return pass->training && i >= 0 && i < net->n_layers && net->layers[i].kind->coupling &&
           (way == EP_FORWARD || net->values[net->layers[i].out].wants_dx);
}

/* Sets *width to the number of elements that the layer reads and writes per sample, and *least to
 * the number of samples that should share one read of its weights. */
static void measure(const ep_net *net, int i, int64_t *width, int64_t *least) {
    const ep_layer *layer = &net->layers[i];
    int64_t weights = 0;
    *width = ep_max(1, net->values[layer->out].width);
    for (int k = 0; k < layer->reads; k++) {
        *width += net->values[layer->input[k]].width;
    }
    for (int k = 0; k < layer->n_tensors; k++) {
        weights += net->tensors[layer->tensor[k]].n;
    }
    *least = ep_max(1, weights / *width / WORTH);
}

/* Finds a group of layers, starting at `first`, that is run on *chunk rows at a time, so that
 * intermediate results stay in L2. Sets *chunk and returns the index of the layer after the group.
 * The group ends before the next layer that couples samples, or before a layer with which
 * max(least) * max(width) over the group's layers (see measure) would exceed NEAR. If layer `first`
 * alone exceeds NEAR, it is the whole group and takes all rows at once. Results do not depend on
 * *chunk. */
static int group_end(const ep_net *net, const ep_pass *pass, int first, ep_way way,
                     int64_t *chunk) {
    int64_t widest, most;
    measure(net, first, &widest, &most);
    *chunk = pass->r1 - pass->r0;
    int i = first;
    for (; i >= 0 && i < net->n_layers && (i == first || !couples(net, pass, i, way)); i += way) {
        int64_t width, least;
        measure(net, i, &width, &least);
        widest = ep_max(widest, width);
        most = ep_max(most, least);
        if (most * widest > NEAR) {
            return i == first ? first + (int)way : i;
        }
        *chunk = NEAR / widest;
    }
    return i;
}

static void go(const ep_net *net, const ep_pass *pass, int i, ep_way way) {
    const ep_layer *layer = &net->layers[i];
    if (way == EP_FORWARD) {
        layer->kind->forward(pass, layer);
    } else if (net->values[layer->out].wants_dx) {
        layer->kind->backward(pass, layer);
    }
}

static void walk(const ep_net *net, const ep_pass *pass, int first, ep_way way) {
    if (pass->r0 < pass->r1 && couples(net, pass, first, way)) {
        net->layers[first].kind->coupling->sum(pass, &net->layers[first], way);
    }
    for (int after; pass->r0 < pass->r1 && first >= 0 && first < net->n_layers; first = after) {
        int64_t chunk;
        after = group_end(net, pass, first, way, &chunk);
        if (couples(net, pass, first, way)) {
            net->layers[first].kind->coupling->join(pass, &net->layers[first], way);
        }
        ep_pass some = *pass;
        for (some.r1 = pass->r0; some.r1 < pass->r1;) {
            some.r0 = some.r1;
            some.r1 = ep_min(some.r0 + chunk, pass->r1);
            for (int i = first; i != after; i += way) {
                go(net, &some, i, way);
            }
            if (couples(net, pass, after, way)) {
                net->layers[after].kind->coupling->sum(&some, &net->layers[after], way);
            }
        }
    }
}

void ep_walk_forward(const ep_net *net, const ep_pass *pass) { walk(net, pass, 0, EP_FORWARD); }

void ep_walk_backward(const ep_net *net, const ep_pass *pass) {
    walk(net, pass, net->n_layers - 1, EP_BACKWARD);
}

/* The gradient has about TASKS parts per worker, each of at most about NUMBERS weights, so that
 * the weights of a part stay in L2, and at most MOST parts per layer. */
enum { TASKS = 8, NUMBERS = 32768, MOST = 4096 };

static bool has_gradient(const ep_layer *layer) {
    return layer->kind->gradient && layer->n_tensors > 0 && !layer->shares_mass;
}

/* Number of parts of about NUMBERS weights in a layer. */
static int64_t parts_by_size(const ep_net *net, const ep_layer *layer) {
    int64_t n = 0;
    for (int i = 0; i < layer->n_tensors; i++) {
        n += net->tensors[layer->tensor[i]].role == EP_TRACKED ? 0
                                                               : net->tensors[layer->tensor[i]].n;
    }
    return n / NUMBERS;
}

/* Returns the number of parts of a layer's gradient. `all`: multiply-adds per sample of all layers.
 * Every part reads x and dy, so parts are large: 1 / TASKS of a worker's share of the batch's
 * multiply-adds, but at least `least` (about 20 us). */
static int64_t parts_of(const ep_net *net, const ep_layer *layer, int workers, double all) {
    const double least = 2e6; /* multiply-adds */
    double each = all * (double)net->rows / ((double)TASKS * workers);
    int64_t parts = (int64_t)(layer->work * (double)net->rows / (each > least ? each : least)) + 1;
    return ep_max(1, ep_min(ep_max(parts, parts_by_size(net, layer)), MOST));
}

/* By parts_of(), a layer has at most max(1 + floor(work / each), parts_by_size()) parts, where
 * `each` is at least 1 / (TASKS * workers) of the work of all layers. So the sum of floor(work /
 * each) over all layers is at most TASKS * workers. Removals only reduce parts_by_size(). */
int64_t ep_walk_tasks_most(const ep_net *net, int workers) {
    int64_t n = (int64_t)TASKS * workers;
    for (int i = 0; i < net->n_layers; i++) {
        n += has_gradient(&net->layers[i]) ? 1 + parts_by_size(net, &net->layers[i]) : 0;
    }
    return n;
}

int64_t ep_walk_tasks(const ep_net *net, int workers, ep_task *tasks) {
    int64_t n = 0;
    double all = 0; /* multiply-adds per sample of all layers that have a gradient */
    for (int i = 0; i < net->n_layers; i++) {
        all += net->layers[i].kind->gradient ? net->layers[i].work : 0;
    }
    for (int i = net->n_layers - 1; i >= 0; i--) {
        const ep_layer *layer = &net->layers[i];
        if (!has_gradient(layer)) {
            continue;
        }
        int64_t parts = parts_of(net, layer, workers, all);
        for (int64_t part = 0; part < parts; part++, n++) {
            if (tasks) {
                tasks[n] = (ep_task){i, part, parts};
            }
        }
    }
    return n;
}

void ep_walk_gradient(const ep_net *net, const ep_pass *pass, const ep_task *task) {
    for (int i = task->layer; i >= 0; i = net->layers[i].partner) {
        net->layers[i].kind->gradient(pass, &net->layers[i], task->part, task->parts);
    }
}

const ep_layer *ep_walk_unsound(const ep_net *net, const ep_pass *pass) {
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        if (layer->kind->coupling && !layer->kind->coupling->sound(pass, layer)) {
            return layer;
        }
    }
    return NULL;
}

void ep_walk_track(const ep_net *net, const ep_pass *pass) {
    for (int i = 0; i < net->n_layers; i++) {
        if (net->layers[i].kind->coupling) {
            net->layers[i].kind->coupling->track(pass, &net->layers[i]);
        }
    }
}
