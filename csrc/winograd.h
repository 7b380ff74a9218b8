/* winograd: serial Winograd convolutions for 3 x 3 or 5 x 5 windows with stride 1. They need 4/9 or
 * 9/25 of the multiplications. A 2 x 2 tile of outputs depends on 4 x 4 or 6 x 6 inputs. Inputs and
 * weights are transformed to 16 or 36 planes, where the convolution is a matrix product over
 * channels, and the result is transformed back (S. Winograd 1980; A. Lavin and S. Gray, arXiv
 * 1509.09308: F(2x2, 3x3) and F(2x2, 5x5)). Tiles are independent and sums have a fixed order, so
 * results are bit-identical however images are split and whether or not compaction has removed
 * channels. Rounding errors: about those of a plain sum for 3 x 3, up to about 30 times as large
 * for 5 x 5 (tests/c/test_winograd.c). Independent of layers. */
#ifndef EP_WINOGRAD_H
#define EP_WINOGRAD_H

#include "base.h"

/* Images (h, w, c), outputs (out_h, out_w, filters), weights (taps, taps, c, filters). The window
 * of output (i, j) starts at input (i - pad_h, j - pad_w); inputs beyond the edges are 0. */
typedef struct {
    int taps; /* 3 or 5 */
    int64_t h, w, c;
    int64_t out_h, out_w, filters;
    int64_t pad_h, pad_w;
} ep_winograd;

/* Estimated cost of one image, fitted to measurements. Unit: a multiply-add of one cache line. */
double ep_winograd_cost(const ep_winograd *s);
/* Elements of scratch, EP_ALIGN aligned, for calls with up to `c` channels and up to `filters`
 * filters. */
int64_t ep_winograd_scratch(int taps, int64_t c, int64_t filters);

/* Writes the convolution of `images` images x with weights w to y or, if `add`, adds it to y. If
 * `transposed`, w (taps, taps, filters, c) holds the weights of a forward convolution, x is the
 * gradient of its output, and y becomes the gradient of its input. May read up to one cache line
 * past the end of x and w. */
void ep_winograd_convolve(const ep_winograd *s, int64_t images, const ep_real *x, const ep_real *w,
                          bool transposed, ep_real *y, bool add, ep_real *scratch);

enum { EP_WINOGRAD_CHANNELS = 32, EP_WINOGRAD_FILTERS = 64 };
/* Computes dw of channels c0 .. c1 - 1 and filters f0 .. f1 - 1 from all images: at most
 * EP_WINOGRAD_CHANNELS channels and EP_WINOGRAD_FILTERS filters. */
void ep_winograd_gradient(const ep_winograd *s, int64_t images, const ep_real *x, const ep_real *dy,
                          int64_t c0, int64_t c1, int64_t f0, int64_t f1, ep_real *dw,
                          ep_real *scratch);

#endif
