/* gemm: matrix products of small and middling size, serial; who calls it decides the threads.
 * Written here and not taken from a BLAS for three reasons (benchmarks/bench_step.py times both):
 * it is as fast as OpenBLAS on the shapes of a training step; every element is summed over k in ONE
 * chain, c = fma(a, b, c) for k = 0, 1, ..., so the bits depend neither on how rows or columns are
 * split among workers nor on zeros that compaction has removed; and finished tiles can be handed on
 * while they are in the first-level cache. It knows nothing of layers. */
#ifndef EP_GEMM_H
#define EP_GEMM_H

#include "base.h"

/* c(i, j) = [c(i, j) +] sum_k a(i, k) b(k, j), i < m, j < n, k < k. Row i of c is contiguous. */
typedef struct {
    int64_t m, n, k;
    const ep_real *a;
    int64_t a_row, a_step; /* a(i, k) = a[i * a_row + k * a_step] */
    const ep_real *b;
    int64_t b_step, b_col; /* b(k, j) = b[k * b_step + j * b_col]; one of them is 1 */
    ep_real *c;
    int64_t c_row;
    bool add;
} ep_product;

enum {
    EP_GEMM_K = 256,      /* k of one packed panel: it fits a first-level cache */
    EP_GEMM_COLUMNS = 32, /* of b in it */
    EP_GEMM_ROWS = 128,   /* numbers of a that are packed for every k, where they are */
    EP_GEMM_SCRATCH = EP_GEMM_K *
        (EP_GEMM_COLUMNS + EP_GEMM_ROWS) /* numbers a call needs, EP_ALIGN aligned */
};

/* Where b_col is 1, up to EP_LINE - 1 numbers behind a row's end may be read (never used): b must
 * lie in a slab. m, n or k may be 0. */
void ep_gemm(const ep_product *product, ep_real *scratch);

/* The same bits where b_col is 1 and all operands are in the nearest cache, or m is small: b is read
 * in place, memory is not prefetched. Reads no memory past the end of b's last row. */
void ep_gemm_near(const ep_product *product);

/* to(i, j) = from(j, i), i < rows, j < columns, and zeros up to to_row. Rows lie to_row and from_row
 * numbers apart. */
void ep_transpose(ep_real *to, int64_t rows, int64_t columns, int64_t to_row, const ep_real *from,
                  int64_t from_row);

#endif
