/* winograd: see winograd.h. A 1-D transform maps up to 6 vectors to up to 6 vectors. It is applied
 * to the columns of a tile and then to its rows; the lanes of a vector are channels. */
#include "winograd.h"

#include "gemm.h"
#include "vector.h"

#include <string.h>

enum {
    PART = 2, /* side of an output tile */
    MOST_SIDE = 6, /* largest side of an input tile */
    WEIGHTS = 262144, /* maximum number of transformed weights per block */
    LEAST = 32, /* minimum number of filters per block */
    NUMBERS = 131072, /* maximum elements of transformed inputs and outputs per block */
    FEWEST = 16, /* minimum number of tiles per block */
    MOST = 256, /* maximum number of tiles per block */
};

/* ---- 1-D transforms, in place --------------------------------------------------------------- */

typedef void (*line)(ep_vec v[MOST_SIDE]);

/* The five transforms for 3 x 3 windows, interpolated at 0, 1, -1 and infinity. This first one
 * transforms inputs to planes. */
EP_INLINE void of_input_3(ep_vec v[MOST_SIDE]) {
    ep_vec first = v[0] - v[2], sum = v[1] + v[2], difference = v[2] - v[1], last = v[1] - v[3];
    v[0] = first, v[1] = sum, v[2] = difference, v[3] = last;
}
/* Transforms weights to planes. */
EP_INLINE void of_weights_3(ep_vec v[MOST_SIDE]) {
    ep_vec outer = (v[0] + v[2]) * (ep_real)0.5, inner = v[1] * (ep_real)0.5, last = v[2];
    v[1] = outer + inner, v[2] = outer - inner, v[3] = last;
}
/* Transforms planes to outputs. */
EP_INLINE void to_output_3(ep_vec v[MOST_SIDE]) {
    ep_vec first = v[0] + v[1] + v[2], second = v[1] - v[2] - v[3];
    v[0] = first, v[1] = second;
}
/* Transforms gradients of outputs to planes. */
EP_INLINE void of_output_3(ep_vec v[MOST_SIDE]) {
    ep_vec sum = v[0] + v[1], difference = v[0] - v[1], last = -v[1];
    v[1] = sum, v[2] = difference, v[3] = last;
}
/* Transforms planes to gradients of weights. */
EP_INLINE void to_weights_3(ep_vec v[MOST_SIDE]) {
    ep_vec sum = (v[1] + v[2]) * (ep_real)0.5, difference = (v[1] - v[2]) * (ep_real)0.5;
    v[0] += sum, v[1] = difference, v[2] = sum + v[3];
}

/* The five transforms for 5 x 5 windows, interpolated at 0, 1, -1, 2, -2 and infinity. */
EP_INLINE void of_input_5(ep_vec v[MOST_SIDE]) {
    const ep_real four = 4, five = 5, two = 2;
    ep_vec first = four * v[0] - five * v[2] + v[4], last = four * v[1] - five * v[3] + v[5];
    ep_vec even = v[4] - four * v[2], odd = v[3] - four * v[1];
    ep_vec even2 = v[4] - v[2], odd2 = two * (v[3] - v[1]);
    v[0] = first, v[5] = last;
    v[1] = even + odd, v[2] = even - odd, v[3] = even2 + odd2, v[4] = even2 - odd2;
}
EP_INLINE void of_weights_5(ep_vec v[MOST_SIDE]) {
    const ep_real two = 2, four = 4, sixth = (ep_real)(1.0 / 6), small = (ep_real)(1.0 / 24);
    ep_vec even = v[0] + v[2] + v[4], odd = v[1] + v[3], last = v[4];
    ep_vec even2 = v[0] + four * (v[2] + four * v[4]), odd2 = two * (v[1] + four * v[3]);
    v[0] *= (ep_real)0.25, v[5] = last;
    v[1] = -(even + odd) * sixth, v[2] = (odd - even) * sixth;
    v[3] = (even2 + odd2) * small, v[4] = (even2 - odd2) * small;
}
EP_INLINE void to_output_5(ep_vec v[MOST_SIDE]) {
    const ep_real two = 2;
    ep_vec first = v[0] + (v[1] + v[2]) + (v[3] + v[4]);
    ep_vec second = (v[1] - v[2]) + two * (v[3] - v[4]) + v[5];
    v[0] = first, v[1] = second;
}
EP_INLINE void of_output_5(ep_vec v[MOST_SIDE]) {
    const ep_real two = 2;
    ep_vec first = v[0], second = v[1];
    v[1] = first + second, v[2] = first - second;
    v[3] = first + two * second, v[4] = first - two * second, v[5] = second;
}
EP_INLINE void to_weights_5(ep_vec v[MOST_SIDE]) {
    const ep_real two = 2, four = 4, quarter = (ep_real)0.25, sixth = (ep_real)(-1.0 / 6),
                  small = (ep_real)(1.0 / 24);
    ep_vec sum = (v[1] + v[2]) * sixth, difference = (v[1] - v[2]) * sixth;
    ep_vec sum2 = (v[3] + v[4]) * small, difference2 = two * small * (v[3] - v[4]);
    v[0] = quarter * v[0] + sum + sum2, v[1] = difference + difference2;
    v[2] = sum + four * sum2, v[3] = difference + four * difference2;
    v[4] = sum + four * four * sum2 + v[5];
}

