/* signals: see signals.h. */
#include "signals.h"

#include "gemm.h"

#include <math.h>
#include <string.h>

/* A tensor reshaped around one of its axes: (before, n, after). */
typedef struct {
    int64_t before, n, after;
} view;

static view view_of(const ep_net *net, const ep_tensor *tensor, int d) {
    view v = {1, net->axes[tensor->axis[d]].n, 1};
    for (int i = 0; i < tensor->rank; i++) {
        v.before *= i < d ? net->axes[tensor->axis[i]].n : 1;
        v.after *= i > d ? net->axes[tensor->axis[i]].n : 1;
    }
    return v;
}

/* to[j] += sum of p * q over slice j. Sums lane by lane along the contiguous axis, so that the loop
 * is vectorized. */
static void add_slices(view v, const ep_real *p, const ep_real *q, ep_real *to) {
    if (v.after == 1) {
        for (int64_t i = 0; i < v.before; i++, p += v.n, q += v.n) {
            for (int64_t j = 0; j < v.n; j++) {
                to[j] += p[j] * q[j];
            }
        }
        return;
    }
    for (int64_t i = 0; i < v.before; i++) {
        for (int64_t j = 0; j < v.n; j++, p += v.after, q += v.after) {
            ep_real lane[EP_LINE] = {0};
            int64_t whole = v.after / (int64_t)EP_LINE * (int64_t)EP_LINE;
            for (int64_t k = 0; k < whole; k += (int64_t)EP_LINE) {
                for (int l = 0; l < (int)EP_LINE; l++) {
                    lane[l] += p[k + l] * q[k + l];
                }
            }
            for (int64_t k = whole; k < v.after; k++) {
                lane[k - whole] += p[k] * q[k];
            }
            for (int l = 0; l < (int)EP_LINE; l++) {
                to[j] += lane[l];
            }
        }
    }
}

static bool trained(const ep_tensor *tensor) {
    return tensor->role == EP_DECAYED || tensor->role == EP_FREE;
}

void ep_signal_owned(const ep_net *net, int axis, const ep_slab *p, const ep_slab *q, ep_real *to) {
    memset(to, 0, (size_t)net->axes[axis].n * sizeof *to);
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *tensor = &net->tensors[i];
        for (int d = 0; trained(tensor) && d < tensor->rank; d++) {
            if (tensor->axis[d] == axis) {
                add_slices(view_of(net, tensor, d), p->at + tensor->at, q->at + tensor->at, to);
            }
        }
    }
}

/* Sets *h to the populations' outputs over the last batch, and returns their shape (before, n,
 * after). */
static view output_view(const ep_net *net, const ep_population *population, const ep_real **h) {
    const ep_value *value = &net->values[net->layers[population->layer].out];
    view v = {net->rows, net->axes[population->axis].n, 1};
    int d = 0;
    while (value->axis[d] != population->axis) {
        v.before *= net->axes[value->axis[d++]].n;
    }
    for (d++; d < value->rank; d++) {
        v.after *= net->axes[value->axis[d]].n;
    }
    *h = net->x ? net->x->at + value->at * net->capacity : NULL;
    return v;
}

void ep_signal_activity(const ep_net *net, const ep_population *population, ep_real *to) {
    const ep_real *h;
    view v = output_view(net, population, &h);
    memset(to, 0, (size_t)v.n * sizeof *to);
    for (int64_t i = 0; h && i < v.before; i++) {
        for (int64_t j = 0; j < v.n; j++) {
            for (int64_t k = 0; k < v.after; k++) {
                ep_real a = *h++;
                to[j] += a < 0 ? -a : a;
            }
        }
    }
    ep_real inverse = (ep_real)1 / (ep_real)ep_max(1, v.before * v.after);
    for (int64_t j = 0; j < v.n; j++) {
        to[j] *= inverse;
    }
}

