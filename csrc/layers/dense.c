/* dense: y = x w over the last axes of x. Bias, activation and mass belong to the kind
 * `populations`. Weights are stored (in ..., out ...), which was measured to be 1-9 % faster than
 * (out, in), and which makes the gradient of a range of inputs one contiguous block. Results do not
 * depend on the number of threads. */
#include "gemm.h"
#include "layer.h"

#include <math.h>

enum { PANEL = 32 }; /* columns of a panel of the matrix product */

typedef struct {
    ep_vector units;
    int64_t contract;
    double gain;
} dense;

static const ep_field fields[] = {
    EP_FIELD_VECTOR(
        dense, units, 1, 1e9,
        "sizes of the output axes, one to three; left out when a second input gives them"),
    EP_FIELD_INT(dense, contract, 1, 0, EP_RANK,
                 "number of trailing axes of the input that are summed over; 0: all"),
    EP_FIELD_REAL(
        dense, gain, 1.4142135623730951, 0, 100,
        "initial weights are normal with deviation gain / sqrt(fan in); sqrt(2) suits relu"),
    EP_FIELDS_END,
};

static int contracted(const ep_layer *layer, const ep_value *x) {
    const dense *config = layer->config;
    return config->contract ? (int)config->contract : x->rank;
}

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const dense *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int in = contracted(layer, x), outer = x->rank - in;
    if (in > x->rank) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: contract must be at most the input's %d axes, got %d", layer->name,
                       x->rank, in);
    }
    int out = (int)config->units.n, axis[EP_RANK];
    if (layer->n_inputs == 2) {
        const ep_value *like = ep_plan_value(plan, layer->input[1]);
        if (out) {
            return ep_fail(error, EP_BAD_VALUE,
                           "%s: units must be left out when a second input gives the output axes",
                           layer->name);
        }
        layer->reads = 1;
        out = like->rank - outer;
        if (out < 1) {
            return ep_fail(
                error, EP_BAD_VALUE,
                "%s: the second input must have more than the %d axes the first keeps, got %d",
                layer->name, outer, like->rank);
        }
        for (int d = 0; d < out; d++) {
            axis[d] = like->axis[outer + d];
        }
    } else if (out < 1 || out > 3 || out + in > EP_RANK || outer + out > EP_RANK) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: units must give 1 to %d output axes for an input of %d axes, got %d",
                       layer->name, (int)ep_min(3, EP_RANK - ep_max(in, outer)), x->rank, out);
    } else {
        for (int d = 0; d < out; d++) {
            char what[16] = {(char)(out == 1 ? 0 : '0' + d), 0};
            axis[d] = ep_plan_axis(plan, layer, what, (int64_t)config->units.at[d], error);
            if (axis[d] < 0) {
                return false;
            }
        }
    }
    if (in + out > EP_RANK) {
        return ep_fail(error, EP_BAD_VALUE, "%s: a weight may have %d axes, got %d in and %d out",
                       layer->name, EP_RANK, in, out);
    }
    int of_y[EP_RANK], of_w[EP_RANK];
    for (int d = 0; d < outer; d++) {
        of_y[d] = x->axis[d];
    }
    for (int d = 0; d < out; d++) {
        of_y[outer + d] = of_w[in + d] = axis[d];
    }
    for (int d = 0; d < in; d++) {
        of_w[d] = x->axis[outer + d];
    }
    return ep_plan_tensor(plan, layer, "weight", EP_DECAYED, in + out, of_w, error) &&
           ep_plan_output(plan, layer, outer + out, of_y, error);
}

/* Current sizes: rows per sample, inputs and outputs per row. */
typedef struct {
    int64_t outer, in, out;
} extents;