/* Transforms a tile of `from` x `from` vectors to one of `to` x `to`, in place. */
EP_INLINE void both_ways(ep_vec t[MOST_SIDE][MOST_SIDE], int from, int to, line transform) {
#pragma GCC unroll 6
    for (int j = 0; j < from; j++) {
        ep_vec v[MOST_SIDE];
#pragma GCC unroll 6
        for (int i = 0; i < from; i++) {
            v[i] = t[i][j];
        }
        transform(v);
#pragma GCC unroll 6
        for (int i = 0; i < to; i++) {
            t[i][j] = v[i];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < to; i++) {
        transform(t[i]);
    }
}

/* ---- between a tile and the planes ---------------------------------------------------------- */

/* Where a tile lies in an array: the channels of its element (i, j) start at offset at[i][j], which
 * is negative outside the image. */
typedef struct {
    int64_t at[MOST_SIDE][MOST_SIDE];
} tile;

/* Transforms a tile of `from` x `from` elements with n channels to `side` x `side` planes, whose
 * starts are `apart` elements apart. Elements outside the image are read from `zeros`. Reads and
 * writes whole vectors of channels. */
EP_INLINE void send(int from, int side, line transform, const ep_real *array, const tile *where,
                    int64_t n, const ep_real *zeros, ep_real *planes, int64_t apart) {
    const ep_real *of[MOST_SIDE][MOST_SIDE];
#pragma GCC unroll 6
    for (int i = 0; i < from; i++) {
#pragma GCC unroll 6
        for (int j = 0; j < from; j++) {
            of[i][j] = where->at[i][j] < 0 ? zeros : array + where->at[i][j];
        }
    }
    for (int64_t k = 0; k < n; k += EP_LANES) {
        ep_vec t[MOST_SIDE][MOST_SIDE];
#pragma GCC unroll 6
        for (int i = 0; i < from; i++) {
#pragma GCC unroll 6
            for (int j = 0; j < from; j++) {
                t[i][j] = *(const ep_vec_loose *)(of[i][j] + k);
            }
        }
        both_ways(t, from, side, transform);
#pragma GCC unroll 6
        for (int i = 0; i < side; i++) {
#pragma GCC unroll 6
            for (int j = 0; j < side; j++) {
                *(ep_vec *)(planes + (i * side + j) * apart + k) = t[i][j];
            }
        }
    }
}

/* Transforms `side` x `side` planes to a tile of `to` x `to` elements and stores it or, if `add`,
 * adds it. Writes exactly n channels. */
EP_INLINE void bring(int side, int to, line transform, ep_real *array, const tile *where, int64_t n,
                     const ep_real *planes, int64_t apart, bool add) {
    for (int64_t k = 0; k < n; k += EP_LANES) {
        ep_vec t[MOST_SIDE][MOST_SIDE];
#pragma GCC unroll 6
        for (int i = 0; i < side; i++) {
#pragma GCC unroll 6
            for (int j = 0; j < side; j++) {
                t[i][j] = *(const ep_vec *)(planes + (i * side + j) * apart + k);
            }
        }
        both_ways(t, side, to, transform);
        int64_t some = ep_min(EP_LANES, n - k);
#pragma GCC unroll 5
        for (int i = 0; i < to; i++) {
#pragma GCC unroll 5
            for (int j = 0; j < to; j++) {
                ep_real *at = array + where->at[i][j] + k;
                if (where->at[i][j] >= 0) {
                    ep_vec_put(at, add ? ep_vec_get(at, some) + t[i][j] : t[i][j], some);
                }
            }
        }
    }
}

/* Sets *where to the side x side tile whose first element is (y, x) of the image (h, w, n) that
 * starts at offset `image`. */
EP_INLINE void place(tile *where, int side, int64_t image, int64_t h, int64_t w, int64_t n,
                     int64_t y, int64_t x) {
    int64_t first = image + (y * w + x) * n;
    bool inside = y >= 0 && y + side <= h && x >= 0 && x + side <= w;
#pragma GCC unroll 6
    for (int i = 0; i < side; i++) {
#pragma GCC unroll 6
        for (int j = 0; j < side; j++) {
            where->at[i][j] = first + (i * w + j) * n;
            if (!inside && (y + i < 0 || y + i >= h || x + j < 0 || x + j >= w)) {
                where->at[i][j] = -1;
            }
        }
    }
}

/* ---- many tiles ----------------------------------------------------------------------------- */

/* Returns the distance in elements between the starts of two planes (rows, columns). One cache line
 * of padding avoids planes a power of two apart, which would map to few sets of the cache. */
EP_INLINE int64_t apart(int64_t rows, int64_t columns) { return rows * columns + (int64_t)EP_LINE; }
/* Returns n rounded up to a multiple of the elements of a vector. */
EP_INLINE int64_t whole(int64_t n) { return (n + EP_LANES - 1) / EP_LANES * EP_LANES; }

typedef struct {
    int64_t high, wide, all; /* tiles in a column and in a row of an image, and in all images */
} tiles;

static tiles tiles_of(const ep_winograd *s, int64_t images) {
    tiles t = {.high = (s->out_h + PART - 1) / PART, .wide = (s->out_w + PART - 1) / PART};
    t.all = images * t.high * t.wide;
    return t;
}

/* The position of a tile: its image and its first output. */
typedef struct {
    int64_t image, y, x;
} spot;

static spot spot_of(const tiles *t, int64_t q) {
    int64_t image = q / (t->high * t->wide), rest = q - image * t->high * t->wide;
    return (spot){image, rest / t->wide * PART, rest % t->wide * PART};
}
EP_INLINE void move_on(spot *at, const tiles *t) {
    at->x += PART;
    if (at->x >= t->wide * PART) {
        at->x = 0, at->y += PART;
    }
    if (at->y >= t->high * PART) {
        at->y = 0, at->image++;
    }
}

/* Transforms channels c0 .. c1 - 1 of the inputs of tiles q0 .. q1 - 1 to planes, which have a row
 * of whole(c1 - c0) elements for each tile and are `plane` elements apart. */
EP_INLINE void inputs(int taps, line transform, const ep_winograd *s, const tiles *t, int64_t q0,
                      int64_t q1, const ep_real *x, int64_t c0, int64_t c1, const ep_real *zeros,
                      ep_real *planes, int64_t plane) {
    spot at = spot_of(t, q0);
    for (int64_t q = q0; q < q1; q++, planes += whole(c1 - c0), move_on(&at, t)) {
        tile where;
        place(&where, taps + 1, at.image * s->h * s->w * s->c + c0, s->h, s->w, s->c,
              at.y - s->pad_h, at.x - s->pad_w);
        send(taps + 1, taps + 1, transform, x, &where, c1 - c0, zeros, planes, plane);
    }
}

/* Returns where the outputs of a tile lie in y, from filter f0 on. `at`: position of the tile. */
EP_INLINE tile outputs(const ep_winograd *s, spot at, int64_t f0) {
    tile where;
    place(&where, PART, at.image * s->out_h * s->out_w * s->filters + f0, s->out_h, s->out_w,
          s->filters, at.y, at.x);
    return where;
}

/* Returns the offsets of the weights of channel c, from filter f on, in an array (taps, taps,
 * channels, filters). */
EP_INLINE tile window(int taps, int64_t channels, int64_t filters, int64_t c, int64_t f) {
    tile where;
#pragma GCC unroll 5
    for (int i = 0; i < taps; i++) {
#pragma GCC unroll 5
        for (int j = 0; j < taps; j++) {
            where.at[i][j] = ((i * taps + j) * channels + c) * filters + f;
        }
    }
    return where;
}

/* The transforms for one window size. */
typedef struct {
    void (*inputs)(const ep_winograd *s, const tiles *t, int64_t q0, int64_t q1, const ep_real *x,
                   int64_t c0, int64_t c1, const ep_real *zeros, ep_real *planes, int64_t plane);
    /* Transforms filters f0 .. f1 - 1 of w (taps, taps, c, filters) to planes with rows of `row`
     * elements. */
    void (*weights)(int64_t c, int64_t filters, const ep_real *w, int64_t f0, int64_t f1,
                    ep_real *planes, int64_t row, int64_t plane);
    /* Transforms planes to the outputs y of tiles q0 .. q1 - 1 and filters f0 .. f1 - 1. */
    void (*outputs)(const ep_winograd *s, const tiles *t, int64_t q0, int64_t q1, ep_real *y,
                    int64_t f0, int64_t f1, const ep_real *planes, int64_t plane, bool add);
    /* Transforms dy of tiles q0 .. q1 - 1 and filters f0 .. f1 - 1 to planes. */
    void (*gradients)(const ep_winograd *s, const tiles *t, int64_t q0, int64_t q1,
                      const ep_real *dy, int64_t f0, int64_t f1, const ep_real *zeros,
                      ep_real *planes, int64_t plane);
    /* Transforms planes to dw of the c channels from c0 on and the f filters from f0 on. */
    void (*finish)(const ep_winograd *s, ep_real *dw, int64_t c0, int64_t c, int64_t f0, int64_t f,
                   const ep_real *planes, int64_t plane);
} scheme;

/* Defines the functions of one window size. A macro, so that each function is compiled for one
 * size: inline functions that take the size as an argument make a training step of a CNN 2.5 %
 * slower (AVX-512). */
#define SCHEME(TAPS)                                                                              \
    static void inputs_##TAPS(const ep_winograd *s, const tiles *t, int64_t q0, int64_t q1,       \
                              const ep_real *x, int64_t c0, int64_t c1, const ep_real *zeros,     \
                              ep_real *planes, int64_t plane) {                                   \
        inputs(TAPS, of_input_##TAPS, s, t, q0, q1, x, c0, c1, zeros, planes, plane);             \
    }                                                                                             \
    static void weights_##TAPS(int64_t c, int64_t filters, const ep_real *w, int64_t f0,          \
                               int64_t f1, ep_real *planes, int64_t row, int64_t plane) {         \
        for (int64_t i = 0; i < c; i++) {                                                         \
            tile where = window(TAPS, c, filters, i, f0);                                         \
            send(TAPS, TAPS + 1, of_weights_##TAPS, w, &where, f1 - f0, w, planes + i * row,      \
                 plane);                                                                          \
        }                                                                                         \
    }                                                                                             \
    static void outputs_##TAPS(const ep_winograd *s, const tiles *t, int64_t q0, int64_t q1,      \
                               ep_real *y, int64_t f0, int64_t f1, const ep_real *planes,         \
                               int64_t plane, bool add) {                                         \
        spot at = spot_of(t, q0);                                                                 \
        for (int64_t q = q0; q < q1; q++, planes += whole(f1 - f0), move_on(&at, t)) {            \
            tile where = outputs(s, at, f0);                                                      \
            bring(TAPS + 1, PART, to_output_##TAPS, y, &where, f1 - f0, planes, plane, add);      \
        }                                                                                         \
    }                                                                                             \
    static void gradients_##TAPS(const ep_winograd *s, const tiles *t, int64_t q0, int64_t q1,    \
                                 const ep_real *dy, int64_t f0, int64_t f1, const ep_real *zeros, \
                                 ep_real *planes, int64_t plane) {                                \
        spot at = spot_of(t, q0);                                                                 \
        for (int64_t q = q0; q < q1; q++, planes += whole(f1 - f0), move_on(&at, t)) {            \
            tile where = outputs(s, at, f0);                                                      \
            send(PART, TAPS + 1, of_output_##TAPS, dy, &where, f1 - f0, zeros, planes, plane);    \
        }                                                                                         \
    }                                                                                             \
    static void finish_##TAPS(const ep_winograd *s, ep_real *dw, int64_t c0, int64_t c,           \
                              int64_t f0, int64_t f, const ep_real *planes, int64_t plane) {      \
        for (int64_t i = 0; i < c; i++) {                                                         \
            tile where = window(TAPS, s->c, s->filters, c0 + i, f0);                              \
            bring(TAPS + 1, TAPS, to_weights_##TAPS, dw, &where, f, planes + i * whole(f), plane, \
                  false);                                                                         \
        }                                                                                         \
    }                                                                                             \
    static const scheme scheme_##TAPS = {inputs_##TAPS, weights_##TAPS, outputs_##TAPS,           \
                                         gradients_##TAPS, finish_##TAPS};

