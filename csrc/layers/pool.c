/* pool: the maximum or mean of every window, channel by channel; without a size, one window covers
 * everything. backward() finds the maximum again, the first of equals, so nothing is saved. It has
 * no parameters. */
#include "window.h"

#include <string.h>

typedef struct {
    ep_vector size, stride, padding;
} pool;

static const ep_field fields[] = {
    EP_FIELD_VECTOR(
        pool, size, 1, 1e6,
        "of the window: one number, or height and width; left out: one window over everything,\n"
        "and the output has no spatial axes"),
    EP_FIELD_VECTOR(pool, stride, 1, 1e6, "steps between windows; left out: as the size"),
    EP_FIELD_VECTOR(
        pool, padding, 0, 1e6,
        "how far windows may reach beyond each edge, where nothing counts; left out: 0"),
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

/* Some channels of one window: x and dx at its first element, y and dy at its position. The part
 * inside the input has `rows` rows of `cols` elements, spaced by `across` and `c`. */
typedef struct {
    int64_t rows, cols, across, c;
    const ep_real *x, *dy;
    ep_real *y, *dx;
    bool add; /* add to dx; else write */
} few;

/* Run the body for every element `from` (of the first channel) under the window. */
#define EACH_UNDER(f, from, ...)                           \
    for (int64_t iy = 0; iy < (f)->rows; iy++) {           \
        for (int64_t ix = 0; ix < (f)->cols; ix++) {       \
            int64_t from = iy * (f)->across + ix * (f)->c; \
            __VA_ARGS__;                                   \
        }                                                  \
    }

/* True if windows tile the input exactly, so that every dx is written once. */
static bool tiles(const ep_window *g) {
    return g->h.pad == 0 && g->w.pad == 0 && g->h.size == g->h.stride && g->w.size == g->w.stride &&
           g->h.out * g->h.size == g->h.in && g->w.out * g->w.size == g->w.in;
}

/* True if every window is 2 x 2 and inside, the usual case: loops of known length are faster. */
static bool two_by_two(const ep_window *g) {
    const ep_span *spans[] = {&g->h, &g->w};
    bool two = true;
    for (int d = 0; d < 2; d++) {
        const ep_span *a = spans[d];
        two = two && a->size == 2 && a->pad == 0 && (a->out - 1) * a->stride + 2 <= a->in;
    }
    return two;
}

/* Run WORK for a row of windows, some channels at a time: EP_LINE, then four, then one. */
#define ROW_OF(WORK, BACKWARD, TWO)                                                 \
    for (int64_t ox = 0; ox < g.w.out; ox++) {                                      \
        int64_t x0 = ox * g.w.stride - g.w.pad, x1 = ep_min(g.w.in, x0 + g.w.size); \
        x0 = ep_max(0, x0);                                                         \
        int64_t from = row * in + y0 * across + x0 * g.c;                           \
        int64_t to = row * out + (oy * g.w.out + ox) * g.c, c = 0;                  \
        few f = {.across = across, .c = g.c, .add = !once};                         \
        f.rows = (TWO) ? 2 : y1 - y0;                                               \
        f.cols = (TWO) ? 2 : x1 - x0;                                               \
        f.x = ep_x(pass, layer, 0) + from;                                          \
        f.y = ep_y(pass, layer) + to;                                               \
        f.dy = (BACKWARD) ? ep_dy(pass, layer) + to : NULL;                         \
        f.dx = (BACKWARD) ? dx + from : NULL;                                       \
        for (; c + (int64_t)EP_LINE <= g.c; c += (int64_t)EP_LINE) {                \
            WORK##_line(&f);                                                        \
            step(&f, (int)EP_LINE, BACKWARD);                                       \
        }                                                                           \
        for (; c + 4 <= g.c; c += 4) {                                              \
            WORK##_four(&f);                                                        \
            step(&f, 4, BACKWARD);                                                  \
        }                                                                           \
        for (; c < g.c; c++) {                                                      \
            WORK##_one(&f);                                                         \
            step(&f, 1, BACKWARD);                                                  \
        }                                                                           \
    }

/* Run WORK for every window of this worker's rows. */
#define EACH_WINDOW(WORK, BACKWARD)                                                     \
    ep_window g = measure(pass, layer);                                                 \
    int64_t across = g.w.in * g.c, in = g.h.in * across, out = g.h.out * g.w.out * g.c; \
    ep_real *dx = (BACKWARD) ? ep_dx(pass, layer, 0) : NULL;                            \
    bool once = (BACKWARD) && !ep_adds(layer, 0) && tiles(&g), two = two_by_two(&g);    \
    for (int64_t row = pass->r0; row < pass->r1; row++) {                               \
        if ((BACKWARD) && !ep_adds(layer, 0) && !once) {                                \
            memset(dx + row * in, 0, (size_t)in * sizeof *dx);                          \
        }                                                                               \
        for (int64_t oy = 0; oy < g.h.out; oy++) {                                      \
            int64_t y0 = oy * g.h.stride - g.h.pad, y1 = ep_min(g.h.in, y0 + g.h.size); \
            y0 = ep_max(0, y0);                                                         \
            if (two) {                                                                  \
                ROW_OF(WORK, BACKWARD, true)                                            \
            } else {                                                                    \
                ROW_OF(WORK, BACKWARD, false)                                           \
            }                                                                           \
        }                                                                               \
    }

EP_INLINE void step(few *f, int n, bool backward) {
    f->x += n;
    f->y += n;
    f->dy = backward ? f->dy + n : NULL;
    f->dx = backward ? f->dx + n : NULL;
}

/* ---- max and mean of a vector of channels --------------------------------------------------- */

#ifdef EP_DOUBLE
typedef int64_t word;
#else
typedef int32_t word;
#endif

/* Written with vectors, because compilers leave loops with a select scalar. `pick` is a where the
 * mask is set, else b. Max keeps a NaN anywhere; in backward, dy goes to the first element that
 * equals y. */
#define FEW(name, n)                                                                              \
    typedef ep_real name                                                                          \
        __attribute__((vector_size((n) * sizeof(ep_real)), aligned(sizeof(ep_real)), may_alias)); \
    typedef word name##_mask __attribute__((vector_size((n) * sizeof(ep_real))));                 \
    EP_INLINE name name##_pick(name##_mask m, name a, name b) {                                   \
        return (name)(((name##_mask)a & m) | ((name##_mask)b & ~m));                              \
    }                                                                                             \
    EP_INLINE void max_##name(const few *f) {                                                     \
        name best = {0};                                                                          \
        bool first = true;                                                                        \
        EACH_UNDER(f, from, {                                                                     \
            name x = *(const name *)(f->x + from);                                                \
            best = first ? x : name##_pick((best >= x) | (best != best), best, x);                \
            first = false;                                                                        \
        })                                                                                        \
        *(name *)f->y = best;                                                                     \
    }                                                                                             \
    EP_INLINE void max_back_##name(const few *f) {                                                \
        name left = *(const name *)f->dy, best = *(const name *)f->y, none = {0};                 \
        EACH_UNDER(f, from, {                                                                     \
            name##_mask hit = *(const name *)(f->x + from) == best;                               \
            name taken = name##_pick(hit, left, none);                                            \
            left = name##_pick(hit, none, left);                                                  \
            name *dx = (name *)(f->dx + from);                                                    \
            __builtin_prefetch(f->dx + from + EP_AHEAD);                                          \
            *dx = (f->add ? *dx : none) + taken;                                                  \
        })                                                                                        \
    }                                                                                             \
    EP_INLINE void mean_##name(const few *f) {                                                    \
        name sum = {0};                                                                           \
        EACH_UNDER(f, from, sum += *(const name *)(f->x + from))                                  \
        *(name *)f->y = share_of(f) * sum;                                                        \
    }                                                                                             \
    EP_INLINE void mean_back_##name(const few *f) {                                               \
        name part = share_of(f) * *(const name *)f->dy, none = {0};                               \
        EACH_UNDER(f, from, {                                                                     \
            name *dx = (name *)(f->dx + from);                                                    \
            __builtin_prefetch(f->dx + from + EP_AHEAD);                                          \
            *dx = (f->add ? *dx : none) + part;                                                   \
        })                                                                                        \
    }

EP_INLINE ep_real share_of(const few *f) {
    int64_t n = f->rows * f->cols;
    return f->rows > 0 && n > 0 ? (ep_real)(1.0 / (double)n) : 0;
}

FEW(line, (int)EP_LINE)
FEW(four, 4)
FEW(one, 1)

/* ---- the layers ----------------------------------------------------------------------------- */

static void max_forward(const ep_pass *pass, const ep_layer *layer) { EACH_WINDOW(max, false) }

static void max_backward(const ep_pass *pass, const ep_layer *layer) {
    if (ep_dx(pass, layer, 0)) {
        EACH_WINDOW(max_back, true)
    }
}

static void mean_forward(const ep_pass *pass, const ep_layer *layer) { EACH_WINDOW(mean, false) }

static void mean_backward(const ep_pass *pass, const ep_layer *layer) {
    if (ep_dx(pass, layer, 0)) {
        EACH_WINDOW(mean_back, true)
    }
}

const ep_kind ep_kind_max_pool = {
    .name = "max_pool",
    .doc = "The largest number of every window. Input (height, width, channels) or (length,\n"
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
    .doc =
        "The mean of every window, of what lies inside the input. Input (height, width, channels)\n"
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
