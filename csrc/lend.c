/* lend: see lend.h. Backward runs from the last layer to the first, so the last reader of a value
 * writes its gradient, and earlier readers add to it. */
#include "lend.h"

#include <stdlib.h>

static bool learns(const ep_net *net, const ep_layer *layer) {
    for (int i = 0; i < layer->n_tensors; i++) {
        if (net->tensors[layer->tensor[i]].role != EP_TRACKED) {
            return true;
        }
    }
    for (int i = 0; i < layer->reads; i++) {
        if (net->values[layer->input[i]].wants_dx) {
            return true;
        }
    }
    return false;
}

static bool may_lend(const ep_layer *layer) {
    return layer->kind->lends && layer->kind->lends(layer);
}

/* Aliases the gradient of the first input that has no other reader to the gradient of the output.
 * Returns that input's value, or -1. */
static int borrow(ep_net *net, const ep_layer *layer, const int *readers) {
    for (int j = 0; may_lend(layer) && j < layer->reads; j++) {
        ep_value *x = &net->values[layer->input[j]];
        if (x->wants_dx && readers[layer->input[j]] == 1) {
            x->lender = net->values[layer->out].lender;
            return layer->input[j];
        }
    }
    return -1;
}

/* The first layer before `end` that reads the value, if it can read the added term elsewhere (kind
 * `fetches`, value is input 0); else NULL. */
static ep_layer *fetcher(const ep_net *net, int value, int end) {
    for (int i = 0; i < end; i++) {
        ep_layer *layer = &net->layers[i];
        for (int j = 0; j < layer->reads; j++) {
            if (layer->input[j] == value) {
                return j == 0 && layer->kind->fetches ? layer : NULL;
            }
        }
    }
    return NULL;
}

/* True if the layer that computes the value never overwrites its gradient. */
static bool stays(const ep_net *net, int value, int end) {
    for (int i = 0; i < end; i++) {
        if (net->layers[i].out == value) {
            return !may_lend(&net->layers[i]);
        }
    }
    return true;
}

/* If dx equals dy and exactly one other layer adds to dx, skip the copy: that layer reads dy in
 * place, unless dy is overwritten first. `lent` is the value whose gradient aliases dy, or -1. */
static void leave(const ep_net *net, ep_layer *layer, const int *readers, int lent) {
    for (int j = 0; layer->kind->repeats && j < layer->reads; j++) {
        int value = layer->input[j];
        bool alone = readers[value] == 2 && net->values[value].wants_dx && !layer->adds[j];
        ep_layer *other = alone ? fetcher(net, value, layer->index) : NULL;
        if (other && (lent < 0 || stays(net, lent, layer->index))) {
            layer->leaves[j] = true;
            other->more = layer->out;
        }
    }
}

bool ep_net_lend(ep_net *net, ep_error *error) {
    bool *read = calloc((size_t)net->n_values, sizeof *read);
    int *readers = calloc((size_t)net->n_values, sizeof *readers);
    if (!read || !readers) {
        free(read), free(readers);
        return ep_fail(error, EP_NO_MEMORY, "network: out of memory");
    }
    for (int i = 0; i < net->n_layers; i++) {
        net->values[net->layers[i].out].wants_dx = learns(net, &net->layers[i]);
        for (int j = 0; j < net->layers[i].reads; j++) {
            readers[net->layers[i].input[j]]++;
        }
    }
    for (int i = 0; i < net->n_values; i++) {
        net->values[i].lender = i;
    }
    const ep_layer *unread = NULL;
    for (int i = net->n_layers - 1; i >= 0; i--) {
        ep_layer *layer = &net->layers[i];
        if (i < net->n_layers - 1 && !read[layer->out]) {
            unread = layer;
        }
        for (int j = 0; j < layer->reads; j++) {
            layer->adds[j] = read[layer->input[j]];
            read[layer->input[j]] = true;
        }
        leave(net, layer, readers, borrow(net, layer, readers));
    }
    free(read), free(readers);
    if (unread) {
        return ep_fail(error, EP_BAD_VALUE, "%s: no later layer reads its output", unread->name);
    }
    return true;
}

bool ep_net_shares(const ep_net *net, int value) {
    bool shares = false;
    for (int i = 0; i < net->n_values; i++) {
        shares = shares || (i != value && net->values[i].lender == net->values[value].lender);
    }
    return shares;
}
