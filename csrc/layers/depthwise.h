/* depthwise: convolution with one filter per channel. Uses no matrix product, but multiplies and
 * adds vectors of channels tap by tap. Weights are (height, width, channels). Geometry is in
 * window.h, settings and interface in conv2d.c. This is a header so that conv2d.c can inline its
 * functions with constant arguments. */
#ifndef EP_LAYERS_DEPTHWISE_H
#define EP_LAYERS_DEPTHWISE_H

#include "unfold.h"

/* Set t0 .. t1 to the taps of one axis that lie inside the input for output o. */
EP_INLINE void ep_depthwise_inside(const ep_span *a, int64_t o, int64_t *t0, int64_t *t1) {
    int64_t from = o * a->stride - a->pad;
    *t0 = from >= 0 ? 0 : (-from + a->step - 1) / a->step;
    *t1 = from >= a->in ? 0 : ep_min(a->size, (a->in - 1 - from) / a->step + 1);
}

/* Add u[i] * v[i] to z[i] for n channels. */
EP_INLINE void ep_depthwise_weigh(int64_t n, ep_real *restrict z, const ep_real *restrict u,
                                  const ep_real *restrict v) {
    int64_t i = 0;
    for (; i + (int64_t)EP_LINE <= n; i += (int64_t)EP_LINE) {
        *(ep_line *)(z + i) += *(const ep_line *)(u + i) * *(const ep_line *)(v + i);
    }
    for (; i < n; i++) {
        z[i] += u[i] * v[i];
    }
}

/* Run the body for every output position of a sample and every tap inside the input, with the
 * offsets of their first channel: `at` in y, `from` in x and `tap` in w. A macro, because the body
 * uses variables of its caller. */
#define EP_EACH_TAP(g, at, from, tap, ...)                                           \
    for (int64_t oy = 0, at = 0; oy < (g)->h.out; oy++) {                            \
        int64_t h0, h1;                                                              \
        ep_depthwise_inside(&(g)->h, oy, &h0, &h1);                                  \
        for (int64_t ox = 0; ox < (g)->w.out; ox++, at += (g)->c) {                  \
            int64_t w0, w1;                                                          \
            ep_depthwise_inside(&(g)->w, ox, &w0, &w1);                              \
            for (int64_t kh = h0; kh < h1; kh++) {                                   \
                int64_t iy = oy * (g)->h.stride - (g)->h.pad + kh * (g)->h.step;     \
                for (int64_t kw = w0; kw < w1; kw++) {                               \
                    int64_t ix = ox * (g)->w.stride - (g)->w.pad + kw * (g)->w.step; \
                    int64_t from = (iy * (g)->w.in + ix) * (g)->c;                   \
                    int64_t tap = (kh * (g)->w.size + kw) * (g)->c;                  \
                    __VA_ARGS__;                                                     \
                }                                                                    \
            }                                                                        \
        }                                                                            \
    }

static inline void ep_depthwise_forward(const ep_pass *pass, const ep_layer *layer,
                                        const ep_window *g) {
    int64_t image = g->h.in * g->w.in * g->c, out = g->h.out * g->w.out * g->c;
    const ep_real *w = ep_w(pass, layer, 0);
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        const ep_real *x = ep_x(pass, layer, 0) + row * image;
        ep_real *y = ep_y(pass, layer) + row * out;
        memset(y, 0, (size_t)out * sizeof *y);
        EP_EACH_TAP(g, at, from, tap, ep_depthwise_weigh(g->c, y + at, x + from, w + tap))
    }
}

static inline void ep_depthwise_backward(const ep_pass *pass, const ep_layer *layer,
                                         const ep_window *g) {
    int64_t image = g->h.in * g->w.in * g->c, out = g->h.out * g->w.out * g->c;
    const ep_real *w = ep_w(pass, layer, 0);
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        ep_real *dx = ep_dx(pass, layer, 0) + row * image;
        const ep_real *dy = ep_dy(pass, layer) + row * out;
        if (!ep_adds(layer, 0)) {
            memset(dx, 0, (size_t)image * sizeof *dx);
        }
        EP_EACH_TAP(g, at, from, tap, ep_depthwise_weigh(g->c, dx + from, dy + at, w + tap))
    }
}

static inline void ep_depthwise_gradient(const ep_pass *pass, const ep_layer *layer,
                                         const ep_window *g, int64_t part, int64_t parts) {
    int64_t image = g->h.in * g->w.in * g->c, out = g->h.out * g->w.out * g->c;
    int64_t c0 = ep_cut(g->c, part, parts), c1 = ep_cut(g->c, part + 1, parts);
    if (c0 >= c1) {
        return;
    }
    int64_t taps = g->h.size * g->w.size;
    ep_real *dw = ep_dw(pass, layer, 0);
    for (int64_t t = 0; t < taps; t++) {
        memset(dw + t * g->c + c0, 0, (size_t)(c1 - c0) * sizeof *dw);
    }
    for (int64_t row = 0; row < pass->rows; row++) {
        const ep_real *x = ep_x(pass, layer, 0) + row * image;
        const ep_real *dy = ep_dy(pass, layer) + row * out;
        EP_EACH_TAP(g, at, from, tap,
                    ep_depthwise_weigh(c1 - c0, dw + tap + c0, x + from + c0, dy + at + c0))
    }
    for (int64_t t = 0; t < taps; t++) {
        ep_ready(pass, layer, 0, t * g->c + c0, c1 - c0);
    }
}

#endif
