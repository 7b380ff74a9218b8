/* fitness: one number per population from its measured signals. Every law is one formula over
 * vectors. In laws whose values have a sign, positive means that more mass lowers the loss. Does
 * not depend on the source of the signals or the use of the result. */
#include "fitness.h"

EP_INLINE ep_real root(ep_real x) {
#ifdef EP_DOUBLE
    return __builtin_sqrt(x);
#else
    return __builtin_sqrtf(x);
#endif
}
EP_INLINE ep_real size_of(ep_real x) { return x < 0 ? -x : x; }

/* Return -x + terms x^2 / 2, with `terms` of ep_signals. For x = m dL/dm, this estimates to second
 * order how much the loss rises if the mass m becomes 0. */
EP_INLINE ep_real without(ep_real x, ep_real terms) { return x * (terms * x / 2 - 1); }

/* Define a law: its function and its descriptor. A macro, so that a law is only its formula.
 * `expression`: the fitness of population j from the signals s; `per_mass`: see
 * ep_fitness.extensive. */
#define LAW(law, need, per_mass, text, expression)                                        \
    static void law(const void *config, const ep_signals *s, ep_real *restrict fitness) { \
        (void)config;                                                                     \
        for (int64_t j = 0; j < s->n; j++) {                                              \
            fitness[j] = (expression);                                                    \
        }                                                                                 \
    }                                                                                     \
    const ep_fitness ep_fitness_##law = {.name = #law,                                    \
                                         .doc = text,                                     \
                                         .fields = ep_no_fields,                          \
                                         .needs = (need),                                 \
                                         .extensive = (per_mass),                         \
                                         .measure = law};

LAW(marginal, 0, false,
    "F = -dL/dm: the decrease of the loss per unit of added mass (nats). Selection then descends "
    "the loss (Rotskoff et al. 2019).",
    -s->mass_gradient[j])

LAW(taylor, 0, true,
    "F = |m dL/dm|: the first-order change of the loss if the population were removed, whatever "
    "its sign (Molchanov et al. 2017; Michel et al. 2019).",
    size_of(s->mass[j] * s->mass_gradient[j]))

LAW(relative, 0, true, "F = -m dL/dm: the decrease of the loss per relative growth of mass (nats).",
    -s->mass[j] * s->mass_gradient[j])

LAW(worth, 0, true,
    "F = -m dL/dm + n (m dL/dm)^2 / 2, for a loss that is a mean of n terms: the rise of the loss "
    "without the population, to second order (nats). The curvature along its mass is estimated by "
    "the variance of one term's gradient, n times that of the batch (Fisher information; LeCun et "
    "al. 1990, Theis et al. 2018).",
    without(s->mass[j] * s->mass_gradient[j], (ep_real)s->terms))

LAW(gradient, EP_NEEDS_GRADIENT, true,
    "F = |dL/dw|: the Euclidean norm of the gradient of the weights the population owns.",
    root(s->owned_gradient2[j]))

LAW(magnitude, EP_NEEDS_NORM, false,
    "F = |w|: the Euclidean norm of the weights the population owns.", root(s->owned_norm2[j]))

LAW(activity, EP_NEEDS_ACTIVITY, true,
    "F = mean |output|: the mean over the batch of the magnitude of the population's output.",
    s->activity[j])

LAW(pull, EP_NEEDS_PRODUCT, true,
    "F = -<w, dL/dw>: the decrease of the loss per relative growth of the weights the population "
    "owns (nats).",
    -s->owned_product[j])
