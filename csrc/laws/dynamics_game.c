/* dynamics_game: pruning as a game (arXiv 2512.22106). Every population i is a player with
 * in-weights w_i. Its mass s_i in [0, 1] is its participation and follows the gradient of its own
 * utility
 *     U_i = s_i (alpha (F_i - c_i) - beta |w_i|^2 s_i - gamma - eta sum_{j != i} s_j <w_i, w_j>)
 * with fitness F, upkeep c and the settings alpha, beta, gamma and eta. With the fitness law
 * `marginal`, players descend the loss; the paper's F is <w, dL/dw>, which is `pull` with the
 * opposite sign. This is the only law under which extinct populations can be reborn, until they
 * are removed. */
#include "cohort.h"

typedef struct {
    double strength, alpha, beta, gamma, eta;
} best_response;

static const ep_field best_response_fields[] = {
    EP_FIELD_REAL(best_response, strength, 1, 0, 1e9, "h, step per generation and unit of dU/ds"),
    EP_FIELD_REAL(best_response, alpha, 1, 0, 1e9, "weight of the benefit F - c"),
    EP_FIELD_REAL(best_response, beta, 1e-4, 0, 1e9, "cost of large weights, beta |w|^2 s^2"),
    EP_FIELD_REAL(
        best_response, gamma, 1e-3, 0, 1e9,
        "cost of taking part, gamma s: without benefit, extinct in 1 / (h gamma) generations"),
    EP_FIELD_REAL(best_response, eta, 0, 0, 1e9,
                  "cost of similarity to the others, eta s_i s_j <w_i, w_j>"),
    EP_FIELDS_END,
};

/* While the other masses are fixed, dU/ds = a - d s with a constant `a` and d = 2 beta |w|^2. Solve
 * s' = dU/ds exactly over the time h: s += (1 - e^(-d h)) / d * dU/ds. For small d h, this is
 * Euler's step, and it never overshoots the player's best response. For eta = 0, the fixed point is
 * the soft threshold clip((alpha (F - c) - gamma) / (2 beta |w|^2), 0, 1). */
static void best_response_step(const void *config, const ep_cohort *cohort) {
    const best_response *law = config;
    if (ep_cohort_rests(cohort)) {
        return;
    }
    int64_t n = cohort->n;
    double h = law->strength * cohort->strength;
    for (int64_t i = 0; i < n; i++) {
        double others = 0, mass = (double)cohort->mass[i];
        for (int64_t j = 0; law->eta > 0 && cohort->overlap && j < n; j++) {
            if (j != i) {
                double overlap = (double)cohort->overlap[i * n + j];
                others = ep_add_product(others, overlap, (double)cohort->mass[j]);
            }
        }
        double stiff = 2 * law->beta * (cohort->norm2 ? (double)cohort->norm2[i] : 1);
        double benefit = law->alpha * ((double)cohort->fitness[i] - (double)cohort->upkeep[i]);
        double slope = benefit - stiff * mass - law->gamma - law->eta * others;
        double time = stiff * h > 1e-12 ? -expm1(-stiff * h) / stiff : h;
        double next = mass + time * slope;
        next = next > 1 ? 1 : next;
        cohort->work[i] = (ep_real)(next < 0 ? 0 : next); /* all masses change at once */
    }
    for (int64_t i = 0; i < n; i++) {
        cohort->mass[i] = cohort->work[i];
    }
}

const ep_dynamics ep_dynamics_best_response = {
    .name = "best_response",
    .doc = "s' = alpha (F - c) - 2 beta |w|^2 s - gamma - eta sum_{j != i} s_j <w_i, w_j>, s in "
           "[0, 1]: each population climbs its own utility (arXiv 2512.22106).",
    .fields = best_response_fields,
    .config_size = sizeof(best_response),
    .needs = EP_NEEDS_WEIGHT_NORM | EP_NEEDS_WEIGHT_OVERLAP,
    .step = best_response_step,
};
