/* batch_norm: normalize every channel to mean 0 and variance 1 over a block of 32 rows of the
 * batch and all positions (Ioffe & Szegedy 2015; blocks: Hoffer, Hubara & Soudry 2017). Blocks
 * depend only on the batch, and workers' rows are cut at block edges. Each worker therefore sees
 * whole blocks, and results do not depend on the number of workers. Evaluation uses tracked
 * statistics. */
#include "columns.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32 };
/* KEPT vectors (channels,) are saved for every sample: MEAN; SCALE, which is the sum of squared
 * deviations until join() and then 1 / deviation; PULL, the sum of dy; and PULL_X, the sum of u dy
 * with the normalized input u = (x - mean) scale. join() replaces the vectors of a block's first
 * sample by those of the whole block. */
enum { MEAN, SCALE, PULL, PULL_X, KEPT };

typedef struct {
    int64_t affine;
    double epsilon, momentum;
} batch_norm;

static const ep_field fields[] = {
    EP_FIELD_BOOL(batch_norm, affine, true,
                  "scale by a learned gain and add a learned bias, per channel"),
    EP_FIELD_REAL(batch_norm, epsilon, 1e-5, 0, 1, "added to the variance under the root"),
    EP_FIELD_REAL(batch_norm, momentum, 0.1, 0, 1,
                  "weight of the newest batch in the tracked mean and variance"),
    EP_FIELDS_END,
};

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const batch_norm *config = layer->config;
    const ep_value x = *ep_plan_value(plan, layer->input[0]); /* a copy: the original may move */
    int channels = x.axis[x.rank - 1];
    int of_saved[2] = {ep_plan_axis(plan, layer, "moments", KEPT, error), channels};
    layer->row_block = BLOCK;
    layer->alias.can = EP_OVERWRITE_DY; /* gradient() reads the sums that join() stores, not dy */
    return of_saved[0] >= 0 &&
           ep_plan_tensor(plan, layer, "mean", EP_TRACKED, 1, &channels, error) &&
           ep_plan_tensor(plan, layer, "variance", EP_TRACKED, 1, &channels, error) &&
           (!config->affine ||
            (ep_plan_tensor(plan, layer, "gain", EP_FREE, 1, &channels, error) &&
             ep_plan_tensor(plan, layer, "bias", EP_FREE, 1, &channels, error))) &&
           ep_plan_output(plan, layer, x.rank, x.axis, error) &&
           ep_plan_saved(plan, layer, 2, of_saved, error);
}

static int64_t scratch(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *x = &values[layer->input[0]];
    return ep_times(3, axes[x->axis[x->rank - 1]].n);
}

enum { OF_MEAN, OF_VARIANCE, OF_GAIN, OF_BIAS };

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    (void)noise;
    for (int i = 0; i < layer->n_tensors; i++) {
        ep_real *w = ep_w(pass, layer, i);
        for (int64_t j = 0; j < ep_w_size(pass, layer, i); j++) {
            w[j] = i == OF_VARIANCE || i == OF_GAIN ? 1 : 0;
        }
    }
}

typedef struct {
    int64_t outer, n; /* positions per sample, channels */
    const ep_real *gain, *bias;
} shape;

static shape measure(const ep_pass *pass, const ep_layer *layer) {
    const ep_value *x = ep_input(pass, layer, 0);
    bool affine = layer->n_tensors > OF_GAIN;
    return (shape){ep_extent(pass->axes, x, 0, x->rank - 1), pass->axes[x->axis[x->rank - 1]].n,
                   affine ? ep_w(pass, layer, OF_GAIN) : NULL,
                   affine ? ep_w(pass, layer, OF_BIAS) : NULL};
}

/* Return the number of blocks of a batch, and the end of a block. The last block takes the
 * remaining rows, so that no block is small. */
static int64_t blocks(int64_t rows) { return ep_max(1, rows / BLOCK); }
static int64_t end_of(int64_t block, int64_t rows) {
    return block == blocks(rows) - 1 ? rows : (block + 1) * BLOCK;
}

/* Write y = (x - mean) * scale * gain + bias for `rows` positions. */
static void normalise(const shape *k, int64_t rows, const ep_real *mean, const ep_real *scale,
                      const ep_real *restrict x, ep_real *restrict y) {
    ep_real means[EP_TILE], scales[EP_TILE], gains[EP_TILE], biases[EP_TILE];
    int64_t step = ep_tile_rows(k->n);
    const ep_real *restrict m = ep_tile(means, mean, k->n, step);
    const ep_real *restrict s = ep_tile(scales, scale, k->n, step);
    const ep_real *restrict gain = ep_tile(gains, k->gain, k->n, step);
    const ep_real *restrict bias = ep_tile(biases, k->bias, k->n, step);
    for (int64_t row = 0, n; row < rows; row += step, x += n, y += n) {
        n = ep_min(step, rows - row) * k->n;
        ep_ask(x, n);
        ep_ask(y, n);
        if (gain) {
            for (int64_t j = 0; j < n; j++) {
                y[j] = (x[j] - m[j]) * s[j] * gain[j] + bias[j];
            }
        } else {
            for (int64_t j = 0; j < n; j++) {
                y[j] = (x[j] - m[j]) * s[j];
            }
        }
    }
}