/* Adds the Gram matrix of the n slices of v to `to` (n, n). */
static void add_gram(view v, const ep_real *at, ep_real *to, ep_real *scratch) {
    if (v.after == 1) { /* the slices are the columns of a matrix (before, n) */
        ep_gemm(&(ep_product){.m = v.n,
                              .n = v.n,
                              .k = v.before,
                              .a = at,
                              .a_row = 1,
                              .a_step = v.n,
                              .b = at,
                              .b_step = v.n,
                              .b_col = 1,
                              .c = to,
                              .c_row = v.n,
                              .add = true},
                scratch);
        return;
    }
    /* the slices consist of the rows of `before` matrices (n, after) */
    for (int64_t i = 0; i < v.before; i++, at += v.n * v.after) {
        ep_gemm(&(ep_product){.m = v.n,
                              .n = v.n,
                              .k = v.after,
                              .a = at,
                              .a_row = v.after,
                              .a_step = 1,
                              .b = at,
                              .b_step = 1,
                              .b_col = v.after,
                              .c = to,
                              .c_row = v.n,
                              .add = true},
                scratch);
    }
}

void ep_signal_activity_gram(const ep_net *net, const ep_population *population, ep_real *to,
                             ep_real *scratch) {
    const ep_real *h;
    view v = output_view(net, population, &h);
    memset(to, 0, (size_t)(v.n * v.n) * sizeof *to);
    if (h) {
        add_gram(v, h, to, scratch);
    }
}

void ep_signal_cosines(int64_t n, ep_real *gram) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            if (i != j) {
                double square = (double)gram[i * n + i] * (double)gram[j * n + j];
                double cosine = square > 0 ? (double)gram[i * n + j] / sqrt(square) : 0;
                gram[i * n + j] = (ep_real)(cosine < 0 ? 0 : cosine > 1 ? 1 : cosine);
            }
        }
    }
    for (int64_t i = 0; i < n; i++) {
        gram[i * n + i] = 1;
    }
}

/* Returns the dimension d of a weight tensor such that slice j along d holds the incoming weights
 * of population j on `axis`. This is the last dimension, except dimension 0, that is `axis`.
 * Returns -1 if there is none, if the layer's output does not have this axis, or if the tensor
 * holds no weights. */
static int into(const ep_net *net, const ep_layer *layer, int tensor, int axis) {
    const ep_tensor *t = &net->tensors[tensor];
    const ep_value *out = &net->values[layer->out];
    bool writes = false;
    for (int d = 0; d < out->rank; d++) {
        writes = writes || out->axis[d] == axis;
    }
    for (int d = t->rank - 1; writes && t->role == EP_DECAYED && d > 0; d--) {
        if (t->axis[d] == axis) {
            return d;
        }
    }
    return -1;
}

void ep_signal_weight_overlap(const ep_net *net, const ep_population *population, ep_real *to,
                              ep_real *scratch) {
    int64_t n = net->axes[population->axis].n;
    memset(to, 0, (size_t)(n * n) * sizeof *to);
    for (int i = 0; i < net->n_layers; i++) {
        for (int j = 0; j < net->layers[i].n_tensors; j++) {
            int tensor = net->layers[i].tensor[j];
            int d = into(net, &net->layers[i], tensor, population->axis);
            if (d > 0) {
                const ep_tensor *t = &net->tensors[tensor];
                add_gram(view_of(net, t, d), net->numbers->at + t->at, to, scratch);
            }
        }
    }
}

void ep_signal_weight_norm(const ep_net *net, const ep_population *population, ep_real *to) {
    memset(to, 0, (size_t)net->axes[population->axis].n * sizeof *to);
    for (int i = 0; i < net->n_layers; i++) {
        for (int j = 0; j < net->layers[i].n_tensors; j++) {
            int tensor = net->layers[i].tensor[j];
            int d = into(net, &net->layers[i], tensor, population->axis);
            if (d > 0) {
                const ep_tensor *t = &net->tensors[tensor];
                const ep_real *w = net->numbers->at + t->at;
                add_slices(view_of(net, t, d), w, w, to);
            }
        }
    }
}
