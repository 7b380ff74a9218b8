/* net: see net.h. Layers are added in net_plan.c; from then on this file lays the network out,
 * allocates and fills it. */
#include "net.h"

#include "alias.h"

#include <stdlib.h>
#include <string.h>

/* ---- building ------------------------------------------------------------------------------- */

void ep_net_free(ep_net *net) {
    if (!net) {
        return;
    }
    for (int i = 0; i < net->n_layers; i++) {
        ep_fields_free(net->layers[i].kind->fields, net->layers[i].config);
        free(net->layers[i].config);
    }
    for (int i = 0; i < net->n_axes; i++) {
        free(net->axes[i].birth);
    }
    ep_slab *slabs[] = {net->numbers, net->gradients, net->first, net->second,
                        net->spare,   net->x,         net->dx,    net->workspace};
    for (int i = 0; i < EP_COUNT(slabs); i++) {
        ep_slab_drop(slabs[i]);
    }
    free(net->axes);
    free(net->values);
    free(net->layers);
    free(net->tensors);
    free(net->populations);
    free(net);
}

int64_t ep_net_measure(ep_net *net) {
    const int64_t most = INT64_MAX / 64;
    int64_t size = ep_layout(net->axes, net->tensors, net->n_tensors, net->begin);
    net->width = 0;
    for (int i = 0; i < net->n_values; i++) {
        ep_value *value = &net->values[i];
        value->width = ep_axes_size(net->axes, value->rank, value->axis);
        if (value->width < 0 || value->width > most || net->width > most) {
            return -1;
        }
        value->at = net->width;
        net->width += value->width;
    }
    net->scratch = EP_LINE;
    net->row_block = 1;
    for (int i = 0; i < net->n_layers; i++) {
        ep_layer *layer = &net->layers[i];
        layer->work = ep_layer_macs(layer, net->axes, net->values);
        int64_t scratch = layer->kind->scratch ? layer->kind->scratch(layer, net->axes, net->values)
                                               : 0;
        if (scratch < 0 || scratch > most) {
            return -1;
        }
        net->scratch = ep_max(net->scratch, scratch);
        net->row_block = ep_max(net->row_block, layer->row_block);
    }
    net->scratch = (net->scratch + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE * (int64_t)EP_LINE;
    return size;
}

bool ep_net_populate(ep_net *net, int axis, int64_t born, int64_t n, const int64_t *id,
                     ep_error *error) {
    ep_axis *a = &net->axes[axis];
    EP_ASSERT(!net->built && a->mortal && !a->birth);
    if (born < a->founded || born > INT32_MAX - 1) {
        return ep_fail(
            error, EP_BAD_VALUE,
            "next_births: expected at least the %lld founders of axis %s, and less than 2^31 - "
            "1, got %lld",
            (long long)a->founded, a->name, (long long)born);
    }
    a->next_birth = born;
    for (int64_t j = 0; j < n; j++) {
        if (id[j] < (j ? id[j - 1] + 1 : 0) || id[j] >= a->next_birth) {
            return ep_fail(error, EP_BAD_VALUE,
                           "births: expected ascending ids from 0 to %lld on axis %s, got %lld",
                           (long long)a->next_birth - 1, a->name, (long long)id[j]);
        }
    }
    a->birth = malloc((size_t)ep_max(1, n) * sizeof *a->birth);
    if (!a->birth) {
        return ep_fail(error, EP_NO_MEMORY, "network: out of memory for axis %s", a->name);
    }
    for (int64_t j = 0; j < n; j++) {
        a->birth[j] = (int32_t)id[j];
    }
    a->n = n;
    return true;
}

int64_t ep_net_elements(const ep_net *net) {
    int64_t n = 0;
    for (int i = 0; n >= 0 && i < net->n_tensors; i++) {
        int64_t more = ep_axes_size(net->axes, net->tensors[i].rank, net->tensors[i].axis);
        n = more < 0 || n > INT64_MAX / 2 || more > INT64_MAX / 2 ? -1 : n + more;
    }
    return n;
}

int64_t ep_net_founding_width(const ep_net *net) {
    const ep_value *input = &net->values[0];
    int64_t n = 1;
    for (int d = 0; d < input->rank; d++) {
        n = ep_times(n, net->axes[input->axis[d]].founded);
    }
    return n;
}

/* Computes the multiply-adds and parameters of the network with the founded sizes of all axes. */
static bool measure_founding(ep_net *net, ep_error *error) {
    ep_axis *axes = malloc((size_t)net->n_axes * sizeof *axes);
    if (!axes) {
        return ep_fail(error, EP_NO_MEMORY, "network: out of memory while building");
    }
    memcpy(axes, net->axes, (size_t)net->n_axes * sizeof *axes);
    for (int i = 0; i < net->n_axes; i++) {
        axes[i].n = axes[i].founded;
    }
    net->founding_macs = ep_net_macs(net, axes);
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *tensor = &net->tensors[i];
        if (tensor->role <= EP_EVOLVED) {
            net->founding_parameters += ep_axes_size(axes, tensor->rank, tensor->axis);
        }
    }
    free(axes);
    return true;
}

