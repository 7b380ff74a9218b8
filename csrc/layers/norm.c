/* norm: layer norm and RMS norm over the last axis, for each position (Ba, Kiros & Hinton 2016;
 * Zhang & Sennrich 2019). Means divide by the founding number of features, and a removed feature
 * counts as a zero, so that removing features that are 0 does not change the mean and variance.
 * Batch norm is in batch_norm.c, because its statistics are those of several samples. */
#include "layer.h"
#include "vector.h"

#include <math.h>
#include <string.h>

typedef struct {
    int64_t affine;
    double epsilon;
} norm;

static const ep_field fields[] = {
    EP_FIELD_BOOL(norm, affine, true,
                  "scale by a learned gain (layer norm: and add a learned bias) per feature"),
    EP_FIELD_REAL(norm, epsilon, 1e-5, 0, 1, "added to the variance under the root"),
    EP_FIELDS_END,
};

/* Declare the layer. For every position, forward() saves the mean (0 for rms) and 1 / deviation,
 * and backward() reads them. */
static bool declare(ep_plan *plan, ep_layer *layer, bool center, ep_error *error) {
    const norm *config = layer->config;
    const ep_value x = *ep_plan_value(plan, layer->input[0]); /* a copy: the original may move */
    int of_saved[EP_RANK], last = x.rank - 1;
    /* gradient() reads the sums that backward() stores, not dy. */
    layer->alias.can = EP_OVERWRITE_DY | EP_ADD_MORE;
    memcpy(of_saved, x.axis, sizeof of_saved);
    of_saved[last] = ep_plan_axis(plan, layer, "moments", 2, error);
    return of_saved[last] >= 0 && ep_plan_output(plan, layer, x.rank, x.axis, error) &&
           ep_plan_saved(plan, layer, x.rank, of_saved, error) &&
           ep_plan_sums(plan, layer, 2, x.axis[last], error) &&
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
    int64_t outer, n; /* positions per sample, features */
    ep_real share;    /* 1 / founding number of features */
    ep_real dead;     /* share of features that are extinct */
    double epsilon;
    const ep_real *gain, *bias;
} block;

static block measure(const ep_pass *pass, const ep_layer *layer) {
    const norm *config = layer->config;
    const ep_value *x = ep_input(pass, layer, 0);
    const ep_axis *axis = &pass->axes[x->axis[x->rank - 1]];
    double born = (double)ep_max(1, axis->founded);
    return (block){
        .outer = ep_extent(pass->axes, x, 0, x->rank - 1),
        .n = axis->n,
        .share = (ep_real)(1 / born),
        .dead = (ep_real)((double)(axis->founded - axis->n) / born),
        .epsilon = config->epsilon,
        .gain = layer->n_tensors > 0 ? ep_w(pass, layer, 0) : NULL,
        .bias = layer->n_tensors > 1 ? ep_w(pass, layer, 1) : NULL,
    };
}

/* ---- several rows at once ---------------------------------------------------------------------
 * Process n rows at once, 1 or EP_SIDE, to hide the latency of sums and square roots. Features are
 * processed in vectors; the last one has `some` valid elements. x, y and similar pointers address
 * the current vector of the first row. Results do not depend on n. */

EP_INLINE ep_vec at(const ep_real *from, int64_t some) {
    return some == EP_LANES ? (ep_vec) * (const ep_vec_loose *)from : ep_vec_get(from, some);
}
EP_INLINE void to(ep_real *where, ep_vec v, int64_t some) {
    if (some == EP_LANES) {
        *(ep_vec_loose *)where = v;
    } else {
        ep_vec_put(where, v, some);
    }
}
EP_INLINE ep_vec gain_at(const block *k, int64_t j, int64_t some) {
    return k->gain ? at(k->gain + j, some) : ep_vec_all(1);
}

/* Expand CALL(j, some) for each vector of n features. j is the vector's first feature; `some` is
 * the number of its features: the constant EP_LANES, or fewer in the last vector. A macro, because
 * the calls take different arguments and must be inlined with the constant. */
#define EACH_VECTOR(n, CALL)                         \
    do {                                             \
        int64_t j = 0;                               \
        for (; j + EP_LANES <= (n); j += EP_LANES) { \
            CALL(j, EP_LANES);                       \
        }                                            \
        if (j < (n)) {                               \
            CALL(j, (n) - j);                        \
        }                                            \
    } while (0)

EP_INLINE void add_numbers(int n, int64_t some, const block *k, const ep_real *x, ep_vec *sum) {
    EP_EACH(n) { sum[i] += at(x + i * k->n, some); }
}

EP_INLINE void add_squares(int n, int64_t some, const block *k, const ep_real *x,
                           const ep_vec *mean, ep_vec *sum) {
    EP_EACH(n) {
        ep_vec d = at(x + i * k->n, some) - mean[i];
        d = some == EP_LANES ? d : ep_vec_first(d, some);
        sum[i] += d * d;
    }
}

