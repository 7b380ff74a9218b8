/* conv2d: y = the sum over a window of x w, one window for every output position: a product of the
 * patches under the windows with the weights. Patches are never laid out for a batch: a few
 * hundred at a time go through a buffer that stays in the second-level cache. Weights are stored
 * (height, width, in, out). A pure projection: bias, activation and mass belong to populations. */
#include "gemm.h"
#include "window.h"

#include <math.h>
#include <string.h>

enum {
    BUFFER = 65536,    /* numbers of patches at a time */
    LEAST = 14,        /* and never fewer than so many patches */
    MOST = 512,
    COLUMNS = 256,     /* of the patches that backward computes at a time */
    SUMMED = 256,      /* patches that gradient sums over at a time: also rows of w at a time */
};

typedef struct {
    int64_t filters;
    ep_vector kernel, stride, padding, dilation;
    int64_t depthwise;
    double gain;
} conv2d;

static const ep_field fields[] = {
    {.name = "filters", .type = EP_INT, .offset = offsetof(conv2d, filters), .low = 0, .high = 1e9,
     .doc = "output channels; 0 where a second input gives them, or depthwise"},
    {.name = "kernel", .type = EP_VECTOR, .offset = offsetof(conv2d, kernel), .low = 1,
     .high = 1e6, .required = true, .doc = "size of the window: one number, or height and width"},
    {.name = "stride", .type = EP_VECTOR, .offset = offsetof(conv2d, stride), .low = 1,
     .high = 1e6, .doc = "steps between windows; left out: 1"},
    {.name = "padding", .type = EP_VECTOR, .offset = offsetof(conv2d, padding), .low = 0,
     .high = 1e6, .doc = "zeros beyond each edge; left out: as many as keep the size (divided by\n"
                         "stride, rounded up)"},
    {.name = "dilation", .type = EP_VECTOR, .offset = offsetof(conv2d, dilation), .low = 1,
     .high = 1e6, .doc = "steps between the numbers under a window; left out: 1"},
    {.name = "depthwise", .type = EP_BOOL, .offset = offsetof(conv2d, depthwise), .high = 1,
     .doc = "one filter to each input channel, which keeps its axis"},
    {.name = "gain", .type = EP_REAL, .offset = offsetof(conv2d, gain),
     .initial = 1.4142135623730951, .low = 0, .high = 100,
     .doc = "initial weights are normal with deviation gain / sqrt(fan in); sqrt(2) suits relu"},
    EP_FIELDS_END,
};

static ep_windowing windowing(const conv2d *config) {
    return (ep_windowing){.size = &config->kernel, .stride = &config->stride,
                          .step = &config->dilation, .pad = &config->padding, .same = true};
}

