/* norm: layer norm and rms norm over the last axis, position by position (Ba, Kiros & Hinton 2016;
 * Zhang & Sennrich 2019). Means divide by the number of the born: an extinct entry is a zero that
 * is not stored, so its removal changes no one else's output (rms), or what it added to the mean
 * only by its own going (layer). Batch norm couples samples and has a room of its own. */
#include "layer.h"

#include <math.h>
#include <string.h>

typedef struct {
    int64_t affine;
    double epsilon;
} norm;

static const ep_field fields[] = {
    {.name = "affine",
     .type = EP_BOOL,
     .offset = offsetof(norm, affine),
     .initial = 1,
     .high = 1,
     .doc = "scale by a gain (layer norm: and add a bias) per feature, learned"},
    {.name = "epsilon",
     .type = EP_REAL,
     .offset = offsetof(norm, epsilon),
     .initial = 1e-5,
     .low = 0,
     .high = 1,
     .doc = "added to the variance under the root"},
    EP_FIELDS_END,
};

/* Saved for backward at every position: the mean (0 for rms) and the reciprocal deviation. */
static bool declare(ep_plan *plan, ep_layer *layer, bool center, ep_error *error) {
    const norm *config = layer->config;
    const ep_value x = *ep_plan_value(plan, layer->input[0]); /* the plan's may move */
    int of_saved[EP_RANK], last = x.rank - 1;
    memcpy(of_saved, x.axis, sizeof of_saved);
    of_saved[last] = ep_plan_axis(plan, layer, "moments", 2, error);
    return of_saved[last] >= 0 && ep_plan_output(plan, layer, x.rank, x.axis, error) &&
           ep_plan_saved(plan, layer, x.rank, of_saved, error) &&
           (!config->affine ||
            (ep_plan_tensor(plan, layer, "gain", EP_FREE, 1, &x.axis[last], error) &&
             (!center || ep_plan_tensor(plan, layer, "bias", EP_FREE, 1, &x.axis[last], error))));
}

static bool declare_layer(ep_plan *plan, ep_layer *layer, ep_error *error) {
    return declare(plan, layer, true, error);
}

static bool declare_rms(ep_plan *plan, ep_layer *layer, ep_error *error) {
    return declare(plan, layer, false, error);
}

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    (void)noise;
    for (int i = 0; i < layer->n_tensors; i++) { /* gain 1, bias 0 */
        ep_real *w = ep_w(pass, layer, i);
        for (int64_t j = 0; j < ep_w_size(pass, layer, i); j++) {
            w[j] = i == 0 ? 1 : 0;
        }
    }
}

typedef struct {
    int64_t outer, n;      /* positions of a sample, features */
    ep_real share;         /* 1 / born */
    ep_real dead;          /* share of the extinct */
    const ep_real *gain, *bias;
} block;

static block measure(const ep_pass *pass, const ep_layer *layer) {
    const ep_value *x = ep_input(pass, layer, 0);
    const ep_axis *axis = &pass->axes[x->axis[x->rank - 1]];
    double born = (double)ep_max(1, axis->born);
    return (block){
        .outer = ep_extent(pass->axes, x, 0, x->rank - 1),
        .n = axis->n,
        .share = (ep_real)(1 / born),
        .dead = (ep_real)((double)(axis->born - axis->n) / born),
        .gain = layer->n_tensors > 0 ? ep_w(pass, layer, 0) : NULL,
        .bias = layer->n_tensors > 1 ? ep_w(pass, layer, 1) : NULL,
    };
}

/* ---- sums over features, in lanes so that they vectorise ------------------------------------- */

typedef ep_real lanes __attribute__((vector_size(EP_ALIGN), aligned(sizeof(ep_real)), may_alias));

EP_INLINE ep_real across(lanes v) {
    ep_real sum = 0;
    for (int i = 0; i < (int)EP_LINE; i++) {
        sum += v[i];
    }
    return sum;
}

