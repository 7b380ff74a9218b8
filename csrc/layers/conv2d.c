/* conv2d: y = the sum over a window of x w, one window for every output position: a product of the
 * patches under the windows with the weights. Patches are never laid out for a batch: a few
 * hundred at a time go through a buffer that stays in the second-level cache. Weights are stored
 * (height, width, in, out). A pure projection: bias, activation and mass belong to populations. */
#include "gemm.h"
#include "depthwise.h"

#include <math.h>
#include <string.h>

enum {
    BUFFER = 65536,    /* numbers of patches at a time */
    LEAST = 14,        /* and never fewer than so many patches */
    MOST = 512,
    FLIPPED = 32768,   /* weights that backward turns round, at most */
    COLUMNS = 256,     /* of the patches that backward computes at a time */
    SUMMED = 256,      /* patches that gradient sums over at a time, */
    ROWS = 128,        /* for so many rows of w */
    FILTERS = 256,     /* and so many filters: SUMMED ROWS + ROWS FILTERS is BUFFER */
    LINE = 16,         /* numbers of a vector, where work is counted, */
    WIDE = 32,         /* and columns of a tile of the product */
};

typedef struct {
    int64_t filters;
    ep_vector kernel, stride, padding, dilation;
    int64_t depthwise;
    double gain;
} conv2d;

static const ep_field fields[] = {
    {.name = "filters",
     .type = EP_INT,
     .offset = offsetof(conv2d, filters),
     .low = 0,
     .high = 1e9,
     .doc = "output channels; 0 where a second input gives them, or depthwise"},
    {.name = "kernel",
     .type = EP_VECTOR,
     .offset = offsetof(conv2d, kernel),
     .low = 1,
     .high = 1e6,
     .required = true,
     .doc = "size of the window: one number, or height and width"},
    {.name = "stride",
     .type = EP_VECTOR,
     .offset = offsetof(conv2d, stride),
     .low = 1,
     .high = 1e6,
     .doc = "steps between windows; left out: 1"},
    {.name = "padding",
     .type = EP_VECTOR,
     .offset = offsetof(conv2d, padding),
     .low = 0,
     .high = 1e6,
     .doc = "zeros beyond each edge; left out: as many as keep the size (divided by\n"
            "stride, rounded up)"},
    {.name = "dilation",
     .type = EP_VECTOR,
     .offset = offsetof(conv2d, dilation),
     .low = 1,
     .high = 1e6,
     .doc = "steps between the numbers under a window; left out: 1"},
    {.name = "depthwise",
     .type = EP_BOOL,
     .offset = offsetof(conv2d, depthwise),
     .high = 1,
     .doc = "one filter to each input channel, which keeps its axis"},
    {.name = "gain",
     .type = EP_REAL,
     .offset = offsetof(conv2d, gain),
     .initial = 1.4142135623730951,
     .low = 0,
     .high = 100,
     .doc = "initial weights are normal with deviation gain / sqrt(fan in); sqrt(2) suits relu"},
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

/* The axis of the output's channels, or -1. */
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
    if (layer->n_inputs == 2) { /* sizes that agree are the same axis, so that branches can join */
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
    if (patch < 0 || patch > INT64_MAX / 64 / LEAST) {
        return ep_fail(error, EP_BAD_VALUE, "%s: the numbers under a window cannot be counted",
                       layer->name);
    }
    layer->scratch = config->depthwise ? 0
                                       : EP_GEMM_SCRATCH + FLIPPED + ep_max(BUFFER, patch * LEAST) +
                                             (int64_t)EP_LINE;
    int rank = spatial + (config->depthwise ? 1 : 2);
    return ep_plan_tensor(plan, layer, "weight", EP_DECAYED, rank, of_w, error) &&
           ep_plan_output(plan, layer, spatial + 1, of_y, error);
}

/* ---- the living shape ----------------------------------------------------------------------- */

typedef struct {
    ep_window g;
    int64_t taps, patch; /* numbers under a window: of one channel, of all */
    int64_t filters, positions; /* outputs of one sample */
    int64_t image; /* numbers of one input sample */
    bool plain; /* the patches are x itself */
} shape;

static shape measure(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *x = &values[layer->input[0]], *y = &values[layer->out];
    ep_windowing s = windowing(layer->config);
    shape k = {.g = ep_window_measure(&s, axes, x), .filters = axes[y->axis[y->rank - 1]].n};
    ep_window *g = &k.g;
    if (x->rank == 3) { /* where the axes of y are another's, they have the last word */
        g->h.out = axes[y->axis[0]].n;
    }
    g->w.out = axes[y->axis[y->rank - 2]].n;
    k.taps = g->h.size * g->w.size;
    k.patch = k.taps * g->c;
    k.positions = g->h.out * g->w.out;
    k.image = g->h.in * g->w.in * g->c;
    k.plain = k.taps == 1 && g->h.stride == 1 && g->w.stride == 1 &&
              k.image == k.positions * g->c && g->h.pad == 0 && g->w.pad == 0;
    return k;
}

/* ---- dense over channels -------------------------------------------------------------------- */

/* The next chunk of at most `most` positions of samples up to `end`: whole samples, or a part of
 * one, so that the cuts within a sample are the same wherever a worker begins. */
typedef struct {
    int64_t sample, samples; /* first, how many */
    int64_t q0, q1;
} chunk;

static bool next_chunk(chunk *c, int64_t positions, int64_t most, int64_t end) {
    if (c->q1 < positions && c->samples) {
        c->q0 = c->q1;
    } else {
        c->sample += c->samples;
        c->samples = positions ? ep_max(1, ep_min(most / positions, end - c->sample)) : 1;
        c->q0 = 0;
    }
    c->q1 = ep_min(positions, c->q0 + most);
    return c->sample < end;
}

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    int64_t fan = config->depthwise ? k.taps : k.patch;
    double deviation = config->gain / sqrt((double)ep_max(1, fan));
    ep_real *w = ep_w(pass, layer, 0);
    for (int64_t i = 0; i < ep_w_size(pass, layer, 0); i++) {
        w[i] = (ep_real)(deviation * ep_random_normal(noise, (uint64_t)i));
    }
}

