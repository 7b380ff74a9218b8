/* Winograd convolutions against plain loops in double: forward, transposed and gradients, at sizes
 * around the edges of tiles, vectors and blocks. Results are bit-identical however images and
 * filters are split, and whether or not channels of zeros have been removed; no memory outside the
 * operands is accessed. */
#include "winograd.h"

#include "check.h"

#include <math.h>
#include <string.h>

enum { LINE = (int)EP_LINE, IMAGES = 3 };

/* Return scratch memory of exactly the size that a call may use. */
static ep_real *fresh_scratch(const ep_winograd *s) {
    int64_t n = ep_winograd_scratch(s->taps, s->c, s->filters);
    ep_real *at = aligned_alloc(EP_ALIGN, (size_t)(n + LINE - 1) / LINE * EP_ALIGN);
    memset(at, 0xff, (size_t)n * sizeof *at); /* NaN: no result may depend on old contents */
    return at;
}

/* Return n elements followed by a cache line of NaN, which may be read but must have no effect. */
static ep_real *spared(int64_t n, uint64_t seed) {
    ep_real *at = numbers(n + LINE, seed);
    for (int64_t i = n; i < n + LINE; i++) {
        at[i] = (ep_real)NAN;
    }
    return at;
}

/* True if no error exceeds 50 u (3 x 3 filters) or 1000 u (5 x 5), where u is the rounding error of
 * the largest expected value. The largest errors measured, in sums of up to 1,700 terms, are 27 u
 * and 460 u. */
static bool near(int taps, const ep_real *got, const double *expected, int64_t n) {
    double largest = 0, furthest = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(expected[i]));
        double apart = fabs((double)got[i] - expected[i]);
        furthest = isnan(apart) ? INFINITY : fmax(furthest, apart);
    }
    return furthest <= (taps == 3 ? 50 : 1000) * pow(2, sizeof(ep_real) == 4 ? -24 : -53) * largest;
}

/* Run the body for every output pixel of an image and every tap whose input pixel is inside the
 * image. The body uses `at`, the index of the output pixel in y, `from`, the index of the input
 * pixel in x, and `tap`, the index of the tap in w. */
#define EACH_TAP(s, image, at, from, tap, ...)                              \
    for (int64_t oy = 0; oy < (s)->out_h; oy++) {                           \
        for (int64_t ox = 0; ox < (s)->out_w; ox++) {                       \
            for (int64_t tap = 0; tap < (s)->taps * (s)->taps; tap++) {     \
                int64_t iy = oy - (s)->pad_h + tap / (s)->taps;             \
                int64_t ix = ox - (s)->pad_w + tap % (s)->taps;             \
                int64_t at = ((image) * (s)->out_h + oy) * (s)->out_w + ox; \
                int64_t from = ((image) * (s)->h + iy) * (s)->w + ix;       \
                if (iy >= 0 && iy < (s)->h && ix >= 0 && ix < (s)->w) {     \
                    __VA_ARGS__                                             \
                }                                                           \
            }                                                               \
        }                                                                   \
    }

static void one(int taps, int64_t h, int64_t w, int64_t c, int64_t f, int64_t pad_h,
                int64_t pad_w) {
    ep_winograd s = {.taps = taps,
                     .h = h,
                     .w = w,
                     .c = c,
                     .out_h = h + 2 * pad_h - taps + 1,
                     .out_w = w + 2 * pad_w - taps + 1,
                     .filters = f,
                     .pad_h = pad_h,
                     .pad_w = pad_w};
    ep_winograd back = {.taps = taps,
                        .h = s.out_h,
                        .w = s.out_w,
                        .c = f,
                        .out_h = h,
                        .out_w = w,
                        .filters = c,
                        .pad_h = taps - 1 - pad_h,
                        .pad_w = taps - 1 - pad_w};
    int64_t n_x = IMAGES * h * w * c, n_y = IMAGES * s.out_h * s.out_w * f;
    int64_t n_w = taps * taps * c * f;
    ep_real *x = spared(n_x, 1), *weights = spared(n_w, 2), *dy = spared(n_y, 3);
    ep_real *y = numbers(n_y, 4), *dx = numbers(n_x, 5), *dw = numbers(n_w, 6);
    ep_real *scratch = fresh_scratch(&s);
    double *right_y = calloc((size_t)n_y, sizeof *right_y);
    double *right_dx = calloc((size_t)n_x, sizeof *right_dx);
    double *right_dw = calloc((size_t)n_w, sizeof *right_dw);
    for (int64_t i = 0; i < n_x; i++) {
        right_dx[i] = (double)dx[i]; /* gradients are added to dx */
    }
    for (int64_t image = 0; image < IMAGES; image++) {
        EACH_TAP(&s, image, at, from, tap, {
            for (int64_t i = 0; i < c; i++) {
                for (int64_t j = 0; j < f; j++) {
                    double weight = (double)weights[(tap * c + i) * f + j];
                    double of_x = (double)x[from * c + i], of_dy = (double)dy[at * f + j];
                    right_y[at * f + j] += of_x * weight;
                    right_dx[from * c + i] += of_dy * weight;
                    right_dw[(tap * c + i) * f + j] += of_x * of_dy;
                }
            }
        })
    }
    ep_winograd_convolve(&s, IMAGES, x, weights, false, y, false, scratch);
    ep_winograd_convolve(&back, IMAGES, dy, weights, true, dx, true, scratch);
    for (int64_t c0 = 0; c0 < c; c0 += EP_WINOGRAD_CHANNELS) {
        for (int64_t f0 = 0; f0 < f; f0 += EP_WINOGRAD_FILTERS) {
            ep_winograd_gradient(&s, IMAGES, x, dy, c0, ep_min(c, c0 + EP_WINOGRAD_CHANNELS), f0,
                                 ep_min(f, f0 + EP_WINOGRAD_FILTERS), dw, scratch);
        }
    }
    bool right = near(taps, y, right_y, n_y) && near(taps, dx, right_dx, n_x) &&
                 near(taps, dw, right_dw, n_w);
    if (!right) {
        fprintf(stderr, "%d x %d x %d, taps %d, filters %d, padding %d %d\n", (int)h, (int)w,
                (int)c, taps, (int)f, (int)pad_h, (int)pad_w);
        CHECK(!"a convolution by tiles is not the plain loop's");
    }

    /* Convolving one image at a time gives bit-identical results. */
    ep_real *alone = numbers(n_y, 7);
    for (int64_t image = 0; image < IMAGES; image++) {
        ep_winograd_convolve(&s, 1, x + image * (n_x / IMAGES), weights, false,
                             alone + image * (n_y / IMAGES), false, scratch);
    }
    CHECK(memcmp(alone, y, (size_t)n_y * sizeof *y) == 0);

    /* Computing the gradients of one filter at a time gives bit-identical results. */
    ep_real *single = numbers(n_w, 8);
    for (int64_t j = 0; j < ep_min(f, 5) && c <= EP_WINOGRAD_CHANNELS; j++) {
        ep_winograd_gradient(&s, IMAGES, x, dy, 0, c, j, j + 1, single, scratch);
        for (int64_t i = 0; i < taps * taps * c; i++) {
            CHECK(memcmp(&single[i * f + j], &dw[i * f + j], sizeof *dw) == 0);
        }
    }
    free(x), free(weights), free(dy), free(y), free(dx), free(dw), free(scratch), free(alone);
    free(single), free(right_y), free(right_dx), free(right_dw);
}