EP_INLINE ep_real sum_of(int64_t n, const ep_real *x) {
    lanes sum = {0};
    ep_real rest = 0;
    int64_t j = 0;
    for (; j + (int64_t)EP_LINE <= n; j += (int64_t)EP_LINE) {
        sum += *(const lanes *)(x + j);
    }
    for (; j < n; j++) {
        rest += x[j];
    }
    return across(sum) + rest;
}

EP_INLINE ep_real squares_of(int64_t n, const ep_real *x, ep_real mean) {
    lanes sum = {0};
    ep_real rest = 0;
    int64_t j = 0;
    for (; j + (int64_t)EP_LINE <= n; j += (int64_t)EP_LINE) {
        lanes d = *(const lanes *)(x + j) - mean;
        sum += d * d;
    }
    for (; j < n; j++) {
        rest += (x[j] - mean) * (x[j] - mean);
    }
    return across(sum) + rest;
}

/* The sums of g = dy gain and of g (x - mean) scale. */
EP_INLINE void pulls_of(int64_t n, const ep_real *x, const ep_real *dy, const ep_real *gain,
                        ep_real mean, ep_real scale, ep_real *of_g, ep_real *of_gx) {
    lanes g_sum = {0}, gx_sum = {0};
    ep_real g_rest = 0, gx_rest = 0;
    int64_t j = 0;
    for (; j + (int64_t)EP_LINE <= n; j += (int64_t)EP_LINE) {
        lanes g = *(const lanes *)(dy + j);
        if (gain) {
            g *= *(const lanes *)(gain + j);
        }
        g_sum += g;
        gx_sum += g * ((*(const lanes *)(x + j) - mean) * scale);
    }
    for (; j < n; j++) {
        ep_real g = gain ? dy[j] * gain[j] : dy[j];
        g_rest += g;
        gx_rest += g * ((x[j] - mean) * scale);
    }
    *of_g = across(g_sum) + g_rest;
    *of_gx = across(gx_sum) + gx_rest;
}

/* ---- the layer ------------------------------------------------------------------------------ */

EP_INLINE void forward(const ep_pass *pass, const ep_layer *layer, bool center) {
    const norm *config = layer->config;
    block k = measure(pass, layer);
    ep_real *saved = ep_saved(pass, layer);
    for (int64_t row = pass->r0 * k.outer; row < pass->r1 * k.outer; row++) {
        const ep_real *restrict x = ep_x(pass, layer, 0) + row * k.n;
        ep_real *restrict y = ep_y(pass, layer) + row * k.n;
        const ep_real *restrict gain = k.gain, *restrict bias = k.bias;
        ep_real mean = center ? sum_of(k.n, x) * k.share : 0;
        ep_real variance = squares_of(k.n, x, mean) * k.share;
        if (center) {
            variance += k.dead * mean * mean;
        }
        ep_real scale = (ep_real)(1 / sqrt((double)variance + config->epsilon));
        saved[2 * row] = mean;
        saved[2 * row + 1] = scale;
        if (!gain) {
            for (int64_t j = 0; j < k.n; j++) {
                y[j] = (x[j] - mean) * scale;
            }
        } else if (bias) {
            for (int64_t j = 0; j < k.n; j++) {
                y[j] = (x[j] - mean) * scale * gain[j] + bias[j];
            }
        } else {
            for (int64_t j = 0; j < k.n; j++) {
                y[j] = (x[j] - mean) * scale * gain[j];
            }
        }
    }
}

