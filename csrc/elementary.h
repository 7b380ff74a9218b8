/* elementary: exp, tanh, erf and their kin as straight-line code that a compiler turns into vector
 * instructions (libm calls would keep loops scalar). Float build: within 2 ulp of libm, tested;
 * double build: libm itself, since it is there to check gradients. NaN stays NaN. */
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
#else
/* 2^n * e^r with |r| <= ln2/2: n by rounding, e^r by a polynomial of degree 6 (Cephes' scheme).
 * Clamped to [-87.3, 88.7]: the result is a normal number or FLT_MAX's neighbour. */
EP_INLINE float ep_exp(float x) {
    float clamped = x < -87.0f ? -87.0f : x;
    clamped = clamped > 88.0f ? 88.0f : clamped;
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
    p = p * r * r + r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4B400000 + 127) * (1 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    float result = p * power;
    return x != x ? x : result;
}
EP_INLINE float ep_sigmoid(float x) { return 1.0f / (1.0f + ep_exp(-x)); }
/* Small x by an odd polynomial (no cancellation), the rest by exp. */
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
/* Abramowitz & Stegun 7.1.26 refined is too coarse for 2 ulp; libm's erff is exact enough and GELU
 * uses the tanh form, so erf stays scalar. */
EP_INLINE float ep_erf(float x) { return erff(x); }
EP_INLINE float ep_sqrt(float x) { return sqrtf(x); }
EP_INLINE float ep_log(float x) { return logf(x); }
#endif

#endif
