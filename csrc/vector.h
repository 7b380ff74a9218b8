/* vector: the widest vector of this processor as the compiler has it, and the first few of its
 * numbers. Of the files that multiply, transform and attend; it knows nothing of these. */
#ifndef EP_VECTOR_H
#define EP_VECTOR_H

#include "base.h"

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

/* The larger number of each pair; b where one is NaN. */
EP_INLINE vector larger(vector a, vector b) {
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
    return (vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX512F__)
    return (vector)_mm512_max_pd((__m512d)a, (__m512d)b);
#else
    for (int i = 0; i < LANES; i++) {
        a[i] = a[i] > b[i] ? a[i] : b[i];
    }
    return a;
#endif
}

/* The first n of a vector's numbers, n from 1 to LANES, and no other memory. */
#if defined(__AVX512F__) && !defined(EP_DOUBLE)
EP_INLINE vector get(const ep_real *from, int64_t n) {
    return (vector)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (LANES - n)), from);
}
EP_INLINE void put(ep_real *to, vector v, int64_t n) {
    _mm512_mask_storeu_ps(to, (__mmask16)(0xffffu >> (LANES - n)), (__m512)v);
}
#elif defined(__AVX512F__)
EP_INLINE vector get(const ep_real *from, int64_t n) {
    return (vector)_mm512_maskz_loadu_pd((__mmask8)(0xffu >> (LANES - n)), from);
}
EP_INLINE void put(ep_real *to, vector v, int64_t n) {
    _mm512_mask_storeu_pd(to, (__mmask8)(0xffu >> (LANES - n)), (__m512d)v);
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
#endif

#endif