/* With g = dy gain and u = (x - mean) scale: dx = scale (g - mean of g - u mean of g u). */
EP_INLINE void backward(const ep_pass *pass, const ep_layer *layer, bool center) {
    block k = measure(pass, layer);
    const ep_real *saved = ep_saved(pass, layer);
    bool add = layer->adds[0];
    for (int64_t row = pass->r0 * k.outer; row < pass->r1 * k.outer; row++) {
        const ep_real *restrict x = ep_x(pass, layer, 0) + row * k.n;
        const ep_real *restrict dy = ep_dy(pass, layer) + row * k.n;
        ep_real *restrict dx = ep_dx(pass, layer, 0) + row * k.n;
        const ep_real *restrict gain = k.gain;
        ep_real mean = saved[2 * row], scale = saved[2 * row + 1], of_g, of_gx;
        pulls_of(k.n, x, dy, gain, mean, scale, &of_g, &of_gx);
        of_g = center ? of_g * k.share : 0;
        of_gx *= k.share;
#define EACH(to)                                                                      \
    if (gain) {                                                                       \
        for (int64_t j = 0; j < k.n; j++) {                                           \
            dx[j] to scale *(dy[j] * gain[j] - of_g - (x[j] - mean) * scale * of_gx); \
        }                                                                             \
    } else {                                                                          \
        for (int64_t j = 0; j < k.n; j++) {                                           \
            dx[j] to scale *(dy[j] - of_g - (x[j] - mean) * scale * of_gx);           \
        }                                                                             \
    }
        if (add) {
            EACH(+=)
        } else {
            EACH(=)
        }
#undef EACH
    }
}

/* Features j0 .. j1 of the gain and the bias, over all positions in order. */
static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    block k = measure(pass, layer);
    int64_t j0 = ep_cut(k.n, part, parts), n = ep_cut(k.n, part + 1, parts) - j0;
    if (n <= 0 || !k.gain) {
        return;
    }
    const ep_real *saved = ep_saved(pass, layer);
    ep_real *restrict dgain = ep_dw(pass, layer, 0) + j0;
    ep_real *restrict dbias = k.bias ? ep_dw(pass, layer, 1) + j0 : NULL;
    memset(dgain, 0, (size_t)n * sizeof *dgain);
    if (dbias) {
        memset(dbias, 0, (size_t)n * sizeof *dbias);
    }
    for (int64_t row = 0; row < pass->rows * k.outer; row++) {
        const ep_real *restrict x = ep_x(pass, layer, 0) + row * k.n + j0;
        const ep_real *restrict dy = ep_dy(pass, layer) + row * k.n + j0;
        ep_real mean = saved[2 * row], scale = saved[2 * row + 1];
        for (int64_t j = 0; j < n; j++) {
            dgain[j] += dy[j] * ((x[j] - mean) * scale);
        }
        for (int64_t j = 0; dbias && j < n; j++) {
            dbias[j] += dy[j];
        }
    }
    ep_ready(pass, layer, 0, j0, n);
    if (dbias) {
        ep_ready(pass, layer, 1, j0, n);
    }
}

static void forward_layer(const ep_pass *pass, const ep_layer *layer) {
    forward(pass, layer, true);
}

static void forward_rms(const ep_pass *pass, const ep_layer *layer) { forward(pass, layer, false); }

static void backward_layer(const ep_pass *pass, const ep_layer *layer) {
    if (ep_dx(pass, layer, 0)) {
        backward(pass, layer, true);
    }
}

static void backward_rms(const ep_pass *pass, const ep_layer *layer) {
    if (ep_dx(pass, layer, 0)) {
        backward(pass, layer, false);
    }
}

static double flops(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    (void)layer;
    (void)axes;
    (void)values;
    return 0; /* elementwise */
}

const ep_kind ep_kind_layer_norm = {
    .name = "layer_norm",
    .doc = "y = (x - mean) / sqrt(variance + epsilon) * gain + bias over the last axis. Output\n"
           "as the input.",
    .fields = fields,
    .config_size = sizeof(norm),
    .least_inputs = 1,
    .most_inputs = 1,
    .declare = declare_layer,
    .init = init,
    .forward = forward_layer,
    .backward = backward_layer,
    .gradient = gradient,
    .flops = flops,
};

const ep_kind ep_kind_rms_norm = {
    .name = "rms_norm",
    .doc = "y = x / sqrt(mean square + epsilon) * gain over the last axis. Output as the input.",
    .fields = fields,
    .config_size = sizeof(norm),
    .least_inputs = 1,
    .most_inputs = 1,
    .declare = declare_rms,
    .init = init,
    .forward = forward_rms,
    .backward = backward_rms,
    .gradient = gradient,
    .flops = flops,
};
