/* pool: the largest number or the mean of every window, channel by channel; without a size one
 * window over everything. Which number was the largest is found again in backward, the first of
 * equals: nothing is saved. It has no parameters. */
#include "window.h"

#include <string.h>

typedef struct {
    ep_vector size, stride, padding;
} pool;

static const ep_field fields[] = {
    {.name = "size", .type = EP_VECTOR, .offset = offsetof(pool, size), .low = 1, .high = 1e6,
     .doc = "of the window: one number, or height and width; left out: one window over everything,\n"
            "and the output has no spatial axes"},
    {.name = "stride", .type = EP_VECTOR, .offset = offsetof(pool, stride), .low = 1, .high = 1e6,
     .doc = "steps between windows; left out: as the size"},
    {.name = "padding", .type = EP_VECTOR, .offset = offsetof(pool, padding), .low = 0, .high = 1e6,
     .doc = "how far windows may reach beyond each edge, where nothing counts; left out: 0"},
    EP_FIELDS_END,
};

static ep_windowing windowing(const pool *config) {
    return (ep_windowing){.size = &config->size, .stride = &config->stride,
                          .pad = &config->padding, .size_is_stride = true};
}

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const pool *config = layer->config;
    ep_windowing s = windowing(config);
    int axis[3], spatial = 0;
    if (config->size.n) {
        spatial = ep_window_declare(plan, layer, &s, axis, error);
        if (!spatial) {
            return false;
        }
        for (int d = 0; d < spatial; d++) {
            int64_t size = ep_window_setting(s.size, d, 1), pad = ep_window_setting(s.pad, d, 0);
            if (pad >= size) {
                return ep_fail(error, EP_BAD_VALUE, "%s: padding must be under the size %lld, got %lld",
                               layer->name, (long long)size, (long long)pad);
            }
        }
    } else if (config->stride.n || config->padding.n) {
        return ep_fail(error, EP_BAD_VALUE, "%s: stride and padding need a size, got none",
                       layer->name);
    }
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    if (x->rank < 2 || x->rank > 3) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: the input must be (height, width, channels) or (length, channels), got %d axes",
                       layer->name, x->rank);
    }
    axis[spatial] = x->axis[x->rank - 1];
    return ep_plan_output(plan, layer, spatial + 1, axis, error);
}

static ep_window measure(const ep_pass *pass, const ep_layer *layer) {
    const pool *config = layer->config;
    const ep_value *x = ep_input(pass, layer, 0), *y = &pass->value[layer->out];
    ep_windowing s = windowing(config);
    ep_window g = ep_window_measure(&s, pass->axes, x);
    if (config->size.n == 0) {
        g.h = (ep_span){.in = g.h.in, .out = 1, .size = g.h.in, .stride = 1, .step = 1};
        g.w = (ep_span){.in = g.w.in, .out = 1, .size = g.w.in, .stride = 1, .step = 1};
    } else {
        g.h.out = y->rank == 3 ? pass->axes[y->axis[0]].n : 1;
        g.w.out = pass->axes[y->axis[y->rank - 2]].n;
    }
    return g;
}

/* One window: inputs (h0 .. h1, w0 .. w1) that lie inside, at `at` of the output. */
typedef struct {
    int64_t h0, h1, w0, w1, at;
} window;

EP_INLINE window at(const ep_window *g, int64_t oy, int64_t ox) {
    int64_t y = oy * g->h.stride - g->h.pad, x = ox * g->w.stride - g->w.pad;
    return (window){ep_max(0, y), ep_min(g->h.in, y + g->h.size), ep_max(0, x),
                    ep_min(g->w.in, x + g->w.size), (oy * g->w.out + ox) * g->c};
}

/* Does BODY for every number `from` (of channel 0) under the window k. */
#define EACH_UNDER(g, k, from, ...)                                                               \
    for (int64_t iy = (k)->h0; iy < (k)->h1; iy++) {                                              \
        for (int64_t ix = (k)->w0; ix < (k)->w1; ix++) {                                          \
            int64_t from = (iy * (g)->w.in + ix) * (g)->c;                                        \
            __VA_ARGS__;                                                                          \
        }                                                                                         \
    }

typedef void (*one_window)(const ep_window *g, const window *k, const ep_real *x, ep_real *y,
                           const ep_real *dy, ep_real *dx);

EP_INLINE void each_window(const ep_pass *pass, const ep_layer *layer, one_window work,
                           bool backward) {
    ep_window g = measure(pass, layer);
    int64_t in = g.h.in * g.w.in * g.c, out = g.h.out * g.w.out * g.c;
    const ep_real *x = ep_x(pass, layer, 0), *dy = backward ? ep_dy(pass, layer) : NULL;
    ep_real *y = ep_y(pass, layer), *dx = backward ? ep_dx(pass, layer, 0) : NULL;
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        if (backward && !layer->adds[0]) {
            memset(dx + row * in, 0, (size_t)in * sizeof *dx);
        }
        for (int64_t oy = 0; oy < g.h.out; oy++) {
            for (int64_t ox = 0; ox < g.w.out; ox++) {
                window k = at(&g, oy, ox);
                work(&g, &k, x + row * in, y + row * out, dy ? dy + row * out : NULL,
                     dx ? dx + row * in : NULL);
            }
        }
    }
}