static extents measure(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *x = &values[layer->input[0]], *y = &values[layer->out];
    int outer = x->rank - contracted(layer, x);
    return (extents){ep_extent(axes, x, 0, outer), ep_extent(axes, x, outer, x->rank),
                     ep_extent(axes, y, outer, y->rank)};
}

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    const dense *config = layer->config;
    extents e = measure(layer, pass->axes, pass->value);
    double deviation = config->gain / sqrt((double)ep_max(1, e.in));
    ep_w_normal(pass, layer, deviation, noise);
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(layer, pass->axes, pass->value);
    int64_t from = pass->r0 * e.outer;
    ep_gemm(&(ep_product){.m = (pass->r1 - pass->r0) * e.outer,
                          .n = e.out,
                          .k = e.in,
                          .a = ep_x(pass, layer, 0) + from * e.in,
                          .a_row = e.in,
                          .a_step = 1,
                          .b = ep_w(pass, layer, 0),
                          .b_step = e.out,
                          .b_col = 1,
                          .c = ep_y(pass, layer) + from * e.out,
                          .c_row = e.out},
            pass->scratch);
}

/* Compute dx = dy w', where w' is the transpose of w. */
static void backward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(layer, pass->axes, pass->value);
    ep_real *dx = ep_dx(pass, layer, 0);
    int64_t from = pass->r0 * e.outer;
    if (dx) {
        ep_gemm(&(ep_product){.m = (pass->r1 - pass->r0) * e.outer,
                              .n = e.in,
                              .k = e.out,
                              .a = ep_dy(pass, layer) + from * e.out,
                              .a_row = e.out,
                              .a_step = 1,
                              .b = ep_w(pass, layer, 0),
                              .b_step = 1,
                              .b_col = e.out,
                              .c = dx + from * e.in,
                              .c_row = e.in,
                              .add = ep_adds(layer, 0)},
                pass->scratch);
    }
}

/* Compute a part of dw = x' dy, where x' is the transpose of x. A part is a range of the columns of
 * dw, in whole panels, if dw is at least as wide as high and has enough panels; otherwise a range
 * of its rows. Parts of the longer side read less. Every element of dw is one chain of additions
 * over the batch. */
static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    extents e = measure(layer, pass->axes, pass->value);
    int64_t panels = (e.out + PANEL - 1) / PANEL, i0 = 0, i1 = e.in, j0 = 0, j1 = e.out;
    if (e.out >= e.in && panels >= parts) {
        j0 = ep_min(e.out, ep_split(panels, part, parts) * PANEL);
        j1 = ep_min(e.out, ep_split(panels, part + 1, parts) * PANEL);
    } else {
        i0 = ep_split(e.in, part, parts);
        i1 = ep_split(e.in, part + 1, parts);
    }
    int64_t at = i0 * e.out + j0;
    ep_gemm(&(ep_product){.m = i1 - i0,
                          .n = j1 - j0,
                          .k = pass->rows * e.outer,
                          .a = ep_x(pass, layer, 0) + i0,
                          .a_row = 1,
                          .a_step = e.in,
                          .b = ep_dy(pass, layer) + j0,
                          .b_step = e.out,
                          .b_col = 1,
                          .c = ep_dw(pass, layer, 0) + at,
                          .c_row = e.out},
            pass->scratch);
    if (j1 - j0 == e.out) {
        ep_ready(pass, layer, 0, at, (i1 - i0) * e.out);
    } else {
        ep_ready_block(pass, layer, 0, at, i1 - i0, j1 - j0, e.out);
    }
}

static int64_t scratch(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    (void)layer, (void)axes, (void)values;
    return EP_GEMM_SCRATCH;
}

static double macs(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    extents e = measure(layer, axes, values);
    return (double)e.outer * (double)e.in * (double)e.out;
}

const ep_kind ep_kind_dense = {
    .name = "dense",
    .doc = "y = x w: a linear map of the last axes of x, without bias. Input (..., in), output\n"
           "(..., units). With a second input the output has the axes of that input (its\n"
           "elements are not read), so that a branch can be added to a residual stream.",
    .fields = fields,
    .config_size = sizeof(dense),
    .least_inputs = 1,
    .most_inputs = 2,
    .linear = EP_LINEAR_WEIGHT,
    .sizes = "units",
    .exact = true,
    .declare = declare,
    .init = init,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .macs = macs,
    .scratch = scratch,
};
