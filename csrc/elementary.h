/* elementary: exp, log, tanh, erf and their kin as straight-line code that a compiler turns into
 * vector instructions (libm calls would keep loops scalar). Float build: bounds in ulp are stated
 * and tested at each function; double build: libm itself, since it is there to check gradients.
 * NaN stays NaN everywhere. Knows nothing of what the numbers mean. */
#ifndef EP_ELEMENTARY_H
#define EP_ELEMENTARY_H

#include "base.h"

#include <math.h>
#include <string.h>

#ifdef EP_DOUBLE
EP_INLINE ep_real ep_exp(ep_real x) { return exp(x); }
EP_INLINE ep_real ep_tanh(ep_real x) { return tanh(x); }
EP_INLINE ep_real ep_sigmoid(ep_real x) { return 1 / (1 + exp(-x)); }
EP_INLINE ep_real ep_erf(ep_real x) { return erf(x); }
EP_INLINE ep_real ep_sqrt(ep_real x) { return sqrt(x); }
EP_INLINE ep_real ep_log(ep_real x) { return log(x); }
EP_INLINE ep_real ep_log1p_unit(ep_real x) { return log1p(x); }
#else
EP_INLINE float ep_sqrt(float x) { return __builtin_sqrtf(x); }

/* condition ? a : b, by bits. Written with ?: a compiler may leave out the arm that is not taken,
 * or work out the rest for a constant arm, and a branch keeps the loop around it scalar. */
EP_INLINE float ep_select(bool condition, float a, float b) {
    uint32_t mask = -(uint32_t)condition, p, q;
    memcpy(&p, &a, sizeof p);
    memcpy(&q, &b, sizeof q);
    p = (p & mask) | (q & ~mask);
    memcpy(&a, &p, sizeof a);
    return a;
}

/* 2^n * e^r with |r| <= ln2/2: n by rounding, e^r by a polynomial of degree 6 (a minimax fit of what
 * follows 1 + r, 3e-9 of e^r off), within 2 ulp. 0 below -87.69, where the result would be subnormal:
 * what a mask sets to minus infinity is gone. Infinity above 88.37, 0.35 before libm's. */
EP_INLINE float ep_exp(float x) {
    float clamped = ep_select(x < -88.0f, -88.0f, x); /* NaN is kept */
    clamped = ep_select(clamped > 89.0f, 89.0f, clamped);
    /* 1.5 * 2^23, which rounds to an integer what it is added to, and an exponent's bias. */
    const float magic = 12582912.0f + 127.0f;
    float shifted = clamped * 1.44269504088896341f + magic;
    float n = shifted - magic;
    float r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.3814539415761828e-3f;
    p = p * r + 8.36874544620514e-3f;
    p = p * r + 4.166838899254799e-2f;
    p = p * r + 1.666652113199234e-1f;
    p = p * r + 4.999999403953552e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits; /* unsigned: a NaN's bits may wrap */
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23; /* n = -127: the bits of 0; n = 128: of infinity */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* Within 3 ulp; 0 and 1 at the far ends. */
EP_INLINE float ep_sigmoid(float x) { return 1.0f / (1.0f + ep_exp(-x)); }

/* Small x by an odd polynomial (no cancellation), the rest by exp; within 2 ulp. */
EP_INLINE float ep_tanh(float x) {
    float a = __builtin_fabsf(x);
    float big = __builtin_copysignf(1.0f - 2.0f / (ep_exp(2.0f * a) + 1.0f), x);
    float s = x * x;
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    float small = p * s * x + x;
    return ep_select(a < 0.625f, small, big);
}

/* log(m 2^e) = log m + e ln2 with m in [0.707, 1.414] (Cephes' scheme), within 2 ulp for normal
 * x > 0; minus infinity at 0 and subnormals, NaN below. */
EP_INLINE float ep_log(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t e = (int32_t)(bits - 0x3F3504F3u) >> 23; /* 0x3F3504F3: sqrt(1/2) */
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
    return ep_select(x <= 3.40282347e+38f, result, x); /* infinity and NaN as they are */
}

/* log(1 + x) for x in [0, 1]: what rounding took from 1 + x is given back; within 3 ulp. */
EP_INLINE float ep_log1p_unit(float x) {
    float whole = 1.0f + x;
    return ep_log(whole) + (x - (whole - 1.0f)) / whole;
}

/* erf(x) = x P(x^2) / Q(x^2), a minimax fit on [-4, 4] as in Eigen; beyond, its rounding to 1.
 * Within 8 ulp. */
EP_INLINE float ep_erf(float x) {
    float c = ep_select(x > 4.0f, 4.0f, x);
    c = ep_select(c < -4.0f, -4.0f, c);
    float s = c * c;
    float p = -2.72614225801306e-10f;
    p = p * s + 2.77068142495902e-08f;
    p = p * s - 2.10102402082508e-06f;
    p = p * s - 5.69250639462346e-05f;
    p = p * s - 7.34990630326855e-04f;
    p = p * s - 2.95459980854025e-03f;
    p = p * s - 1.60960333262415e-02f;
    float q = -1.45660718464996e-05f;
    q = q * s - 2.13374055278905e-04f;
    q = q * s - 1.68282697438203e-03f;
    q = q * s - 7.37332916720468e-03f;
    q = q * s - 1.42647390514189e-02f;
    float y = c * (p / q);
    return ep_select(__builtin_fabsf(y) > 1.0f, __builtin_copysignf(1.0f, y), y);
}
#endif

#endif
