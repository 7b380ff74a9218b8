/* dynamics_simplex: laws on the shares x = m / M of a niche whose total mass M is constant: what
 * one population gains the others lose. Only differences of fitness count (adding a constant to
 * every F changes nothing). Upkeep is subtracted from fitness, so equal upkeep has no effect: in
 * this file, F is fitness less upkeep. h: the law's strength; other symbols: see dynamics.h. */
#include "cohort.h"

/* Return growth relative to the mean. A generation has the length cohort->strength, the value of a
 * schedule. */
static ep_growth against_mean(const ep_cohort *cohort, double h, double clip) {
    return ep_growth_of(cohort, h * cohort->strength, clip * cohort->strength, true);
}

/* ---- replicator ---------------------------------------------------------------------------- */
/* Taylor & Jonker 1978, solved exactly for constant F: x_i(t) = x_i(0) e^{F_i t} / sum. The mean
 * fitness never falls: it rises at a rate equal to the variance of fitness (Fisher 1930). The rate
 * of ln(x_i / x_j) is F_i - F_j. If clip binds, the order of growth is kept, so mean fitness still
 * never falls. */
typedef struct {
    double strength, clip;
} replicator;

static const ep_field replicator_fields[] = {
    EP_GROWTH_FIELDS(replicator, 50, "|log-growth above the mean|"),
    EP_FIELDS_END,
};

static void replicator_step(const void *config, const ep_cohort *cohort) {
    const replicator *law = config;
    double total = ep_cohort_total(cohort);
    if (ep_cohort_rests(cohort) || total == 0) {
        return;
    }
    ep_growth own = against_mean(cohort, law->strength, law->clip);
    double sum = 0;
    for (int64_t i = 0; i < cohort->n; i++) {
        sum = ep_add_product(sum, (double)cohort->mass[i], ep_growth_worth(&own, i));
    }
    double scale = total / sum; /* sum > 0, because the fittest population has w = 1 */
    for (int64_t i = 0; i < cohort->n; i++) {
        double worth = ep_growth_worth(&own, i);
        cohort->mass[i] = ep_cohort_settle((double)cohort->mass[i] * worth * scale);
    }
}

const ep_dynamics ep_dynamics_replicator = {
    .name = "replicator",
    .doc = "x' = x (F - Fbar), x = m / sum m: shares of a constant total follow relative fitness "
           "(Taylor & Jonker 1978); x <- x e^{hF} / sum, h (F - Fbar) within clip.",
    .fields = replicator_fields,
    .config_size = sizeof(replicator),
    .conserves = true,
    .step = replicator_step,
};

/* ---- replicator_mutator -------------------------------------------------------------------- */
/* Eigen & Schuster's quasispecies in discrete generations: offspring of population j mutate into
 * population i with probability Q_ji. x <- W x / sum, W_ij = Q_ji e^{h F_j}. The shares still sum
 * to 1. For constant F they converge to the Perron eigenvector of W. Q = I gives the replicator.
 * Offspring that would mutate into an extinct population stay in their parent's population, so
 * zero stays zero and removal has no effect. */
typedef struct {
    double strength, clip, mutation;
    ep_vector kernel;
} replicator_mutator;

static const ep_field replicator_mutator_fields[] = {
    EP_GROWTH_FIELDS(replicator_mutator, 50, "|log-growth above the mean|"),
    /* If selection takes a fraction s of a population's share per generation, mutation from the
     * others keeps its mass at about mutation / s times the mean. For neurons s is about 1e-2: with
     * mutation 1e-6 unfit populations fall to 1e-4, below the threshold; with 1e-5 none would
     * become extinct. */
    EP_FIELD_REAL(
        replicator_mutator, mutation, 1e-6, 0, 1,
        "mu, share of offspring spread evenly over the living populations: Q = (1 - mu) I + mu / n"),
    EP_FIELD_VECTOR(
        replicator_mutator, kernel, 0, 1,
        "Q_ji, probability that offspring of j is i, founded * founded values by birth id, row j by "
        "row, each summing to 1; empty: even mutation"),
    EP_FIELDS_END,
};