/* ---- max ------------------------------------------------------------------------------------ */

static void max_forward_one(const ep_window *g, const window *k, const ep_real *x, ep_real *y,
                               const ep_real *dy, ep_real *dx) {
    (void)dy;
    (void)dx;
    ep_real *restrict to = y + k->at;
    bool first = true;
    if (k->h0 >= k->h1 || k->w0 >= k->w1) {
        memset(to, 0, (size_t)g->c * sizeof *to);
    }
    EACH_UNDER(g, k, from, {
        const ep_real *restrict of = x + from;
        if (first) {
            memcpy(to, of, (size_t)g->c * sizeof *to);
            first = false;
        } else {
            for (int64_t c = 0; c < g->c; c++) { /* a NaN stays, wherever it comes */
                to[c] = to[c] >= of[c] || to[c] != to[c] ? to[c] : of[c];
            }
        }
    })
}

/* A line of channels at a time: what is left of dy goes to the first number that equals y. */
EP_INLINE void max_backward_line(const ep_window *g, const window *k, int64_t n,
                                 const ep_real *restrict x, const ep_real *restrict y,
                                 const ep_real *restrict dy, ep_real *restrict dx) {
    ep_real left[EP_LINE] = {0};
    for (int64_t c = 0; c < n; c++) {
        left[c] = dy[c];
    }
    EACH_UNDER(g, k, from, {
        for (int64_t c = 0; c < n; c++) {
            ep_real taken = x[from + c] == y[c] ? left[c] : 0;
            left[c] = x[from + c] == y[c] ? 0 : left[c];
            dx[from + c] += taken;
        }
    })
}

static void max_backward_one(const ep_window *g, const window *k, const ep_real *x, ep_real *y,
                                const ep_real *dy, ep_real *dx) {
    int64_t c = 0;
    for (; c + (int64_t)EP_LINE <= g->c; c += (int64_t)EP_LINE) {
        max_backward_line(g, k, (int64_t)EP_LINE, x + c, y + k->at + c, dy + k->at + c, dx + c);
    }
    if (c < g->c) {
        max_backward_line(g, k, g->c - c, x + c, y + k->at + c, dy + k->at + c, dx + c);
    }
}

static void max_forward(const ep_pass *pass, const ep_layer *layer) {
    each_window(pass, layer, max_forward_one, false);
}

static void max_backward(const ep_pass *pass, const ep_layer *layer) {
    if (ep_dx(pass, layer, 0)) {
        each_window(pass, layer, max_backward_one, true);
    }
}

/* ---- mean ----------------------------------------------------------------------------------- */

EP_INLINE ep_real share_of(const window *k) {
    int64_t n = (k->h1 - k->h0) * (k->w1 - k->w0);
    return n > 0 ? (ep_real)(1.0 / (double)n) : 0;
}

static void mean_forward_one(const ep_window *g, const window *k, const ep_real *x, ep_real *y,
                                const ep_real *dy, ep_real *dx) {
    (void)dy;
    (void)dx;
    ep_real *restrict to = y + k->at;
    ep_real share = share_of(k);
    memset(to, 0, (size_t)g->c * sizeof *to);
    EACH_UNDER(g, k, from, {
        const ep_real *restrict of = x + from;
        for (int64_t c = 0; c < g->c; c++) {
            to[c] += of[c];
        }
    })
    for (int64_t c = 0; c < g->c; c++) {
        to[c] *= share;
    }
}

static void mean_backward_one(const ep_window *g, const window *k, const ep_real *x, ep_real *y,
                                 const ep_real *dy, ep_real *dx) {
    (void)x;
    (void)y;
    const ep_real *restrict of = dy + k->at;
    ep_real share = share_of(k);
    EACH_UNDER(g, k, from, {
        ep_real *restrict to = dx + from;
        for (int64_t c = 0; c < g->c; c++) {
            to[c] += share * of[c];
        }
    })
}

static void mean_forward(const ep_pass *pass, const ep_layer *layer) {
    each_window(pass, layer, mean_forward_one, false);
}

static void mean_backward(const ep_pass *pass, const ep_layer *layer) {
    if (ep_dx(pass, layer, 0)) {
        each_window(pass, layer, mean_backward_one, true);
    }
}

static double flops(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    (void)layer;
    (void)axes;
    (void)values;
    return 0; /* no multiply-adds with weights */
}

const ep_kind ep_kind_max_pool = {
    .name = "max_pool",
    .doc = "The largest number of every window. Input (height, width, channels) or (length, channels);\n"
           "without a size the output is (channels).",
    .fields = fields,
    .config_size = sizeof(pool),
    .least_inputs = 1,
    .most_inputs = 1,
    .declare = declare,
    .forward = max_forward,
    .backward = max_backward,
    .flops = flops,
};

const ep_kind ep_kind_mean_pool = {
    .name = "mean_pool",
    .doc = "The mean of every window, of what lies inside the input. Input (height, width, channels)\n"
           "or (length, channels); without a size the output is (channels).",
    .fields = fields,
    .config_size = sizeof(pool),
    .least_inputs = 1,
    .most_inputs = 1,
    .declare = declare,
    .forward = mean_forward,
    .backward = mean_backward,
    .flops = flops,
};
