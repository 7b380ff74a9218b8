/* layer: all that a layer may see. A kind (ep_kind) is a table of functions, the same for every
 * layer of that kind; a layer (ep_layer) is one occurrence in a network; a pass (ep_pass) is what
 * one worker is doing now. A layer sees its own inputs, tensors and rows: no network, no threads,
 * no laws, and never that anyone could die.
 *
 * Letters in kernels: x, y input and output, dx, dy their gradients, w, dw weights and theirs;
 * rows, in, out, features last. An activation is (batch, axes ...), contiguous, at the living shape. */
#ifndef EP_LAYER_H
#define EP_LAYER_H

#include "random.h"
#include "shape.h"

enum { EP_INPUTS = 4, EP_TENSORS = 6 };

typedef struct ep_layer ep_layer;
typedef struct ep_pass ep_pass;
typedef struct ep_plan ep_plan; /* the network being built; seen only through the calls below */

/* What a layer computes, for every sample: an activation or something kept for backward. */
typedef struct {
    char name[EP_NAME];
    int rank;
    int axis[EP_RANK];
    int64_t width; /* living numbers per sample */
    int64_t at;    /* place per sample of capacity: see ep_x */
    int lender;    /* the value in whose gradient's place its own may lie; itself: none */
    int64_t lent;  /* that place */
    bool wants_dx; /* some tensor upstream learns from its gradient */
} ep_value;

typedef enum { EP_FORWARD = 1, EP_BACKWARD = -1 } ep_way; /* through the layers */

/* How a factor m >= 0 along one axis of an input reaches the output. Folding uses this to move
 * masses into weights. */
typedef enum {
    EP_NOT_LINEAR,    /* it has no equivalent on the output */
    EP_LINEAR_PASS,   /* f(m x) = m f(x) along every axis */
    EP_LINEAR_WEIGHT, /* through "weight", which has the axis; other axes as EP_LINEAR_PASS */
    EP_LINEAR_WINDOW, /* through "weight", which has the axis; along other axes not linear */
    EP_LINEAR_GAIN,   /* not linear, but "gain" and "bias" can take a factor on the last axis */
} ep_linearity;

typedef struct {
    const char *name;
    const char *doc;
    const ep_field *fields;
    size_t config_size;
    int least_inputs, most_inputs;
    ep_linearity linear;
    int linear_input;     /* the input that `linear` speaks of */
    const char *sizes;    /* the setting that gives output axes their founding size, or NULL */
    int founding_axis;    /* 1 + the axis of input 0 whose founding size is part of what the layer
                             computes; -1: the last one; 0: none */
    bool exact; /* reads nothing behind the last number of its input: it may be the user's own */
    /* Checks config and inputs, declares output axes, tensors, saved and scratch. May fail, alone. */
    bool (*declare)(ep_plan *plan, ep_layer *layer, ep_error *error);
    /* Fills the values of its tensors from the noise: a function of nothing else. May be NULL. */
    void (*init)(const ep_pass *pass, const ep_layer *layer, ep_noise noise);
    /* Rows r0 .. r1 of the output: a pure function of inputs, values and counter-based noise. */
    void (*forward)(const ep_pass *pass, const ep_layer *layer);
    /* dx of the same rows from dy: written, or added where layer->adds says so; skipped where the
     * input does not want it. Never touches parameter gradients. */
    void (*backward)(const ep_pass *pass, const ep_layer *layer);
    /* A kind that couples samples in training (layer->row_block) does so before it goes a way: `sum`
     * keeps what each of rows r0 .. r1 gives, from x, or from x and dy; `join` then keeps what whole
     * blocks of rows have in common. NULL elsewhere. */
    void (*sum)(const ep_pass *pass, const ep_layer *layer, ep_way way);
    void (*join)(const ep_pass *pass, const ep_layer *layer, ep_way way);
    /* May backward write its first dx in the place of dy, or leave it there, in a pass that lends?
     * No one reads dy behind it then, nor does the layer's own gradient. NULL: no. */
    bool (*lends)(const ep_layer *layer);
    bool repeats; /* dx is dy: it may be left where dy is, see `leaves` */
    bool fetches; /* what is added to dx of input 0 may lie elsewhere, see ep_more */
    /* Share `part` of `parts` of the parameter gradients over ALL rows. Shares write disjoint
     * memory; each finished range is passed to ep_ready. NULL: no parameters. */
    void (*gradient)(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts);
    /* TRACKED statistics after a training pass, by one worker. May be NULL. */
    void (*track)(const ep_pass *pass, const ep_layer *layer);
    /* True if what `track` will keep is finite. NULL where there is no `track`. */
    bool (*sound)(const ep_pass *pass, const ep_layer *layer);
    /* Samples that a training batch must have for the layer to do anything. NULL: one. */
    int64_t (*least_rows)(const ep_layer *layer, const ep_axis *axes, const ep_value *values);
    /* Input 0 is ids: whole numbers from 0 to one less than this. NULL: any numbers. */
    int64_t (*ids)(const ep_layer *layer);
    /* Multiply-adds of one sample's forward pass at the shape of `axes`. NULL: none. */
    double (*macs)(const ep_layer *layer, const ep_axis *axes, const ep_value *values);
} ep_kind;