/* Write y = (x - mean) * scale * gain + bias for one vector of each of n rows. */
EP_INLINE void write_y(int n, int64_t some, const block *k, int64_t j, const ep_real *x,
                       const ep_vec *mean, const ep_vec *scale, ep_real *y) {
    ep_vec gain = gain_at(k, j, some), bias = k->bias ? at(k->bias + j, some) : ep_vec_all(0);
    EP_EACH(n) {
        ep_vec u = (at(x + i * k->n, some) - mean[i]) * scale[i];
        to(y + i * k->n, u * gain + bias, some);
    }
}

EP_INLINE void forward_rows(int n, bool center, const block *k, const ep_real *x, ep_real *y,
                            ep_real *saved) {
    ep_vec sum[EP_SIDE] = {{0}}, squares[EP_SIDE] = {{0}}, mean[EP_SIDE] = {{0}}, scale[EP_SIDE];
    ep_real variance[EP_SIDE];
    if (center) {
#define CALL(j, some) add_numbers(n, some, k, x + (j), sum)
        EACH_VECTOR(k->n, CALL);
#undef CALL
        EP_EACH(n) { mean[i] = ep_vec_all(ep_vec_sum(sum[i]) * k->share); }
    }
#define CALL(j, some) add_squares(n, some, k, x + (j), mean, squares)
    EACH_VECTOR(k->n, CALL);
#undef CALL
    EP_EACH(n) {
        variance[i] = ep_vec_sum(squares[i]) * k->share + k->dead * mean[i][0] * mean[i][0];
    }
    EP_EACH(n) {
        ep_real root = (ep_real)(1 / sqrt((double)variance[i] + k->epsilon));
        saved[2 * i] = mean[i][0];
        saved[2 * i + 1] = root;
        scale[i] = ep_vec_all(root);
    }
#define CALL(j, some) write_y(n, some, k, j, x + (j), mean, scale, y + (j))
    EACH_VECTOR(k->n, CALL);
#undef CALL
}

/* Statistics of n rows for backward(): mean and scale, and the sums, later the means, of g = dy
 * gain and of g u, where u = (x - mean) scale. */
typedef struct {
    ep_vec mean[EP_SIDE], scale[EP_SIDE], of_g[EP_SIDE], of_gu[EP_SIDE];
} moments;

/* Process one vector of each of n rows. Add g and g u (see `moments`) to the sums of each row, dy u
 * to of_gain and dy to of_bias, which have one sum per feature. */
EP_INLINE void add_pulls(int n, int64_t some, const block *k, int64_t j, const ep_real *x,
                         const ep_real *dy, moments *m, ep_real *of_gain, ep_real *of_bias) {
    ep_vec gain = gain_at(k, j, some), dgain = at(of_gain, some), dbias = at(of_bias, some);
    EP_EACH(n) {
        ep_vec u = (at(x + i * k->n, some) - m->mean[i]) * m->scale[i];
        ep_vec d = at(dy + i * k->n, some), g = d * gain;
        dgain += d * u;
        dbias += d;
        m->of_g[i] += g;
        m->of_gu[i] += g * u;
    }
    to(of_gain, dgain, some);
    to(of_bias, dbias, some);
}

/* Write dx = scale * (g - of_g - u * of_gu) + more for one vector of each of n rows, where of_g and
 * of_gu are the means of g and g u (see `moments`). `more` may be NULL. */
EP_INLINE void write_dx(int n, int64_t some, const block *k, int64_t j, const ep_real *x,
                        const ep_real *dy, const moments *m, const ep_real *more, ep_real *dx) {
    ep_vec gain = gain_at(k, j, some);
    EP_EACH(n) {
        ep_vec u = (at(x + i * k->n, some) - m->mean[i]) * m->scale[i];
        ep_vec d = at(dy + i * k->n, some) * gain - m->of_g[i] - u * m->of_gu[i];
        ep_vec other = more ? at(more + j + i * k->n, some) : ep_vec_all(0);
        to(dx + i * k->n, m->scale[i] * d + other, some);
    }
}

/* Compute dx of n rows, and add `more` to it unless NULL. dx may be NULL or alias dy or `more`. Add
 * the terms of the rows to `of` (2, features), the sample's sums of dy u and of dy, where u is x
 * normalized. */
