/* columns: fast loops over a (rows, n) matrix with few or many columns. Sums over rows are computed
 * in registers, one vector of columns at a time; other loops process several short rows at once,
 * with per-column values repeated. Each sum has four chains of additions, to hide latency; the
 * chain of a row depends only on its index, so results do not depend on the number of threads or on
 * the removal of other columns. Does not depend on any layer. */
#ifndef EP_LAYERS_COLUMNS_H
#define EP_LAYERS_COLUMNS_H

#include "layer.h"
#include "vector.h"

#include <string.h>

/* Load or store the first n elements of a vector; the rest of a loaded vector is zero. Accesses
 * exactly n elements. */
EP_INLINE ep_line ep_line_get(const ep_real *from, int64_t n) {
    if (n == (int64_t)EP_LINE) {
        return *(const ep_line *)from;
    }
    ep_line line = {0};
    memcpy(&line, from, (size_t)n * sizeof *from);
    return line;
}
EP_INLINE void ep_line_put(ep_real *to, ep_line line, int64_t n) {
    memcpy(to, &line, (size_t)n * sizeof *to);
}

/* The terms of two sums over rows, p and q, for up to EP_LINE columns. */
typedef struct {
    ep_line p, q;
} ep_terms;
/* Function that returns the terms of the n columns that start at offset i of the matrix. */
typedef ep_terms (*ep_terms_of)(const void *context, int64_t i, int64_t n);

/* Add the terms of rows r0 .. r1 to four partial sums: those of row i to sum[i % 4]. `term` is
 * inlined into the addition, so that multiply and add are fused in every row. */
EP_INLINE void ep_add_rows(ep_terms sum[4], int64_t r0, int64_t r1, int64_t n, int64_t at,
                           int64_t width, ep_terms_of term, const void *context) {
    for (int64_t row = r0 & ~(int64_t)3; row < r1; row += 4) {
#pragma GCC unroll 4
        for (int chain = 0; chain < 4; chain++) {
            if (row + chain >= r0 && row + chain < r1) {
                ep_terms t = term(context, (row + chain) * n + at, width);
                sum[chain].p += t.p;
                sum[chain].q += t.q;
            }
        }
    }
}

/* Compute the sums p and q of ep_terms over `rows` rows of a matrix with n columns, for up to
 * EP_LINE columns starting at `at`. `term` is inlined. In the last rows, where a whole vector would
 * reach past the end of the matrix, only the existing columns are read. */
EP_INLINE ep_terms ep_sum_columns(int64_t rows, int64_t n, int64_t at, ep_terms_of term,
                                  const void *context) {
    const int64_t some = ep_min((int64_t)EP_LINE, n - at), beyond = at + (int64_t)EP_LINE - n;
    const int64_t whole = ep_max(0, rows - (beyond > 0 ? (beyond + n - 1) / n : 0));
    ep_terms sum[4] = {{{0}, {0}}};
    int64_t row = 0;
    for (; row + 4 <= whole; row += 4) {
#pragma GCC unroll 4
        for (int chain = 0; chain < 4; chain++) {
            ep_terms t = term(context, (row + chain) * n + at, (int64_t)EP_LINE);
            sum[chain].p += t.p;
            sum[chain].q += t.q;
        }
    }
    ep_add_rows(sum, row, whole, n, at, (int64_t)EP_LINE, term, context);
    ep_add_rows(sum, whole, rows, n, at, some, term, context);
    return (ep_terms){(sum[0].p + sum[1].p) + (sum[2].p + sum[3].p),
                      (sum[0].q + sum[1].q) + (sum[2].q + sum[3].q)};
}

/* Elementwise loops process several short rows at a time, because loops over few elements are slow:
 * per-column values are repeated for as many rows as fit in EP_TILE elements. */
enum { EP_TILE = 128 };

/* Return the number of rows of n elements processed at a time: 1 if a row is long enough. */
EP_INLINE int64_t ep_tile_rows(int64_t n) { return n > 0 ? ep_max(1, EP_TILE / n) : 1; }

/* Write `rows` copies of `from` (n) to `to` (EP_TILE) and return `to`. If `from` is NULL or rows is
 * 1, write nothing and return `from`. */
EP_INLINE const ep_real *ep_tile(ep_real *to, const ep_real *from, int64_t n, int64_t rows) {
    for (int64_t row = 0; from && rows > 1 && row < rows; row++) {
        memcpy(to + row * n, from, (size_t)n * sizeof *to);
    }
    return from && rows > 1 ? to : from;
}

#endif