SCHEME(3)
SCHEME(5)

/* ---- sizes ---------------------------------------------------------------------------------- */

static int64_t planes_of(int taps) { return (taps + 1) * (taps + 1); }

static int64_t filters_at_a_time(int64_t planes, int64_t c) {
    return ep_max(LEAST, WEIGHTS / planes / ep_max(1, c) / LEAST * LEAST);
}

static int64_t tiles_at_a_time(int64_t planes, int64_t c, int64_t filters) {
    int64_t fit = NUMBERS / planes / ep_max(1, whole(c) + whole(filters));
    return ep_max(FEWEST, ep_min(MOST, fit));
}

int64_t ep_winograd_scratch(int taps, int64_t c, int64_t filters) {
    int64_t planes = planes_of(taps);
    int64_t most = whole(ep_max(ep_max(c, filters), EP_WINOGRAD_FILTERS));
    int64_t all = ep_times(whole(c), whole(filters));
    int64_t weights = ep_max(WEIGHTS / planes, most * LEAST) + most * EP_LANES;
    int64_t numbers = ep_max(NUMBERS / planes, 2 * FEWEST * most);
    return EP_GEMM_SCRATCH + most +
           planes * (ep_min(weights, all < 0 ? weights : all) + numbers + 3 * (int64_t)EP_LINE);
}

