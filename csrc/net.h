/* net: a network as data. Axes, values, layers in order and the slabs they live in; building one
 * (declare, lay out, fill). It never asks what kind a layer is and knows no law. */
#ifndef EP_NET_H
#define EP_NET_H

#include "layer.h"
#include "slab.h"

enum {
    EP_INFER_LEAST = 16, /* rows a worker takes at a time outside training: as many as keep it */
    EP_INFER_MOST = 256, /* within EP_INFER_NUMBERS, from least to most */
    EP_INFER_NUMBERS = 1 << 20,
    EP_MOST = 1 << 16, /* layers, axes, tensors */
};

/* The populations of one axis: a mass and what selection keeps beside it, all named tensors. */
typedef struct {
    int axis, layer;
    int mass; /* EVOLVED */
    int fitness; /* TRACKED: smoothed fitness (before bias correction) */
    int alive; /* TRACKED: 1, or 0 from death until compaction */
    int state; /* TRACKED (EP_STATES, n): memory of the dynamics */
} ep_population;

struct ep_plan {
    uint64_t seed;
    int n_axes, n_values, n_layers, n_tensors;
    int n_populations; /* that selection acts on: once built, none on an axis of the output */
    ep_axis *axes;
    ep_value *values; /* 0: the input; then outputs and saved, in order of declaration */
    ep_layer *layers;
    ep_tensor *tensors;
    ep_population *populations;
    int state_axis; /* of size EP_STATES */
    int64_t begin[EP_ROLES + 1]; /* of each role in the slabs below */
    ep_slab *numbers, *gradients, *first, *second; /* one layout: values, gradients, moments */
    int64_t width; /* activation numbers per sample, all values together */
    int64_t scratch; /* numbers of scratch a worker needs */
    int64_t row_block; /* workers' rows are cut at multiples of it */
    int64_t capacity; /* samples x and dx have room for; 0: not reserved yet */
    ep_slab *x, *dx;
    ep_slab *workspace; /* scratch of all workers, and their rows for inference */
    int workers; /* the workspace has room for */
    int64_t rows; /* of the last training batch */
    bool lent; /* gradients of its activations were written over by others: see ep_value */
    double terms; /* in the mean that its loss is */
    int64_t step, generation; /* updates and generations so far */
    double waste; /* steps' worth of work done for the extinct since the last removal */
    double founding_macs; /* multiply-adds per sample at birth */
    int64_t founding_parameters;
    bool built;
};
typedef struct ep_plan ep_net;

ep_net *ep_net_new(uint64_t seed, int rank, const int64_t *size, ep_error *error);
void ep_net_free(ep_net *net);
/* Adds a layer reading values `input`; takes a copy of `config`. Returns the value it writes or -1. */
int ep_net_add(ep_net *net, const ep_kind *kind, const char *name, int n_inputs, const int *input,
               const void *config, ep_error *error);
/* Builds a mortal axis at a living shape: only its populations of these birth ids, ascending, which
 * are copied. Called after the layers were added, before ep_net_build. */
bool ep_net_narrow(ep_net *net, int axis, int64_t n, const int64_t *id, ep_error *error);
/* Elements of all tensors at the living shape; -1: more than can be counted. */
int64_t ep_net_elements(const ep_net *net);
/* Elements of the input of one sample at the founding shape. */
int64_t ep_net_founding_width(const ep_net *net);
/* Lays out, allocates and fills. The last layer's output is the network's. */
bool ep_net_build(ep_net *net, ep_error *error);
/* Room for `rows` samples of training. Keeps what is there when it is enough. */
bool ep_net_reserve(ep_net *net, int64_t rows, ep_error *error);
bool ep_net_reserve_workers(ep_net *net, int workers, ep_error *error);
/* Recomputes tensors' places, values' widths and places, and layers' work from the axes. */
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
/* The input is ids, whole numbers from 0 to one less than this; 0: any numbers. */
int64_t ep_net_ids(const ep_net *net);
/* Samples that a training batch must have for every layer to do anything. */
int64_t ep_net_least_rows(const ep_net *net);
/* Elements of all slabs that the network holds. */
int64_t ep_net_held(const ep_net *net);
double ep_net_macs(const ep_net *net, const ep_axis *axes);
/* Index of a tensor by name, or -1. */
int ep_net_tensor(const ep_net *net, const char *name);

/* What worker `part` needs to train (its rows of x and dx) or to infer (rows of its own). */
ep_pass ep_net_training_pass(const ep_net *net, int part, int parts);
ep_pass ep_net_inference_pass(const ep_net *net, int part);
int64_t ep_net_infer_rows(const ep_net *net);

#endif