static int64_t patches_at_a_time(int64_t numbers) {
    return ep_max(LEAST, ep_min(MOST, BUFFER / ep_max(1, numbers)));
}

/* y = [y +] the sum over windows of x w, rows r0 .. r1 of the batch; `filters` outputs each. */
static void correlate(const ep_pass *pass, const ep_window *g, int64_t filters, const ep_real *x,
                      const ep_real *w, ep_real *y, bool add) {
    ep_real *patches = pass->scratch + EP_GEMM_SCRATCH + FLIPPED;
    int64_t patch = g->h.size * g->w.size * g->c, positions = g->h.out * g->w.out;
    int64_t image = g->h.in * g->w.in * g->c, most = patches_at_a_time(patch);
    ep_product product = {.n = filters,
                          .k = patch,
                          .a = patches,
                          .a_row = patch,
                          .a_step = 1,
                          .b = w,
                          .b_step = filters,
                          .b_col = 1,
                          .c_row = filters,
                          .add = add};
    chunk c = {.sample = pass->r0};
    while (next_chunk(&c, positions, most, pass->r1)) {
        ep_unfold u = {c.q0, c.q1, 0, patch};
        for (int64_t s = 0; s < c.samples; s++) {
            ep_unfold_gather(g, &u, x + (c.sample + s) * image,
                             patches + s * (c.q1 - c.q0) * patch);
        }
        product.m = c.samples * (c.q1 - c.q0);
        product.c = y + (c.sample * positions + c.q0) * filters;
        ep_gemm(&product, pass->scratch);
    }
}

static void forward_full(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    const ep_real *x = ep_x(pass, layer, 0), *w = ep_w(pass, layer, 0);
    if (!k->plain) {
        correlate(pass, &k->g, k->filters, x, w, ep_y(pass, layer), false);
        return;
    }
    int64_t from = pass->r0 * k->positions;
    ep_gemm(&(ep_product){.m = (pass->r1 - pass->r0) * k->positions,
                          .n = k->filters,
                          .k = k->patch,
                          .a = x + from * k->patch,
                          .a_row = k->patch,
                          .a_step = 1,
                          .b = w,
                          .b_step = k->filters,
                          .b_col = 1,
                          .c = ep_y(pass, layer) + from * k->filters,
                          .c_row = k->filters},
            pass->scratch);
}

