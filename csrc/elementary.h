/* elementary: exp, tanh, log and sigmoid as straight-line code. The functions that dominate run
 * time take several interleaved vectors. The logarithms, computed once per row, take a scalar; the
 * compiler vectorizes them (libm calls would keep loops scalar). The error bounds of the float
 * build, in ulp, are stated at each function and tested. The double build calls libm, because it
 * only serves to check gradients. NaN is propagated. */
#ifndef EP_ELEMENTARY_H
#define EP_ELEMENTARY_H

#include "vector.h"

#include <math.h>
#include <string.h>

/* ep_exp, ep_tanh and ep_sigmoid replace x[i] by f(x[i]) for n vectors; n is a compile-time
 * constant, at most EP_SIDE. */
#ifdef EP_DOUBLE
#define EP_BY_LANES(f)                           \
    do {                                         \
        EP_EACH(n) {                             \
            ep_real lane[EP_LANES];              \
            memcpy(lane, &x[i], sizeof lane);    \
            for (int l = 0; l < EP_LANES; l++) { \
                lane[l] = f(lane[l]);            \
            }                                    \
            memcpy(&x[i], lane, sizeof lane);    \
        }                                        \
    } while (0)
EP_INLINE void ep_exp(int n, ep_vec *x) { EP_BY_LANES(exp); }
EP_INLINE void ep_tanh(int n, ep_vec *x) { EP_BY_LANES(tanh); }
EP_INLINE double ep_log(double x) { return log(x); }
EP_INLINE double ep_log1p_unit(double x) { return log1p(x); }
#else
typedef uint32_t bits_of __attribute__((vector_size(EP_VEC_BYTES)));

/* e^x = 2^k e^r with k = x / ln2, rounded, and |r| <= ln2/2; e^r is a polynomial of degree 6
 * (minimax fit of the terms after 1 + r, relative error 3e-9). Within 2 ulp. Below -87.69, the
 * result would be subnormal and is 0, so masked inputs (minus infinity) give 0. Above 88.37, it is
 * infinity (libm: above 88.72). */
EP_INLINE void ep_exp(int n, ep_vec *x) {
    /* Adding 1.5 * 2^23 rounds to an integer; 127 is the bias of the exponent. */
    const float magic = 12582912.0f + 127.0f;
    ep_vec power[EP_SIDE], r[EP_SIDE], p[EP_SIDE];
    EP_EACH(n) { x[i] = ep_vec_max(ep_vec_all(-88.0f), x[i]); } /* NaN is propagated */
    EP_EACH(n) { x[i] = ep_vec_min(ep_vec_all(89.0f), x[i]); }
    EP_EACH(n) { power[i] = x[i] * 1.44269504088896341f + magic; }
    EP_EACH(n) { p[i] = power[i] - magic; }
    EP_EACH(n) { r[i] = x[i] - p[i] * 0.693359375f; }
    EP_EACH(n) { r[i] = r[i] + p[i] * 2.12194440e-4f; }
    EP_EACH(n) { p[i] = 1.3814539415761828e-3f * r[i] + 8.36874544620514e-3f; }
    EP_EACH(n) { p[i] = p[i] * r[i] + 4.166838899254799e-2f; }
    EP_EACH(n) { p[i] = p[i] * r[i] + 1.666652113199234e-1f; }
    EP_EACH(n) { p[i] = p[i] * r[i] + 4.999999403953552e-1f; }
    EP_EACH(n) { p[i] = p[i] * r[i] + 1.0f; }
    EP_EACH(n) { p[i] = p[i] * r[i] + 1.0f; }
    /* Shift the low bits of `power`, which are k + 127, into the exponent field. This gives 2^k, or
     * 0 if the field is 0, or infinity if it is 255. */
    EP_EACH(n) { power[i] = (ep_vec)((bits_of)power[i] * 8388608u); }
    EP_EACH(n) { x[i] = p[i] * power[i]; }
}