static bool fill(ep_net *net, ep_error *error) {
    for (int i = 0; i < net->n_axes; i++) {
        ep_axis *axis = &net->axes[i];
        if (!axis->mortal || axis->birth) {
            continue;
        }
        if (!ep_axis_found(axis)) {
            return ep_fail(error, EP_NO_MEMORY, "network: out of memory for axis %s", axis->name);
        }
    }
    ep_pass pass = ep_net_training_pass(net, 0, 1);
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        if (layer->kind->init) {
            layer->kind->init(&pass, layer,
                              (ep_noise){net->seed, EP_STREAM_LAYERS + (uint64_t)layer->index});
        }
    }
    for (int i = 0; i < net->n_populations; i++) {
        ep_real *alive = ep_net_numbers(net, net->populations[i].alive);
        for (int64_t j = 0; j < net->axes[net->populations[i].axis].n; j++) {
            alive[j] = 1;
        }
    }
    return true;
}

static bool is_output(const ep_net *net, int axis) {
    const ep_value *out = ep_net_output(net);
    bool found = false;
    for (int d = 0; d < out->rank; d++) {
        found = found || out->axis[d] == axis;
    }
    return found;
}

/* Excludes masses on axes of the output from selection: losses and targets refer to outputs by
 * index, so none may be removed. Such a mass keeps its initial value, 1. */
static void keep_outputs(ep_net *net) {
    int left = 0;
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population p = net->populations[i];
        if (!is_output(net, p.axis)) {
            net->populations[left++] = p;
        }
    }
    net->n_populations = left;
}

bool ep_net_build(ep_net *net, ep_error *error) {
    EP_ASSERT(!net->built);
    if (net->n_layers == 0) {
        return ep_fail(error, EP_BAD_VALUE, "layers: expected at least one, got none");
    }
    if (!ep_alias_plan(net, error)) {
        return false;
    }
    for (int i = 0; i < net->n_axes; i++) {
        net->axes[i].mortal = net->axes[i].mortal && !is_output(net, i);
    }
    int64_t size = ep_net_measure(net);
    if (ep_slab_fits(ep_times(4, size))) {
        net->numbers = ep_slab_new(size);
        net->gradients = net->numbers ? ep_slab_new(size) : NULL;
        net->first = net->gradients ? ep_slab_new(size) : NULL;
        net->second = net->first ? ep_slab_new(size) : NULL;
    }
    if (!net->second) {
        return ep_fail(
            error, EP_NO_MEMORY,
            "network: no memory for its parameters, gradients and moments (%.3g elements each)",
            size < 0 ? 9.2e18 : (double)size);
    }
    if (!measure_founding(net, error)) {
        return false;
    }
    net->built = true;
    if (!fill(net, error)) {
        return false;
    }
    keep_outputs(net);
    return true;
}

