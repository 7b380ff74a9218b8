/* net: a network as data: its axes, values, layers in order and slabs, and how to build it
 * (declare, lay out, fill). Independent of kinds of layers and of laws. */
#ifndef EP_NET_H
#define EP_NET_H

#include "layer.h"
#include "slab.h"

enum {
    /* Rows per block in inference: as many as fit in EP_INFER_NUMBERS elements, from EP_INFER_LEAST
     * to EP_INFER_MOST. */
    EP_INFER_LEAST = 16,
    EP_INFER_MOST = 256,
    EP_INFER_NUMBERS = 1 << 20,
    EP_MOST = 1 << 16, /* maximum number of layers, axes or tensors */
};

/* The populations of one axis, as indices: their axis and layer, and the tensors that hold their
 * masses and the state of selection. */
typedef struct {
    int axis, layer;
    int mass; /* EVOLVED: mass of each population */
    int fitness; /* TRACKED: smoothed fitness (before bias correction) */
    int alive; /* TRACKED: 1, or 0 from extinction until removal */
    int state; /* TRACKED (EP_STATES, n): memory of the dynamics */
} ep_population;

struct ep_plan {
    uint64_t seed;
    int n_axes, n_values, n_layers, n_tensors;
    int n_populations; /* number of axes under selection; ep_net_build excludes output axes */
    ep_axis *axes;
    /* values[0] is the input; outputs and saved values follow, in order of declaration */
    ep_value *values;
    ep_layer *layers;
    ep_tensor *tensors;
    ep_population *populations;
    int state_axis; /* axis of size EP_STATES */
    int64_t begin[EP_ROLES + 1]; /* first element of each role in the slabs below */
    /* four slabs of the same layout: values, gradients, first and second moments of the tensors */
    ep_slab *numbers, *gradients, *first, *second;
    ep_slab *spare; /* the slab that births write to next, or NULL: see ep_net_make_room */
    /* elements of each slab above, width of the activations, and scratch, that births can lead to;
     * 0: the slabs have the size of the network */
    int64_t room, room_width, room_scratch;
    int64_t width; /* elements per sample of all `values` together */
    int64_t scratch; /* elements of scratch per worker */
    int64_t row_block; /* the index of a worker's first row is a multiple of this */
    int64_t capacity; /* largest number of samples that x and dx can hold; 0: not reserved yet */
    ep_slab *x, *dx;
    ep_slab *workspace; /* scratch and inference rows of all workers; NULL before the first pass */
    int workers; /* number of workers that the workspace has room for */
    int64_t rows; /* samples in the last training batch */
    bool aliased; /* gradients of activations may be overwritten: see ep_alias */
    bool continues; /* the next step overwrites activations and gradients before they are read */
    bool unseen; /* activations are not read after this step: births need not keep them */
    double terms; /* number of predictions with weight > 0 in the last training batch */
    int64_t step, generation; /* updates and generations so far */
    /* Sum, over the generations since the last removal, of the share of the network's multiply-adds
     * that is spent on extinct populations. */
    double waste;
    double founding_macs; /* multiply-adds per sample with the founded sizes of all axes */
    int64_t founding_parameters;
    bool built;
};
typedef struct ep_plan ep_net;

ep_net *ep_net_new(uint64_t seed, int rank, const int64_t *size, ep_error *error);
void ep_net_free(ep_net *net);
/* Adds a layer that reads the values with indices `input`; copies `config`. Returns the index of
 * the value that the layer writes, or -1. */
int ep_net_add(ep_net *net, const ep_kind *kind, const char *name, int n_inputs, const int *input,
               const void *config, ep_error *error);
/* Sets the populations of an axis under selection to those with the n birth ids `id`, ascending.
 * `born`: next birth id. Call after adding the layers and before ep_net_build. */
bool ep_net_populate(ep_net *net, int axis, int64_t born, int64_t n, const int64_t *id,
                     ep_error *error);
/* Elements of all tensors at the current sizes of the axes; -1 on overflow. */
int64_t ep_net_elements(const ep_net *net);
/* Elements of the input of one sample when the network was founded, before any removal. */
int64_t ep_net_founding_width(const ep_net *net);
/* Lays out, allocates and fills the tensors. The last layer's output is the network's output. */
bool ep_net_build(ep_net *net, ep_error *error);
/* Allocates room for `rows` training samples, unless there is enough already. */
bool ep_net_reserve(ep_net *net, int64_t rows, ep_error *error);
bool ep_net_reserve_workers(ep_net *net, int workers, ep_error *error);
/* Elements of the workspace of `workers` workers; -1 on overflow. */
int64_t ep_net_workspace(const ep_net *net, int workers);
/* Allocates all slabs for a network as large as `largest` (see ep_evolution_largest), so that births
 * up to that size allocate no slabs. NULL: makes later slabs as large as the network is. False: out
 * of memory, nothing has changed. */
bool ep_net_make_room(ep_net *net, const ep_net *largest, ep_error *error);
/* True if births can write n elements to the slab: it has room, and no view reads it. */
bool ep_net_reusable(const ep_net *net, const ep_slab *slab, int64_t n);
/* Recomputes, from the axes, offsets of tensors, widths and offsets of values, work of layers and
 * scratch. Returns the number of elements of all tensors, padding included, or -1 on overflow. */
int64_t ep_net_measure(ep_net *net);

EP_INLINE const ep_value *ep_net_output(const ep_net *net) {
    return &net->values[net->layers[net->n_layers - 1].out];
}
EP_INLINE ep_real *ep_net_numbers(const ep_net *net, int tensor) {
    return net->numbers->at + net->tensors[tensor].at;
}
EP_INLINE int64_t ep_net_parameters_of(const ep_net *net, int tensor) {
    return net->tensors[tensor].role <= EP_EVOLVED ? net->tensors[tensor].n : 0;
}
int64_t ep_net_parameters(const ep_net *net);
/* Returns n if the input holds ids 0 .. n - 1, or 0 if it holds arbitrary numbers. */
int64_t ep_net_ids(const ep_net *net);
/* Minimum number of samples in a training batch: the largest least_rows() of all layers. */
int64_t ep_net_least_rows(const ep_net *net);
/* Elements of all slabs of the network. */
int64_t ep_net_allocated(const ep_net *net);
double ep_net_macs(const ep_net *net, const ep_axis *axes);
/* Index of a tensor by name, or -1. */
int ep_net_tensor(const ep_net *net, const char *name);

/* Return the pass of worker `part`. A training pass has the worker's rows of net->x and net->dx; an
 * inference pass has a private buffer. */
ep_pass ep_net_training_pass(const ep_net *net, int part, int parts);
ep_pass ep_net_inference_pass(const ep_net *net, int part);
int64_t ep_net_infer_rows(const ep_net *net);

#endif
