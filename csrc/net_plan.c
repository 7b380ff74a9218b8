/* net_plan: a network to which layers are being added: its axes, tensors, values and layers, in
 * arrays that grow. Implements ep_plan_* of layer.h, and ep_net_new and ep_net_add. See net.h. */
#include "net.h"

#include <stdlib.h>
#include <string.h>

/* ---- arrays that grow while a network is built ---------------------------------------------- */

/* Returns the address of a new item after n items of `size` bytes, or NULL. Doubles the array if it
 * is full. */
static void *grow(void *items, int n, size_t size, ep_error *error) {
    void **at = items;
    if (n >= EP_MOST) {
        ep_fail(error, EP_BAD_VALUE, "network: at most %d layers, axes and tensors, got more",
                EP_MOST);
        return NULL;
    }
    if (!*at || !(n & (n - 1))) { /* full, as capacities are powers of two */
        void *more = realloc(*at, (size_t)(n ? 2 * n : 1) * size);
        if (!more) {
            ep_fail(error, EP_NO_MEMORY, "network: out of memory while building");
            return NULL;
        }
        *at = more;
    }
    return (char *)*at + (size_t)n * size;
}

static void join_name(char to[EP_NAME], const char *layer, const char *what) {
    ep_format(to, EP_NAME, what[0] ? "%.40s.%.20s" : "%.40s%s", layer, what);
}

/* ---- declaring ------------------------------------------------------------------------------ */

static int new_axis(ep_net *net, const char *layer, const char *what, int64_t n, ep_error *error) {
    if (n < 1 || n > INT32_MAX - 1) {
        ep_fail(error, EP_BAD_VALUE, "%s: an axis must have 1 to %d entries, got %lld", layer,
                INT32_MAX - 1, (long long)n);
        return -1;
    }
    ep_axis *axis = grow(&net->axes, net->n_axes, sizeof *net->axes, error);
    if (!axis) {
        return -1;
    }
    *axis = (ep_axis){.n = n, .founded = n, .next_birth = n};
    join_name(axis->name, layer, what);
    return net->n_axes++;
}

int ep_plan_axis(ep_plan *plan, const ep_layer *layer, const char *what, int64_t n,
                 ep_error *error) {
    return new_axis(plan, layer->name, what, n, error);
}

void ep_plan_mortal(ep_plan *plan, int axis) { plan->axes[axis].mortal = true; }

static int new_tensor(ep_net *net, const char *layer, const char *what, ep_role role, int rank,
                      const int *axis, ep_error *error) {
    ep_tensor *tensor = grow(&net->tensors, net->n_tensors, sizeof *net->tensors, error);
    if (!tensor) {
        return -1;
    }
    *tensor = (ep_tensor){.role = role, .rank = rank};
    memcpy(tensor->axis, axis, (size_t)rank * sizeof *axis);
    join_name(tensor->name, layer, what);
    return net->n_tensors++;
}

/* Declares the tensors in which selection stores the state of the populations of `axis`, whose
 * masses are the tensor with index `mass`. */
static bool new_population(ep_net *net, const ep_layer *layer, int mass, int axis,
                           ep_error *error) {
    for (int i = 0; i < net->n_populations; i++) {
        if (net->populations[i].axis == axis) {
            return ep_fail(
                error, EP_BAD_VALUE,
                "%s: axis %s has masses already (layer %s); an axis has one mass per population",
                layer->name, net->axes[axis].name, net->layers[net->populations[i].layer].name);
        }
    }
    if (!grow(&net->populations, net->n_populations, sizeof *net->populations, error)) {
        return false;
    }
    int of_state[2] = {net->state_axis, axis};
    ep_population p = {.axis = axis, .layer = layer->index, .mass = mass};
    p.fitness = new_tensor(net, layer->name, "fitness", EP_TRACKED, 1, &axis, error);
    p.alive = p.fitness < 0 ? -1
                            : new_tensor(net, layer->name, "alive", EP_TRACKED, 1, &axis, error);
    p.state = p.alive < 0 ? -1
                          : new_tensor(net, layer->name, "state", EP_TRACKED, 2, of_state, error);
    if (p.state < 0) {
        return false;
    }
    net->populations[net->n_populations++] = p;
    return true;
}

bool ep_plan_tensor(ep_plan *plan, ep_layer *layer, const char *what, ep_role role, int rank,
                    const int *axis, ep_error *error) {
    EP_ASSERT(layer->n_tensors < EP_TENSORS && rank <= EP_RANK);
    int tensor = new_tensor(plan, layer->name, what, role, rank, axis, error);
    if (tensor < 0) {
        return false;
    }
    layer->tensor[layer->n_tensors++] = tensor;
    return role != EP_EVOLVED || new_population(plan, layer, tensor, axis[0], error);
}