struct ep_layer {
    const ep_kind *kind;
    char name[EP_NAME];
    void *config;
    int index;
    int n_inputs, input[EP_INPUTS]; /* values read, */
    int reads; /* the first `reads` of them; the rest only lend their axes */
    bool adds[EP_INPUTS]; /* dx is added: a later layer has written it already, or left it: */
    bool leaves[EP_INPUTS]; /* dx is not written: the layer that adds to it fetches dy */
    int more; /* value whose gradient is fetched to be added to dx of input 0, or -1 */
    int n_tensors, tensor[EP_TENSORS];
    bool shares; /* its mass is that of an earlier layer, to whose gradient it adds */
    int partner; /* the next layer that shares its mass, or -1 */
    int out; /* value written */
    int saved; /* value kept for backward, or -1 */
    int sums; /* value: what backward has summed of a sample for gradient, or -1 */
    int64_t scratch; /* numbers of scratch a worker needs */
    int64_t row_block; /* a kind that couples samples: workers' rows are cut at its multiples */
    double work; /* macs, for sharing out the gradient */
};

struct ep_pass {
    const ep_axis *axes;
    const ep_value *value;
    const ep_tensor *tensor;
    ep_real *numbers; /* values of all tensors */
    ep_real *gradients; /* theirs, same layout */
    const ep_real *input; /* the user's own rows in place of value 0, or NULL */
    ep_real *x, *dx; /* activations and their gradients; dx NULL outside training */
    int64_t capacity; /* rows there is room for: value v lies at x + at * capacity */
    int64_t rows; /* samples of the batch */
    int64_t r0, r1; /* samples of this worker */
    bool training;
    bool lends; /* gradients of activations may lie in each other's place: see ep_value */
    int64_t step;
    ep_noise noise;
    ep_real *scratch; /* of this worker, EP_ALIGN aligned */
    void (*ready)(const ep_pass *pass, int tensor, int64_t from, int64_t rows, int64_t n,
                  int64_t stride);
    void *ready_context;
};

/* ---- building (declare only) ---------------------------------------------------------------- */
/* Index of a new axis of n living, or -1 (error filled: not positive, too many). */
int ep_plan_axis(ep_plan *plan, const ep_layer *layer, const char *what, int64_t n,
                 ep_error *error);
/* Declares the layer's next tensor; its number within the layer is the order of the calls. */
bool ep_plan_tensor(ep_plan *plan, ep_layer *layer, const char *what, ep_role role, int rank,
                    const int *axis, ep_error *error);
/* The layer's next tensor is the mass that `axis` has already; of its gradient the layer is a term
 * (layer->shares). */
bool ep_plan_share(ep_plan *plan, ep_layer *layer, int axis, ep_error *error);
/* Sets the axes of the layer's output, and of what it saves for backward. */
bool ep_plan_output(ep_plan *plan, ep_layer *layer, int rank, const int *axis, ep_error *error);
bool ep_plan_saved(ep_plan *plan, ep_layer *layer, int rank, const int *axis, ep_error *error);
/* Room for `n` sums of every sample for each entry of an axis. */
bool ep_plan_sums(ep_plan *plan, ep_layer *layer, int64_t n, int axis, ep_error *error);
const ep_value *ep_plan_value(const ep_plan *plan, int value);
const ep_axis *ep_plan_axes(const ep_plan *plan);
/* Marks an axis as one whose populations may die, unless it is the output's. */
void ep_plan_mortal(ep_plan *plan, int axis);

EP_INLINE double ep_layer_macs(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    return layer->kind->macs ? layer->kind->macs(layer, axes, values) : 0;
}

