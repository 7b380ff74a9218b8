/* gemm: serial products of small and medium matrices; the caller splits the work among threads.
 * It replaces a BLAS for three reasons (benchmarks/bench_step.py times both): it is as fast as
 * OpenBLAS on the shapes of a training step; every element is summed over k in ONE chain,
 * c = fma(a, b, c) for k = 0, 1, ..., so results are bit-identical however rows or columns are
 * split among workers and whether or not compaction has removed zeros; and finished tiles can be
 * used while they are in the L1 cache. Independent of layers. */
#ifndef EP_GEMM_H
#define EP_GEMM_H

#include "base.h"

/* The product c(i, j) = sum of a(i, s) b(s, j) over steps s < k, for i < m and j < n. If `add` is
 * true, the sums are added to `c`. Row i of `c` starts at c + i * c_row and is contiguous. */
typedef struct {
    int64_t m, n, k;
    const ep_real *a;
    int64_t a_row, a_step; /* a(i, s) = a[i * a_row + s * a_step] */
    const ep_real *b;
    int64_t b_step, b_col; /* b(s, j) = b[s * b_step + j * b_col]; b_step or b_col is 1 */
    ep_real *c;
    int64_t c_row;
    bool add;
} ep_product;

enum {
    EP_GEMM_K = 256,      /* steps of k in one packed panel, which fits the L1 cache */
    EP_GEMM_COLUMNS = 32, /* columns of `b` in a panel */
    EP_GEMM_ROWS = 128,   /* elements of the packed `a` per step of k */
    EP_GEMM_SCRATCH = EP_GEMM_K *
        (EP_GEMM_COLUMNS + EP_GEMM_ROWS) /* elements of the `scratch` of ep_gemm() */
};

/* Computes the product. If b_col is 1, up to EP_LINE - 1 elements after the end of a row may be
 * read but not used, so `b` must lie in a slab. m, n or k may be 0. `scratch` has EP_GEMM_SCRATCH
 * elements and is aligned to EP_ALIGN bytes. */
void ep_gemm(const ep_product *product, ep_real *scratch);

/* Computes a product bit-identical to that of ep_gemm. Requires b_col = 1; meant for operands in
 * the L1 cache or for small m. Reads `b` in place, prefetches nothing, and reads no memory past the
 * end of the last row of `b`. */
void ep_gemm_near(const ep_product *product);

/* to(i, j) = from(j, i) for i < rows, j < columns, and 0 for columns <= j < to_row. to_row and
 * from_row are the row strides in elements. */
void ep_transpose(ep_real *to, int64_t rows, int64_t columns, int64_t to_row, const ep_real *from,
                  int64_t from_row);

#endif