/* kept_of() returns the saved values of sample `row`; kept_of_block() returns those of the block
 * that contains this sample. */
static ep_real *kept_of(const ep_pass *pass, const ep_layer *layer, const shape *k, int64_t row) {
    return ep_saved(pass, layer) + row * KEPT * k->n;
}
static const ep_real *kept_of_block(const ep_pass *pass, const ep_layer *layer, const shape *k,
                                    int64_t row) {
    return kept_of(pass, layer, k, ep_min(row / BLOCK, blocks(pass->rows) - 1) * BLOCK);
}

/* Return the end of the block that contains `row`, at most r1. */
static int64_t end_at(const ep_pass *pass, int64_t row) {
    return ep_min(pass->r1, end_of(ep_min(row / BLOCK, blocks(pass->rows) - 1), pass->rows));
}

/* A sample's x and dy, and the mean and scale of the channels being summed. */
typedef struct {
    const ep_real *x, *dy;
    ep_line mean, scale;
} sample;

EP_INLINE ep_terms of_x(const void *context, int64_t i, int64_t n) {
    const sample *s = context;
    return (ep_terms){ep_line_get(s->x + i, n), {0}};
}
EP_INLINE ep_terms of_squares(const void *context, int64_t i, int64_t n) {
    const sample *s = context;
    ep_line d = ep_line_get(s->x + i, n) - s->mean;
    return (ep_terms){d * d, {0}};
}
EP_INLINE ep_terms of_pulls(const void *context, int64_t i, int64_t n) {
    const sample *s = context;
    ep_line dy = ep_line_get(s->dy + i, n), u = (ep_line_get(s->x + i, n) - s->mean) * s->scale;
    return (ep_terms){dy, dy * u};
}

/* Compute the mean and the sum of squared deviations of every channel over one sample, in two
 * passes. */
static void moments(const shape *k, const ep_real *x, ep_real *kept) {
    ep_real inverse = (ep_real)(1.0 / (double)ep_max(1, k->outer));
    sample s = {.x = x};
    for (int64_t at = 0; at < k->n; at += (int64_t)EP_LINE) {
        int64_t n = ep_min((int64_t)EP_LINE, k->n - at);
        s.mean = ep_sum_columns(k->outer, k->n, at, of_x, &s).p * inverse;
        ep_line squares = ep_sum_columns(k->outer, k->n, at, of_squares, &s).p;
        ep_line_put(kept + MEAN * k->n + at, s.mean, n);
        ep_line_put(kept + SCALE * k->n + at, squares, n);
    }
}

/* Sum dy and dy u over a sample, where u is x normalized by the block's mean and scale. */
static void pulls(const shape *k, const ep_real *block, const ep_real *x, const ep_real *dy,
                  ep_real *kept) {
    for (int64_t at = 0; at < k->n; at += (int64_t)EP_LINE) {
        int64_t n = ep_min((int64_t)EP_LINE, k->n - at);
        sample s = {.x = x,
                    .dy = dy,
                    .mean = ep_line_get(block + MEAN * k->n + at, n),
                    .scale = ep_line_get(block + SCALE * k->n + at, n)};
        ep_terms sums = ep_sum_columns(k->outer, k->n, at, of_pulls, &s);
        ep_line_put(kept + PULL * k->n + at, sums.p, n);
        ep_line_put(kept + PULL_X * k->n + at, sums.q, n);
    }
}

static void sum(const ep_pass *pass, const ep_layer *layer, ep_way way) {
    shape k = measure(pass, layer);
    int64_t width = k.outer * k.n;
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        ep_real *kept = kept_of(pass, layer, &k, row);
        if (way == EP_FORWARD) {
            moments(&k, x + row * width, kept);
        } else {
            pulls(&k, kept_of_block(pass, layer, &k, row), x + row * width, dy + row * width, kept);
        }
    }
}

/* Combine the samples' moments into the block's mean and 1 / deviation, by the rule of Chan, Golub
 * & LeVeque (1979). */
