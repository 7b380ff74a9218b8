/* layer: the interface of layers. A kind (ep_kind) is a table of functions, shared by all layers of
 * that kind; a layer (ep_layer) is one occurrence in a network; a pass (ep_pass) is the work of one
 * worker. A layer sees only its own inputs, tensors and rows. It does not depend on the network, on
 * threads, on laws or on extinction.
 *
 * Names in kernels: x, y input and output, dx, dy their gradients; w, dw weights and their
 * gradients; rows, in, out numbers of rows, inputs and outputs. Activations are (batch, axes ...),
 * features last, contiguous, at the current sizes of the axes. A range r0 .. r1 of rows does not
 * include r1. */
#ifndef EP_LAYER_H
#define EP_LAYER_H

#include "random.h"
#include "shape.h"

enum { EP_INPUTS = 4, EP_TENSORS = 6 };

typedef struct ep_layer ep_layer;
typedef struct ep_pass ep_pass;
typedef struct ep_plan ep_plan; /* the network being built; seen only through the calls below */

/* An array with one row per sample: an activation, or data saved for backward. */
typedef struct {
    char name[EP_NAME];
    int rank;
    int axis[EP_RANK];
    int64_t width; /* elements per sample at the current shape */
    int64_t at; /* the value starts at x + at * capacity: see ep_x */
    int dx_of; /* value whose buffer holds the gradient of this value in a pass with aliasing */
    bool wants_dx; /* the value's gradient is needed, to train a tensor of an earlier layer */
} ep_value;

typedef enum { EP_FORWARD = 1, EP_BACKWARD = -1 } ep_way; /* direction through the layers */

/* How a factor m >= 0 along one axis of an input x affects the output f(x). Folding uses this to
 * move masses into weights. */
typedef enum {
    EP_NOT_LINEAR, /* the factor has no equivalent on the output */
    EP_LINEAR_PASS, /* f(m x) = m f(x) along every axis */
    EP_LINEAR_WEIGHT, /* m moves into "weight" if that has the axis; else as EP_LINEAR_PASS */
    EP_LINEAR_WINDOW, /* m moves into "weight" if that has the axis; else not linear */
    EP_LINEAR_GAIN, /* not linear in the input, but a factor on the last axis of the output can
                         be folded into "gain" and "bias" */
} ep_linearity;

enum { EP_APART_ALL = -1 };
/* The part of a kind that couples the samples of a training batch, as batch norm does. */
typedef struct {
    /* Called before forward or backward to compute sums over samples. `sum` stores the terms of
     * rows r0 .. r1, computed from x (forward) or from x and dy (backward); `join` then stores the
     * totals of whole row blocks (layer->row_block). */
    void (*sum)(const ep_pass *pass, const ep_layer *layer, ep_way way);
    void (*join)(const ep_pass *pass, const ep_layer *layer, ep_way way);
    /* Updates TRACKED statistics after a training pass; called by one worker. */
    void (*track)(const ep_pass *pass, const ep_layer *layer);
    /* True if the statistics that `track` will store are finite. */
    bool (*sound)(const ep_pass *pass, const ep_layer *layer);
    /* Minimum number of samples in a training batch. With fewer, the output would not depend on the
     * input: batch norm of a single value is an example. */
    int64_t (*least_rows)(const ep_layer *layer, const ep_axis *axes, const ep_value *values);
} ep_coupling;