/* dx by turning the convolution round: windows over dy and the weights flipped. Only for strides of
 * 1, and where it is less work than scattering: in halves of a processor's cycle, measured. */
static bool turns(const shape *k) {
    const ep_window *g = &k->g;
    if (g->h.stride != 1 || g->w.stride != 1 || k->patch * k->filters > FLIPPED ||
        k->taps * k->filters > BUFFER / LEAST) {
        return false;
    }
    int64_t lines = (g->c + LINE - 1) / LINE, back = k->taps * k->filters;
    int64_t turned = g->h.in * g->w.in * (back * lines + back / 4 + 8 * g->h.size);
    int64_t wide = (k->patch + WIDE - 1) / WIDE * (WIDE / LINE);
    int64_t scattered = k->positions * (k->filters * wide + k->taps * (16 + 6 * lines));
    return turned < scattered;
}

static void backward_turned(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    const ep_real *w = ep_w(pass, layer, 0);
    ep_real *flipped = pass->scratch + EP_GEMM_SCRATCH;
    int64_t c = k->g.c, f = k->filters;
    for (int64_t tap = 0; tap < k->taps; tap++) {
        const ep_real *from = w + (k->taps - 1 - tap) * c * f;
        for (int64_t i = 0; i < f; i++) {
            for (int64_t j = 0; j < c; j++) {
                flipped[(tap * f + i) * c + j] = from[j * f + i];
            }
        }
    }
    ep_window g = {.h = k->g.h, .w = k->g.w, .c = f};
    ep_span *spans[] = {&g.h, &g.w};
    for (int d = 0; d < 2; d++) {
        ep_span *a = spans[d];
        int64_t in = a->in;
        a->in = a->out;
        a->out = in;
        a->pad = (a->size - 1) * a->step - a->pad;
    }
    correlate(pass, &g, c, ep_dy(pass, layer), flipped, ep_dx(pass, layer, 0), layer->adds[0]);
}

/* dx += the patches dy w', some columns at a time */
static void backward_full(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    ep_real *dx = ep_dx(pass, layer, 0), *patches = pass->scratch + EP_GEMM_SCRATCH + FLIPPED;
    const ep_real *dy = ep_dy(pass, layer), *w = ep_w(pass, layer, 0);
    ep_product product = {
        .k = k->filters, .a_row = k->filters, .a_step = 1, .b_step = 1, .b_col = k->filters};
    if (k->plain) {
        product.m = (pass->r1 - pass->r0) * k->positions;
        product.n = product.c_row = k->patch;
        product.a = dy + pass->r0 * k->positions * k->filters;
        product.b = w;
        product.c = dx + pass->r0 * k->image;
        product.add = layer->adds[0];
        ep_gemm(&product, pass->scratch);
        return;
    }
    if (turns(k)) {
        backward_turned(pass, layer, k);
        return;
    }
    int64_t most = patches_at_a_time(ep_min(COLUMNS, k->patch));
    chunk c = {.sample = pass->r0};
    while (next_chunk(&c, k->positions, most, pass->r1)) {
        if (c.q0 == 0 && !layer->adds[0]) {
            memset(dx + c.sample * k->image, 0, (size_t)(c.samples * k->image) * sizeof *dx);
        }
        product.m = c.samples * (c.q1 - c.q0);
        product.a = dy + (c.sample * k->positions + c.q0) * k->filters;
        product.c = patches;
        for (int64_t j = 0; j < k->patch; j += COLUMNS) {
            ep_unfold p = {c.q0, c.q1, j, ep_min(j + COLUMNS, k->patch)};
            product.n = product.c_row = p.j1 - p.j0;
            product.b = w + j * k->filters;
            ep_gemm(&product, pass->scratch);
            for (int64_t s = 0; s < c.samples; s++) {
                ep_unfold_scatter(&k->g, &p, dx + (c.sample + s) * k->image,
                                  patches + s * (c.q1 - c.q0) * (p.j1 - p.j0));
            }
        }
    }
}

/* Rows i0 .. i1 of dw = patches' dy, over all positions in order, SUMMED at a time. It is computed
 * transposed: few filters then waste no lanes, and dy need not be packed for every share. */