static void join_moments(const shape *k, int64_t samples, double epsilon, ep_real *kept) {
    ep_real *mean = kept + MEAN * k->n, *scale = kept + SCALE * k->n;
    for (int64_t of = 1; of < samples; of++) {
        const ep_real *m = mean + of * KEPT * k->n, *s = scale + of * KEPT * k->n;
        ep_real more = (ep_real)((double)k->outer * (double)of / (double)(of + 1));
        ep_real share = (ep_real)(1.0 / (double)(of + 1));
        for (int64_t j = 0; j < k->n; j++) {
            ep_real d = m[j] - mean[j];
            scale[j] += s[j] + d * d * more;
            mean[j] += d * share;
        }
    }
    double count = (double)samples * (double)ep_max(1, k->outer);
    for (int64_t j = 0; j < k->n; j++) {
        scale[j] = (ep_real)(1 / sqrt((double)scale[j] / count + epsilon));
    }
}

/* Sum dy and dy u over the block, where u is the normalized input. These sums are also the block's
 * terms of the gradients of bias and gain. */
static void join_pulls(const shape *k, int64_t samples, ep_real *kept) {
    ep_real *to = kept + PULL * k->n; /* the sums PULL, then the sums PULL_X */
    for (int64_t of = 1; of < samples; of++) {
        const ep_real *from = to + of * KEPT * k->n;
        for (int64_t j = 0; j < 2 * k->n; j++) {
            to[j] += from[j];
        }
    }
}

static void join(const ep_pass *pass, const ep_layer *layer, ep_way way) {
    const batch_norm *config = layer->config;
    shape k = measure(pass, layer);
    for (int64_t row = pass->r0, end; row < pass->r1; row = end) {
        end = end_at(pass, row);
        if (way == EP_FORWARD) {
            join_moments(&k, end - row, config->epsilon, kept_of(pass, layer, &k, row));
        } else {
            join_pulls(&k, end - row, kept_of(pass, layer, &k, row));
        }
    }
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    const batch_norm *config = layer->config;
    shape k = measure(pass, layer);
    int64_t width = k.outer * k.n;
    const ep_real *x = ep_x(pass, layer, 0);
    ep_real *y = ep_y(pass, layer);
    if (!pass->training) {
        const ep_real *variance = ep_w(pass, layer, OF_VARIANCE);
        ep_real *scale = pass->scratch;
        for (int64_t j = 0; j < k.n; j++) {
            scale[j] = (ep_real)(1 / sqrt((double)variance[j] + config->epsilon));
        }
        normalise(&k, (pass->r1 - pass->r0) * k.outer, ep_w(pass, layer, OF_MEAN), scale,
                  x + pass->r0 * width, y + pass->r0 * width);
        return;
    }
    for (int64_t row = pass->r0, end; row < pass->r1; row = end) {
        end = end_at(pass, row);
        const ep_real *block = kept_of_block(pass, layer, &k, row);
        normalise(&k, (end - row) * k.outer, block + MEAN * k.n, block + SCALE * k.n,
                  x + row * width, y + row * width);
    }
}

/* Compute dx = scale * gain * (dy - M(dy) - u * M(dy * u)) for `rows` positions of a block, where
 * u = (x - mean) * scale, and M is the mean over all `count` positions of the block. dx may alias
 * dy: each element is read before it is written. */
static void back(const shape *k, int64_t rows, int64_t count, const ep_real *kept, ep_real *scratch,
                 const ep_real *restrict x, const ep_real *dy, ep_real *dx, bool add) {
    ep_real *factor = scratch, *slope = scratch + k->n, *level = scratch + 2 * k->n;
    const ep_real *mean = kept + MEAN * k->n, *scale = kept + SCALE * k->n;
    ep_real share = (ep_real)(1.0 / (double)ep_max(1, count));
    for (int64_t j = 0; j < k->n; j++) {
        factor[j] = k->gain ? scale[j] * k->gain[j] : scale[j];
        slope[j] = share * scale[j] * kept[PULL_X * k->n + j];
        level[j] = share * kept[PULL * k->n + j];
    }
    ep_real means[EP_TILE], factors[EP_TILE], slopes[EP_TILE], levels[EP_TILE];
    int64_t step = ep_tile_rows(k->n);
    const ep_real *restrict m = ep_tile(means, mean, k->n, step);
    const ep_real *restrict f = ep_tile(factors, factor, k->n, step);
    const ep_real *restrict a = ep_tile(slopes, slope, k->n, step);
    const ep_real *restrict b = ep_tile(levels, level, k->n, step);
    for (int64_t row = 0, n; row < rows; row += step, x += n, dy += n, dx += n) {
        n = ep_min(step, rows - row) * k->n;
        ep_ask(x, n);
        ep_ask(dy, n);
        ep_ask(dx, n);
        if (add) {
#pragma GCC ivdep
            for (int64_t j = 0; j < n; j++) {
                dx[j] += f[j] * (dy[j] - b[j] - (x[j] - m[j]) * a[j]);
            }
        } else {
#pragma GCC ivdep
            for (int64_t j = 0; j < n; j++) {
                dx[j] = f[j] * (dy[j] - b[j] - (x[j] - m[j]) * a[j]);
            }
        }
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    shape k = measure(pass, layer);
    int64_t width = k.outer * k.n;
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    ep_real *dx = ep_dx(pass, layer, 0);
    for (int64_t row = pass->r0, end; dx && row < pass->r1; row = end) {
        int64_t block = ep_min(row / BLOCK, blocks(pass->rows) - 1);
        int64_t count = (end_of(block, pass->rows) - block * BLOCK) * k.outer;
        end = end_at(pass, row);
        back(&k, (end - row) * k.outer, count, kept_of_block(pass, layer, &k, row), pass->scratch,
             x + row * width, dy + row * width, dx + row * width, ep_adds(layer, 0));
    }
}

/* Sum the gradients of gain and bias over the blocks, in order. */
static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    shape k = measure(pass, layer);
    int64_t j0 = ep_cut(k.n, part, parts), n = ep_cut(k.n, part + 1, parts) - j0;
    if (n <= 0 || !k.gain) {
        return;
    }
    for (int i = OF_GAIN; i <= OF_BIAS; i++) {
        ep_real *restrict dw = ep_dw(pass, layer, i) + j0;
        memset(dw, 0, (size_t)n * sizeof *dw);
        for (int64_t b = 0; pass->rows && b < blocks(pass->rows); b++) {
            const ep_real *restrict sum = ep_saved(pass, layer) + b * BLOCK * KEPT * k.n +
                                          (i == OF_GAIN ? PULL_X : PULL) * k.n + j0;
            for (int64_t j = 0; j < n; j++) {
                dw[j] += sum[j];
            }
        }
        ep_ready(pass, layer, i, j0, n);
    }
}