typedef struct {
    const char *name;
    const char *doc;
    const ep_field *fields;
    size_t config_size;
    int least_inputs, most_inputs;
    ep_linearity linear;
    int linear_input; /* the input that `linear` refers to */
    const char *sizes; /* name of the setting with the founding sizes of output axes, or NULL */
    int founding_axis; /* 1 + the axis of input 0 whose founding size affects the output;
                             -1: the last axis; 0: none */
    int apart; /* for a kind that is not linear: 1 + the axis of input 0 along which
                             entry j of the output depends only on entry j of the inputs; 0: no
                             axis; EP_APART_ALL: every axis */
    int product_axis; /* 1 + the axis of input 0 along which the output depends on inputs 0 and 1
                             only through sums of the products of their entries, and entry j is
                             linear in entry j of linear_input; 0: none */
    /* the kind never reads past the last element of its inputs, so an input may be an array of the
     * user (ep_pass.input) */
    bool exact;
    /* Checks config and inputs; declares output axes, tensors and saved values. May fail. */
    bool (*declare)(ep_plan *plan, ep_layer *layer, ep_error *error);
    /* Initializes the layer's tensors; the values depend on `noise` only. May be NULL. */
    void (*init)(const ep_pass *pass, const ep_layer *layer, ep_noise noise);
    /* Computes rows r0 .. r1 of the output from inputs, tensors and counter-based noise alone. */
    void (*forward)(const ep_pass *pass, const ep_layer *layer);
    /* Computes rows r0 .. r1 of dx from dy, for every input whose ep_dx() is not NULL: adds to dx
     * if ep_adds(), else overwrites it. Never touches parameter gradients. */
    void (*backward)(const ep_pass *pass, const ep_layer *layer);
    /* Computes part `part` of `parts` of the parameter gradients over ALL rows. Parts write
     * disjoint memory and pass each finished range to ep_ready. NULL: no parameters. */
    void (*gradient)(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts);
    const ep_coupling *coupling; /* NULL: the samples of a batch are independent */
    /* Returns n: input 0 holds ids, integers from 0 to n - 1. NULL: it holds any numbers. */
    int64_t (*ids)(const ep_layer *layer);
    /* Multiply-adds of the forward pass of one sample at the shape of `axes`. NULL: none. */
    double (*macs)(const ep_layer *layer, const ep_axis *axes, const ep_value *values);
    /* Elements of scratch per worker at the shape of `axes`, which births can make larger than the
     * founding one; -1 on overflow. NULL: none. */
    int64_t (*scratch)(const ep_layer *layer, const ep_axis *axes, const ep_value *values);
} ep_kind;

/* Aliasing of the gradients of activations: a gradient that no later step needs is overwritten, and
 * a gradient that equals another one is not copied. This saves memory writes, which cost more than
 * arithmetic. declare() sets `can`; alias.c plans the rest when the network is built. Layers see
 * only what ep_dx(), ep_dy(), ep_adds() and ep_more() return. */
enum {
    EP_OVERWRITE_DY = 1, /* backward() may write dx over dy: gradient() does not read dy */
    EP_COPY_DY = 2, /* backward() only copies dy to dx */
    EP_ADD_MORE = 4, /* backward() adds the term of ep_more(), if any, to dx of input 0 */
};
typedef struct {
    int can; /* sum of the constants above that hold for the layer */
    /* add to the dx of this input instead of overwriting it: a later layer has already written its
     * term there, or has left the term in its own dy, where this layer reads it (see `skip`) */
    bool add[EP_INPUTS];
    /* do not copy dy to the dx of this input, because the earlier layer that adds to this dx reads
     * dy itself */
    bool skip[EP_INPUTS];
    int more; /* EP_ADD_MORE: index of the value whose gradient is added to dx of input 0 */
} ep_alias;

struct ep_layer {
    const ep_kind *kind;
    char name[EP_NAME];
    void *config;
    int index;
    int n_inputs, input[EP_INPUTS]; /* indices of the values that the layer reads */
    int reads; /* number of inputs whose elements are read; of further inputs, only axes are used */
    ep_alias alias;
    int n_tensors, tensor[EP_TENSORS];
    bool shares_mass; /* uses the mass of an earlier layer and adds to its gradient */
    bool scales; /* each element of the output is a multiple of the same element of the input */
    int partner; /* index of the next layer that uses the same mass, or -1 */
    int out; /* index of the value that the layer writes */
    int saved; /* index of the value that forward() saves for backward(), or -1 */
    int sums; /* index of the value where backward() stores sums per sample for gradient(), or -1 */
    /* for kinds that couple samples: the index of a worker's first row is a multiple of this */
    int64_t row_block;
    double work; /* multiply-adds per sample, to balance the gradient tasks */
};