double ep_winograd_cost(const ep_winograd *s) {
    const int64_t lanes = (int64_t)EP_LINE;
    double c = (double)((s->c + lanes - 1) / lanes), f = (double)((s->filters + lanes - 1) / lanes);
    double all = (double)((s->out_h + 1) / PART) * (double)((s->out_w + 1) / PART);
    return all * (double)planes_of(s->taps) * (1.25 * (double)s->c * f + 8.5 * (c + f) + 12);
}

/* ---- the products --------------------------------------------------------------------------- */

void ep_winograd_convolve(const ep_winograd *s, int64_t images, const ep_real *x, const ep_real *w,
                          bool transposed, ep_real *y, bool add, ep_real *scratch) {
    const scheme *by = s->taps == 3 ? &scheme_3 : &scheme_5;
    int64_t planes = planes_of(s->taps), windows = (int64_t)s->taps * s->taps;
    tiles all = tiles_of(s, images);
    int64_t most_filters = ep_min(s->filters, filters_at_a_time(planes, s->c));
    int64_t row = whole(most_filters);
    int64_t most = ep_min(all.all, tiles_at_a_time(planes, s->c, most_filters));
    int64_t weights_apart = apart(s->c, row), x_apart = apart(most, whole(s->c)),
            y_apart = apart(most, row);
    ep_real *zeros = scratch + EP_GEMM_SCRATCH, *weights = zeros + whole(s->c);
    ep_real *of_x = weights + planes * weights_apart, *of_y = of_x + planes * x_apart;
    memset(zeros, 0, (size_t)whole(s->c) * sizeof *zeros);
    for (int64_t f0 = 0; f0 < s->filters; f0 += most_filters) {
        int64_t f1 = ep_min(s->filters, f0 + most_filters);
        if (transposed) {
            for (int64_t tap = 0; tap < windows; tap++) {
                ep_transpose(of_x + tap * s->c * row, s->c, f1 - f0, row,
                             w + ((windows - 1 - tap) * s->filters + f0) * s->c, s->c);
            }
            by->weights(s->c, row, of_x, 0, f1 - f0, weights, row, weights_apart);
        } else {
            by->weights(s->c, s->filters, w, f0, f1, weights, row, weights_apart);
        }
        for (int64_t q0 = 0; q0 < all.all; q0 += most) {
            int64_t q1 = ep_min(all.all, q0 + most);
            by->inputs(s, &all, q0, q1, x, 0, s->c, zeros, of_x, x_apart);
            for (int64_t p = 0; p < planes; p++) {
                ep_gemm(&(ep_product){.m = q1 - q0,
                                      .n = f1 - f0,
                                      .k = s->c,
                                      .a = of_x + p * x_apart,
                                      .a_row = whole(s->c),
                                      .a_step = 1,
                                      .b = weights + p * weights_apart,
                                      .b_step = row,
                                      .b_col = 1,
                                      .c = of_y + p * y_apart,
                                      .c_row = whole(f1 - f0)},
                        scratch);
            }
            by->outputs(s, &all, q0, q1, y, f0, f1, of_y, y_apart, add);
        }
    }
}