static bool replicator_mutator_check(const void *config, int64_t founded, ep_error *error) {
    const ep_vector *kernel = &((const replicator_mutator *)config)->kernel;
    if (kernel->n == 0) {
        return true;
    }
    if (kernel->n != ep_times(founded, founded)) {
        return ep_fail(error, EP_BAD_VALUE,
                       "replicator_mutator: kernel must be empty or have born * born = %lld * %lld "
                       "numbers, got %lld",
                       (long long)founded, (long long)founded, (long long)kernel->n);
    }
    for (int64_t j = 0; j < founded; j++) {
        double sum = 0;
        for (int64_t i = 0; i < founded; i++) {
            sum += kernel->at[j * founded + i];
        }
        if (!(fabs(sum - 1) <= 1e-6)) {
            return ep_fail(error, EP_BAD_VALUE,
                           "replicator_mutator: each row of kernel must sum to 1, row %lld has %g",
                           (long long)j, sum);
        }
    }
    return true;
}

/* Write the offspring of each population, before mutation, to cohort->work; -1 for a population of
 * mass 0. Return the sum of the offspring, and set *living to the number of populations of nonzero
 * mass. */
static double breed(const ep_cohort *cohort, const ep_growth *own, int64_t *living) {
    double sum = 0;
    *living = 0;
    for (int64_t i = 0; i < cohort->n; i++) {
        if (cohort->mass[i] == 0) {
            cohort->work[i] = -1;
            continue;
        }
        double worth = ep_growth_worth(own, i);
        cohort->work[i] = (ep_real)((double)cohort->mass[i] * worth);
        sum += (double)cohort->work[i];
        ++*living;
    }
    return sum;
}

/* Return the offspring in population i after mutation by the kernel among living populations. */
static double mutated(const ep_vector *kernel, const ep_cohort *cohort, int64_t i) {
    int64_t founded = cohort->founded, own = cohort->birth[i];
    double leave = 0, arrive = 0;
    for (int64_t j = 0; j < cohort->n; j++) {
        if (j != i && cohort->work[j] >= 0) {
            leave += kernel->at[own * founded + cohort->birth[j]];
            arrive = ep_add_product(arrive, kernel->at[cohort->birth[j] * founded + own],
                                    (double)cohort->work[j]);
        }
    }
    return arrive + (1 - leave) * (double)cohort->work[i];
}

static void replicator_mutator_step(const void *config, const ep_cohort *cohort) {
    const replicator_mutator *law = config;
    double total = ep_cohort_total(cohort);
    if (ep_cohort_rests(cohort) || total == 0) {
        return;
    }
    ep_growth own = against_mean(cohort, law->strength, law->clip);
    int64_t living;
    double sum = breed(cohort, &own, &living);
    double arrive = law->mutation * sum / (double)living;
    double scale = total / sum; /* sum > 0, because the fittest population has w = 1 */
    for (int64_t i = 0; i < cohort->n; i++) {
        if (cohort->work[i] < 0) {
            continue;
        }
        double offspring = law->kernel.n ? mutated(&law->kernel, cohort, i)
                                         : (1 - law->mutation) * (double)cohort->work[i] + arrive;
        cohort->mass[i] = ep_cohort_settle((offspring < 0 ? 0 : offspring) * scale);
    }
}

const ep_dynamics ep_dynamics_replicator_mutator = {
    .name = "replicator_mutator",
    .doc =
        "x_i' = sum_j x_j F_j Q_ji - Fbar x_i: the replicator with mutation between living "
        "populations (Eigen & Schuster 1977); x <- W x / sum, W_ij = Q_ji e^{h F_j}, h (F - Fbar) "
        "within clip.",
    .fields = replicator_mutator_fields,
    .config_size = sizeof(replicator_mutator),
    .conserves = true,
    .check = replicator_mutator_check,
    .step = replicator_mutator_step,
};
