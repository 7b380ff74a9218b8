/* join: `sum` adds branches, for residual networks; `token` adds a learned position before the
 * first; `take` returns one position or the mean of all. These layers only copy and add. */
#include "layer.h"

#include <string.h>

/* Copy n elements, or add them to `to` if `add`. */
static void put(ep_real *restrict to, const ep_real *restrict from, int64_t n, bool add) {
    if (!add) {
        memcpy(to, from, (size_t)n * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        to[i] += from[i];
    }
}

/* ---- sum ------------------------------------------------------------------------------------ */

/* All branches must share the last axis, so that they lose the same populations. Other axes, such
 * as the heights of two convolutions, may differ between branches if their sizes are equal and none
 * is mortal (has populations under selection). */
static bool sum_declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const ep_axis *axes = ep_plan_axes(plan);
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int axis[EP_RANK];
    memcpy(axis, x->axis, (size_t)x->rank * sizeof *axis);
    for (int i = 1; i < layer->n_inputs; i++) {
        const ep_value *other = ep_plan_value(plan, layer->input[i]);
        if (other->rank != x->rank) {
            return ep_fail(error, EP_BAD_VALUE, "%s: %s must have the %d axes of %s, got %d",
                           layer->name, other->name, x->rank, x->name, other->rank);
        }
        for (int d = 0; d < x->rank; d++) {
            const ep_axis *a = &axes[x->axis[d]], *b = &axes[other->axis[d]];
            if (a == b) {
                continue;
            }
            if (a->n != b->n) {
                return ep_fail(error, EP_BAD_VALUE,
                               "%s: axis %d of %s must have the %lld entries of %s, got %lld",
                               layer->name, d, other->name, (long long)a->n, x->name,
                               (long long)b->n);
            }
            if (d == x->rank - 1 || a->mortal || b->mortal) {
                return ep_fail(error, EP_BAD_VALUE,
                               "%s: %s must share axis %s of %s, got axis %s; give %s as the "
                               "second input of the layer that made it",
                               layer->name, other->name, a->name, x->name, b->name, x->name);
            }
        }
    }
    layer->alias.can = EP_OVERWRITE_DY | EP_COPY_DY;
    return ep_plan_output(plan, layer, x->rank, axis, error);
}

static void sum_forward(const ep_pass *pass, const ep_layer *layer) {
    int64_t n = ep_input(pass, layer, 0)->width;
    int64_t from = pass->r0 * n, length = (pass->r1 - pass->r0) * n;
    const ep_real *restrict a = ep_x(pass, layer, 0) + from;
    const ep_real *restrict b = ep_x(pass, layer, 1) + from;
    ep_real *restrict y = ep_y(pass, layer) + from;
    for (int64_t i = 0; i < length; i++) {
        y[i] = a[i] + b[i];
    }
    for (int i = 2; i < layer->n_inputs; i++) {
        put(y, ep_x(pass, layer, i) + from, length, true);
    }
}

static void sum_backward(const ep_pass *pass, const ep_layer *layer) {
    int64_t n = ep_input(pass, layer, 0)->width;
    int64_t from = pass->r0 * n, length = (pass->r1 - pass->r0) * n;
    const ep_real *dy = ep_dy(pass, layer) + from;
    for (int i = 0; i < layer->n_inputs; i++) {
        ep_real *dx = ep_dx(pass, layer, i);
        if (dx && dx + from != dy) {
            put(dx + from, dy, length, ep_adds(layer, i));
        }
    }
}

const ep_kind ep_kind_sum = {
    .name = "sum",
    .doc = "Adds two to four inputs on the same axes: a residual connection. A branch ends on\n"
           "the axes it began on if its last dense or convolution has the branch's input as its\n"
           "second input.",
    .least_inputs = 2,
    .most_inputs = EP_INPUTS,
    .apart = EP_APART_ALL,
    .declare = sum_declare,
    .forward = sum_forward,
    .backward = sum_backward,
};

/* ---- token ---------------------------------------------------------------------------------- */

typedef struct {
    double deviation;
} token;

static const ep_field token_fields[] = {
    EP_FIELD_REAL(token, deviation, 0.02, 0, 100,
                  "standard deviation of the normally distributed initial values"),
    EP_FIELDS_END,
};

static bool token_declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int rank = x->rank, axis[EP_RANK];
    memcpy(axis, x->axis, (size_t)rank * sizeof *axis);
    const ep_axis *positions = &ep_plan_axes(plan)[axis[0]];
    if (rank != 2) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: the input must have the axes (positions, features), got %d axes",
                       layer->name, rank);
    }
    if (positions->mortal) {
        return ep_fail(error, EP_BAD_VALUE, "%s: positions must stay, got axis %s, which may die",
                       layer->name, positions->name);
    }
    axis[0] = ep_plan_axis(plan, layer, "positions", positions->n + 1, error);
    return axis[0] >= 0 && ep_plan_tensor(plan, layer, "value", EP_FREE, 1, axis + 1, error) &&
           ep_plan_output(plan, layer, 2, axis, error);
}

static void token_init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    ep_w_normal(pass, layer, ((const token *)layer->config)->deviation, noise);
}

static void token_forward(const ep_pass *pass, const ep_layer *layer) {
    int64_t n = ep_w_size(pass, layer, 0), width = ep_input(pass, layer, 0)->width;
    for (int64_t r = pass->r0; r < pass->r1; r++) {
        ep_real *y = ep_y(pass, layer) + r * (width + n);
        put(y, ep_w(pass, layer, 0), n, false);
        put(y + n, ep_x(pass, layer, 0) + r * width, width, false);
    }
}