bool ep_plan_shared_mass(ep_plan *plan, ep_layer *layer, int axis, ep_error *error) {
    for (int i = 0; i < plan->n_populations; i++) {
        const ep_population *p = &plan->populations[i];
        if (p->axis != axis) {
            continue;
        }
        EP_ASSERT(layer->n_tensors == 0);
        layer->tensor[layer->n_tensors++] = p->mass;
        layer->shares_mass = true;
        ep_layer *last = &plan->layers[p->layer];
        while (last->partner >= 0) {
            last = &plan->layers[last->partner];
        }
        last->partner = layer->index;
        return true;
    }
    return ep_fail(error, EP_BAD_VALUE,
                   "%s: shared: axis %s has no masses yet; expected populations on it before",
                   layer->name, plan->axes[axis].name);
}

static int new_value(ep_net *net, const char *name, int rank, const int *axis, ep_error *error) {
    int own[EP_RANK]; /* a copy, because `axis` may point into the array that grows */
    memcpy(own, axis, (size_t)rank * sizeof *axis);
    ep_value *value = grow(&net->values, net->n_values, sizeof *net->values, error);
    if (!value) {
        return -1;
    }
    *value = (ep_value){.rank = rank};
    memcpy(value->axis, own, (size_t)rank * sizeof *own);
    ep_format(value->name, sizeof value->name, "%s", name);
    return net->n_values++;
}

bool ep_plan_output(ep_plan *plan, ep_layer *layer, int rank, const int *axis, ep_error *error) {
    layer->out = new_value(plan, layer->name, rank, axis, error);
    return layer->out >= 0;
}

bool ep_plan_saved(ep_plan *plan, ep_layer *layer, int rank, const int *axis, ep_error *error) {
    char name[EP_NAME];
    join_name(name, layer->name, "saved");
    layer->saved = new_value(plan, name, rank, axis, error);
    return layer->saved >= 0;
}

bool ep_plan_sums(ep_plan *plan, ep_layer *layer, int64_t n, int axis, ep_error *error) {
    char name[EP_NAME];
    int axes[2] = {ep_plan_axis(plan, layer, "sums", n, error), axis};
    join_name(name, layer->name, "sums");
    layer->sums = axes[0] < 0 ? -1 : new_value(plan, name, 2, axes, error);
    return layer->sums >= 0;
}

const ep_value *ep_plan_value(const ep_plan *plan, int value) { return &plan->values[value]; }
const ep_axis *ep_plan_axes(const ep_plan *plan) { return plan->axes; }

/* ---- the network and its layers -------------------------------------------------------------- */

ep_net *ep_net_new(uint64_t seed, int rank, const int64_t *size, ep_error *error) {
    if (rank < 1 || rank > EP_RANK) {
        ep_fail(error, EP_BAD_VALUE, "input: expected 1 to %d axes, got %d", EP_RANK, rank);
        return NULL;
    }
    ep_net *net = calloc(1, sizeof *net);
    if (!net) {
        ep_fail(error, EP_NO_MEMORY, "network: out of memory");
        return NULL;
    }
    net->seed = seed;
    net->state_axis = new_axis(net, "states", "", EP_STATES, error);
    int axis[EP_RANK];
    bool ok = net->state_axis >= 0;
    for (int d = 0; ok && d < rank; d++) {
        char what[2] = {(char)(rank == 1 ? 0 : '0' + d), 0};
        axis[d] = new_axis(net, "input", what, size[d], error);
        ok = axis[d] >= 0;
    }
    if (!ok || new_value(net, "input", rank, axis, error) < 0) {
        ep_net_free(net);
        return NULL;
    }
    return net;
}

int ep_net_add(ep_net *net, const ep_kind *kind, const char *name, int n_inputs, const int *input,
               const void *config, ep_error *error) {
    EP_ASSERT(!net->built);
    if (n_inputs < kind->least_inputs || n_inputs > kind->most_inputs) {
        ep_fail(error, EP_BAD_VALUE, "%s: %s takes %d to %d inputs, got %d", name, kind->name,
                kind->least_inputs, kind->most_inputs, n_inputs);
        return -1;
    }
    ep_layer *layer = grow(&net->layers, net->n_layers, sizeof *net->layers, error);
    if (!layer) {
        return -1;
    }
    *layer = (ep_layer){.kind = kind,
                        .index = net->n_layers,
                        .n_inputs = n_inputs,
                        .reads = n_inputs,
                        .saved = -1,
                        .sums = -1,
                        .partner = -1};
    ep_format(layer->name, sizeof layer->name, "%.40s", name);
    memcpy(layer->input, input, (size_t)n_inputs * sizeof *input);
    layer->config = calloc(1, kind->config_size ? kind->config_size : 1);
    if (!layer->config || !ep_fields_copy(kind->fields, layer->config, config, kind->config_size)) {
        free(layer->config);
        ep_fail(error, EP_NO_MEMORY, "%s: out of memory", name);
        return -1;
    }
    net->n_layers++; /* from here on ep_net_free releases the config */
    if (!kind->declare(net, layer, error)) {
        return -1;
    }
    return layer->out;
}
