/* gemm: see gemm.h. The innermost tile holds up to ROWS x 2 vectors of the matrix `c` in registers.
 * The matrix `b` is packed into panels of 2 vectors per step of k, in the order of the steps, so
 * that a tile reads a panel sequentially. The matrix `a` is read in place by broadcasts: for tiles
 * this narrow, packing `a` pays only if the sum has many steps of k that are far apart in memory
 * (see scattered()). */
#include "gemm.h"

#include "vector.h"

#include <string.h>

#if defined(__AVX512F__)
enum { ROWS = 14 };
#elif defined(__aarch64__) && !defined(__AVX__)
enum { ROWS = 12 };
#else
enum { ROWS = 6 };
#endif
/* A tile has WIDE columns. Products with up to FEW rows use tiles of FEW_WIDE columns, and read `b`
 * in place. */
enum { WIDE = 2 * EP_LANES, FEW = 3, FEW_WIDE = 4 * EP_LANES };
typedef enum { CACHED, PLAIN, PACKING } reading; /* how a tile reads `b`: see tile() */

enum { AHEAD = 32 }; /* prefetch distance in steps of k */
enum { FIRST = 64 }; /* steps of k in the first panel of a long sum; this panel is not prefetched */
enum { SPREAD = 512 }; /* minimum a_step for which `a` is packed */

/* Hides the value of the pointer p, so that the compiler does not precompute every row pointer and
 * spill registers; incrementing one pointer is free between multiply-adds. */
#define OPAQUE(p) __asm__("" : "+r"(p))

/* Computes a tile of `c`, m rows by `vectors` vectors, of which the last has `last` columns, over k
 * steps. `b` is a packed panel or the matrix in place, with b_step elements between steps. PACKING
 * also copies `b` to `panel` for later tiles: the stores fit between the multiply-adds, whereas a
 * separate pass would wait for memory. CACHED: all operands are in L1, so nothing is prefetched.
 * PLAIN and PACKING: every step prefetches one cache line of `soon`. */
EP_INLINE void tile(int m, int vectors, reading how, int64_t k, const ep_real *a, int64_t a_row,
                    int64_t a_step, const ep_real *b, int64_t b_step, ep_real *c, int64_t c_row,
                    int64_t last, bool add, ep_real *panel, const ep_real *soon) {
    ep_vec sum[ROWS][FEW_WIDE / EP_LANES];
    ep_real *row_of_c = c;
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            const ep_real *from = row_of_c + j * EP_LANES;
            if (!add && how != CACHED) {
                __builtin_prefetch(from, 1);
            }
            sum[i][j] = !add              ? (ep_vec){0}
                        : j < vectors - 1 ? (ep_vec) * (const ep_vec_loose *)from
                                          : ep_vec_get(from, last);
        }
        row_of_c += c_row;
        OPAQUE(row_of_c);
    }
    /* Pointers to every third row of `a`. Loads from the next two rows need no pointers, because the
     * load instruction adds a_row or 2 a_row to the address. */
    const ep_real *three[(ROWS + 2) / 3];
#pragma GCC unroll 5
    for (int i = 0; i < (m + 2) / 3; i++) {
        three[i] = a;
        a += 3 * a_row;
        OPAQUE(a);
    }
    for (int64_t step = 0; step < k; step++) {
        ep_vec row[FEW_WIDE / EP_LANES];
        if (how != CACHED) {
            __builtin_prefetch(soon + step * (int64_t)EP_LINE, 0, 2);
        }
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            row[j] = *(const ep_vec_loose *)(b + j * EP_LANES);
            if (how == PACKING) {
                __builtin_prefetch(b + AHEAD * b_step + j * EP_LANES);
                *(ep_vec *)(panel + j * EP_LANES) = row[j];
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            ep_real factor = three[i / 3][i % 3 * a_row];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) {
                sum[i][j] += factor * row[j];
            }
        }
#pragma GCC unroll 5
        for (int i = 0; i < (m + 2) / 3; i++) {
            three[i] += a_step;
        }
        b += b_step;
        panel += how == PACKING ? vectors * EP_LANES : 0;
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            ep_vec_put(c + j * EP_LANES, sum[i][j], j < vectors - 1 ? EP_LANES : last);
        }
        c += c_row;
        OPAQUE(c);
    }
}

typedef void (*tile_of)(int64_t k, const ep_real *a, int64_t a_row, int64_t a_step,
                        const ep_real *b, int64_t b_step, ep_real *c, int64_t c_row, int64_t last,
                        bool add, ep_real *panel, const ep_real *soon);

