/* vector: the vector types of the core: ep_vec, the widest that the compiler targets, with partial
 * loads and stores and loops over several interleaved vectors, and a few other widths. (ep_vector
 * in base.h is something else: a setting that is a list of numbers.) */
#ifndef EP_VECTOR_H
#define EP_VECTOR_H

#include "base.h"

#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { EP_VEC_BYTES = 64 };
#elif defined(__AVX__)
enum { EP_VEC_BYTES = 32 };
#else
enum { EP_VEC_BYTES = 16 };
#endif
enum { EP_LANES = EP_VEC_BYTES / sizeof(ep_real) };

typedef ep_real ep_vec __attribute__((vector_size(EP_VEC_BYTES)));
/* An ep_vec in memory that is aligned to single elements only. */
typedef ep_real ep_vec_loose
    __attribute__((vector_size(EP_VEC_BYTES), aligned(sizeof(ep_real)), may_alias));

/* Vectors of fixed size, for single loads, stores and shuffles: a cache line, eight elements, four
 * elements. */
typedef ep_real ep_line __attribute__((vector_size(EP_ALIGN), aligned(sizeof(ep_real)), may_alias));
typedef ep_real ep_eight
    __attribute__((vector_size(8 * sizeof(ep_real)), aligned(sizeof(ep_real)), may_alias));
typedef ep_real ep_quad
    __attribute__((vector_size(4 * sizeof(ep_real)), aligned(sizeof(ep_real)), may_alias));

/* EP_EACH repeats a step for each of n <= EP_SIDE vectors. This interleaves the dependency chains
 * of the vectors; the processor's out-of-order window is too short to overlap long chains. */
enum { EP_SIDE = 4 };
#define EP_EACH(n) _Pragma("GCC unroll 4") for (int i = 0; i < (n); i++)

/* A mask as comparisons return it: all bits of an element are set where the comparison holds. */
#ifdef EP_DOUBLE
typedef int64_t ep_vec_mask __attribute__((vector_size(EP_VEC_BYTES)));
#else
typedef int32_t ep_vec_mask __attribute__((vector_size(EP_VEC_BYTES)));
#endif

EP_INLINE ep_vec ep_vec_all(ep_real number) { return number - (ep_vec){0}; }

/* Optimization barrier that returns v: keeps the compiler from fusing the multiply that produced v
 * into a later add, so that every use of v sees the same rounding. */
EP_INLINE ep_vec ep_vec_rounded(ep_vec v) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#else
    __asm__("" : "+m"(v));
#endif
    return v;
}

/* Elementwise maximum and minimum of a and b; the result is b if either is NaN. ep_vec_where_less:
 * x where a < b, else y. */
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
EP_INLINE ep_vec ep_vec_max(ep_vec a, ep_vec b) {
    return (ep_vec)_mm512_max_ps((__m512)a, (__m512)b);
}
EP_INLINE ep_vec ep_vec_min(ep_vec a, ep_vec b) {
    return (ep_vec)_mm512_min_ps((__m512)a, (__m512)b);
}
EP_INLINE ep_vec ep_vec_where_less(ep_vec a, ep_vec b, ep_vec x, ep_vec y) {
    __mmask16 less = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
    return (ep_vec)_mm512_mask_blend_ps(less, (__m512)y, (__m512)x);
}
#else
EP_INLINE ep_vec ep_vec_where_less(ep_vec a, ep_vec b, ep_vec x, ep_vec y) {
    ep_vec_mask less = a < b;
    return (ep_vec)((less & (ep_vec_mask)x) | (~less & (ep_vec_mask)y));
}
EP_INLINE ep_vec ep_vec_max(ep_vec a, ep_vec b) {
    for (int i = 0; i < EP_LANES; i++) {
        a[i] = a[i] > b[i] ? a[i] : b[i];
    }
    return a;
}
EP_INLINE ep_vec ep_vec_min(ep_vec a, ep_vec b) {
    for (int i = 0; i < EP_LANES; i++) {
        a[i] = a[i] < b[i] ? a[i] : b[i];
    }
    return a;
}
#endif

/* Sum of all elements, by pairwise halving. */
EP_INLINE ep_real ep_vec_sum(ep_vec v) {
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
    return _mm512_reduce_add_ps((__m512)v);
#else
    ep_real lane[EP_LANES];
    memcpy(lane, &v, sizeof lane);
#pragma GCC unroll 4
    for (int half = EP_LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            lane[l] += lane[l + half];
        }
    }
    return lane[0];
#endif
}

/* Load (get), store (put) or keep (first) the first n elements of a vector, 1 <= n <= EP_LANES. get
 * and put access no other memory; get and first set the remaining elements to 0. */
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
EP_INLINE ep_vec ep_vec_get(const ep_real *from, int64_t n) {
    return (ep_vec)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (EP_LANES - n)), from);
}
EP_INLINE void ep_vec_put(ep_real *to, ep_vec v, int64_t n) {
    _mm512_mask_storeu_ps(to, (__mmask16)(0xffffu >> (EP_LANES - n)), (__m512)v);
}
EP_INLINE ep_vec ep_vec_first(ep_vec v, int64_t n) {
    return (ep_vec)_mm512_maskz_mov_ps((__mmask16)(0xffffu >> (EP_LANES - n)), (__m512)v);
}
#elif defined(__AVX512F__)
EP_INLINE ep_vec ep_vec_get(const ep_real *from, int64_t n) {
    return (ep_vec)_mm512_maskz_loadu_pd((__mmask8)(0xffu >> (EP_LANES - n)), from);
}
EP_INLINE void ep_vec_put(ep_real *to, ep_vec v, int64_t n) {
    _mm512_mask_storeu_pd(to, (__mmask8)(0xffu >> (EP_LANES - n)), (__m512d)v);
}
EP_INLINE ep_vec ep_vec_first(ep_vec v, int64_t n) {
    return (ep_vec)_mm512_maskz_mov_pd((__mmask8)(0xffu >> (EP_LANES - n)), (__m512d)v);
}
#else
EP_INLINE ep_vec ep_vec_get(const ep_real *from, int64_t n) {
    if (n == EP_LANES) {
        return (ep_vec) * (const ep_vec_loose *)from;
    }
    ep_vec v = {0};
    for (int i = 0; i < EP_LANES - 1; i++) {
        v[i] = i < n ? from[i] : 0;
    }
    return v;
}
EP_INLINE void ep_vec_put(ep_real *to, ep_vec v, int64_t n) {
    if (n == EP_LANES) {
        *(ep_vec_loose *)to = v;
        return;
    }
#pragma GCC unroll 8
    for (int i = 0; i < EP_LANES - 1; i++) {
        if (i < n) {
            to[i] = v[i];
        }
    }
}
EP_INLINE ep_vec ep_vec_first(ep_vec v, int64_t n) {
    for (int i = 0; i < EP_LANES; i++) {
        v[i] = i < n ? v[i] : 0;
    }
    return v;
}
#endif

#endif
