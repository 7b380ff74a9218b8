/* activation: the activation functions phi and their derivatives, on several vectors at once. If
 * the argument `kind` is a compile-time constant, each function compiles to straight-line code.
 * Does not depend on masses or layers. */
#ifndef EP_LAYERS_ACTIVATION_H
#define EP_LAYERS_ACTIVATION_H

#include "elementary.h"

typedef enum { IDENTITY, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID } activation;

static const char *const ep_activations[] = {"identity", "relu", "leaky_relu", "gelu",
                                             "silu",     "tanh", "sigmoid",    NULL};

#define GELU_A ((ep_real)1.5957691216057308) /* 2 sqrt(2 / pi) */
#define GELU_B ((ep_real)0.044715)

/* Compute f[i] = phi(z[i]) and d[i] = phi'(z[i]) for n vectors; n is a constant, at most EP_SIDE.
 * Unused results are optimized away. `slope` is leaky_relu's slope below zero, at most 1. */
EP_INLINE void ep_phi(activation kind, int n, ep_real slope, const ep_vec *z, ep_vec *f,
                      ep_vec *d) {
    const ep_vec zero = {0}, one = ep_vec_all(1);
    ep_vec s[EP_SIDE], square[EP_SIDE];
    switch (kind) {
    case IDENTITY: {
        EP_EACH(n) { f[i] = z[i]; }
        EP_EACH(n) { d[i] = one; }
        break;
    }
    case RELU: {
        EP_EACH(n) { f[i] = ep_vec_max(zero, z[i]); } /* NaN is kept */
        EP_EACH(n) { d[i] = ep_vec_where_less(zero, z[i], one, zero); }
        break;
    }
    case LEAKY_RELU: {
        EP_EACH(n) { f[i] = ep_vec_where_less(zero, z[i], z[i], slope * z[i]); }
        EP_EACH(n) { d[i] = ep_vec_where_less(zero, z[i], one, ep_vec_all(slope)); }
        break;
    }
    case GELU: {
        EP_EACH(n) { square[i] = z[i] * z[i]; }
        EP_EACH(n) { s[i] = GELU_A * GELU_B * square[i] + GELU_A; }
        EP_EACH(n) { s[i] = z[i] * s[i]; }
        ep_sigmoid(n, s);
        EP_EACH(n) { f[i] = z[i] * s[i]; }
        EP_EACH(n) { square[i] = 3 * GELU_A * GELU_B * square[i] + GELU_A; }
        EP_EACH(n) { d[i] = f[i] - f[i] * s[i]; }
        EP_EACH(n) { d[i] = s[i] + d[i] * square[i]; }
        break;
    }
    case SILU: {
        EP_EACH(n) { s[i] = z[i]; }
        ep_sigmoid(n, s);
        EP_EACH(n) { f[i] = z[i] * s[i]; }
        EP_EACH(n) { d[i] = s[i] + (f[i] - f[i] * s[i]); }
        break;
    }
    case TANH: {
        EP_EACH(n) { f[i] = z[i]; }
        ep_tanh(n, f);
        EP_EACH(n) { d[i] = 1 - f[i] * f[i]; }
        break;
    }
    case SIGMOID: {
        EP_EACH(n) { f[i] = z[i]; }
        ep_sigmoid(n, f);
        EP_EACH(n) { d[i] = f[i] - f[i] * f[i]; }
        break;
    }
    }
}

#endif