bool ep_net_reserve(ep_net *net, int64_t rows, ep_error *error) {
    int64_t line = (int64_t)EP_LINE,
            capacity = rows > INT32_MAX ? -1 : (rows + line - 1) / line * line;
    int64_t width = ep_max(net->width, net->room_width);
    capacity = capacity < 0 ? -1 : ep_max(capacity, net->capacity);
    int64_t n = ep_times(capacity, width);
    if (net->x && rows <= net->capacity && (!net->room || net->x->n >= n)) {
        return true;
    }
    int64_t both = n > INT64_MAX / 4 ? -1 : ep_times(2, n);
    bool fits = both >= 0 && ep_slab_fits(ep_net_allocated(net) + both);
    ep_slab *x = fits ? ep_slab_new(n) : NULL, *dx = x ? ep_slab_new(n) : NULL;
    if (!dx) {
        ep_slab_drop(x);
        return ep_fail(error, EP_NO_MEMORY,
                       "network: no memory for the activations of %lld samples", (long long)rows);
    }
    ep_slab_drop(net->x);
    ep_slab_drop(net->dx);
    net->x = x;
    net->dx = dx;
    net->capacity = capacity;
    net->rows = 0;
    return true;
}

bool ep_net_make_room(ep_net *net, const ep_net *largest, ep_error *error) {
    int64_t room = largest ? largest->begin[EP_ROLES] : 0;
    ep_slab **slabs[] = {&net->numbers, &net->gradients, &net->first, &net->second, &net->spare};
    ep_slab *larger[EP_COUNT(slabs)] = {NULL};
    int64_t more = 0;
    for (int i = 0; i < EP_COUNT(slabs); i++) {
        more += *slabs[i] && (*slabs[i])->n >= room ? 0 : room;
    }
    bool ok = ep_slab_fits(ep_net_allocated(net) + more);
    for (int i = 0; ok && room > 0 && i < EP_COUNT(slabs); i++) {
        if (!*slabs[i] || (*slabs[i])->n < room) {
            larger[i] = ep_slab_new(room);
            ok = larger[i] != NULL;
        }
    }
    for (int i = 0; i < EP_COUNT(slabs); i++) {
        if (!ok) {
            ep_slab_drop(larger[i]);
        } else if (larger[i]) {
            if (*slabs[i]) {
                memcpy(larger[i]->at, (*slabs[i])->at, (size_t)(*slabs[i])->n * sizeof(ep_real));
            }
            ep_slab_drop(*slabs[i]);
            *slabs[i] = larger[i];
        }
    }
    if (!ok) {
        return ep_fail(error, EP_NO_MEMORY,
                       "births: no memory for a network at its capacity of births (%.3g elements); "
                       "expected a lower capacity",
                       (double)room);
    }
    if (room == 0) {
        ep_slab_drop(net->spare);
        net->spare = NULL;
    }
    net->room = room;
    net->room_width = largest ? largest->width : 0;
    net->room_scratch = largest ? largest->scratch : 0;
    return true;
}

bool ep_net_reusable(const ep_net *net, const ep_slab *slab, int64_t n) {
    return net->room > 0 && slab && slab->n >= n &&
           atomic_load_explicit(&slab->references, memory_order_acquire) == 1;
}

int64_t ep_net_ids(const ep_net *net) {
    int64_t least = 0;
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        if (layer->kind->ids && layer->input[0] == 0) {
            int64_t ids = layer->kind->ids(layer);
            least = least ? ep_min(least, ids) : ids;
        }
    }
    return least;
}

int64_t ep_net_least_rows(const ep_net *net) {
    int64_t most = 1;
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        const ep_coupling *coupling = layer->kind->coupling;
        if (coupling) {
            most = ep_max(most, coupling->least_rows(layer, net->axes, net->values));
        }
    }
    return most;
}

int64_t ep_net_allocated(const ep_net *net) {
    const ep_slab *slabs[] = {net->numbers, net->gradients, net->first, net->second,
                              net->spare,   net->x,         net->dx,    net->workspace};
    int64_t n = 0;
    for (int i = 0; i < EP_COUNT(slabs); i++) {
        n += slabs[i] ? slabs[i]->n : 0;
    }
    return n;
}