/* TILE defines one function from tile() for each combination of a way to read `b`, a number of rows
 * and a number of vectors. These are constants in the function, so that all sums stay in registers.
 * The macros below define the 30 to 90 functions and the tables of them. */
// clang-format off
#define TILE(how, rows, vectors)                                                            \
    static void how##_##rows##_##vectors(int64_t k, const ep_real *a, int64_t a_row,        \
                                         int64_t a_step, const ep_real *b, int64_t b_step,  \
                                         ep_real *c, int64_t c_row, int64_t last, bool add, \
                                         ep_real *panel, const ep_real *soon) {             \
        tile(rows, vectors, how, k, a, a_row, a_step, b, b_step, c, c_row, last, add,       \
             panel, soon);                                                                  \
    }
#define TILES(rows)                             \
    TILE(CACHED, rows, 1) TILE(CACHED, rows, 2) \
    TILE(PLAIN, rows, 1) TILE(PLAIN, rows, 2)   \
    TILE(PACKING, rows, 1) TILE(PACKING, rows, 2)
#define SIX(rows)                               \
    {{CACHED_##rows##_1, CACHED_##rows##_2},    \
     {PLAIN_##rows##_1, PLAIN_##rows##_2},      \
     {PACKING_##rows##_1, PACKING_##rows##_2}}
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#if defined(__AVX512F__) || (defined(__aarch64__) && !defined(__AVX__))
TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12)
#endif
#if defined(__AVX512F__)
TILES(13) TILES(14)
#endif
TILE(CACHED, 1, 4) TILE(CACHED, 2, 4) TILE(CACHED, 3, 4)

/* Indexed by number of rows, by how `b` is read, and by number of vectors - 1. */
static const tile_of tile_table[ROWS + 1][3][2] = {
    {{NULL}}, SIX(1), SIX(2), SIX(3), SIX(4), SIX(5), SIX(6),
#if defined(__AVX512F__) || (defined(__aarch64__) && !defined(__AVX__))
    SIX(7), SIX(8), SIX(9), SIX(10), SIX(11), SIX(12),
#endif
#if defined(__AVX512F__)
    SIX(13), SIX(14),
#endif
};
static const tile_of few_rows[FEW + 1] = {NULL, CACHED_1_4, CACHED_2_4, CACHED_3_4};

// clang-format on

#define BLOCK 8
#ifdef EP_DOUBLE
typedef int64_t eight_index __attribute__((vector_size(BLOCK * sizeof(ep_real))));
#else
typedef int32_t eight_index __attribute__((vector_size(BLOCK * sizeof(ep_real))));
#endif
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (eight_index){__VA_ARGS__})
#endif

/* Transposes an 8 x 8 block in registers: to[k * to_row + j] = from[j * from_row + k], and 0 for
 * j >= have. */
EP_INLINE void transpose_block(ep_real *to, int64_t to_row, const ep_real *from, int64_t from_row,
                               int64_t have) {
    ep_eight r[BLOCK] = {{0}}, s[BLOCK] = {{0}};
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK; i++) {
        r[i] = i < have ? *(const ep_eight *)(from + i * from_row) : (ep_eight){0};
    }
#pragma GCC unroll 4
    for (int i = 0; i < BLOCK; i += 2) {
        s[i] = PICK(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        s[i + 1] = PICK(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < BLOCK; i += 4) {
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            r[i + j] = PICK(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + j + 2] = PICK(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        s[i] = PICK(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        s[i + 4] = PICK(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < BLOCK; i++) {
        *(ep_eight *)(to + i * to_row) = s[i];
    }
}

void ep_transpose(ep_real *to, int64_t rows, int64_t columns, int64_t to_row, const ep_real *from,
                  int64_t from_row) {
    int64_t whole = rows / BLOCK * BLOCK, j = 0;
    for (; j + BLOCK <= to_row; j += BLOCK) {
        int64_t have = ep_max(0, ep_min(BLOCK, columns - j));
        for (int64_t i = 0; i < whole; i += BLOCK) {
            const ep_real *at = from + j * from_row + i;
            if (have == BLOCK) {
                transpose_block(to + i * to_row + j, to_row, at, from_row, BLOCK);
            } else {
                transpose_block(to + i * to_row + j, to_row, at, from_row, have);
            }
        }
        for (int64_t i = whole; i < rows; i++) {
            for (int64_t k = 0; k < BLOCK; k++) {
                to[i * to_row + j + k] = k < have ? from[(j + k) * from_row + i] : 0;
            }
        }
    }
    for (; j < to_row; j++) {
        for (int64_t i = 0; i < rows; i++) {
            to[i * to_row + j] = j < columns ? from[j * from_row + i] : 0;
        }
    }
}

static void clear(const ep_product *p) {
    for (int64_t i = 0; i < p->m; i++) {
        memset(p->c + i * p->c_row, 0, (size_t)p->n * sizeof *p->c);
    }
}

/* Copies columns j .. j + width - 1 of the last `steps` rows of `b`, padded with zeros to `wide`
 * columns. */
static void copy_edge(const ep_product *p, int64_t j, int64_t width, int64_t steps, int64_t wide,
                      ep_real *to) {
    const ep_real *from = p->b + (p->k - steps) * p->b_step + j;
    for (int64_t step = 0; step < steps; step++, from += p->b_step, to += wide) {
        memcpy(to, from, (size_t)width * sizeof *to);
        memset(to + width, 0, (size_t)(wide - width) * sizeof *to);
    }
}

/* Tiles read whole vectors of `b`. In the last steps of k these would extend past the end of the
 * last row, where another worker may be writing, so these steps read a copy. */
void ep_gemm_near(const ep_product *p) {
    EP_ASSERT(p->b_col == 1);
    if (p->k <= 0 && !p->add) {
        clear(p);
    }
    if (p->m <= 0 || p->k <= 0) {
        return;
    }
    int64_t tiles = (p->m + ROWS - 1) / ROWS;
    for (int64_t j = 0, width; j < p->n; j += width) {
        bool few = p->m <= FEW && p->n - j >= FEW_WIDE;
        width = ep_min(p->n - j, few ? FEW_WIDE : WIDE);
        int64_t wide = (width + EP_LANES - 1) / EP_LANES * EP_LANES, over = j + wide - p->n;
        int64_t edge = over > 0 ? ep_min(p->k, (over + p->b_step - 1) / p->b_step) : 0;
        int64_t most = p->k - edge, last = (width - 1) % EP_LANES + 1;
        ep_real copy[EP_LANES * WIDE];
        copy_edge(p, j, width, edge, wide, copy);
        for (int64_t t = 0; t < tiles; t++) {
            int64_t i = ep_split(p->m, t, tiles), m = ep_split(p->m, t + 1, tiles) - i;
            tile_of run = few ? few_rows[m] : tile_table[m][CACHED][width > EP_LANES];
            const ep_real *a = p->a + i * p->a_row;
            ep_real *c = p->c + i * p->c_row + j;
            if (most > 0) {
                run(most, a, p->a_row, p->a_step, p->b + j, p->b_step, c, p->c_row, last, p->add,
                    NULL, NULL);
            }
            if (edge > 0) {
                run(edge, a + most * p->a_step, p->a_row, p->a_step, copy, wide, c, p->c_row, last,
                    p->add || most > 0, NULL, NULL);
            }
        }
    }
}

/* Layout of the packed `a`: a tile has PITCH contiguous elements per step of k; GROUP tiles are
 * packed at a time. */
enum { PITCH = (ROWS + 7) / 8 * 8, GROUP = EP_GEMM_ROWS / PITCH };

/* Packs k steps of p->a from step k0 on (a_row is 1) into to[tile][step][PITCH]. Copies PITCH
 * elements even if a tile has fewer rows, but nothing past the end of the last step of `a`. */
static void pack_rows(const ep_product *p, int64_t k0, int64_t k, int64_t tiles, ep_real *to) {
    for (int64_t step = 0; step < k; step++) {
        const ep_real *from = p->a + (k0 + step) * p->a_step;
        bool last = k0 + step + 1 == p->k;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t i = ep_split(p->m, t, tiles);
            ep_real *row = to + (t * EP_GEMM_K + step) * PITCH;
            __builtin_prefetch(from + AHEAD * p->a_step + i);
            if (last) {
                memcpy(row, from + i, (size_t)(ep_split(p->m, t + 1, tiles) - i) * sizeof *row);
            } else {
                memcpy(row, from + i, PITCH * sizeof *row);
            }
        }
    }
}

/* True if `a` must be packed: its stride and k are so large that its cache lines map to few sets of
 * L1 and are evicted before the next panel of `b` needs them. */
static bool scattered(const ep_product *p) {
    return p->a_row == 1 && p->a_step >= SPREAD && p->m > ROWS && p->n > WIDE && p->k > EP_GEMM_K;
}

typedef struct {
    const ep_real *at, *end;
} prefetch_range;

/* Returns the range of memory to prefetch for steps k0 .. k1 - 1 of a matrix. A step has `width`
 * elements with stride `column`; steps have stride `step`. The range is empty if the elements of a
 * step are not contiguous, or if less than half of the range would be used (width < step / 2). */
static prefetch_range range_of(const ep_real *matrix, int64_t step, int64_t column, int64_t width,
                               int64_t k0, int64_t k1) {
    const ep_real *from = matrix + k0 * step;
    return (prefetch_range){from, column == 1 && 2 * width >= step ? matrix + k1 * step : from};
}

/* Returns the address of the next `lines` cache lines to prefetch, and advances past them: first
 * those of range `a`, then of `b`. When both ranges are done, returns `c`, which is cached. */
static const ep_real *ask(prefetch_range *a, prefetch_range *b, const ep_real *c, int64_t lines) {
    prefetch_range *of = a->at < a->end ? a : b;
    const ep_real *at = of->at;
    if (at >= of->end) {
        return c;
    }
    of->at += lines * (int64_t)EP_LINE;
    return at;
}

static void multiply(const ep_product *p, bool packed, ep_real *scratch) {
    int64_t tiles = (p->m + ROWS - 1) / ROWS;
    ep_real *panel = scratch, *rows = scratch + EP_GEMM_K * EP_GEMM_COLUMNS;
    int64_t k = p->k > EP_GEMM_K && p->a_row == 1 ? FIRST : EP_GEMM_K;
    for (int64_t k0 = 0; k0 < p->k; k0 += k, k = EP_GEMM_K) {
        k = ep_min(k, p->k - k0);
        bool add = p->add || k0 > 0;
        int64_t k1 = k0 + k, k2 = ep_min(p->k, k1 + EP_GEMM_K);
        prefetch_range next_a = range_of(p->a, p->a_step, p->a_row, p->m, k1, k2);
        prefetch_range next_b = range_of(p->b, p->b_step, p->b_col, p->n, k1, k2);
        if (packed) {
            pack_rows(p, k0, k, tiles, rows);
        }
        for (int64_t j = 0; j < p->n; j += WIDE) {
            int64_t width = ep_min(WIDE, p->n - j), wide = width > EP_LANES ? WIDE : EP_LANES;
            const ep_real *b = p->b + k0 * p->b_step + j * p->b_col;
            bool in_place = p->b_col == 1;
            if (!in_place) {
                ep_transpose(panel, k, width, wide, b, p->b_col);
            }
            for (int64_t t = 0; t < tiles; t++) { /* the first tile packs `b` if b_col is 1 */
                int64_t i = ep_split(p->m, t, tiles), m = ep_split(p->m, t + 1, tiles) - i;
                const ep_real *a = packed ? rows + t * EP_GEMM_K * PITCH
                                          : p->a + i * p->a_row + k0 * p->a_step;
                bool first = in_place && t == 0;
                ep_real *c = p->c + i * p->c_row + j;
                tile_table[m][first && tiles > 1 ? PACKING : PLAIN]
                          [wide == WIDE](k, a, p->a_row, packed ? PITCH : p->a_step,
                                         first ? b : panel, first ? p->b_step : wide, c, p->c_row,
                                         (width - 1) % EP_LANES + 1, add, panel,
                                         ask(&next_a, &next_b, c, k));
            }
        }
    }
}

void ep_gemm(const ep_product *p, ep_real *scratch) {
    EP_ASSERT(p->b_step == 1 || p->b_col == 1);
    if (p->k == 0 && !p->add) {
        clear(p);
    }
    if (p->m <= 0 || p->n <= 0 || p->k <= 0) {
        return;
    }
    if (p->m <= FEW && p->b_col == 1) { /* packing `b` would cost as much as the product */
        ep_gemm_near(p);
        return;
    }
    if (!scattered(p)) {
        multiply(p, false, scratch);
        return;
    }
    int64_t groups = (p->m + GROUP * ROWS - 1) / (GROUP * ROWS);
    for (int64_t g = 0; g < groups; g++) {
        int64_t i = ep_split(p->m, g, groups);
        ep_product some = *p;
        some.m = ep_split(p->m, g + 1, groups) - i;
        some.a += i;
        some.c += i * p->c_row;
        multiply(&some, true, scratch);
    }
}