EP_INLINE void backward_rows(int n, bool center, const block *k, const ep_real *x,
                             const ep_real *dy, const ep_real *saved, const ep_real *more,
                             ep_real *dx, ep_real *of) {
    moments m = {.of_g = {{0}}};
    EP_EACH(n) {
        m.mean[i] = ep_vec_all(saved[2 * i]);
        m.scale[i] = ep_vec_all(saved[2 * i + 1]);
    }
#define CALL(j, some) add_pulls(n, some, k, j, x + (j), dy + (j), &m, of + (j), of + k->n + (j))
    EACH_VECTOR(k->n, CALL);
#undef CALL
    EP_EACH(n) {
        m.of_g[i] = ep_vec_all(center ? ep_vec_sum(m.of_g[i]) * k->share : 0);
        m.of_gu[i] = ep_vec_all(ep_vec_sum(m.of_gu[i]) * k->share);
    }
    if (dx) {
#define CALL(j, some) write_dx(n, some, k, j, x + (j), dy + (j), &m, more, dx + (j))
        EACH_VECTOR(k->n, CALL);
#undef CALL
    }
}

/* ---- the layer ------------------------------------------------------------------------------ */

EP_INLINE void forward(const ep_pass *pass, const ep_layer *layer, bool center) {
    const block k = measure(pass, layer);
    int64_t row = pass->r0 * k.outer, end = pass->r1 * k.outer;
    const ep_real *x = ep_x(pass, layer, 0);
    ep_real *y = ep_y(pass, layer), *saved = ep_saved(pass, layer);
    for (; row + EP_SIDE <= end; row += EP_SIDE) {
        ep_ask(x + row * k.n, EP_SIDE * k.n);
        ep_ask(y + row * k.n, EP_SIDE * k.n);
        forward_rows(EP_SIDE, center, &k, x + row * k.n, y + row * k.n, saved + 2 * row);
    }
    for (; row < end; row++) {
        forward_rows(1, center, &k, x + row * k.n, y + row * k.n, saved + 2 * row);
    }
}

EP_INLINE void backward(const ep_pass *pass, const ep_layer *layer, bool center) {
    const block k = measure(pass, layer);
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    const ep_real *saved = ep_saved(pass, layer), *more = ep_more(pass, layer);
    ep_real *dx = ep_dx(pass, layer, 0), *of = ep_sums(pass, layer) + pass->r0 * 2 * k.n;
    for (int64_t r = pass->r0; r < pass->r1; r++, of += 2 * k.n) {
        int64_t row = r * k.outer, end = row + k.outer;
        memset(of, 0, (size_t)(2 * k.n) * sizeof *of);
        for (int64_t n; row < end; row += n) {
            int64_t from = row * k.n;
            const ep_real *add = more ? more + from : NULL, *known = saved + 2 * row;
            ep_real *there = dx ? dx + from : NULL;
            n = row + EP_SIDE <= end ? EP_SIDE : 1;
            if (n == 1) {
                backward_rows(1, center, &k, x + from, dy + from, known, add, there, of);
                continue;
            }
            ep_ask(x + from, EP_SIDE * k.n);
            ep_ask(dy + from, EP_SIDE * k.n);
            ep_ask(dx ? there : x + from, EP_SIDE * k.n);
            backward_rows(EP_SIDE, center, &k, x + from, dy + from, known, add, there, of);
        }
    }
}

/* Write features j0 .. j1 of the gradients of gain and bias, summed over all samples in order. */
static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    int64_t n = layer->n_tensors > 0 ? ep_w_size(pass, layer, 0) : 0;
    int64_t j0 = ep_cut(n, part, parts), j1 = ep_cut(n, part + 1, parts);
    for (int i = 0; i < layer->n_tensors && j0 < j1; i++) {
        ep_real *dw = ep_dw(pass, layer, i);
        memset(dw + j0, 0, (size_t)(j1 - j0) * sizeof *dw);
        ep_add_sums(pass, layer, i * n, j0, j1, dw);
        ep_ready(pass, layer, i, j0, j1 - j0);
    }
}

static void forward_layer(const ep_pass *pass, const ep_layer *layer) {
    forward(pass, layer, true);
}
static void forward_rms(const ep_pass *pass, const ep_layer *layer) { forward(pass, layer, false); }
static void backward_layer(const ep_pass *pass, const ep_layer *layer) {
    backward(pass, layer, true);
}
static void backward_rms(const ep_pass *pass, const ep_layer *layer) {
    backward(pass, layer, false);
}

const ep_kind ep_kind_layer_norm = {
    .name = "layer_norm",
    .doc = "y = (x - mean) / sqrt(variance + epsilon) * gain + bias over the last axis. The\n"
           "output has the shape of the input.",
    .fields = fields,
    .config_size = sizeof(norm),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_GAIN,
    .founding_axis = -1,
    .declare = declare_layer,
    .init = init,
    .forward = forward_layer,
    .backward = backward_layer,
    .gradient = gradient,
};

const ep_kind ep_kind_rms_norm = {
    .name = "rms_norm",
    .doc = "y = x / sqrt(mean square + epsilon) * gain over the last axis. The output has\n"
           "the shape of the input.",
    .fields = fields,
    .config_size = sizeof(norm),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_GAIN,
    .founding_axis = -1,
    .declare = declare_rms,
    .init = init,
    .forward = forward_rms,
    .backward = backward_rms,
    .gradient = gradient,
};