int64_t ep_net_infer_rows(const ep_net *net) {
    int64_t rows = EP_INFER_NUMBERS / ep_max(1, net->width) / EP_INFER_LEAST * EP_INFER_LEAST;
    return ep_max(EP_INFER_LEAST, ep_min(rows, EP_INFER_MOST));
}

int64_t ep_net_workspace(const ep_net *net, int workers) {
    int64_t width = ep_max(net->width, net->room_width), rows = ep_net_infer_rows(net);
    int64_t scratch = ep_max(net->scratch, net->room_scratch);
    if (width > INT64_MAX / 4096) {
        return -1;
    }
    int64_t inferred = net->width * rows;
    if (net->room) { /* at least as much as any width up to room_width needs */
        inferred = ep_max(EP_INFER_LEAST * width, ep_min(EP_INFER_MOST * width, EP_INFER_NUMBERS));
    }
    return ep_times(scratch + inferred + (int64_t)EP_LINE, workers);
}

bool ep_net_reserve_workers(ep_net *net, int workers, ep_error *error) {
    workers = ep_max(workers, net->workers);
    int64_t n = ep_net_workspace(net, workers);
    if (net->workspace && workers <= net->workers && (!net->room || net->workspace->n >= n)) {
        return true;
    }
    ep_slab *workspace = n < 0 ? NULL : ep_slab_new(n);
    if (!workspace) {
        return ep_fail(error, EP_NO_MEMORY, "network: no memory for the workspace of %d workers",
                       workers);
    }
    ep_slab_drop(net->workspace);
    net->workspace = workspace;
    net->workers = workers;
    return true;
}

int64_t ep_net_parameters(const ep_net *net) {
    int64_t n = 0;
    for (int i = 0; i < net->n_tensors; i++) {
        n += ep_net_parameters_of(net, i);
    }
    return n;
}

double ep_net_macs(const ep_net *net, const ep_axis *axes) {
    double sum = 0;
    for (int i = 0; i < net->n_layers; i++) {
        sum += ep_layer_macs(&net->layers[i], axes, net->values);
    }
    return sum;
}

int ep_net_tensor(const ep_net *net, const char *name) {
    for (int i = 0; i < net->n_tensors; i++) {
        if (strcmp(net->tensors[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* ---- passes of workers ---------------------------------------------------------------------- */

static ep_real *workspace_of(const ep_net *net, int part) {
    if (!net->workspace) {
        return NULL;
    }
    int64_t each = net->workspace->n / net->workers / (int64_t)EP_LINE * (int64_t)EP_LINE;
    return net->workspace->at + part * each;
}

/* First row of a worker. Whole row blocks are split evenly; the last worker also takes the rows
 * after the last whole block. */
static int64_t first_row(const ep_net *net, int part, int parts) {
    int64_t blocks = ep_max(1, net->rows / net->row_block);
    return part == parts ? net->rows : ep_split(blocks, part, parts) * net->row_block;
}

ep_pass ep_net_training_pass(const ep_net *net, int part, int parts) {
    return (ep_pass){
        .axes = net->axes,
        .value = net->values,
        .tensor = net->tensors,
        .numbers = net->numbers->at,
        .gradients = net->gradients->at,
        .x = net->x ? net->x->at : NULL,
        .dx = net->dx ? net->dx->at : NULL,
        .capacity = net->capacity,
        .rows = net->rows,
        .r0 = first_row(net, part, parts),
        .r1 = first_row(net, part + 1, parts),
        .training = true,
        .step = net->step,
        .noise = {net->seed, 0},
        .scratch = workspace_of(net, part),
    };
}

ep_pass ep_net_inference_pass(const ep_net *net, int part) {
    ep_real *workspace = workspace_of(net, part);
    return (ep_pass){
        .axes = net->axes,
        .value = net->values,
        .tensor = net->tensors,
        .numbers = net->numbers->at,
        .gradients = net->gradients->at,
        .x = workspace + net->scratch,
        .capacity = ep_net_infer_rows(net),
        .step = net->step,
        .noise = {net->seed, 0},
        .scratch = workspace,
    };
}
