/* alias: see alias.h. Backward runs from the last layer to the first, so the last layer that reads
 * a value writes the value's gradient, and earlier layers that read it add to this gradient. */
#include "alias.h"

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

/* Aliases the gradient of one input to dy: the first input that no other layer reads, if the layer
 * may overwrite dy. Returns the value of that input, or -1. */
static int alias_to_dy(ep_net *net, const ep_layer *layer, const int *readers) {
    for (int j = 0; (layer->alias.can & EP_OVERWRITE_DY) && j < layer->reads; j++) {
        ep_value *x = &net->values[layer->input[j]];
        if (x->wants_dx && readers[layer->input[j]] == 1) {
            x->dx_of = net->values[layer->out].dx_of;
            return layer->input[j];
        }
    }
    return -1;
}

/* Returns the first of layers 0 .. end - 1 that reads the value. Returns NULL if none of them does,
 * if the value is not input 0 of the first one that does, or if that layer cannot add a term that
 * is stored elsewhere (EP_ADD_MORE). */
static ep_layer *adder(const ep_net *net, int value, int end) {
    for (int i = 0; i < end; i++) {
        ep_layer *layer = &net->layers[i];
        for (int j = 0; j < layer->reads; j++) {
            if (layer->input[j] == value) {
                return j == 0 && (layer->alias.can & EP_ADD_MORE) ? layer : NULL;
            }
        }
    }
    return NULL;
}

/* True if the layer that computes the value may not overwrite the gradient of this value. `end`:
 * number of layers to search. */
static bool stays(const ep_net *net, int value, int end) {
    for (int i = 0; i < end; i++) {
        if (net->layers[i].out == value) {
            return !(net->layers[i].alias.can & EP_OVERWRITE_DY);
        }
    }
    return true;
}

/* Skips copies of dy to the dx of inputs of `layer`, if its backward() only makes such copies
 * (EP_COPY_DY). `aliased` is the input value of `layer` whose gradient is stored in the buffer of
 * dy, or -1. The copy to an input is skipped if three conditions hold: exactly one other layer
 * reads this input; that layer comes earlier and can read the term dy in place (EP_ADD_MORE); no
 * layer overwrites dy before then: `aliased` is -1, or the layer that computes the value `aliased`
 * may not overwrite the gradient of this value. */
static void skip_copies(const ep_net *net, ep_layer *layer, const int *readers, int aliased) {
    for (int j = 0; (layer->alias.can & EP_COPY_DY) && j < layer->reads; j++) {
        int value = layer->input[j];
        bool alone = readers[value] == 2 && net->values[value].wants_dx && !layer->alias.add[j];
        ep_layer *other = alone ? adder(net, value, layer->index) : NULL;
        if (other && (aliased < 0 || stays(net, aliased, layer->index))) {
            layer->alias.skip[j] = true;
            other->alias.more = layer->out;
        }
    }
}

bool ep_alias_plan(ep_net *net, ep_error *error) {
    bool *read = calloc((size_t)net->n_values, sizeof *read);
    int *readers = calloc((size_t)net->n_values, sizeof *readers);
    if (!read || !readers) {
        free(read), free(readers);
        return ep_fail(error, EP_NO_MEMORY, "network: out of memory");
    }
    for (int i = 0; i < net->n_layers; i++) {
        ep_layer *layer = &net->layers[i];
        net->values[layer->out].wants_dx = learns(net, layer);
        layer->alias.more = layer->input[0];
        for (int j = 0; j < layer->reads; j++) {
            readers[layer->input[j]]++;
        }
    }
    for (int i = 0; i < net->n_values; i++) {
        net->values[i].dx_of = i;
    }
    const ep_layer *unread = NULL;
    for (int i = net->n_layers - 1; i >= 0; i--) {
        ep_layer *layer = &net->layers[i];
        if (i < net->n_layers - 1 && !read[layer->out]) {
            unread = layer;
        }
        for (int j = 0; j < layer->reads; j++) {
            layer->alias.add[j] = read[layer->input[j]];
            read[layer->input[j]] = true;
        }
        skip_copies(net, layer, readers, alias_to_dy(net, layer, readers));
    }
    free(read), free(readers);
    if (unread) {
        return ep_fail(error, EP_BAD_VALUE, "%s: no later layer reads its output", unread->name);
    }
    return true;
}

bool ep_alias_shared(const ep_net *net, int value) {
    bool shared = false;
    for (int i = 0; i < net->n_values; i++) {
        shared = shared || (i != value && net->values[i].dx_of == net->values[value].dx_of);
    }
    return shared;
}
