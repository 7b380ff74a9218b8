/* optimizers: update parameters from gradients. Elementwise and stateless: tensors, learning rate
 * schedules and clipping are handled elsewhere. These loops touch every parameter at every step and
 * are memory-bound: they take one pass without branches, with constants computed in double before
 * the loop. */
#include "optimizers.h"

#ifdef EP_DOUBLE
#define TINY 1e-200
EP_INLINE double root(double x) { return __builtin_sqrt(x); }
#else
#define TINY 1e-30f
EP_INLINE float root(float x) { return __builtin_sqrtf(x); }
#endif

/* Round a tiny moment to 0. Once its gradients are 0, a moment decays and would become subnormal;
 * arithmetic on subnormal numbers is about a hundred times slower. */
EP_INLINE ep_real faded(ep_real x) { return x < TINY && x > -TINY ? 0 : x; }

/* ---- sgd ------------------------------------------------------------------------------------ */
typedef struct {
    double momentum;
    int64_t nesterov;
    double weight_decay;
} sgd_config;

static const ep_field sgd_fields[] = {
    EP_FIELD_REAL(sgd_config, momentum, 0.9, 0, 0.9999, "factor on the previous step's direction"),
    EP_FIELD_BOOL(sgd_config, nesterov, false, "use Nesterov's momentum (1983)"),
    EP_FIELD_REAL(sgd_config, weight_decay, 0, 0, 1e6,
                  "decoupled weight decay: value -= rate * decay * value"),
    EP_FIELDS_END,
};

static double sgd_decay(const void *config) { return ((const sgd_config *)config)->weight_decay; }

static void sgd_step(const void *config, ep_pace pace, ep_block block, ep_real *restrict value,
                     const ep_real *restrict gradient, ep_real *restrict first,
                     ep_real *restrict second) {
    const sgd_config *c = config;
    (void)second;
    ep_real momentum = (ep_real)c->momentum, scale = (ep_real)pace.scale;
    ep_real keep = (ep_real)(1 - pace.rate * pace.decay);
    /* The step is rate * (g + momentum m) with nesterov, else rate * m. */
    ep_real from_gradient = (ep_real)(c->nesterov ? pace.rate : 0);
    ep_real from_moment = (ep_real)(c->nesterov ? pace.rate * c->momentum : pace.rate);
    for (int64_t row = 0; row < block.rows; row++) {
        for (int64_t i = 0; i < block.n; i++) {
            ep_real g = gradient[i] * scale;
            ep_real m = faded(momentum * first[i] + g);
            first[i] = m;
            value[i] = value[i] * keep - (from_gradient * g + from_moment * m);
        }
        value += block.stride, gradient += block.stride, first += block.stride;
    }
}

const ep_optimizer ep_optimizer_sgd = {
    .name = "sgd",
    .doc = "Stochastic gradient descent: m = momentum m + g; value -= rate m (with nesterov: rate "
           "(g + momentum m)), and decoupled weight decay.",
    .fields = sgd_fields,
    .config_size = sizeof(sgd_config),
    .moments = 1,
    .decay = sgd_decay,
    .step = sgd_step,
};

/* ---- adamw ---------------------------------------------------------------------------------- */
typedef struct {
    double beta1, beta2, epsilon, weight_decay;
} adamw_config;

static const ep_field adamw_fields[] = {
    EP_FIELD_REAL(adamw_config, beta1, 0.9, 0, 0.999999,
                  "decay rate of the running mean of the gradient"),
    EP_FIELD_REAL(adamw_config, beta2, 0.999, 0, 0.999999,
                  "decay rate of the running mean of the squared gradient"),
    EP_FIELD_REAL(adamw_config, epsilon, 1e-8, 1e-20, 1,
                  "added to the root of the running mean of the squared gradient"),
    EP_FIELD_REAL(adamw_config, weight_decay, 0.01, 0, 1e6,
                  "decoupled weight decay: value -= rate * decay * value"),
    EP_FIELDS_END,
};

static double adamw_decay(const void *config) {
    return ((const adamw_config *)config)->weight_decay;
}

static void adamw_step(const void *config, ep_pace pace, ep_block block, ep_real *restrict value,
                       const ep_real *restrict gradient, ep_real *restrict first,
                       ep_real *restrict second) {
    const adamw_config *c = config;
    double t = (double)pace.step;
    double bias1 = 1 - __builtin_pow(c->beta1, t), bias2 = 1 - __builtin_pow(c->beta2, t);
    ep_real scale = (ep_real)pace.scale, keep = (ep_real)(1 - pace.rate * pace.decay);
    ep_real stay1 = (ep_real)c->beta1, move1 = (ep_real)(1 - c->beta1);
    ep_real stay2 = (ep_real)c->beta2, move2 = (ep_real)(1 - c->beta2);
    ep_real rate = (ep_real)(pace.rate / bias1);
    ep_real spread = (ep_real)(1 / __builtin_sqrt(bias2)), epsilon = (ep_real)c->epsilon;
    for (int64_t row = 0; row < block.rows; row++) {
        for (int64_t i = 0; i < block.n; i++) {
            ep_real g = gradient[i] * scale;
            ep_real m = faded(stay1 * first[i] + move1 * g);
            ep_real v = faded(stay2 * second[i] + move2 * g * g);
            first[i] = m;
            second[i] = v;
            value[i] = value[i] * keep - rate * m / (root(v) * spread + epsilon);
        }
        value += block.stride, gradient += block.stride;
        first += block.stride, second += block.stride;
    }
}

const ep_optimizer ep_optimizer_adamw = {
    .name = "adamw",
    .doc = "Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019): m and "
           "v are running means of g and g^2, both corrected for their start at zero; value -= "
           "rate (m / (sqrt(v) + epsilon) + decay value).",
    .fields = adamw_fields,
    .config_size = sizeof(adamw_config),
    .moments = 2,
    .decay = adamw_decay,
    .step = adamw_step,
};
