/* conv2d: y = the sum over a window of x w, at every output position. Weights are stored (height,
 * width, in, out). This file has the settings and the interface; convolve.h and depthwise.h have
 * the computations. Bias, activation and mass belong to the kind `populations`. */
#include "convolve.h"
#include "depthwise.h"

#include <math.h>

typedef struct {
    int64_t filters;
    ep_vector kernel, stride, padding, dilation;
    int64_t depthwise;
    double gain;
} conv2d;

static const ep_field fields[] = {
    EP_FIELD_INT(conv2d, filters, 0, 0, 1e9,
                 "output channels; 0 if a second input gives them, or if depthwise"),
    EP_FIELD_REQUIRED(EP_VECTOR, conv2d, kernel, 1, 1e6,
                      "size of the window: one number, or height and width"),
    EP_FIELD_VECTOR(conv2d, stride, 1, 1e6, "steps between windows; left out: 1"),
    EP_FIELD_VECTOR(conv2d, padding, 0, 1e6,
                    "zeros beyond each edge; left out: as many as keep the size (divided by\n"
                    "stride, rounded up)"),
    EP_FIELD_VECTOR(conv2d, dilation, 1, 1e6,
                    "steps between the elements under a window; left out: 1"),
    EP_FIELD_BOOL(conv2d, depthwise, false,
                  "one filter per input channel; the output has the input's axis of channels"),
    EP_FIELD_REAL(
        conv2d, gain, 1.4142135623730951, 0, 100,
        "initial weights are normal with deviation gain / sqrt(fan in); sqrt(2) suits relu"),
    EP_FIELDS_END,
};

static ep_windowing windowing(const conv2d *config) {
    return (ep_windowing){.name = "kernel",
                          .size = &config->kernel,
                          .stride = &config->stride,
                          .step = &config->dilation,
                          .pad = &config->padding,
                          .same = true};
}

/* Return the axis of the output's channels, or -1. */
static int channels(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const conv2d *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    if (config->depthwise || layer->n_inputs == 2) {
        if (config->filters || (config->depthwise && layer->n_inputs == 2)) {
            ep_fail(error, EP_BAD_VALUE,
                    "%s: give one of filters, depthwise and a second input, got filters=%lld, "
                    "depthwise=%s and %d inputs",
                    layer->name, (long long)config->filters, config->depthwise ? "True" : "False",
                    layer->n_inputs);
            return -1;
        }
        if (config->depthwise) {
            return x->axis[x->rank - 1];
        }
        const ep_value *like = ep_plan_value(plan, layer->input[1]);
        return like->axis[like->rank - 1];
    }
    if (config->filters < 1) {
        ep_fail(error, EP_BAD_VALUE, "%s: filters must be at least 1, got 0", layer->name);
        return -1;
    }
    return ep_plan_axis(plan, layer, "", config->filters, error);
}

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const conv2d *config = layer->config;
    ep_windowing s = windowing(config);
    int of_y[3], of_w[4];
    layer->reads = 1;
    if (config->kernel.n == 0) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: kernel must be one number, or height and width, got none", layer->name);
    }
    int spatial = ep_window_declare(plan, layer, &s, of_y, error);
    int out = spatial ? channels(plan, layer, error) : -1;
    if (out < 0) {
        return false;
    }
    if (layer->n_inputs == 2) { /* share axes of equal size, so that branches can be added */
        const ep_value *like = ep_plan_value(plan, layer->input[1]);
        for (int d = 0; d < spatial && like->rank == spatial + 1; d++) {
            const ep_axis *axes = ep_plan_axes(plan);
            bool agree = axes[like->axis[d]].n == axes[of_y[d]].n;
            of_y[d] = agree ? like->axis[d] : of_y[d];
        }
    }
    of_y[spatial] = out;
    static const char *const names[] = {"kernel0", "kernel1"};
    int64_t patch = 1;
    for (int d = 0; d < spatial; d++) {
        int64_t size = ep_window_setting(&config->kernel, d, 1);
        of_w[d] = ep_plan_axis(plan, layer, names[d], size, error);
        if (of_w[d] < 0) {
            return false;
        }
        patch = ep_times(patch, size);
    }
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    of_w[spatial] = x->axis[spatial];
    of_w[spatial + 1] = out;
    patch = ep_times(patch, ep_plan_axes(plan)[x->axis[spatial]].n);
    if (patch < 0 || patch > EP_CONV_PATCH) {
        return ep_fail(error, EP_BAD_VALUE, "%s: a window has too many elements", layer->name);
    }
    int rank = spatial + (config->depthwise ? 1 : 2);
    return ep_plan_tensor(plan, layer, "weight", EP_DECAYED, rank, of_w, error) &&
           ep_plan_output(plan, layer, spatial + 1, of_y, error);
}