static void token_backward(const ep_pass *pass, const ep_layer *layer) {
    int64_t n = ep_w_size(pass, layer, 0), width = ep_input(pass, layer, 0)->width;
    ep_real *dx = ep_dx(pass, layer, 0);
    for (int64_t r = pass->r0; dx && r < pass->r1; r++) {
        put(dx + r * width, ep_dy(pass, layer) + r * (width + n) + n, width, ep_adds(layer, 0));
    }
}

static void token_gradient(const ep_pass *pass, const ep_layer *layer, int64_t part,
                           int64_t parts) {
    int64_t n = ep_w_size(pass, layer, 0), width = ep_input(pass, layer, 0)->width;
    int64_t j0 = ep_cut(n, part, parts), j1 = ep_cut(n, part + 1, parts);
    ep_real *dw = ep_dw(pass, layer, 0);
    if (j0 >= j1) {
        return;
    }
    memset(dw + j0, 0, (size_t)(j1 - j0) * sizeof *dw);
    for (int64_t r = 0; r < pass->rows; r++) {
        put(dw + j0, ep_dy(pass, layer) + r * (width + n) + j0, j1 - j0, true);
    }
    ep_ready(pass, layer, 0, j0, j1 - j0);
}

const ep_kind ep_kind_token = {
    .name = "token",
    .doc = "Adds a learned position before the first: (positions, features) -> (positions + 1,\n"
           "features). The class token of a vision transformer.",
    .fields = token_fields,
    .config_size = sizeof(token),
    .least_inputs = 1,
    .most_inputs = 1,
    .declare = token_declare,
    .init = token_init,
    .forward = token_forward,
    .backward = token_backward,
    .gradient = token_gradient,
};

/* ---- take ----------------------------------------------------------------------------------- */

typedef struct {
    int64_t position, mean;
} take;

static const ep_field take_fields[] = {
    EP_FIELD_INT(take, position, 0, -1e9, 1e9,
                 "index of the position; a negative one counts from the end"),
    EP_FIELD_BOOL(take, mean, false, "take the mean of all positions instead of one position"),
    EP_FIELDS_END,
};

static bool take_declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const take *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int rank = x->rank, axis[EP_RANK];
    memcpy(axis, x->axis, (size_t)rank * sizeof *axis);
    const ep_axis *positions = &ep_plan_axes(plan)[axis[0]];
    long long n = (long long)positions->n;
    if (rank < 2) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: the input must have the axes (positions, ...), got %d axis",
                       layer->name, rank);
    }
    if (!config->mean && positions->mortal) {
        return ep_fail(error, EP_BAD_VALUE, "%s: positions must stay, got axis %s, which may die",
                       layer->name, positions->name);
    }
    if (config->position < -n || config->position >= n) {
        return ep_fail(error, EP_BAD_VALUE, "%s: position must be in [%lld, %lld], got %lld",
                       layer->name, -n, n - 1, (long long)config->position);
    }
    return ep_plan_output(plan, layer, rank - 1, axis + 1, error);
}

/* The positions that are read, first .. last - 1; each of the `positions` of x has n elements. */
typedef struct {
    int64_t positions, n, first, last;
} range;

static range range_of(const ep_pass *pass, const ep_layer *layer) {
    const take *config = layer->config;
    const ep_value *x = ep_input(pass, layer, 0);
    int64_t positions = pass->axes[x->axis[0]].n, n = ep_extent(pass->axes, x, 1, x->rank);
    if (config->mean) {
        return (range){positions, n, 0, positions};
    }
    int64_t first = config->position + (config->position < 0 ? positions : 0);
    EP_ASSERT(first >= 0 && first < positions);
    return (range){positions, n, first, first + 1};
}

static void take_forward(const ep_pass *pass, const ep_layer *layer) {
    range t = range_of(pass, layer);
    const ep_real share = 1 / (ep_real)ep_max(1, t.last - t.first);
    for (int64_t r = pass->r0; r < pass->r1; r++) {
        const ep_real *x = ep_x(pass, layer, 0) + r * t.positions * t.n;
        ep_real *y = ep_y(pass, layer) + r * t.n;
        memset(y, 0, (size_t)t.n * sizeof *y);
        for (int64_t i = t.first; i < t.last; i++) {
            put(y, x + i * t.n, t.n, true);
        }
        for (int64_t j = 0; j < t.n; j++) {
            y[j] *= share;
        }
    }
}

static void take_backward(const ep_pass *pass, const ep_layer *layer) {
    range t = range_of(pass, layer);
    const ep_real share = 1 / (ep_real)ep_max(1, t.last - t.first);
    int64_t width = t.positions * t.n;
    ep_real *dx = ep_dx(pass, layer, 0);
    if (dx && !ep_adds(layer, 0)) {
        memset(dx + pass->r0 * width, 0, (size_t)((pass->r1 - pass->r0) * width) * sizeof *dx);
    }
    for (int64_t r = pass->r0; dx && r < pass->r1; r++) {
        const ep_real *restrict dy = ep_dy(pass, layer) + r * t.n;
        for (int64_t i = t.first; i < t.last; i++) {
            ep_real *restrict to = dx + r * width + i * t.n;
            for (int64_t j = 0; j < t.n; j++) {
                to[j] += share * dy[j];
            }
        }
    }
}

const ep_kind ep_kind_take = {
    .name = "take",
    .doc = "One position of (positions, ...), or with mean=True the mean of all: (...).",
    .fields = take_fields,
    .config_size = sizeof(take),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_PASS,
    .declare = take_declare,
    .forward = take_forward,
    .backward = take_backward,
};
