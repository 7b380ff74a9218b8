/* convolve: convolution over all channels, by matrix products. Windows of 3 x 3 and 5 x 5 use
 * Winograd tiles (winograd.h) if that is cheaper; otherwise the patches under the windows are
 * multiplied by the weights. Patches are never stored for a whole batch: a few hundred at a time go
 * through a buffer that stays in L2. Weights are (height, width, in, out). Geometry is in window.h,
 * settings and interface in conv2d.c. This is a header because only conv2d.c uses it: its static
 * functions are inlined there, with constant arguments. */
#ifndef EP_LAYERS_CONVOLVE_H
#define EP_LAYERS_CONVOLVE_H

#include "gemm.h"
#include "unfold.h"
#include "winograd.h"

#include <string.h>

enum {
    EP_CONV_BUFFER = 65536, /* elements of the patch buffer */
    EP_CONV_LEAST = 14,     /* minimum number of patches at a time */
    EP_CONV_MOST = 512,     /* maximum number of patches at a time */
    EP_CONV_FLIPPED = 32768, /* maximum number of weights that backward() flips */
    EP_CONV_COLUMNS = 256,   /* elements of each patch per step of backward() */
    EP_CONV_SUMMED = 256,    /* patches per step of gradient() */
    EP_CONV_ROWS = 128,      /* rows of dw that gradient() computes at a time */
    EP_CONV_FILTERS = 256,   /* filters at a time; SUMMED * ROWS + ROWS * FILTERS = BUFFER */
    EP_CONV_WIDE = 32,       /* columns of a panel of the matrix product (gemm.h) */
};

/* Largest number of elements under a window, so that the size of scratch does not overflow. */
#define EP_CONV_PATCH (INT64_MAX / 64 / EP_CONV_LEAST)

/* True for windows of 3 x 3 or 5 x 5 with stride and dilation 1, which winograd.h supports. */
static inline bool ep_conv_stepwise(const ep_window *g) {
    return (g->h.size == 3 || g->h.size == 5) && g->w.size == g->h.size && g->h.stride == 1 &&
           g->w.stride == 1 && g->h.step == 1 && g->w.step == 1;
}

/* The sizes of a convolution, for the current sizes of its axes. */
typedef struct {
    ep_window g;
    int64_t taps, patch; /* elements under a window: of one channel, of all channels */
    int64_t filters, positions; /* positions: output positions per sample */
    int64_t image; /* elements of one input sample */
    bool plain; /* the patches are x itself */
} ep_conv;

static inline ep_conv ep_conv_measure(const ep_window *g, int64_t filters) {
    ep_conv k = {.g = *g, .filters = filters};
    k.taps = g->h.size * g->w.size;
    k.patch = k.taps * g->c;
    k.positions = g->h.out * g->w.out;
    k.image = g->h.in * g->w.in * g->c;
    k.plain = k.taps == 1 && g->h.stride == 1 && g->w.stride == 1 &&
              k.image == k.positions * g->c && g->h.pad == 0 && g->w.pad == 0;
    return k;
}

/* Return the number of scratch elements that a layer needs, or -1 on overflow. */
static inline int64_t ep_conv_scratch(const ep_window *g, int64_t filters) {
    int64_t patches = ep_times(ep_times(g->h.size, g->w.size), ep_times(g->c, EP_CONV_LEAST));
    if (patches < 0 || patches > INT64_MAX / 64) {
        return -1;
    }
    int64_t unfolded = EP_GEMM_SCRATCH + EP_CONV_FLIPPED + ep_max(EP_CONV_BUFFER, patches) +
                       (int64_t)EP_LINE;
    return ep_conv_stepwise(g)
               ? ep_max(unfolded, ep_winograd_scratch((int)g->h.size, g->c, filters))
               : unfolded;
}

/* Return the window of the transposed convolution, which maps dy to dx. */
static inline ep_window ep_conv_back(const ep_conv *k) {
    ep_window g = {.h = k->g.h, .w = k->g.w, .c = k->filters};
    ep_span *spans[] = {&g.h, &g.w};
    for (int d = 0; d < 2; d++) {
        ep_span *a = spans[d];
        int64_t in = a->in;
        a->in = a->out;
        a->out = in;
        a->pad = (a->size - 1) * a->step - a->pad;
    }
    return g;
}