struct ep_pass {
    const ep_axis *axes;
    const ep_value *value;
    const ep_tensor *tensor;
    ep_real *numbers; /* values of all tensors */
    ep_real *gradients; /* gradients of all tensors, in the layout of `numbers` */
    const ep_real *input; /* rows of the user's array, read instead of value 0; or NULL */
    ep_real *x, *dx; /* activations and their gradients; dx is NULL outside training */
    int64_t capacity; /* rows allocated: value v starts at x + at * capacity */
    int64_t rows; /* samples of the batch that belong to this rank (see ranks.h) */
    int64_t first; /* index of this rank's sample 0 in the batch of all ranks */
    int64_t r0, r1; /* samples of this worker */
    bool training;
    bool alias; /* gradients of activations may alias each other: see ep_alias */
    int64_t step;
    ep_noise noise;
    ep_real *scratch; /* private to this worker, EP_ALIGN aligned */
    /* (n_axes) number of newborn entries at the end of each axis, whose weights init() draws; NULL:
     * all */
    const int64_t *newborn;
    void (*ready)(const ep_pass *pass, int tensor, int64_t from, int64_t rows, int64_t n,
                  int64_t stride);
    void *ready_context;
};

/* ---- building (declare only) ---------------------------------------------------------------- */
/* Returns the index of a new axis of n populations, or -1 if n is out of range (error set). */
int ep_plan_axis(ep_plan *plan, const ep_layer *layer, const char *what, int64_t n,
                 ep_error *error);
/* Declares the layer's next tensor. Tensors are numbered in the order of the calls. */
bool ep_plan_tensor(ep_plan *plan, ep_layer *layer, const char *what, ep_role role, int rank,
                    const int *axis, ep_error *error);
/* Declares the existing mass of `axis` as the layer's next tensor. The layer adds its terms to the
 * gradient of this mass (layer->shares_mass). */
bool ep_plan_shared_mass(ep_plan *plan, ep_layer *layer, int axis, ep_error *error);
/* Set the axes of the layer's output, and of the value it saves for backward. */
bool ep_plan_output(ep_plan *plan, ep_layer *layer, int rank, const int *axis, ep_error *error);
bool ep_plan_saved(ep_plan *plan, ep_layer *layer, int rank, const int *axis, ep_error *error);
/* Reserves n sums for each sample and each entry of an axis. backward() writes them, and gradient()
 * reads them (layer->sums). */
bool ep_plan_sums(ep_plan *plan, ep_layer *layer, int64_t n, int axis, ep_error *error);
const ep_value *ep_plan_value(const ep_plan *plan, int value);
const ep_axis *ep_plan_axes(const ep_plan *plan);
/* Marks an axis as subject to extinction, unless it is an axis of the network's output. */
void ep_plan_mortal(ep_plan *plan, int axis);

EP_INLINE double ep_layer_macs(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    return layer->kind->macs ? layer->kind->macs(layer, axes, values) : 0;
}

/* ---- running -------------------------------------------------------------------------------- */
EP_INLINE const ep_value *ep_input(const ep_pass *pass, const ep_layer *layer, int i) {
    return &pass->value[layer->input[i]];
}
/* Row 0 of input i. */
EP_INLINE const ep_real *ep_x(const ep_pass *pass, const ep_layer *layer, int i) {
    return layer->input[i] == 0 && pass->input
               ? pass->input
               : pass->x + ep_input(pass, layer, i)->at * pass->capacity;
}
EP_INLINE ep_real *ep_gradient_of(const ep_pass *pass, const ep_value *value) {
    return pass->dx + (pass->alias ? pass->value[value->dx_of].at : value->at) * pass->capacity;
}
/* Row 0 of the gradient of input i. NULL if no layer needs this gradient, or if the layer need not
 * copy dy to it (ep_alias.skip). */
