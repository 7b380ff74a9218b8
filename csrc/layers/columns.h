/* columns: a matrix of numbers, of few columns or many, gone through fast: sums down the columns, a
 * line of them at a time in registers, and what belongs to columns repeated for several short rows.
 * Four chains of additions hide their latency; which chain a row goes to depends on its number
 * alone, so that neither threads nor the removal of other columns show in a bit. It knows no
 * layer. */
#ifndef EP_LAYERS_COLUMNS_H
#define EP_LAYERS_COLUMNS_H

#include "layer.h"

#include <string.h>

typedef ep_real ep_column_line
    __attribute__((vector_size(EP_ALIGN), aligned(sizeof(ep_real)), may_alias));

/* A line of numbers, or the first `n` of one and zeros: exactly these are read, or written. */
EP_INLINE ep_column_line ep_line_some(const ep_real *from, int64_t n) {
    ep_column_line line = {0};
    memcpy(&line, from, (size_t)n * sizeof *from);
    return line;
}
EP_INLINE void ep_line_write(ep_real *to, ep_column_line line, int64_t n) {
    memcpy(to, &line, (size_t)n * sizeof *to);
}

/* How to read the numbers of one row in a TERM: EP_FULL where whole lines may be read. */
#define EP_FULL(from) (*(const ep_column_line *)(from))
#define EP_SOME(from) ep_line_some(from, some)

/* A term that is not there. */
#define EP_NO_TERM(READ, i) ((ep_column_line){0})

/* One row to its chain; written out, for terms are to be rounded as where rows come in fours. */
#define EP_SUM_ROW(READ, P, Q)                          \
    switch (row & 3) {                                  \
    case 0: p0 += P(READ, i), q0 += Q(READ, i); break;  \
    case 1: p1 += P(READ, i), q1 += Q(READ, i); break;  \
    case 2: p2 += P(READ, i), q2 += Q(READ, i); break;  \
    default: p3 += P(READ, i), q3 += Q(READ, i); break; \
    }

/* For `rows` rows of n columns, of which those from `at` on, a line at most, are summed: p and q (two
 * ep_column_line) = the sums of P(READ, i) and Q(READ, i), terms of the row that begins i numbers
 * after the first, where READ reads. The last rows, behind which a line would reach beyond the
 * matrix, are read exactly. */
#define EP_SUM_COLUMNS(p, q, rows, n, at, P, Q)                                                  \
    do {                                                                                         \
        int64_t some = ep_min((int64_t)EP_LINE, (n) - (at));                                     \
        int64_t beyond = (at) + (int64_t)EP_LINE - (n);                                          \
        int64_t whole = (rows) - (beyond > 0 ? (beyond + (n) - 1) / (n) : 0), row = 0, i = (at); \
        ep_column_line p0 = {0}, p1 = {0}, p2 = {0}, p3 = {0}, q0 = {0}, q1 = {0}, q2 = {0},     \
                       q3 = {0};                                                                 \
        for (; row + 4 <= whole; row += 4, i += 4 * (n)) {                                       \
            p0 += P(EP_FULL, i);                                                                 \
            q0 += Q(EP_FULL, i);                                                                 \
            p1 += P(EP_FULL, i + (n));                                                           \
            q1 += Q(EP_FULL, i + (n));                                                           \
            p2 += P(EP_FULL, i + 2 * (n));                                                       \
            q2 += Q(EP_FULL, i + 2 * (n));                                                       \
            p3 += P(EP_FULL, i + 3 * (n));                                                       \
            q3 += Q(EP_FULL, i + 3 * (n));                                                       \
        }                                                                                        \
        for (; row < whole; row++, i += (n)) {                                                   \
            EP_SUM_ROW(EP_FULL, P, Q);                                                           \
        }                                                                                        \
        for (; row < (rows); row++, i += (n)) {                                                  \
            EP_SUM_ROW(EP_SOME, P, Q);                                                           \
        }                                                                                        \
        (p) = (p0 + p1) + (p2 + p3);                                                             \
        (q) = (q0 + q1) + (q2 + q3);                                                             \
    } while (0)

/* Rows of few columns are gone through several at a time where nothing is summed, for loops over a
 * few numbers are slow: what belongs to the columns is repeated as often as rows fit in. */
enum { EP_TILE = 128 };

/* So many rows of n at a time; 1 where one is long enough. */
EP_INLINE int64_t ep_tile_rows(int64_t n) { return n > 0 ? ep_max(1, EP_TILE / n) : 1; }

/* `from` (n), `rows` times over in `to` (EP_TILE); itself where one row is enough or it is NULL. */
EP_INLINE const ep_real *ep_tile(ep_real *to, const ep_real *from, int64_t n, int64_t rows) {
    for (int64_t row = 0; from && rows > 1 && row < rows; row++) {
        memcpy(to + row * n, from, (size_t)n * sizeof *to);
    }
    return from && rows > 1 ? to : from;
}

#endif