static inline ep_winograd ep_conv_tiles(const ep_window *g, int64_t filters) {
    return (ep_winograd){.taps = (int)g->h.size,
                         .h = g->h.in,
                         .w = g->w.in,
                         .c = g->c,
                         .out_h = g->h.out,
                         .out_w = g->w.out,
                         .filters = filters,
                         .pad_h = g->h.pad,
                         .pad_w = g->w.pad};
}

/* Return the estimated cost of one image by patches, in multiply-adds of one cache line. The
 * constants are fitted to measured times. */
static inline double ep_conv_cost(const ep_window *g, int64_t filters) {
    double lines = (double)((filters + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE);
    double patch = (double)(g->h.size * g->w.size) * (double)g->c;
    return (double)g->h.out * (double)g->w.out * (patch * (lines + 0.7) + 40);
}

static inline bool ep_conv_tiled(const ep_conv *k, ep_winograd *tiles) {
    *tiles = ep_conv_tiles(&k->g, k->filters);
    return ep_conv_stepwise(&k->g) && ep_winograd_cost(tiles) < ep_conv_cost(&k->g, k->filters);
}

/* Output positions that are computed together: all positions of one or more samples, or a range of
 * positions of one sample. */
typedef struct {
    int64_t sample, samples; /* index of the first sample, number of samples */
    int64_t q0, q1; /* output positions q0 .. q1 of each of these samples */
} ep_conv_chunk;

/* Move c to the next chunk of at most `most` positions; return false if no sample before `end` is
 * left. A sample is cut at the same positions whichever sample a worker starts with. */
static inline bool ep_conv_next(ep_conv_chunk *c, int64_t positions, int64_t most, int64_t end) {
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

/* Return how many patches of `numbers` elements are processed at a time. */
static inline int64_t ep_conv_at_a_time(int64_t numbers) {
    return ep_max(EP_CONV_LEAST, ep_min(EP_CONV_MOST, EP_CONV_BUFFER / ep_max(1, numbers)));
}

/* Compute the sum of x w over every window, for rows r0 .. r1 of the batch, with `filters` outputs
 * per position. Write it to y, or add it to y if `add` is true. */
static inline void ep_conv_correlate(const ep_pass *pass, const ep_window *g, int64_t filters,
                                     const ep_real *x, const ep_real *w, ep_real *y, bool add) {
    ep_real *patches = pass->scratch + EP_GEMM_SCRATCH + EP_CONV_FLIPPED;
    int64_t patch = g->h.size * g->w.size * g->c, positions = g->h.out * g->w.out;
    int64_t image = g->h.in * g->w.in * g->c, most = ep_conv_at_a_time(patch);
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
    ep_conv_chunk c = {.sample = pass->r0};
    while (ep_conv_next(&c, positions, most, pass->r1)) {
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

static inline void ep_conv_forward(const ep_pass *pass, const ep_layer *layer, const ep_window *g,
                                   int64_t filters) {
    ep_conv k = ep_conv_measure(g, filters);
    const ep_real *x = ep_x(pass, layer, 0), *w = ep_w(pass, layer, 0);
    ep_real *y = ep_y(pass, layer);
    int64_t from = pass->r0 * k.positions;
    ep_winograd tiles;
    if (k.plain) {
        ep_gemm(&(ep_product){.m = (pass->r1 - pass->r0) * k.positions,
                              .n = filters,
                              .k = k.patch,
                              .a = x + from * k.patch,
                              .a_row = k.patch,
                              .a_step = 1,
                              .b = w,
                              .b_step = filters,
                              .b_col = 1,
                              .c = y + from * filters,
                              .c_row = filters},
                pass->scratch);
    } else if (ep_conv_tiled(&k, &tiles)) {
        ep_winograd_convolve(&tiles, pass->r1 - pass->r0, x + pass->r0 * k.image, w, false,
                             y + from * filters, false, pass->scratch);
    } else {
        ep_conv_correlate(pass, g, filters, x, w, y, false);
    }
}

/* ---- dx ------------------------------------------------------------------------------------- */

/* Compute dx as the convolution of dy with the flipped weights. */
static inline void ep_conv_turned(const ep_pass *pass, const ep_layer *layer, const ep_conv *k) {
    const ep_real *w = ep_w(pass, layer, 0);
    ep_real *flipped = pass->scratch + EP_GEMM_SCRATCH;
    int64_t c = k->g.c, f = k->filters;
    for (int64_t tap = 0; tap < k->taps; tap++) {
        ep_transpose(flipped + tap * f * c, f, c, c, w + (k->taps - 1 - tap) * c * f, f);
    }
    ep_window g = ep_conv_back(k);
    ep_conv_correlate(pass, &g, c, ep_dy(pass, layer), flipped, ep_dx(pass, layer, 0),
                      ep_adds(layer, 0));
}

/* Compute dx: add the patches dy w' to the image, a range of patch columns at a time. w' is the
 * transpose of the weights w (patch, filters). */
static inline void ep_conv_scattered(const ep_pass *pass, const ep_layer *layer, const ep_conv *k) {
    ep_real *dx = ep_dx(pass, layer, 0);
    ep_real *patches = pass->scratch + EP_GEMM_SCRATCH + EP_CONV_FLIPPED;
    const ep_real *dy = ep_dy(pass, layer), *w = ep_w(pass, layer, 0);
    ep_product product = {.k = k->filters,
                          .a_row = k->filters,
                          .a_step = 1,
                          .b_step = 1,
                          .b_col = k->filters,
                          .c = patches};
    int64_t most = ep_conv_at_a_time(ep_min(EP_CONV_COLUMNS, k->patch));
    ep_conv_chunk c = {.sample = pass->r0};
    while (ep_conv_next(&c, k->positions, most, pass->r1)) {
        if (c.q0 == 0 && !ep_adds(layer, 0)) {
            memset(dx + c.sample * k->image, 0, (size_t)(c.samples * k->image) * sizeof *dx);
        }
        product.m = c.samples * (c.q1 - c.q0);
        product.a = dy + (c.sample * k->positions + c.q0) * k->filters;
        for (int64_t j = 0; j < k->patch; j += EP_CONV_COLUMNS) {
            ep_unfold p = {c.q0, c.q1, j, ep_min(j + EP_CONV_COLUMNS, k->patch)};
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

/* Compute dx in the cheapest of three ways: with Winograd tiles or with flipped weights, which both
 * need stride 1, or by adding up patches. */
static inline void ep_conv_backward(const ep_pass *pass, const ep_layer *layer, const ep_window *g,
                                    int64_t filters) {
    ep_conv k = ep_conv_measure(g, filters);
    ep_real *dx = ep_dx(pass, layer, 0);
    const ep_real *dy = ep_dy(pass, layer), *w = ep_w(pass, layer, 0);
    int64_t from = pass->r0 * k.positions;
    if (k.plain) {
        ep_gemm(&(ep_product){.m = (pass->r1 - pass->r0) * k.positions,
                              .n = k.patch,
                              .k = filters,
                              .a = dy + from * filters,
                              .a_row = filters,
                              .a_step = 1,
                              .b = w,
                              .b_step = 1,
                              .b_col = filters,
                              .c = dx + pass->r0 * k.image,
                              .c_row = k.patch,
                              .add = ep_adds(layer, 0)},
                pass->scratch);
        return;
    }
    int64_t lines = (g->c + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE;
    int64_t wide = (k.patch + EP_CONV_WIDE - 1) / EP_CONV_WIDE * EP_CONV_WIDE / (int64_t)EP_LINE;
    double scattered = (double)k.positions * (double)(filters * wide + k.taps * (16 + 6 * lines));
    ep_window back = ep_conv_back(&k);
    ep_winograd tiles = ep_conv_tiles(&back, g->c);
    bool turns = g->h.stride == 1 && g->w.stride == 1 && k.patch * filters <= EP_CONV_FLIPPED &&
                 k.taps * filters <= EP_CONV_BUFFER / EP_CONV_LEAST;
    double turned = turns ? ep_conv_cost(&back, g->c) : scattered;
    if (ep_conv_stepwise(g) &&
        ep_winograd_cost(&tiles) < (turned < scattered ? turned : scattered)) {
        ep_winograd_convolve(&tiles, pass->r1 - pass->r0, dy + from * filters, w, true,
                             dx + pass->r0 * k.image, ep_adds(layer, 0), pass->scratch);
    } else if (turned < scattered) {
        ep_conv_turned(pass, layer, &k);
    } else {
        ep_conv_scattered(pass, layer, &k);
    }
}

/* ---- dw ------------------------------------------------------------------------------------- */

/* Compute rows i0 .. i1 and columns f0 .. f1 of dw = P' dy, where the rows of P are the patches of
 * all positions in order, EP_CONV_SUMMED at a time, and ' is the transpose. Compute dy' P and
 * transpose the result: vectors then run along a patch, so that all lanes are used even if there
 * are few filters, and dy is not packed for every part. */
static inline void ep_conv_gradient_rows(const ep_pass *pass, const ep_layer *layer,
                                         const ep_conv *k, int64_t i0, int64_t i1, int64_t f0,
                                         int64_t f1) {
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
    for (int64_t at = 0; at < total; at += EP_CONV_SUMMED) {
        product.k = ep_min(EP_CONV_SUMMED, total - at);
        product.a = dy + at * k->filters + f0;
        product.add = at > 0;
        for (int64_t done = 0; done < product.k;) {
            int64_t sample = (at + done) / k->positions, q0 = (at + done) % k->positions;
            ep_unfold p = {q0, ep_min(k->positions, q0 + product.k - done), i0, i1};
            ep_unfold_gather(&k->g, &p, x + sample * k->image, patches + done * width);
            done += p.q1 - p.q0;
        }
        int64_t soon = at + product.k, more = ep_min(total - soon, EP_CONV_SUMMED) * k->filters;
        for (int64_t i = 0; width > EP_CONV_WIDE && i < more; i += (int64_t)EP_LINE) {
            __builtin_prefetch(dy + soon * k->filters + i, 0, 2); /* for the next product */
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

/* Compute part `part` of `parts` of dw with Winograd tiles. A part is a range of blocks of channels
 * and filters. */
static inline void ep_conv_gradient_tiled(const ep_pass *pass, const ep_layer *layer,
                                          const ep_winograd *tiles, int64_t part, int64_t parts) {
    int64_t c = tiles->c, f = tiles->filters;
    int64_t high = (c + EP_WINOGRAD_CHANNELS - 1) / EP_WINOGRAD_CHANNELS;
    int64_t wide = (f + EP_WINOGRAD_FILTERS - 1) / EP_WINOGRAD_FILTERS;
    int64_t last = ep_split(high * wide, part + 1, parts);
    for (int64_t block = ep_split(high * wide, part, parts); block < last; block++) {
        int64_t i = block / wide, j = block % wide;
        int64_t c0 = ep_split(c, i, high), c1 = ep_split(c, i + 1, high);
        int64_t f0 = ep_split(f, j, wide), f1 = ep_split(f, j + 1, wide);
        ep_winograd_gradient(tiles, pass->rows, ep_x(pass, layer, 0), ep_dy(pass, layer), c0, c1,
                             f0, f1, ep_dw(pass, layer, 0), pass->scratch);
        for (int64_t tap = 0; tap < tiles->taps * tiles->taps; tap++) {
            ep_ready_block(pass, layer, 0, (tap * c + c0) * f + f0, c1 - c0, f1 - f0, f);
        }
    }
}

/* Compute a part of dw: a range of rows, cut at multiples of EP_CONV_WIDE. If there are too few
 * rows for all parts, the last parts are empty. */
static inline void ep_conv_gradient(const ep_pass *pass, const ep_layer *layer, const ep_window *g,
                                    int64_t filters, int64_t part, int64_t parts) {
    ep_conv k = ep_conv_measure(g, filters);
    ep_winograd tiles;
    if (ep_conv_tiled(&k, &tiles)) {
        ep_conv_gradient_tiled(pass, layer, &tiles, part, parts);
        return;
    }
    int64_t units = (k.patch + EP_CONV_WIDE - 1) / EP_CONV_WIDE;
    int64_t used = ep_min(parts, ep_max(units / 2, ep_min(units, 4)));
    if (part >= used) {
        return;
    }
    int64_t i1 = ep_min(k.patch, ep_split(units, part + 1, used) * EP_CONV_WIDE);
    for (int64_t i = ep_split(units, part, used) * EP_CONV_WIDE; i < i1; i += EP_CONV_ROWS) {
        int64_t end = ep_min(i1, i + EP_CONV_ROWS);
        for (int64_t f = 0; f < filters; f += EP_CONV_FILTERS) {
            ep_conv_gradient_rows(pass, layer, &k, i, end, f, ep_min(filters, f + EP_CONV_FILTERS));
        }
        ep_ready(pass, layer, 0, i * filters, (end - i) * filters);
    }
}

#endif
