/* winograd: convolutions by windows of 3 x 3 or 5 x 5 that step by one, with 4/9 and 9/25 of the
 * multiplications, serial. Outputs come in tiles of 2 x 2, each from 4 x 4 or 6 x 6 inputs: both
 * are sent to 16 or 36 planes, where the convolution is a product of matrices over channels, and back
 * (S. Winograd 1980; A. Lavin and S. Gray, arXiv 1509.09308: F(2x2, 3x3) and F(2x2, 5x5)). A tile
 * depends on its own numbers only, and every sum runs in one order: bits show neither how images are
 * split among workers nor channels that compaction has removed. Roundings are about those of a plain
 * sum for 3 x 3, and up to some 30 times as large for 5 x 5 (tests/c/test_winograd.c). It knows
 * nothing of layers. */
#ifndef EP_WINOGRAD_H
#define EP_WINOGRAD_H

#include "base.h"

/* Images (h, w, c), outputs (out_h, out_w, filters), weights (taps, taps, c, filters); output (i, j)
 * is over the inputs from (i - pad_h, j - pad_w) on, zeros beyond the edges. */
typedef struct {
    int taps; /* 3 or 5 */
    int64_t h, w, c;
    int64_t out_h, out_w, filters;
    int64_t pad_h, pad_w;
} ep_winograd;

/* What an image costs, in multiply-adds of lines: measured. */
double ep_winograd_cost(const ep_winograd *s);
/* Numbers of scratch, EP_ALIGN aligned, that every call needs with so many channels or fewer. */
int64_t ep_winograd_scratch(int taps, int64_t c, int64_t filters);

/* y = [y +] the convolution of so many images. `turned`: the weights (taps, taps, filters, c) are
 * those of the convolution the other way, and y is the gradient of its input. Up to a line behind x
 * and w may be read. */
void ep_winograd_convolve(const ep_winograd *s, int64_t images, const ep_real *x, const ep_real *w,
                          bool turned, ep_real *y, bool add, ep_real *scratch);

enum { EP_WINOGRAD_CHANNELS = 32, EP_WINOGRAD_FILTERS = 64 };
/* dw of channels c0 .. c1 and filters f0 .. f1, at most so many, from all images. */
void ep_winograd_gradient(const ep_winograd *s, int64_t images, const ep_real *x, const ep_real *dy,
                          int64_t c0, int64_t c1, int64_t f0, int64_t f1, ep_real *dw,
                          ep_real *scratch);

#endif