/* ---- current sizes -------------------------------------------------------------------------- */

/* Return the geometry of the windows, for the current sizes of the axes, and set *filters to the
 * number of output channels. */
static ep_window measure(const ep_layer *layer, const ep_axis *axes, const ep_value *values,
                         int64_t *filters) {
    const ep_value *x = &values[layer->input[0]], *y = &values[layer->out];
    ep_windowing s = windowing(layer->config);
    ep_window g = ep_window_measure(&s, axes, x);
    /* Take the output sizes from y, because its axes may be those of a second input. */
    if (x->rank == 3) {
        g.h.out = axes[y->axis[0]].n;
    }
    g.w.out = axes[y->axis[y->rank - 2]].n;
    *filters = axes[y->axis[y->rank - 1]].n;
    return g;
}

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    const conv2d *config = layer->config;
    int64_t filters;
    ep_window g = measure(layer, pass->axes, pass->value, &filters);
    int64_t fan = g.h.size * g.w.size * (config->depthwise ? 1 : g.c);
    double deviation = config->gain / sqrt((double)ep_max(1, fan));
    ep_w_normal(pass, layer, deviation, noise);
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    const conv2d *config = layer->config;
    int64_t filters;
    ep_window g = measure(layer, pass->axes, pass->value, &filters);
    if (config->depthwise) {
        ep_depthwise_forward(pass, layer, &g);
    } else {
        ep_conv_forward(pass, layer, &g, filters);
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    const conv2d *config = layer->config;
    int64_t filters;
    ep_window g = measure(layer, pass->axes, pass->value, &filters);
    if (!ep_dx(pass, layer, 0)) {
        return;
    }
    if (config->depthwise) {
        ep_depthwise_backward(pass, layer, &g);
    } else {
        ep_conv_backward(pass, layer, &g, filters);
    }
}

static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    const conv2d *config = layer->config;
    int64_t filters;
    ep_window g = measure(layer, pass->axes, pass->value, &filters);
    if (config->depthwise) {
        ep_depthwise_gradient(pass, layer, &g, part, parts);
    } else {
        ep_conv_gradient(pass, layer, &g, filters, part, parts);
    }
}

static int64_t scratch(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    int64_t filters;
    ep_window g = measure(layer, axes, values, &filters);
    return ((const conv2d *)layer->config)->depthwise ? 0 : ep_conv_scratch(&g, filters);
}

static double macs(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const conv2d *config = layer->config;
    int64_t filters;
    ep_window g = measure(layer, axes, values, &filters);
    double of_channel = (double)(g.h.out * g.w.out) * (double)(g.h.size * g.w.size * g.c);
    return of_channel * (config->depthwise ? 1.0 : (double)filters);
}

const ep_kind ep_kind_conv2d = {
    .name = "conv2d",
    .doc =
        "y = the sum over a window of x w, without bias. Input (height, width, channels), output\n"
        "(height, width, filters); or (length, channels) and (length, filters). With a second\n"
        "input the filters are that input's channels (its elements are not read), so that a\n"
        "branch can be added to a residual stream.",
    .fields = fields,
    .config_size = sizeof(conv2d),
    .least_inputs = 1,
    .most_inputs = 2,
    .linear = EP_LINEAR_WINDOW,
    .sizes = "filters",
    .declare = declare,
    .init = init,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .macs = macs,
    .scratch = scratch,
};
