/* Matrix products of all small sizes, and of sizes around the edges of panels, in every layout,
 * against a plain loop. Each element is one chain of additions over k, so results are
 * bit-identical however the work is split. No memory outside the operands is accessed. */
#include "gemm.h"

#include "check.h"

#include <math.h>
#include <string.h>

enum { MOST = 70, LINE = (int)EP_LINE };

static const int64_t edges[] = {0, 1, 2, 3, 5, 6, 7, 13, 14, 15, 16, 17, 31, 32, 33, 64, 70};
static ep_real *scratch; /* of exactly the size that a call may use */

static ep_real chain(ep_real sum, ep_real a, ep_real b) {
#if !defined(__FMA__)
    return sum + a * b;
#elif defined(EP_DOUBLE)
    return fma(a, b, sum);
#else
    return fmaf(a, b, sum);
#endif
}

static void plain(const ep_product *p) {
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            ep_real sum = p->add ? p->c[i * p->c_row + j] : 0;
            for (int64_t k = 0; k < p->k; k++) {
                sum = chain(sum, p->a[i * p->a_row + k * p->a_step],
                            p->b[k * p->b_step + j * p->b_col]);
            }
            p->c[i * p->c_row + j] = sum;
        }
    }
}

/* Test one size in one layout. The bits of `how` mean: 0, `a` is transposed; 1, `b` is transposed;
 * 2, the product is added to `c`; 3, rows have gaps. */
static void product(int64_t m, int64_t n, int64_t k, int how) {
    const int64_t gap = how & 8 ? 3 : 0;
    int64_t size_a = m * k, rows_b = how & 2 ? n : k, row_b = (how & 2 ? k : n) + gap;
    int64_t size_b = rows_b ? rows_b * row_b - gap : 0;
    /* If the elements of a row of `b` are adjacent, ep_gemm may read up to LINE - 1 elements after
     * the end of `b`. NaN there must have no effect. */
    int64_t spare = (how & 2 ? row_b : 1) == 1 ? LINE - 1 : 0;
    int64_t size_c = m ? m * (n + gap) - gap : 0;
    ep_real *a = numbers(size_a, 1), *b = numbers(size_b + spare, 2);
    ep_real *c = numbers(size_c, 3), *expected = numbers(size_c, 3);
    for (int64_t i = 0; i < spare; i++) {
        b[size_b + i] = (ep_real)NAN;
    }
    for (int64_t i = 0; i < rows_b - 1; i++) {
        for (int64_t j = 0; j < gap; j++) {
            b[(i + 1) * row_b - gap + j] = (ep_real)NAN;
        }
    }
    ep_product p = {.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .c_row = n + gap};
    p.a_row = how & 1 ? 1 : k;
    p.a_step = how & 1 ? m : 1;
    p.b_step = how & 2 ? 1 : row_b;
    p.b_col = how & 2 ? row_b : 1;
    p.add = how & 4;
    ep_gemm(&p, scratch);
    p.c = expected;
    plain(&p);
    if (size_c && memcmp(c, expected, (size_t)size_c * sizeof *c) != 0) {
        fprintf(stderr, "m %d n %d k %d layout %d\n", (int)m, (int)n, (int)k, how);
        CHECK(!"a product is not the plain loop's");
    }
    ep_real *near = numbers(size_c, 3);
    p.c = near;
    if (p.b_col == 1) {
        ep_gemm_near(&p);
        CHECK(size_c == 0 || memcmp(near, expected, (size_t)size_c * sizeof *near) == 0);
    }
    free(a), free(b), free(c), free(expected), free(near);
}

static void test_every_small_size(void) {
    for (int64_t m = 0; m <= MOST; m++) {
        for (int64_t n = 0; n <= MOST; n++) {
            for (int how = 0; how < 4; how++) {
                product(m, n, 5, how | (how == (int)((m + n) % 4) ? 12 : 0));
            }
        }
    }
    for (int64_t k = 0; k <= MOST; k++) {
        for (int i = 0; i < EP_COUNT(edges); i++) {
            for (int j = 0; j < EP_COUNT(edges); j++) {
                product(edges[i], edges[j], k, (int)(k + i + j) % 16);
            }
        }
    }
}

static void test_the_edges_of_panels(void) {
    const int64_t about[] = {EP_GEMM_K - 1, EP_GEMM_K, EP_GEMM_K + 1, 2 * EP_GEMM_K + 7};
    for (int i = 0; i < EP_COUNT(about); i++) {
        for (int how = 0; how < 16; how++) {
            product(15, 33, about[i], how);
            product(3, 70, about[i], how);
            product(64, 1, about[i], how);
            product(130, 70, about[i], how); /* `a` transposed is packed, in several groups of
                                                rows */
        }
    }
    product(17, 300, 40, 4);
    product(300, 17, 40, 7);
}