/* The axis of the output's channels, or -1. */
static int channels(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const conv2d *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    if (config->depthwise || layer->n_inputs == 2) {
        if (config->filters || (config->depthwise && layer->n_inputs == 2)) {
            ep_fail(error, EP_BAD_VALUE,
                    "%s: give one of filters, depthwise and a second input, got filters=%lld, depthwise=%s and %d inputs",
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
        return ep_fail(error, EP_BAD_VALUE, "%s: kernel must be one number, or height and width, got none",
                       layer->name);
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
    layer->scratch = config->depthwise
                         ? 0
                         : EP_GEMM_SCRATCH + ep_max(BUFFER, patch * LEAST) + (int64_t)EP_LINE;
    int rank = spatial + (config->depthwise ? 1 : 2);
    return ep_plan_tensor(plan, layer, "weight", EP_DECAYED, rank, of_w, error) &&
           ep_plan_output(plan, layer, spatial + 1, of_y, error);
}

/* ---- the living shape ----------------------------------------------------------------------- */

typedef struct {
    ep_window g;
    int64_t taps, patch;         /* numbers under a window: of one channel, of all */
    int64_t filters, positions;  /* outputs of one sample */
    int64_t image;               /* numbers of one input sample */
    bool plain;                  /* the patches are x itself */
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
    k.plain = k.taps == 1 && g->h.stride == 1 && g->w.stride == 1 && k.image == k.positions * g->c &&
              g->h.pad == 0 && g->w.pad == 0;
    return k;
}

/* ---- between images and patches ------------------------------------------------------------- */

typedef ep_real quad __attribute__((vector_size(4 * sizeof(ep_real)), aligned(sizeof(ep_real)),
                                    may_alias));
typedef ep_real line __attribute__((vector_size(EP_ALIGN), aligned(sizeof(ep_real)), may_alias));

/* to = from, or to += from: n numbers, mostly few. */
EP_INLINE void move(bool add, int64_t n, ep_real *restrict to, const ep_real *restrict from) {
    int64_t i = 0;
    for (; i + (int64_t)EP_LINE <= n; i += (int64_t)EP_LINE) {
        line v = *(const line *)(from + i);
        if (add) {
            v += *(const line *)(to + i);
        }
        *(line *)(to + i) = v;
    }
    for (; i + 4 <= n; i += 4) {
        quad v = *(const quad *)(from + i);
        if (add) {
            v += *(const quad *)(to + i);
        }
        *(quad *)(to + i) = v;
    }
    for (; i < n; i++) {
        to[i] = add ? to[i] + from[i] : from[i];
    }
}

/* Some numbers of some patches of one image. */
typedef struct {
    int64_t q0, q1; /* positions, in order of the output */
    int64_t j0, j1; /* numbers of their patches */
} part_of;

/* The numbers j .. j + n of every patch, all of them in one row of the image: at `at` of the run
 * that begins under tap (kh, kw). The patches lie j1 - j0 apart, from `patches` on. */
EP_INLINE void walk_run(bool scatter, const ep_window *g, const part_of *p, int64_t kh, int64_t kw,
                        int64_t at, int64_t n, ep_real *image, ep_real *patches) {
    if (p->q0 >= p->q1) {
        return; /* there may be no positions at all */
    }
    int64_t row = p->j1 - p->j0, limit = g->w.in * g->c, step = g->w.stride * g->c;
    int64_t oy = p->q0 / g->w.out, ox = p->q0 - oy * g->w.out;
    for (int64_t q = p->q0; q < p->q1; oy++, ox = 0) {
        int64_t end = ep_min(p->q1, q + g->w.out - ox);
        int64_t iy = oy * g->h.stride - g->h.pad + kh * g->h.step;
        int64_t from = (ox * g->w.stride - g->w.pad + kw * g->w.step) * g->c + at;
        bool inside = iy >= 0 && iy < g->h.in;
        ep_real *of = image + (inside ? iy * limit : 0);
        for (; q < end; q++, from += step, patches += row) {
            if (inside && from >= 0 && from + n <= limit) {
                move(scatter, n, scatter ? of + from : patches, scatter ? patches : of + from);
                continue;
            }
            int64_t low = inside ? ep_min(n, ep_max(0, -from)) : n;
            int64_t high = inside ? ep_max(low, ep_min(n, limit - from)) : n;
            if (scatter) {
                move(true, high - low, of + from + low, patches + low);
            } else {
                memset(patches, 0, (size_t)low * sizeof *patches);
                move(false, high - low, patches + low, of + from + low);
                memset(patches + high, 0, (size_t)(n - high) * sizeof *patches);
            }
        }
    }
}

/* patches(q, j) = the number of the image under it, 0 beyond its edges. */
static void gather(const ep_window *g, const part_of *p, const ep_real *image, ep_real *patches) {
    bool dense = g->w.step == 1; /* a whole row of the window is one run */
    int64_t run = dense ? g->w.size * g->c : g->c, runs = dense ? 1 : g->w.size;
    for (int64_t j = p->j0, n; j < p->j1; j += n) {
        int64_t r = j / run, at = j - r * run;
        n = ep_min(run - at, p->j1 - j);
        walk_run(false, g, p, r / runs, r % runs, at, n, (ep_real *)(uintptr_t)image,
                 patches + (j - p->j0));
    }
}

/* The image += the patches. One tap at a time: neighbouring windows overlap, and numbers just
 * written are slow to read back at another offset. */
static void scatter(const ep_window *g, const part_of *p, ep_real *image, ep_real *patches) {
    for (int64_t j = p->j0, n; j < p->j1; j += n) {
        int64_t tap = j / g->c, at = j - tap * g->c;
        n = ep_min(g->c - at, p->j1 - j);
        walk_run(true, g, p, tap / g->w.size, tap % g->w.size, at, n, image, patches + (j - p->j0));
    }
}

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

/* ---- dense over channels -------------------------------------------------------------------- */

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

static void forward_full(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    const ep_real *x = ep_x(pass, layer, 0);
    ep_real *y = ep_y(pass, layer), *patches = pass->scratch + EP_GEMM_SCRATCH;
    ep_product product = {.n = k->filters, .k = k->patch, .a_row = k->patch, .a_step = 1,
                          .b = ep_w(pass, layer, 0), .b_step = k->filters, .b_col = 1,
                          .c_row = k->filters};
    if (k->plain) {
        product.m = (pass->r1 - pass->r0) * k->positions;
        product.a = x + pass->r0 * k->image;
        product.c = y + pass->r0 * k->positions * k->filters;
        ep_gemm(&product, pass->scratch);
        return;
    }
    int64_t most = patches_at_a_time(k->patch);
    chunk c = {.sample = pass->r0};
    while (next_chunk(&c, k->positions, most, pass->r1)) {
        part_of p = {c.q0, c.q1, 0, k->patch};
        for (int64_t s = 0; s < c.samples; s++) {
            gather(&k->g, &p, x + (c.sample + s) * k->image,
                   patches + s * (c.q1 - c.q0) * k->patch);
        }
        product.m = c.samples * (c.q1 - c.q0);
        product.a = patches;
        product.c = y + (c.sample * k->positions + c.q0) * k->filters;
        ep_gemm(&product, pass->scratch);
    }
}

/* dx += the patches dy w', some columns at a time */
static void backward_full(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    ep_real *dx = ep_dx(pass, layer, 0), *patches = pass->scratch + EP_GEMM_SCRATCH;
    const ep_real *dy = ep_dy(pass, layer), *w = ep_w(pass, layer, 0);
    ep_product product = {.k = k->filters, .a_row = k->filters, .a_step = 1,
                          .b_step = 1, .b_col = k->filters};
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
            part_of p = {c.q0, c.q1, j, ep_min(j + COLUMNS, k->patch)};
            product.n = product.c_row = p.j1 - p.j0;
            product.b = w + j * k->filters;
            ep_gemm(&product, pass->scratch);
            for (int64_t s = 0; s < c.samples; s++) {
                scatter(&k->g, &p, dx + (c.sample + s) * k->image,
                        patches + s * (c.q1 - c.q0) * (p.j1 - p.j0));
            }
        }
    }
}

/* dw = patches' dy, rows i0 .. i1 of w: over all positions in order, SUMMED at a time. */
static void gradient_rows(const ep_pass *pass, const ep_layer *layer, const shape *k, int64_t i0,
                          int64_t i1) {
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    ep_real *patches = pass->scratch + EP_GEMM_SCRATCH;
    int64_t total = pass->rows * k->positions;
    ep_product product = {.m = i1 - i0, .n = k->filters, .a_row = 1,
                          .b_step = k->filters, .b_col = 1,
                          .c = ep_dw(pass, layer, 0) + i0 * k->filters, .c_row = k->filters};
    if (k->plain || total == 0) {
        product.k = total;
        product.a = x + i0;
        product.a_step = k->patch;
        product.b = dy;
        ep_gemm(&product, pass->scratch);
        return;
    }
    product.a = patches;
    product.a_step = i1 - i0;
    for (int64_t at = 0; at < total; at += SUMMED) {
        product.k = ep_min(SUMMED, total - at);
        product.b = dy + at * k->filters;
        product.add = at > 0;
        for (int64_t done = 0; done < product.k;) {
            int64_t sample = (at + done) / k->positions, q0 = (at + done) % k->positions;
            part_of p = {q0, ep_min(k->positions, q0 + product.k - done), i0, i1};
            gather(&k->g, &p, x + sample * k->image, patches + done * (i1 - i0));
            done += p.q1 - p.q0;
        }
        ep_gemm(&product, pass->scratch);
    }
}

/* A share is some rows of w. Few rows make a poor product (b is packed for each), so beyond a
 * point further shares are left empty. */
static void gradient_full(const ep_pass *pass, const ep_layer *layer, const shape *k, int64_t part,
                          int64_t parts) {
    int64_t shares = ep_min(parts, ep_max(k->patch / 56, ep_min(4, k->patch / 7 + 1)));
    if (part >= shares) {
        return;
    }
    int64_t i1 = ep_share(k->patch, part + 1, shares);
    for (int64_t i = ep_share(k->patch, part, shares); i < i1; i += BUFFER / SUMMED) {
        int64_t end = ep_min(i1, i + BUFFER / SUMMED);
        gradient_rows(pass, layer, k, i, end);
        ep_ready(pass, layer, 0, i * k->filters, (end - i) * k->filters);
    }
}

/* ---- depthwise: channels c0 .. c1, one line of them in registers ----------------------------- */

/* The taps of one axis that lie inside for output o: t0 .. t1. */
EP_INLINE void inside(const ep_span *a, int64_t o, int64_t *t0, int64_t *t1) {
    int64_t from = o * a->stride - a->pad;
    *t0 = from >= 0 ? 0 : (-from + a->step - 1) / a->step;
    *t1 = from >= a->in ? 0 : ep_min(a->size, (a->in - 1 - from) / a->step + 1);
}

/* fma over n channels: z += u v */
EP_INLINE void weigh(int64_t n, ep_real *restrict z, const ep_real *restrict u,
                     const ep_real *restrict v) {
    int64_t i = 0;
    for (; i + (int64_t)EP_LINE <= n; i += (int64_t)EP_LINE) {
        *(line *)(z + i) += *(const line *)(u + i) * *(const line *)(v + i);
    }
    for (; i < n; i++) {
        z[i] += u[i] * v[i];
    }
}

/* Calls for every output position of one sample and every tap inside: y(at), x(from), w(tap). */
#define EACH_TAP(g, at, from, tap, ...)                                                           \
    for (int64_t oy = 0, at = 0; oy < (g)->h.out; oy++) {                                         \
        int64_t h0, h1;                                                                           \
        inside(&(g)->h, oy, &h0, &h1);                                                            \
        for (int64_t ox = 0; ox < (g)->w.out; ox++, at += (g)->c) {                               \
            int64_t w0, w1;                                                                       \
            inside(&(g)->w, ox, &w0, &w1);                                                        \
            for (int64_t kh = h0; kh < h1; kh++) {                                                \
                int64_t iy = oy * (g)->h.stride - (g)->h.pad + kh * (g)->h.step;                  \
                for (int64_t kw = w0; kw < w1; kw++) {                                            \
                    int64_t ix = ox * (g)->w.stride - (g)->w.pad + kw * (g)->w.step;              \
                    int64_t from = (iy * (g)->w.in + ix) * (g)->c;                                \
                    int64_t tap = (kh * (g)->w.size + kw) * (g)->c;                               \
                    __VA_ARGS__;                                                                  \
                }                                                                                 \
            }                                                                                     \
        }                                                                                         \
    }

static void forward_depth(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    const ep_window *g = &k->g;
    const ep_real *w = ep_w(pass, layer, 0);
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        const ep_real *x = ep_x(pass, layer, 0) + row * k->image;
        ep_real *y = ep_y(pass, layer) + row * k->positions * g->c;
        memset(y, 0, (size_t)(k->positions * g->c) * sizeof *y);
        EACH_TAP(g, at, from, tap, weigh(g->c, y + at, x + from, w + tap))
    }
}

