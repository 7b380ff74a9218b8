/* columns: fast loops over a (rows, n) matrix with few or many columns. Sums columns one vector of
 * columns at a time in registers, and repeats per-column values for several short rows. Four chains
 * of additions hide latency; the chain of a row depends only on its index, so results do not depend
 * on the number of threads or on the removal of other columns. Does not depend on any layer. */
#ifndef EP_LAYERS_COLUMNS_H
#define EP_LAYERS_COLUMNS_H

#include "layer.h"
#include "vector.h"

#include <string.h>

/* Load or store the first `n` elements of a vector; the rest of a loaded vector is zero. Accesses
 * exactly n elements. */
EP_INLINE ep_line ep_line_some(const ep_real *from, int64_t n) {
    ep_line line = {0};
    memcpy(&line, from, (size_t)n * sizeof *from);
    return line;
}
EP_INLINE void ep_line_write(ep_real *to, ep_line line, int64_t n) {
    memcpy(to, &line, (size_t)n * sizeof *to);
}

/* Load macros for the elements of one row in a TERM. EP_FULL reads a whole vector. */
#define EP_FULL(from) (*(const ep_line *)(from))
#define EP_SOME(from) ep_line_some(from, some)

/* An absent term. */
#define EP_NO_TERM(READ, i) ((ep_line){0})

/* Add one row to its chain. Written out so that terms round as in the loop over four rows. */
#define EP_SUM_ROW(READ, P, Q)                          \
    switch (row & 3) {                                  \
    case 0: p0 += P(READ, i), q0 += Q(READ, i); break;  \
    case 1: p1 += P(READ, i), q1 += Q(READ, i); break;  \
    case 2: p2 += P(READ, i), q2 += Q(READ, i); break;  \
    default: p3 += P(READ, i), q3 += Q(READ, i); break; \
    }

/* Sum two terms P and Q over `rows` rows of n columns, for up to EP_LINE columns starting at `at`,
 * into p and q (each an ep_line). P and Q are macros called with a load macro and the offset
 * of the row's first element. The last rows, where a whole vector would reach past the end of the
 * matrix, are read exactly. */
#define EP_SUM_COLUMNS(p, q, rows, n, at, P, Q)                                                  \
    do {                                                                                         \
        int64_t some = ep_min((int64_t)EP_LINE, (n) - (at));                                     \
        int64_t beyond = (at) + (int64_t)EP_LINE - (n);                                          \
        int64_t whole = (rows) - (beyond > 0 ? (beyond + (n) - 1) / (n) : 0), row = 0, i = (at); \
        ep_line p0 = {0}, p1 = {0}, p2 = {0}, p3 = {0}, q0 = {0}, q1 = {0}, q2 = {0}, q3 = {0};  \
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

/* If nothing is summed, process several short rows at a time, because loops over few elements are
 * slow: per-column values are repeated for as many rows as fit. */
enum { EP_TILE = 128 };

/* Number of rows of n processed at a time; 1 if a row is long enough. */
EP_INLINE int64_t ep_tile_rows(int64_t n) { return n > 0 ? ep_max(1, EP_TILE / n) : 1; }

/* Repeat `from` (n) `rows` times in `to` (EP_TILE). Return `from` if it is NULL or rows is 1. */
EP_INLINE const ep_real *ep_tile(ep_real *to, const ep_real *from, int64_t n, int64_t rows) {
    for (int64_t row = 0; from && rows > 1 && row < rows; row++) {
        memcpy(to + row * n, from, (size_t)n * sizeof *to);
    }
    return from && rows > 1 ? to : from;
}

#endif
