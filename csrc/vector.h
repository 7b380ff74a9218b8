/* vector: the widest vector type that the compiler targets, partial loads and stores, and loops
 * over several interleaved vectors. */
#ifndef EP_VECTOR_H
#define EP_VECTOR_H

#include "base.h"

#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { LANES = BYTES / sizeof(ep_real) };

typedef ep_real vector __attribute__((vector_size(BYTES)));
typedef ep_real loose __attribute__((vector_size(BYTES), aligned(sizeof(ep_real)), may_alias));

/* Interleave the dependency chains of up to SIDE vectors, one step of each in turn, because the
 * out-of-order window is too short to overlap long chains. */
enum { SIDE = 4 };
#define EACH(n) _Pragma("GCC unroll 4") for (int i = 0; i < (n); i++)

/* A mask as comparisons return it: all bits of an element are set where the comparison holds. */
#ifdef EP_DOUBLE
typedef int64_t mask_of __attribute__((vector_size(BYTES)));
#else
typedef int32_t mask_of __attribute__((vector_size(BYTES)));
#endif

EP_INLINE vector all(ep_real number) { return number - (vector){0}; }

/* Optimization barrier that returns v: keeps the compiler from fusing the multiply that produced v
 * into a later add, so that every use of v sees the same rounding. */
EP_INLINE vector rounded(vector v) {
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

/* Elementwise maximum and minimum, b if either is NaN. where_less: x where a < b, else y. */
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
EP_INLINE vector larger(vector a, vector b) { return (vector)_mm512_max_ps((__m512)a, (__m512)b); }
EP_INLINE vector smaller(vector a, vector b) { return (vector)_mm512_min_ps((__m512)a, (__m512)b); }
EP_INLINE vector where_less(vector a, vector b, vector x, vector y) {
    __mmask16 less = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
    return (vector)_mm512_mask_blend_ps(less, (__m512)y, (__m512)x);
}
#else
EP_INLINE vector where_less(vector a, vector b, vector x, vector y) {
    mask_of less = a < b;
    return (vector)((less & (mask_of)x) | (~less & (mask_of)y));
}
EP_INLINE vector larger(vector a, vector b) {
    for (int i = 0; i < LANES; i++) {
        a[i] = a[i] > b[i] ? a[i] : b[i];
    }
    return a;
}
EP_INLINE vector smaller(vector a, vector b) {
    for (int i = 0; i < LANES; i++) {
        a[i] = a[i] < b[i] ? a[i] : b[i];
    }
    return a;
}
#endif

/* Sum of all elements, by pairwise halving. */
EP_INLINE ep_real across(vector v) {
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
    return _mm512_reduce_add_ps((__m512)v);
#else
    ep_real lane[LANES];
    memcpy(lane, &v, sizeof lane);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            lane[l] += lane[l + half];
        }
    }
    return lane[0];
#endif
}

/* Load, store or keep the first n elements of a vector, 1 <= n <= LANES. get and put access no
 * other memory; get and first set the remaining elements to 0. */
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
EP_INLINE vector get(const ep_real *from, int64_t n) {
    return (vector)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (LANES - n)), from);
}
EP_INLINE void put(ep_real *to, vector v, int64_t n) {
    _mm512_mask_storeu_ps(to, (__mmask16)(0xffffu >> (LANES - n)), (__m512)v);
}
EP_INLINE vector first(vector v, int64_t n) {
    return (vector)_mm512_maskz_mov_ps((__mmask16)(0xffffu >> (LANES - n)), (__m512)v);
}
#elif defined(__AVX512F__)
EP_INLINE vector get(const ep_real *from, int64_t n) {
    return (vector)_mm512_maskz_loadu_pd((__mmask8)(0xffu >> (LANES - n)), from);
}
EP_INLINE void put(ep_real *to, vector v, int64_t n) {
    _mm512_mask_storeu_pd(to, (__mmask8)(0xffu >> (LANES - n)), (__m512d)v);
}
EP_INLINE vector first(vector v, int64_t n) {
    return (vector)_mm512_maskz_mov_pd((__mmask8)(0xffu >> (LANES - n)), (__m512d)v);
}
#else
EP_INLINE vector get(const ep_real *from, int64_t n) {
    if (n == LANES) {
        return (vector)*(const loose *)from;
    }
    vector v = {0};
    for (int i = 0; i < LANES - 1; i++) {
        v[i] = i < n ? from[i] : 0;
    }
    return v;
}
EP_INLINE void put(ep_real *to, vector v, int64_t n) {
    if (n == LANES) {
        *(loose *)to = v;
        return;
    }
#pragma GCC unroll 8
    for (int i = 0; i < LANES - 1; i++) {
        if (i < n) {
            to[i] = v[i];
        }
    }
}
EP_INLINE vector first(vector v, int64_t n) {
    for (int i = 0; i < LANES; i++) {
        v[i] = i < n ? v[i] : 0;
    }
    return v;
}
#endif

#endif