/* Uses an odd polynomial for small |x|, to avoid cancellation, and exp otherwise. Within 2 ulp. */
EP_INLINE void ep_tanh(int n, ep_vec *x) {
    const ep_vec_mask sign = (ep_vec_mask)ep_vec_all(-0.0f);
    ep_vec size[EP_SIDE], e[EP_SIDE], s[EP_SIDE], p[EP_SIDE];
    EP_EACH(n) { size[i] = (ep_vec)(~sign & (ep_vec_mask)x[i]); }
    EP_EACH(n) { e[i] = 2.0f * size[i]; }
    ep_exp(n, e);
    EP_EACH(n) { e[i] = 1.0f - 2.0f / (e[i] + 1.0f); }
    EP_EACH(n) { e[i] = (ep_vec)((ep_vec_mask)e[i] | (sign & (ep_vec_mask)x[i])); }
    EP_EACH(n) { s[i] = x[i] * x[i]; }
    EP_EACH(n) { p[i] = -5.70498872745e-3f * s[i] + 2.06390887954e-2f; }
    EP_EACH(n) { p[i] = p[i] * s[i] - 5.37397155531e-2f; }
    EP_EACH(n) { p[i] = p[i] * s[i] + 1.33314422036e-1f; }
    EP_EACH(n) { p[i] = p[i] * s[i] - 3.33332819422e-1f; }
    EP_EACH(n) { p[i] = p[i] * s[i] * x[i] + x[i]; }
    EP_EACH(n) { x[i] = ep_vec_where_less(size[i], ep_vec_all(0.625f), p[i], e[i]); }
}

/* condition ? a : b, by bit operations. With ?: the compiler may branch around one arm, or
 * specialize the code for a constant arm, and a branch keeps the surrounding loop scalar. */
EP_INLINE float ep_select(bool condition, float a, float b) {
    uint32_t mask = -(uint32_t)condition, p, q;
    memcpy(&p, &a, sizeof p);
    memcpy(&q, &b, sizeof q);
    p = (p & mask) | (q & ~mask);
    memcpy(&a, &p, sizeof a);
    return a;
}

/* log x = log m + e ln2 with x = m 2^e and m in [0.707, 1.414] (Cephes' scheme). Within 2 ulp for
 * normal x > 0; minus infinity at 0 and subnormals, NaN for x < 0. */
EP_INLINE float ep_log(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t e = (int32_t)(bits - 0x3F3504F3u) >> 23; /* 0x3F3504F3: the bits of sqrt(1/2) */
    bits -= (uint32_t)e << 23;
    float m;
    memcpy(&m, &bits, sizeof m);
    float n = (float)e, r = m - 1.0f, s = r * r;
    float p = 7.0376836292e-2f;
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    float result = r + (p * r * s - 0.5f * s + n * -2.12194440e-4f) + n * 0.693359375f;
    result = ep_select(x < 1.17549435e-38f, -INFINITY, result);
    result = ep_select(x < 0, NAN, result);
    return ep_select(x <= 3.40282347e+38f, result, x); /* infinity and NaN are returned as is */
}

/* log(1 + x) for x in [0, 1], corrected for the rounding error of 1 + x; within 3 ulp. */
EP_INLINE float ep_log1p_unit(float x) {
    float whole = 1.0f + x;
    return ep_log(whole) + (x - (whole - 1.0f)) / whole;
}
#endif

/* x[i] = 1 / (1 + e^-x[i]). Within 3 ulp; saturates at 0 and 1. */
EP_INLINE void ep_sigmoid(int n, ep_vec *x) {
    EP_EACH(n) { x[i] = -x[i]; }
    ep_exp(n, x);
    EP_EACH(n) { x[i] = 1 + x[i]; }
    EP_EACH(n) { x[i] = 1 / x[i]; }
}

/* to[i] = f(from[i]) for n contiguous elements; `to` may be `from`. */
EP_INLINE void ep_map(void (*f)(int n, ep_vec *x), int64_t n, const ep_real *from, ep_real *to) {
    ep_vec x[EP_SIDE];
    int64_t j = 0;
    for (; j + EP_SIDE * EP_LANES <= n; j += EP_SIDE * EP_LANES) {
        EP_EACH(EP_SIDE) { x[i] = (ep_vec) * (const ep_vec_loose *)(from + j + i * EP_LANES); }
        f(EP_SIDE, x);
        EP_EACH(EP_SIDE) { *(ep_vec_loose *)(to + j + i * EP_LANES) = x[i]; }
    }
    for (; j < n; j += EP_LANES) {
        int64_t some = ep_min(EP_LANES, n - j);
        x[0] = ep_vec_get(from + j, some);
        f(1, x);
        ep_vec_put(to + j, x[0], some);
    }
}

#endif
