/* activation: the functions phi that populations may have, and their slopes, as straight-line code;
 * with a constant kind each is a plain vector loop. It knows neither mass nor layers. */
#ifndef EP_LAYERS_ACTIVATION_H
#define EP_LAYERS_ACTIVATION_H

#include "elementary.h"

typedef enum { IDENTITY, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID } activation;

static const char *const ep_activations[] = {"identity", "relu", "leaky_relu", "gelu",
                                             "silu",     "tanh", "sigmoid",    NULL};

#define GELU_A ((ep_real)0.7978845608028654) /* sqrt(2 / pi) */
#define GELU_B ((ep_real)0.044715)

EP_INLINE ep_real phi(activation kind, ep_real z, ep_real slope) {
    switch (kind) {
    case RELU: return z > 0 ? z : z != z ? z : 0;
    case LEAKY_RELU: return z > 0 ? z : slope * z;
    case GELU: return z * ep_sigmoid(2 * GELU_A * (z + GELU_B * z * z * z));
    case SILU: return z * ep_sigmoid(z);
    case TANH: return ep_tanh(z);
    case SIGMOID: return ep_sigmoid(z);
    case IDENTITY: break;
    }
    return z;
}

EP_INLINE ep_real phi_slope(activation kind, ep_real z, ep_real slope) {
    ep_real s, u;
    switch (kind) {
    case RELU: return z > 0 ? 1 : 0;
    case LEAKY_RELU: return z > 0 ? 1 : slope;
    case GELU:
        s = ep_sigmoid(2 * GELU_A * (z + GELU_B * z * z * z));
        return s + z * s * (1 - s) * 2 * GELU_A * (1 + 3 * GELU_B * z * z);
    case SILU: s = ep_sigmoid(z); return s + z * s * (1 - s);
    case TANH: u = ep_tanh(z); return 1 - u * u;
    case SIGMOID: s = ep_sigmoid(z); return s * (1 - s);
    case IDENTITY: break;
    }
    return 1;
}

#endif