static void gradient_rows(const ep_pass *pass, const ep_layer *layer, const shape *k, int64_t i0,
                          int64_t i1, int64_t f0, int64_t f1) {
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    int64_t total = pass->rows * k->positions, width = i1 - i0;
    ep_real *sums = pass->scratch + EP_GEMM_SCRATCH, *patches = sums + (f1 - f0) * width;
    ep_product product = {.m = f1 - f0,
                          .n = width,
                          .a_row = 1,
                          .a_step = k->filters,
                          .b = patches,
                          .b_step = width,
                          .b_col = 1,
                          .c = sums,
                          .c_row = width};
    if (k->plain || total == 0) {
        product.k = total;
        product.a = dy + f0;
        product.b = x + i0;
        product.b_step = k->patch;
        ep_gemm(&product, pass->scratch);
        total = 0;
    }
    for (int64_t at = 0; at < total; at += SUMMED) {
        product.k = ep_min(SUMMED, total - at);
        product.a = dy + at * k->filters + f0;
        product.add = at > 0;
        for (int64_t done = 0; done < product.k;) {
            int64_t sample = (at + done) / k->positions, q0 = (at + done) % k->positions;
            ep_unfold p = {q0, ep_min(k->positions, q0 + product.k - done), i0, i1};
            ep_unfold_gather(&k->g, &p, x + sample * k->image, patches + done * width);
            done += p.q1 - p.q0;
        }
        int64_t soon = at + product.k, more = ep_min(total - soon, SUMMED) * k->filters;
        for (int64_t i = 0; width > WIDE && i < more; i += (int64_t)EP_LINE) {
            __builtin_prefetch(dy + soon * k->filters + i, 0, 2); /* the next product's */
        }
        ep_gemm(&product, pass->scratch);
    }
    for (int64_t i = i0; i < i1; i++) {
        ep_real *dw = ep_dw(pass, layer, 0) + i * k->filters;
        for (int64_t f = f0; f < f1; f++) {
            dw[f] = sums[(f - f0) * width + i - i0];
        }
    }
}

/* A share is some rows of w, a few vectors of them: beyond a point further shares are empty. */
static void gradient_full(const ep_pass *pass, const ep_layer *layer, const shape *k, int64_t part,
                          int64_t parts) {
    int64_t units = (k->patch + WIDE - 1) / WIDE;
    int64_t shares = ep_min(parts, ep_max(units / 2, ep_min(units, 4)));
    if (part >= shares) {
        return;
    }
    int64_t i1 = ep_min(k->patch, ep_share(units, part + 1, shares) * WIDE);
    for (int64_t i = ep_share(units, part, shares) * WIDE; i < i1; i += ROWS) {
        int64_t end = ep_min(i1, i + ROWS);
        for (int64_t f = 0; f < k->filters; f += FILTERS) {
            gradient_rows(pass, layer, k, i, end, f, ep_min(k->filters, f + FILTERS));
        }
        ep_ready(pass, layer, 0, i * k->filters, (end - i) * k->filters);
    }
}

/* ---- the layer ------------------------------------------------------------------------------ */

static void forward(const ep_pass *pass, const ep_layer *layer) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    if (config->depthwise) {
        ep_depthwise_forward(pass, layer, &k.g);
    } else {
        forward_full(pass, layer, &k);
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    if (ep_dx(pass, layer, 0)) {
        if (config->depthwise) {
            ep_depthwise_backward(pass, layer, &k.g);
        } else {
            backward_full(pass, layer, &k);
        }
    }
}

static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    if (config->depthwise) {
        ep_depthwise_gradient(pass, layer, &k.g, part, parts);
    } else {
        gradient_full(pass, layer, &k, part, parts);
    }
}

static double flops(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const conv2d *config = layer->config;
    shape k = measure(layer, axes, values);
    return (double)k.positions * (double)k.patch * (config->depthwise ? 1.0 : (double)k.filters);
}

const ep_kind ep_kind_conv2d = {
    .name = "conv2d",
    .doc =
        "y = the sum over a window of x w, without bias. Input (height, width, channels), output\n"
        "(height, width, filters); or (length, channels) and (length, filters). With a second\n"
        "input the filters are that input's channels (its numbers are not read): the way to come\n"
        "back to a residual stream.",
    .fields = fields,
    .config_size = sizeof(conv2d),
    .least_inputs = 1,
    .most_inputs = 2,
    .declare = declare,
    .init = init,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .flops = flops,
};