/* Require 2 rows if samples have one position: one value has no variance, and only the bias would
 * learn. */
static int64_t least_rows(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *x = &values[layer->input[0]];
    return ep_extent(axes, x, 0, x->rank - 1) > 1 ? 1 : 2;
}

/* True if no variance overflowed. An overflow makes the scale (1 / deviation) 0, so that outputs
 * and loss stay finite and do not reveal it. */
static bool sound(const ep_pass *pass, const ep_layer *layer) {
    shape k = measure(pass, layer);
    bool good = true;
    for (int64_t b = 0; pass->rows && b < blocks(pass->rows); b++) {
        const ep_real *kept = kept_of(pass, layer, &k, b * BLOCK);
        for (int64_t j = 0; j < k.n; j++) {
            good &= kept[SCALE * k.n + j] > 0;
        }
    }
    return good;
}

/* Move the tracked mean and variance towards those of the batch: the block means and unbiased
 * variances, weighted by the rows of each block. Skip a batch with one value per channel: it has
 * no variance, and averaging in a zero would falsify the tracked variance. */
static void track(const ep_pass *pass, const ep_layer *layer) {
    const batch_norm *config = layer->config;
    shape k = measure(pass, layer);
    ep_real *mean = ep_w(pass, layer, OF_MEAN), *variance = ep_w(pass, layer, OF_VARIANCE);
    for (int64_t j = 0; j < k.n && pass->rows * k.outer > 1; j++) {
        double of_mean = 0, of_variance = 0;
        for (int64_t b = 0; b < blocks(pass->rows); b++) {
            int64_t rows = end_of(b, pass->rows) - b * BLOCK, count = rows * ep_max(1, k.outer);
            const ep_real *kept = ep_saved(pass, layer) + b * BLOCK * KEPT * k.n;
            double share = (double)rows / (double)pass->rows, scale = (double)kept[SCALE * k.n + j];
            double biased = fmax(0, 1 / (scale * scale) - config->epsilon);
            of_mean += share * (double)kept[MEAN * k.n + j];
            of_variance += share * biased * (double)count / (double)ep_max(1, count - 1);
        }
        mean[j] += (ep_real)(config->momentum * (of_mean - (double)mean[j]));
        variance[j] += (ep_real)(config->momentum * (of_variance - (double)variance[j]));
    }
}

static const ep_coupling coupling = {
    .sum = sum,
    .join = join,
    .track = track,
    .sound = sound,
    .least_rows = least_rows,
};

const ep_kind ep_kind_batch_norm = {
    .name = "batch_norm",
    .doc =
        "y = (x - mean) / sqrt(variance + epsilon) * gain + bias, channel by channel (the last\n"
        "axis). In training mean and variance are those of a block of 32 rows of the batch (the\n"
        "last block takes what is left over), otherwise the tracked ones. The output has the\n"
        "shape of the input.",
    .fields = fields,
    .config_size = sizeof(batch_norm),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_GAIN,
    .declare = declare,
    .init = init,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .coupling = &coupling,
    .scratch = scratch,
};