static void backward_depth(const ep_pass *pass, const ep_layer *layer, const shape *k) {
    const ep_window *g = &k->g;
    const ep_real *w = ep_w(pass, layer, 0);
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        ep_real *dx = ep_dx(pass, layer, 0) + row * k->image;
        const ep_real *dy = ep_dy(pass, layer) + row * k->positions * g->c;
        if (!layer->adds[0]) {
            memset(dx, 0, (size_t)k->image * sizeof *dx);
        }
        EACH_TAP(g, at, from, tap, weigh(g->c, dx + from, dy + at, w + tap))
    }
}

static void gradient_depth(const ep_pass *pass, const ep_layer *layer, const shape *k,
                           int64_t part, int64_t parts) {
    const ep_window *g = &k->g;
    int64_t c0 = ep_cut(g->c, part, parts), c1 = ep_cut(g->c, part + 1, parts);
    if (c0 >= c1) {
        return;
    }
    ep_real *dw = ep_dw(pass, layer, 0);
    for (int64_t t = 0; t < k->taps; t++) {
        memset(dw + t * g->c + c0, 0, (size_t)(c1 - c0) * sizeof *dw);
    }
    for (int64_t row = 0; row < pass->rows; row++) {
        const ep_real *x = ep_x(pass, layer, 0) + row * k->image;
        const ep_real *dy = ep_dy(pass, layer) + row * k->positions * g->c;
        EACH_TAP(g, at, from, tap, weigh(c1 - c0, dw + tap + c0, x + from + c0, dy + at + c0))
    }
    for (int64_t t = 0; t < k->taps; t++) {
        ep_ready(pass, layer, 0, t * g->c + c0, c1 - c0);
    }
}

/* ---- the layer ------------------------------------------------------------------------------ */

static void forward(const ep_pass *pass, const ep_layer *layer) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    (config->depthwise ? forward_depth : forward_full)(pass, layer, &k);
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    if (ep_dx(pass, layer, 0)) {
        (config->depthwise ? backward_depth : backward_full)(pass, layer, &k);
    }
}

static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    const conv2d *config = layer->config;
    shape k = measure(layer, pass->axes, pass->value);
    (config->depthwise ? gradient_depth : gradient_full)(pass, layer, &k, part, parts);
}

static double flops(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const conv2d *config = layer->config;
    shape k = measure(layer, axes, values);
    return (double)k.positions * (double)k.patch * (config->depthwise ? 1.0 : (double)k.filters);
}

const ep_kind ep_kind_conv2d = {
    .name = "conv2d",
    .doc = "y = the sum over a window of x w, without bias. Input (height, width, channels), output\n"
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