static void test_against_plain_loops(void) {
    for (int taps = 3; taps <= 5; taps += 2) {
        for (int64_t h = taps; h <= taps + 3; h++) {
            one(taps, h, 7, 3, 5, 0, taps / 2);
            one(taps, 6, h, 17, 1, taps / 2, 0);
            one(taps, h, h, LINE, LINE + 1, taps - 1, 1);
        }
        one(taps, 1, 9, 4, 3, taps / 2, taps / 2);  /* image lower than a window */
        one(taps, 9, 8, 5, 130, 1, 1);              /* several blocks of filters */
        one(taps, 6, 6, 150, 40, taps / 2, 1);      /* several blocks of channels */
        one(taps, 24, 23, 35, 36, 0, taps / 2);     /* several blocks of tiles */
    }
}

/* Removing channels of zeros with their weights leaves results bit-identical. */
static void test_removed_zeros(void) {
    enum { C = 40, F = 20, SIDE = 8, OUT = IMAGES * SIDE * SIDE * F };
    ep_winograd s = {.taps = 3,
                     .h = SIDE,
                     .w = SIDE,
                     .c = C,
                     .out_h = SIDE,
                     .out_w = SIDE,
                     .filters = F,
                     .pad_h = 1,
                     .pad_w = 1};
    ep_real *x = numbers(IMAGES * SIDE * SIDE * C + LINE, 1), *w = numbers(9 * C * F + LINE, 2);
    ep_real *fewer_x = numbers(IMAGES * SIDE * SIDE * C + LINE, 3);
    ep_real *fewer_w = numbers(9 * C * F + LINE, 4), *y = numbers(OUT, 5), *z = numbers(OUT, 6);
    ep_real *scratch = fresh_scratch(&s);
    int64_t left = 0;
    for (int64_t i = 0; i < C; i++) {
        left += i % 3 != 1;
    }
    for (int64_t i = 0, to = 0; i < C; i++) {
        for (int64_t q = 0; q < IMAGES * SIDE * SIDE; q++) {
            if (i % 3 == 1) {
                x[q * C + i] = 0;
            } else {
                fewer_x[q * left + to] = x[q * C + i];
            }
        }
        for (int64_t tap = 0; tap < 9 && i % 3 != 1; tap++) {
            memcpy(fewer_w + (tap * left + to) * F, w + (tap * C + i) * F, F * sizeof *w);
        }
        to += i % 3 != 1;
    }
    ep_winograd_convolve(&s, IMAGES, x, w, false, y, false, scratch);
    s.c = left;
    ep_winograd_convolve(&s, IMAGES, fewer_x, fewer_w, false, z, false, scratch);
    CHECK(left == 27 && memcmp(y, z, OUT * sizeof *y) == 0);
    free(x), free(w), free(fewer_x), free(fewer_w), free(y), free(z), free(scratch);
}

/* Without images, gradients are zero and nothing else is written. */
static void test_no_images(void) {
    ep_winograd s = {.taps = 5, .h = 6, .w = 6, .c = 3, .out_h = 2, .out_w = 2, .filters = 4};
    ep_real *scratch = fresh_scratch(&s), *dw = spared(25 * 3 * 4, 1), *x = spared(0, 2);
    ep_winograd_gradient(&s, 0, x, x, 0, 3, 0, 4, dw, scratch);
    for (int64_t i = 0; i < 25 * 3 * 4; i++) {
        CHECK(dw[i] == 0);
    }
    ep_winograd_convolve(&s, 0, x, dw, false, x, false, scratch);
    free(scratch), free(dw), free(x);
}

int main(void) {
    test_against_plain_loops();
    test_removed_zeros();
    test_no_images();
    return failures != 0;
}