/* However rows, columns and the chain over k are split, results are bit-identical. */
static void test_splits(void) {
    enum { M = 61, N = 75, K = 530 };
    ep_real *a = numbers(M * K, 4), *b = numbers(K * N + LINE, 5);
    ep_real *whole = numbers(M * N, 6), *parts = numbers(M * N, 6);
    ep_product p = {.m = M,
                    .n = N,
                    .k = K,
                    .a = a,
                    .a_row = K,
                    .a_step = 1,
                    .b = b,
                    .b_step = N,
                    .b_col = 1,
                    .c = whole,
                    .c_row = N};
    ep_gemm(&p, scratch);
    uint64_t state = 7;
    for (int round = 0; round < 60; round++) {
        int64_t i1, j1, k1;
        for (int64_t i0 = 0; i0 < M; i0 = i1) {
            i1 = ep_min(M, i0 + 1 + (int64_t)fabs((double)any_number(&state) * 4));
            for (int64_t j0 = 0; j0 < N; j0 = j1) {
                j1 = ep_min(N, j0 + 1 + (int64_t)fabs((double)any_number(&state) * 5));
                for (int64_t k0 = 0; k0 < K; k0 = k1) {
                    k1 = round % 2
                             ? K
                             : ep_min(K, k0 + 1 + (int64_t)fabs((double)any_number(&state) * 60));
                    ep_product piece = p;
                    piece.m = i1 - i0;
                    piece.n = j1 - j0;
                    piece.k = k1 - k0;
                    piece.a = a + i0 * K + k0;
                    piece.b = b + k0 * N + j0;
                    piece.c = parts + i0 * N + j0;
                    piece.add = k0 > 0;
                    ep_gemm(&piece, scratch);
                }
            }
        }
        CHECK(memcmp(whole, parts, M * N * sizeof *whole) == 0);
    }
    free(a), free(b), free(whole), free(parts);
}

/* Removing rows of zeros from `b`, and from `a` the columns of the same indices, leaves results
 * bit-identical. */
static void test_removed_zeros(void) {
    enum { M = 23, N = 37, K = 200 };
    ep_real *a = numbers(M * K, 8), *b = numbers(K * N + LINE, 9);
    ep_real *fewer_a = numbers(M * K, 1), *fewer_b = numbers(K * N + LINE, 1);
    ep_real *all = numbers(M * N, 1), *fewer = numbers(M * N, 2);
    int64_t left = 0;
    for (int64_t k = 0; k < K; k++) {
        bool dead = k * 7919 % 10 < 6;
        left += !dead;
        for (int64_t i = 0; i < M; i++) {
            a[i * K + k] = dead ? 0 : a[i * K + k];
        }
    }
    for (int64_t k = 0, to = 0; k < K; k++) {
        if (k * 7919 % 10 >= 6) {
            for (int64_t i = 0; i < M; i++) {
                fewer_a[i * left + to] = a[i * K + k];
            }
            memcpy(fewer_b + to++ * N, b + k * N, N * sizeof *b);
        }
    }
    ep_product p = {.m = M,
                    .n = N,
                    .k = K,
                    .a = a,
                    .a_row = K,
                    .a_step = 1,
                    .b = b,
                    .b_step = N,
                    .b_col = 1,
                    .c = all,
                    .c_row = N};
    ep_gemm(&p, scratch);
    p.k = p.a_row = left;
    p.a = fewer_a;
    p.b = fewer_b;
    p.c = fewer;
    ep_gemm(&p, scratch);
    CHECK(left > 50 && memcmp(all, fewer, M * N * sizeof *all) == 0);
    free(a), free(b), free(fewer_a), free(fewer_b), free(all), free(fewer);
}

/* NaN and infinity are propagated, also when multiplied by zero. */
static void test_bad_numbers_are_seen(void) {
    ep_real *a = numbers(20 * 20, 1), *b = numbers(20 * 20 + LINE, 2), *c = numbers(20 * 20, 3);
    a[3 * 20 + 4] = (ep_real)INFINITY;
    memset(b + 4 * 20, 0, 20 * sizeof *b);
    ep_gemm(&(ep_product){.m = 20,
                          .n = 20,
                          .k = 20,
                          .a = a,
                          .a_row = 20,
                          .a_step = 1,
                          .b = b,
                          .b_step = 20,
                          .b_col = 1,
                          .c = c,
                          .c_row = 20},
            scratch);
    for (int64_t i = 0; i < 400; i++) {
        CHECK((i / 20 == 3) == (bool)isnan(c[i]));
    }
    free(a), free(b), free(c);
}

int main(void) {
    scratch = aligned_alloc(EP_ALIGN, EP_GEMM_SCRATCH * sizeof *scratch);
    test_every_small_size();
    test_the_edges_of_panels();
    test_splits();
    test_removed_zeros();
    test_bad_numbers_are_seen();
    free(scratch);
    return failures != 0;
}
