/* activation: the activation functions phi and their derivatives, on several vectors at once. With
 * a constant kind, each compiles to straight-line code. Does not depend on masses or layers. */
#ifndef EP_LAYERS_ACTIVATION_H
#define EP_LAYERS_ACTIVATION_H

#include "elementary.h"

typedef enum { IDENTITY, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID } activation;

static const char *const ep_activations[] = {"identity", "relu", "leaky_relu", "gelu",
                                             "silu",     "tanh", "sigmoid",    NULL};

#define GELU_A ((ep_real)1.5957691216057308) /* 2 sqrt(2 / pi) */
#define GELU_B ((ep_real)0.044715)

/* Compute f[i] = phi(z[i]) and d[i] = phi'(z[i]) for n vectors; n is a constant, at most SIDE.
 * Unused results are optimized away. `slope` is leaky_relu's slope below zero, at most 1. */
EP_INLINE void ep_phi(activation kind, int n, ep_real slope, const vector *z, vector *f,
                      vector *d) {
    const vector zero = {0}, one = all(1);
    vector s[SIDE], square[SIDE];
    switch (kind) {
    case IDENTITY: EACH(n) { f[i] = z[i];
        }
        EACH(n) { d[i] = one; }
        break;
    case RELU: EACH(n) { f[i] = larger(zero, z[i]);
        } /* NaN is kept */
        EACH(n) { d[i] = where_less(zero, z[i], one, zero); }
        break;
    case LEAKY_RELU: EACH(n) { f[i] = where_less(zero, z[i], z[i], slope * z[i]);
        }
        EACH(n) { d[i] = where_less(zero, z[i], one, all(slope)); }
        break;
    case GELU: EACH(n) { square[i] = z[i] * z[i];
        }
        EACH(n) { s[i] = GELU_A * GELU_B * square[i] + GELU_A; }
        EACH(n) { s[i] = z[i] * s[i]; }
        ep_sigmoid(n, s);
        EACH(n) { f[i] = z[i] * s[i]; }
        EACH(n) { square[i] = 3 * GELU_A * GELU_B * square[i] + GELU_A; }
        EACH(n) { d[i] = f[i] - f[i] * s[i]; }
        EACH(n) { d[i] = s[i] + d[i] * square[i]; }
        break;
    case SILU: EACH(n) { s[i] = z[i];
        }
        ep_sigmoid(n, s);
        EACH(n) { f[i] = z[i] * s[i]; }
        EACH(n) { d[i] = s[i] + (f[i] - f[i] * s[i]); }
        break;
    case TANH: EACH(n) { f[i] = z[i];
        }
        ep_tanh(n, f);
        EACH(n) { d[i] = 1 - f[i] * f[i]; }
        break;
    case SIGMOID: EACH(n) { f[i] = z[i];
        }
        ep_sigmoid(n, f);
        EACH(n) { d[i] = f[i] - f[i] * f[i]; }
        break;
    }
}

#endif
