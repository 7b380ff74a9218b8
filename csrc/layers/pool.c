/* pool: the maximum or mean of every window, channel by channel; without a size, one window covers
 * all positions. backward() finds the maximum again, the first if several are equal, so nothing is
 * saved. Pooling has no parameters. */
#include "vector.h"
#include "window.h"

#include <string.h>

typedef struct {
    ep_vector size, stride, padding;
} pool;

static const ep_field fields[] = {
    EP_FIELD_VECTOR(
        pool, size, 1, 1e6,
        "size of the window: one number, or height and width; left out: one window over\n"
        "everything, and the output has no spatial axes"),
    EP_FIELD_VECTOR(pool, stride, 1, 1e6, "steps between windows; left out: the size of a window"),
    EP_FIELD_VECTOR(
        pool, padding, 0, 1e6,
        "how far windows may extend beyond each edge, where no elements count; left out: 0"),
    EP_FIELDS_END,
};

static ep_windowing windowing(const pool *config) {
    return (ep_windowing){.name = "size",
                          .size = &config->size,
                          .stride = &config->stride,
                          .pad = &config->padding,
                          .size_is_stride = true};
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
                return ep_fail(error, EP_BAD_VALUE,
                               "%s: padding must be under the size %lld, got %lld", layer->name,
                               (long long)size, (long long)pad);
            }
        }
    } else if (config->stride.n || config->padding.n) {
        return ep_fail(error, EP_BAD_VALUE, "%s: stride and padding need a size, got none",
                       layer->name);
    }
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    if (x->rank < 2 || x->rank > 3) {
        return ep_fail(
            error, EP_BAD_VALUE,
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

/* Some channels of one window. x and dx point to the window's first element, y and dy to its
 * output position. The part inside the input has `rows` rows, `across` elements apart, and `cols`
 * columns, `c` elements apart. */
typedef struct {
    int64_t rows, cols, across, c;
    const ep_real *x, *dy;
    ep_real *y, *dx;
    bool add; /* add to dx; else write */
} window;

/* Function that processes the first n channels of a window, 1 <= n <= EP_LANES. */
typedef void (*work)(const window *w, int64_t n);

/* ---- max and mean of a vector of channels --------------------------------------------------- */

EP_INLINE ep_vec pick(ep_vec_mask m, ep_vec a, ep_vec b) {
    return (ep_vec)(((ep_vec_mask)a & m) | ((ep_vec_mask)b & ~m));
}

/* Store the maximum of a window; NaN if the window has one. */
EP_INLINE void max_of(const window *w, int64_t n) {
    ep_vec best = {0};
    bool first = true;
    for (int64_t iy = 0; iy < w->rows; iy++) {
        for (int64_t ix = 0; ix < w->cols; ix++) {
            ep_vec x = ep_vec_get(w->x + iy * w->across + ix * w->c, n);
            best = first ? x : pick((best >= x) | (best != best), best, x);
            first = false;
        }
    }
    ep_vec_put(w->y, best, n);
}

/* Write `part` to n channels of dx, or add it if w->add. */
EP_INLINE void give(const window *w, int64_t from, ep_vec part, int64_t n) {
    ep_real *dx = w->dx + from;
    __builtin_prefetch(dx + EP_AHEAD);
    ep_vec_put(dx, (w->add ? ep_vec_get(dx, n) : (ep_vec){0}) + part, n);
}

/* Pass dy on to the gradient of the window's first element that equals y, and 0 to the gradients of
 * the others. */
EP_INLINE void max_back(const window *w, int64_t n) {
    ep_vec left = ep_vec_get(w->dy, n), best = ep_vec_get(w->y, n);
    const ep_vec none = {0};
    for (int64_t iy = 0; iy < w->rows; iy++) {
        for (int64_t ix = 0; ix < w->cols; ix++) {
            int64_t from = iy * w->across + ix * w->c;
            ep_vec_mask hit = ep_vec_get(w->x + from, n) == best;
            ep_vec taken = pick(hit, left, none);
            left = pick(hit, none, left);
            give(w, from, taken, n);
        }
    }
}

/* Return 1 / the number of elements of the window inside the input, or 0 if there are none. */
EP_INLINE ep_real inverse_size(const window *w) {
    int64_t n = w->rows * w->cols;
    return w->rows > 0 && n > 0 ? (ep_real)(1.0 / (double)n) : 0;
}

EP_INLINE void mean_of(const window *w, int64_t n) {
    ep_vec sum = {0};
    for (int64_t iy = 0; iy < w->rows; iy++) {
        for (int64_t ix = 0; ix < w->cols; ix++) {
            sum += ep_vec_get(w->x + iy * w->across + ix * w->c, n);
        }
    }
    ep_vec_put(w->y, inverse_size(w) * sum, n);
}

EP_INLINE void mean_back(const window *w, int64_t n) {
    ep_vec part = inverse_size(w) * ep_vec_get(w->dy, n);
    for (int64_t iy = 0; iy < w->rows; iy++) {
        for (int64_t ix = 0; ix < w->cols; ix++) {
            give(w, iy * w->across + ix * w->c, part, n);
        }
    }
}

/* ---- all windows ---------------------------------------------------------------------------- */

/* True if windows tile the input exactly, so that every dx is written once. */
static bool tiles(const ep_window *g) {
    return g->h.pad == 0 && g->w.pad == 0 && g->h.size == g->h.stride && g->w.size == g->w.stride &&
           g->h.out * g->h.size == g->h.in && g->w.out * g->w.size == g->w.in;
}

/* True if every window is 2 x 2 and inside the input, the usual case: loops of known length are
 * faster. */
static bool two_by_two(const ep_window *g) {
    const ep_span *spans[] = {&g->h, &g->w};
    bool two = true;
    for (int d = 0; d < 2; d++) {
        const ep_span *a = spans[d];
        two = two && a->size == 2 && a->pad == 0 && (a->out - 1) * a->stride + 2 <= a->in;
    }
    return two;
}

EP_INLINE void move(window *w, int64_t in, int64_t out) {
    w->x += in;
    w->y += out;
    if (w->dx) {
        w->dx += in;
        w->dy += out;
    }
}

/* Call `some` for all channels of the window at column ox of one row of windows. `w` points to the
 * row's first elements: x and dx at column 0, y and dy at the first window. */
EP_INLINE void one_window(const ep_window *g, window w, int64_t ox, bool two, work some) {
    int64_t x0 = ox * g->w.stride - g->w.pad, x1 = ep_min(g->w.in, x0 + g->w.size), c = 0;
    x0 = ep_max(0, x0);
    w.rows = two ? 2 : w.rows;
    w.cols = two ? 2 : x1 - x0;
    move(&w, x0 * g->c, ox * g->c);
    for (; c < g->c; c += EP_LANES) {
        if (c + EP_LANES <= g->c) {
            some(&w, EP_LANES);
        } else {
            some(&w, g->c - c);
        }
        move(&w, EP_LANES, EP_LANES);
    }
}

/* Call `some` for all channels of every window of this worker's rows. */
EP_INLINE void all_windows(const ep_pass *pass, const ep_layer *layer, bool backward, work some) {
    const ep_window g = measure(pass, layer);
    int64_t across = g.w.in * g.c, in = g.h.in * across, out = g.w.out * g.c;
    ep_real *dx = backward ? ep_dx(pass, layer, 0) : NULL;
    if (backward && !dx) {
        return;
    }
    bool once = backward && !ep_adds(layer, 0) && tiles(&g), two = two_by_two(&g);
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        if (backward && !ep_adds(layer, 0) && !once) {
            memset(dx + row * in, 0, (size_t)in * sizeof *dx);
        }
        for (int64_t oy = 0; oy < g.h.out; oy++) {
            int64_t y0 = oy * g.h.stride - g.h.pad, y1 = ep_min(g.h.in, y0 + g.h.size);
            y0 = ep_max(0, y0);
            int64_t from = row * in + y0 * across, to = (row * g.h.out + oy) * out;
            window w = {.rows = y1 - y0, .across = across, .c = g.c, .add = !once};
            w.x = ep_x(pass, layer, 0) + from;
            w.y = ep_y(pass, layer) + to;
            w.dy = backward ? ep_dy(pass, layer) + to : NULL;
            w.dx = backward ? dx + from : NULL;
            for (int64_t ox = 0; ox < g.w.out; ox++) {
                if (two) {
                    one_window(&g, w, ox, true, some);
                } else {
                    one_window(&g, w, ox, false, some);
                }
            }
        }
    }
}

/* ---- the layers ----------------------------------------------------------------------------- */

static void max_forward(const ep_pass *pass, const ep_layer *layer) {
    all_windows(pass, layer, false, max_of);
}
static void max_backward(const ep_pass *pass, const ep_layer *layer) {
    all_windows(pass, layer, true, max_back);
}
static void mean_forward(const ep_pass *pass, const ep_layer *layer) {
    all_windows(pass, layer, false, mean_of);
}
static void mean_backward(const ep_pass *pass, const ep_layer *layer) {
    all_windows(pass, layer, true, mean_back);
}

const ep_kind ep_kind_max_pool = {
    .name = "max_pool",
    .doc = "The largest element of every window. Input (height, width, channels) or (length,\n"
           "channels); without a size the output is (channels).",
    .fields = fields,
    .config_size = sizeof(pool),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_PASS,
    .declare = declare,
    .forward = max_forward,
    .backward = max_backward,
};

const ep_kind ep_kind_mean_pool = {
    .name = "mean_pool",
    .doc = "The mean of every window's elements inside the input. Input (height, width, channels)\n"
           "or (length, channels); without a size the output is (channels).",
    .fields = fields,
    .config_size = sizeof(pool),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_PASS,
    .declare = declare,
    .forward = mean_forward,
    .backward = mean_backward,
};