void ep_winograd_gradient(const ep_winograd *s, int64_t images, const ep_real *x, const ep_real *dy,
                          int64_t c0, int64_t c1, int64_t f0, int64_t f1, ep_real *dw,
                          ep_real *scratch) {
    const scheme *by = s->taps == 3 ? &scheme_3 : &scheme_5;
    int64_t planes = planes_of(s->taps);
    tiles all = tiles_of(s, images);
    int64_t c = c1 - c0, f = f1 - f0, longest = whole(ep_max(c, f));
    int64_t most = tiles_at_a_time(planes, c, f);
    int64_t dw_apart = apart(c, whole(f)), x_apart = apart(most, whole(c)),
            y_apart = apart(most, whole(f));
    ep_real *zeros = scratch + EP_GEMM_SCRATCH, *sums = zeros + longest;
    ep_real *of_x = sums + planes * dw_apart, *of_y = of_x + planes * x_apart;
    memset(zeros, 0, (size_t)longest * sizeof *zeros);
    if (all.all == 0) {
        memset(sums, 0, (size_t)(planes * dw_apart) * sizeof *sums);
    }
    for (int64_t q0 = 0; q0 < all.all; q0 += most) {
        int64_t q1 = ep_min(all.all, q0 + most);
        by->inputs(s, &all, q0, q1, x, c0, c1, zeros, of_x, x_apart);
        by->gradients(s, &all, q0, q1, dy, f0, f1, zeros, of_y, y_apart);
        for (int64_t p = 0; p < planes; p++) {
            ep_gemm(&(ep_product){.m = c,
                                  .n = f,
                                  .k = q1 - q0,
                                  .a = of_x + p * x_apart,
                                  .a_row = 1,
                                  .a_step = whole(c),
                                  .b = of_y + p * y_apart,
                                  .b_step = whole(f),
                                  .b_col = 1,
                                  .c = sums + p * dw_apart,
                                  .c_row = whole(f),
                                  .add = q0 > 0},
                    scratch);
        }
    }
    by->finish(s, dw, c0, c, f0, f, sums, dw_apart);
}