/* ---- running -------------------------------------------------------------------------------- */
EP_INLINE const ep_value *ep_input(const ep_pass *pass, const ep_layer *layer, int i) {
    return &pass->value[layer->input[i]];
}
/* Row 0 of input i; dx is NULL where it is not wanted. */
EP_INLINE const ep_real *ep_x(const ep_pass *pass, const ep_layer *layer, int i) {
    return layer->input[i] == 0 && pass->input
               ? pass->input
               : pass->x + ep_input(pass, layer, i)->at * pass->capacity;
}
EP_INLINE ep_real *ep_gradient_of(const ep_pass *pass, const ep_value *value) {
    return pass->dx + (pass->lends ? value->lent : value->at) * pass->capacity;
}
EP_INLINE ep_real *ep_dx(const ep_pass *pass, const ep_layer *layer, int i) {
    const ep_value *value = ep_input(pass, layer, i);
    return value->wants_dx ? ep_gradient_of(pass, value) : NULL;
}
/* What a kind that fetches adds to its dx of input 0, or NULL. */
EP_INLINE const ep_real *ep_more(const ep_pass *pass, const ep_layer *layer) {
    int from = layer->more >= 0 ? layer->more : layer->input[0];
    return layer->adds[0] ? ep_gradient_of(pass, &pass->value[from]) : NULL;
}
EP_INLINE ep_real *ep_y(const ep_pass *pass, const ep_layer *layer) {
    return pass->x + pass->value[layer->out].at * pass->capacity;
}
EP_INLINE const ep_real *ep_dy(const ep_pass *pass, const ep_layer *layer) {
    return ep_gradient_of(pass, &pass->value[layer->out]);
}
EP_INLINE ep_real *ep_saved(const ep_pass *pass, const ep_layer *layer) {
    return pass->x + pass->value[layer->saved].at * pass->capacity;
}
EP_INLINE ep_real *ep_sums(const ep_pass *pass, const ep_layer *layer) {
    return pass->x + pass->value[layer->sums].at * pass->capacity;
}
/* to[j] += the sums `from` + j of all samples in order, j from j0 on and before j1. */
EP_INLINE void ep_add_sums(const ep_pass *pass, const ep_layer *layer, int64_t from, int64_t j0,
                           int64_t j1, ep_real *to) {
    int64_t width = pass->value[layer->sums].width;
    const ep_real *sums = ep_sums(pass, layer) + from;
    for (int64_t r = 0; r < pass->rows; r++, sums += width) {
        for (int64_t j = j0; j < j1; j++) {
            to[j] += sums[j];
        }
    }
}
/* The layer's i-th tensor: its values, its gradient, its number of numbers. */
EP_INLINE ep_real *ep_w(const ep_pass *pass, const ep_layer *layer, int i) {
    return pass->numbers + pass->tensor[layer->tensor[i]].at;
}
EP_INLINE ep_real *ep_dw(const ep_pass *pass, const ep_layer *layer, int i) {
    return pass->gradients + pass->tensor[layer->tensor[i]].at;
}
EP_INLINE int64_t ep_w_size(const ep_pass *pass, const ep_layer *layer, int i) {
    return pass->tensor[layer->tensor[i]].n;
}
/* Asks for the lines that are to be written EP_AHEAD numbers after these n: memory takes about twice
 * as much when it has been told where. Never faults, wherever that is. */
enum { EP_AHEAD = 1024 };
EP_INLINE void ep_ask(const ep_real *at, int64_t n) {
    for (int64_t i = EP_AHEAD; i < EP_AHEAD + n; i += (int64_t)EP_LINE) {
        __builtin_prefetch(at + i);
    }
}
/* Gradient numbers from .. from + n of the layer's i-th tensor are final: the optimizer may have
 * them while they are in cache. Each number once in a pass. */
EP_INLINE void ep_ready(const ep_pass *pass, const ep_layer *layer, int i, int64_t from,
                        int64_t n) {
    if (pass->ready && n > 0) {
        pass->ready(pass, layer->tensor[i], from, 1, n, n);
    }
}
/* The same of `rows` runs of n numbers, `stride` apart: some columns of a matrix. */
EP_INLINE void ep_ready_block(const ep_pass *pass, const ep_layer *layer, int i, int64_t from,
                              int64_t rows, int64_t n, int64_t stride) {
    if (pass->ready && rows > 0 && n > 0) {
        pass->ready(pass, layer->tensor[i], from, rows, n, stride);
    }
}
/* Product of the living sizes of a value's axes first .. last - 1. */
EP_INLINE int64_t ep_extent(const ep_axis *axes, const ep_value *value, int first, int last) {
    int64_t n = 1;
    for (int d = first; d < last; d++) {
        n *= axes[value->axis[d]].n;
    }
    return n;
}
/* First of the numbers of share `part`, of n cut at whole lines so that workers share none. */
EP_INLINE int64_t ep_cut(int64_t n, int64_t part, int64_t parts) {
    int64_t lines = (n + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE;
    return ep_min(n, ep_share(lines, part, parts) * (int64_t)EP_LINE);
}

#endif