EP_INLINE ep_real *ep_dx(const ep_pass *pass, const ep_layer *layer, int i) {
    const ep_value *value = ep_input(pass, layer, i);
    return value->wants_dx && !layer->alias.skip[i] ? ep_gradient_of(pass, value) : NULL;
}
EP_INLINE bool ep_adds(const ep_layer *layer, int i) { return layer->alias.add[i]; }
/* The term that a kind with EP_ADD_MORE adds to dx of input 0, or NULL. */
EP_INLINE const ep_real *ep_more(const ep_pass *pass, const ep_layer *layer) {
    return ep_adds(layer, 0) ? ep_gradient_of(pass, &pass->value[layer->alias.more]) : NULL;
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
/* Adds up the sums per sample (layer->sums) over all samples, in order: for j0 <= j < j1, adds
 * element `from` + j of every sample to to[j]. */
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
/* The layer's i-th tensor: its values, its gradient, its number of elements. */
EP_INLINE ep_real *ep_w(const ep_pass *pass, const ep_layer *layer, int i) {
    return pass->numbers + pass->tensor[layer->tensor[i]].at;
}
EP_INLINE ep_real *ep_dw(const ep_pass *pass, const ep_layer *layer, int i) {
    return pass->gradients + pass->tensor[layer->tensor[i]].at;
}
EP_INLINE int64_t ep_w_size(const ep_pass *pass, const ep_layer *layer, int i) {
    return pass->tensor[layer->tensor[i]].n;
}
/* Draws elements `at` .. at + n - 1 of the layer's tensor 0 from normal noise. */
EP_INLINE void ep_w_draw(const ep_pass *pass, const ep_layer *layer, int64_t at, int64_t n,
                         double deviation, ep_noise noise) {
    ep_real *w = ep_w(pass, layer, 0);
    for (int64_t i = at; i < at + n; i++) {
        w[i] = (ep_real)(deviation * ep_random_normal(noise, (uint64_t)i));
    }
}
/* Fills the layer's tensor 0 with normal noise: all elements, or those of newborn entries of its
 * axes (pass->newborn). An element has the same value in either case. */
EP_INLINE void ep_w_normal(const ep_pass *pass, const ep_layer *layer, double deviation,
                           ep_noise noise) {
    const ep_tensor *t = &pass->tensor[layer->tensor[0]];
    if (!pass->newborn) {
        ep_w_draw(pass, layer, 0, t->n, deviation, noise);
    }
    int64_t before = 1, inner = t->n;
    for (int d = 0; pass->newborn && d < t->rank; d++) {
        int64_t n = pass->axes[t->axis[d]].n, newborn = pass->newborn[t->axis[d]];
        inner = n ? inner / n : 0;
        for (int64_t i = 0; newborn && i < before; i++) {
            int64_t end = (i + 1) * n * inner;
            ep_w_draw(pass, layer, end - newborn * inner, newborn * inner, deviation, noise);
        }
        before *= n;
    }
}
/* Prefetches the n elements that are EP_AHEAD elements after `at`, because they will be written
 * next. This roughly doubles write throughput; prefetching an invalid address is harmless. */
enum { EP_AHEAD = 1024 };
EP_INLINE void ep_ask(const ep_real *at, int64_t n) {
    for (int64_t i = EP_AHEAD; i < EP_AHEAD + n; i += (int64_t)EP_LINE) {
        __builtin_prefetch(at + i);
    }
}
/* Reports that n elements of the gradient of the layer's i-th tensor, from element `from` on, are
 * final, so that the optimizer can use them while they are cached. Each element is reported once
 * per pass. */
EP_INLINE void ep_ready(const ep_pass *pass, const ep_layer *layer, int i, int64_t from,
                        int64_t n) {
    if (pass->ready && n > 0) {
        pass->ready(pass, layer->tensor[i], from, 1, n, n);
    }
}
/* Like ep_ready(), for `rows` ranges of n elements each whose starts are `stride` elements apart,
 * such as n columns of a matrix. */
EP_INLINE void ep_ready_block(const ep_pass *pass, const ep_layer *layer, int i, int64_t from,
                              int64_t rows, int64_t n, int64_t stride) {
    if (pass->ready && rows > 0 && n > 0) {
        pass->ready(pass, layer->tensor[i], from, rows, n, stride);
    }
}
/* Product of the current sizes of a value's axes first .. last - 1. */
EP_INLINE int64_t ep_extent(const ep_axis *axes, const ep_value *value, int first, int last) {
    int64_t n = 1;
    for (int d = first; d < last; d++) {
        n *= axes[value->axis[d]].n;
    }
    return n;
}
/* First element of part `part` when n elements are split into `parts`. Parts start at cache lines,
 * so workers share no cache line. */
EP_INLINE int64_t ep_cut(int64_t n, int64_t part, int64_t parts) {
    int64_t lines = (n + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE;
    return ep_min(n, ep_split(lines, part, parts) * (int64_t)EP_LINE);
}

#endif
