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

/* 2^n * e^r with |r| <= ln2/2: n by rounding, e^r by a polynomial of degree 7 (Cephes' scheme),
 * within 2 ulp. Below -87.33 the result would be subnormal: it is 0, so that what a mask sets to
 * minus infinity is gone. Above 88.37 it is infinity, 0.35 before libm's. */
EP_INLINE float ep_exp(float x) {
    float clamped = x < -88.0f ? -88.0f : x;
    clamped = clamped > 89.0f ? 89.0f : clamped;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float shifted = clamped * 1.44269504088896341f + magic;
    float n = shifted - magic;
    float r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t bits; /* unsigned: a NaN's bits may wrap */
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4B400000u + 127u) << 23; /* n = 128 makes the bits of infinity */
    float power;
    memcpy(&power, &bits, sizeof power);
    float result = p * power;
    result = x < -87.33f ? 0.0f : result;
    return x != x ? x : result;
}

/* Within 3 ulp; 0 and 1 at the far ends. */
EP_INLINE float ep_sigmoid(float x) { return 1.0f / (1.0f + ep_exp(-x)); }

/* Small x by an odd polynomial (no cancellation), the rest by exp; within 2 ulp. */
EP_INLINE float ep_tanh(float x) {
    float a = x < 0 ? -x : x;
    float big = 1.0f - 2.0f / (ep_exp(2.0f * a) + 1.0f);
    float s = x * x;
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    float small = p * s * x + x;
    float far = x < 0 ? -big : big;
    float result = a < 0.625f ? small : far;
    return x != x ? x : result;
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
    result = x < 1.17549435e-38f ? -INFINITY : result;
    result = x < 0 ? NAN : result;
    result = x > 3.40282347e+38f ? x : result;
    return x != x ? x : result;
}

/* log(1 + x) for x in [0, 1]: what rounding took from 1 + x is given back; within 3 ulp. */
EP_INLINE float ep_log1p_unit(float x) {
    float whole = 1.0f + x;
    return ep_log(whole) + (x - (whole - 1.0f)) / whole;
}

EP_INLINE float ep_erf(float x) { return erff(x); }
#endif

#endif
