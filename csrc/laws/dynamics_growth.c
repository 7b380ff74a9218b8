/* dynamics_growth: laws that do not conserve mass. Populations grow by their fitness less upkeep,
 * without competition (malthusian, noisy_growth) or up to a carrying capacity (logistic,
 * lotka_volterra). Every step is multiplicative: mass stays positive and zero stays zero at any
 * step size. Rates are log-growth per generation; F and c are nats per unit of mass. Symbols: see
 * dynamics.h. */
#include "cohort.h"

/* Return the growth of each population without competition. A generation has the length
 * cohort->strength, the value of a schedule. */
static ep_growth alone(const ep_cohort *cohort, double h, double clip) {
    return ep_growth_of(cohort, h * cohort->strength, clip * cohort->strength, false);
}

/* ---- none ---------------------------------------------------------------------------------- */
static void none_step(const void *config, const ep_cohort *cohort) {
    (void)config;
    (void)cohort;
}

const ep_dynamics ep_dynamics_none = {
    .name = "none",
    .doc = "m' = 0: masses do not change; an ordinary network.",
    .fields = ep_no_fields,
    .step = none_step,
};

/* ---- malthusian ---------------------------------------------------------------------------- */
/* Malthus 1798. Under raw growth without limits, the shares of the total mass follow the replicator
 * equation.
 *
 * With raw growth, F - c determines not only which populations survive but also how fast the others
 * shrink: upkeep of a filter is 40 times that of a neuron, so filters would become extinct before
 * they learned. By default, growth is therefore the return on upkeep, a number in [-1, 1], scaled
 * so that a population of zero fitness becomes extinct after `lifespan` generations. Both kinds of
 * growth are zero at F = c.
 *
 * If fitness does not fall as mass grows, fit populations grow up to the ceiling and take over the
 * work of extinct ones. With a ceiling near the birth mass, small networks learn worse; with one
 * far above 5, learning is unstable. */
enum { GROWTH_BOUNDED, GROWTH_RAW };
#define USUAL_THRESHOLD 1e-3

typedef struct {
    int64_t growth;
    double lifespan, ceiling, strength, clip;
} malthusian;

static const char *const growths[] = {"bounded", "raw", NULL};

static const ep_field malthusian_fields[] = {
    EP_FIELD_CHOICE(
        malthusian, growth, GROWTH_BOUNDED, growths,
        "bounded: growth is the return (F - c) / (|F| + c) paced by lifespan; raw: h (F - c)"),
    EP_FIELD_REAL(
        malthusian, lifespan, 700, 1, 1e12,
        "bounded growth: generations in which a population without fitness falls from birth "
        "mass 1 to the threshold (to 1e-3 where the threshold is 0)"),
    EP_FIELD_REAL(malthusian, ceiling, 5, 0, 1e30, "largest mass of a population"),
    EP_FIELD_REAL(malthusian, strength, 10, 0, 1e9,
                  "raw growth: h, log-growth per generation for each nat of F - c"),
    EP_FIELD_REAL(malthusian, clip, 0.2, 0, 1e6,
                  "raw growth: bound on |log-growth| per generation"),
    EP_FIELDS_END,
};

/* (F - c) / (|F| + c), with halves so that no sum overflows; 0 if both are 0. */
static double return_on_upkeep(double fitness, double upkeep) {
    double turnover = 0.5 * fabs(fitness) + 0.5 * upkeep;
    return turnover > 0 ? (0.5 * fitness - 0.5 * upkeep) / turnover : turnover;
}

static void malthusian_step(const void *config, const ep_cohort *cohort) {
    const malthusian *law = config;
    if (ep_cohort_rests(cohort)) {
        return;
    }
    /* If the threshold is 0, compute the pace from USUAL_THRESHOLD. The threshold must be below
     * the birth mass 1, because the pace would be negative otherwise. */
    double threshold = cohort->threshold > 0 ? cohort->threshold : USUAL_THRESHOLD;
    threshold = fmin(fmax(threshold, 1e-30), 0.5);
    double pace = cohort->strength * -log(threshold) / law->lifespan;
    bool bounded = law->growth == GROWTH_BOUNDED;
    ep_growth raw = {.cohort = cohort};
    if (!bounded) {
        raw = alone(cohort, law->strength, law->clip);
    }
    for (int64_t i = 0; i < cohort->n; i++) {
        double fitness = (double)cohort->fitness[i], upkeep = (double)cohort->upkeep[i];
        double growth = bounded ? pace * return_on_upkeep(fitness, upkeep) : ep_growth_at(&raw, i);
        double mass = ep_cohort_grown(cohort, i, growth);
        cohort->mass[i] = ep_cohort_settle(mass > law->ceiling ? law->ceiling : mass);
    }
}

const ep_dynamics ep_dynamics_malthusian = {
    .name = "malthusian",
    .doc = "m' = m (F - c): mass grows with fitness less upkeep (Malthus 1798). bounded growth: "
           "ln m += ln(1/threshold) / lifespan * (F - c) / (|F| + c); raw: m *= exp(h (F - c)).",
    .fields = malthusian_fields,
    .config_size = sizeof(malthusian),
    .step = malthusian_step,
};

/* ---- noisy_growth -------------------------------------------------------------------------- */
/* Geometric Brownian motion, solved exactly (Ito): after time t, the change of ln m is normal with
 * mean (F - c - s^2/2) t and variance s^2 t, where s is the setting `noise`; the mean of m grows by
 * the factor e^{(F - c) t}, unless clip binds. A generation takes time t = h. */
typedef struct {
    double strength, clip, noise;
} noisy_growth;

static const ep_field noisy_growth_fields[] = {
    EP_GROWTH_FIELDS(noisy_growth, 20, "|log-growth apart from noise|"),
    /* After 20 epochs of 470 generations with h = 20, the deviation of ln m is 0.003 * sqrt(20 *
     * 9400) = 1.3. That is visible, but far below ln(1/threshold) = 6.9: noise alone makes no
     * population extinct. */
    EP_FIELD_REAL(noisy_growth, noise, 0.003, 0, 100,
                  "s, deviation of ln m after one unit of time"),
    EP_FIELDS_END,
};

static void noisy_growth_step(const void *config, const ep_cohort *cohort) {
    const noisy_growth *law = config;
    if (ep_cohort_rests(cohort)) {
        return;
    }
    double h = law->strength * cohort->strength;
    double deviation = law->noise * sqrt(h), drag = 0.5 * law->noise * law->noise * h;
    ep_growth own = alone(cohort, law->strength, law->clip);
    for (int64_t i = 0; i < cohort->n; i++) {
        double z = ep_random_normal(cohort->noise, (uint64_t)cohort->birth[i]);
        double growth = ep_growth_at(&own, i) - drag + deviation * z;
        cohort->mass[i] = ep_cohort_settle(ep_cohort_grown(cohort, i, growth));
    }
}

const ep_dynamics ep_dynamics_noisy_growth = {
    .name = "noisy_growth",
    .doc = "dm = m ((F - c) dt + s dW): growth in a noisy environment (Ito), "
           "m *= exp((F - c - s^2/2) h + s sqrt(h) z), (F - c) h within clip.",
    .fields = noisy_growth_fields,
    .config_size = sizeof(noisy_growth),
    .step = noisy_growth_step,
};

/* ---- logistic ------------------------------------------------------------------------------ */
/* m_i' = m_i (r_i - max(rbar, 0) M / K) with carrying capacity K: the total obeys Verhulst's
 * M' = rbar M (1 - M/K) while shares compete as in the replicator. (m_i' = m_i r_i (1 - M/K) would
 * stop selection at M = K, where a network is founded, and favor the unfit beyond K.) The shares do
 * not depend on M, so with Z = sum m e^r / M this step of any size is exact for constant F:
 *     m <- m e^r / (1 + (M/K) (Z - 1)) if Z > 1, else m e^r.
 * If all r are equal, M(t) = K / (1 + (K/M(0) - 1) e^-rt). From below, M never exceeds K. */
typedef struct {
    double strength, clip, capacity;
} logistic;

static const ep_field logistic_fields[] = {
    EP_GROWTH_FIELDS(logistic, 20, "|log-growth|"),
    EP_FIELD_REAL(logistic, capacity, 1, 1e-6, 1e9,
                  "mass the niche can carry, per founding population: K = capacity * founded"),
    EP_FIELDS_END,
};

static void logistic_step(const void *config, const ep_cohort *cohort) {
    const logistic *law = config;
    double total = ep_cohort_total(cohort);
    if (ep_cohort_rests(cohort) || total == 0) {
        return;
    }
    double filled = total / (law->capacity * (double)cohort->founded);
    ep_growth own = alone(cohort, law->strength, law->clip);
    own.best = fmax(own.best, 0);
    double grown = 0;
    for (int64_t i = 0; i < cohort->n; i++) {
        grown = ep_add_product(grown, (double)cohort->mass[i], ep_growth_worth(&own, i));
    }
    double one = exp(-own.best), gain = grown / total; /* both scaled by e^-best */
    double crowding = gain > one ? one + filled * (gain - one) : one;
    /* If growth is far beyond the range of exp, `one` underflows to 0, and if the total mass is
     * tiny, so does `crowding`: avoid dividing by 0. */
    crowding = crowding < 1e-300 ? 1e-300 : crowding;
    for (int64_t i = 0; i < cohort->n; i++) {
        double worth = ep_growth_worth(&own, i);
        cohort->mass[i] = ep_cohort_settle((double)cohort->mass[i] * worth / crowding);
    }
}

const ep_dynamics ep_dynamics_logistic = {
    .name = "logistic",
    .doc =
        "m_i' = m_i (r_i - max(rbar, 0) M / K), r = h (F - c): the total grows to the carrying "
        "capacity (Verhulst 1838) while populations compete for their shares of it. r within clip.",
    .fields = logistic_fields,
    .config_size = sizeof(logistic),
    .step = logistic_step,
};

/* ---- lotka_volterra ------------------------------------------------------------------------ */
/* m_i' = r_i m_i (1 - crowd_i) for r_i > 0, and r_i m_i for r_i <= 0, where m_i is mass, r_i the
 * growth rate h (F_i - c_i), and crowd_i, defined below, says how crowded population i is. (With
 * the textbook's factor for r_i < 0 too, unfit populations would grow where crowd_i > 1.) The step
 * is that of Leslie & Gower 1958: m e^r / (1 + (e^r - 1) crowd). It has the fixed points of the
 * differential equation and the same outcome for two species (Cushing et al. 2004), is exact for
 * logistic growth, where crowd_i = m_i over a constant, and does not oscillate at any step size.
 *
 * If the setting `interaction` gives the matrix `a`, crowd_i = (a m)_i / capacity, where (a m)_i =
 * sum_j a_ij m_j. Otherwise `a` is the overlap of activities. Overlaps are far from 0 at founding,
 * so crowding is relative to the mean of (a m)_j over j, weighted by mass: crowd_i = (a m)_i / mean
 * * M / K, with total mass M and K = capacity * founded. The mean of crowd_i is then M / K as in
 * `logistic`, and populations similar to the others are crowded more. */
typedef struct {
    double strength, clip, capacity;
    ep_vector interaction;
} lotka_volterra;

static const ep_field lotka_volterra_fields[] = {
    EP_GROWTH_FIELDS(lotka_volterra, 20, "|log-growth|"),
    EP_FIELD_REAL(
        lotka_volterra, capacity, 1, 1e-6, 1e9,
        "mass a population alone can reach (given interaction), or mass the niche carries per "
        "founding population (interaction from overlap)"),
    EP_FIELD_VECTOR(
        lotka_volterra, interaction, 0, 1e9,
        "a_ij, the effect of population j on i, founded * founded values by birth id, row by row; "
        "empty: the overlap of activities"),
    EP_FIELDS_END,
};

static bool lotka_volterra_check(const void *config, int64_t founded, ep_error *error) {
    int64_t given = ((const lotka_volterra *)config)->interaction.n;
    return given == 0 || given == ep_times(founded, founded) ||
           ep_fail(error, EP_BAD_VALUE,
                   "lotka_volterra: interaction must be empty or have born * born = %lld * %lld "
                   "numbers, got %lld",
                   (long long)founded, (long long)founded, (long long)given);
}

/* Write sum_j a_ij m_j to work, where `a` is the given interaction, the overlap or the identity. */
static void feel(const lotka_volterra *law, const ep_cohort *cohort) {
    int64_t n = cohort->n;
    for (int64_t i = 0; i < n; i++) {
        double felt = 0;
        if (!law->interaction.n && !cohort->overlap) {
            cohort->work[i] = cohort->mass[i];
            continue;
        }
        const double *given = law->interaction.n
                                  ? law->interaction.at + cohort->birth[i] * cohort->founded
                                  : NULL;
        const ep_real *alike = given ? NULL : cohort->overlap + i * n;
        for (int64_t j = 0; j < n; j++) {
            double a = given ? given[cohort->birth[j]] : (double)alike[j];
            felt = ep_add_product(felt, a, (double)cohort->mass[j]);
        }
        cohort->work[i] = (ep_real)felt;
    }
}

static void lotka_volterra_step(const void *config, const ep_cohort *cohort) {
    const lotka_volterra *law = config;
    double total = ep_cohort_total(cohort);
    if (ep_cohort_rests(cohort) || total == 0) {
        return;
    }
    feel(law, cohort);
    ep_growth own = alone(cohort, law->strength, law->clip);
    double scale = 1 / law->capacity;
    if (law->interaction.n == 0) {
        double mean = 0;
        for (int64_t i = 0; i < cohort->n; i++) {
            mean = ep_add_product(mean, (double)cohort->mass[i] / total, (double)cohort->work[i]);
        }
        double filled = total / (law->capacity * (double)cohort->founded);
        scale = mean > 0 ? filled / mean : 0;
    }
    for (int64_t i = 0; i < cohort->n; i++) {
        double growth = ep_growth_at(&own, i), mass = (double)cohort->mass[i];
        if (growth > 0) {
            double crowding = exp(-growth) - expm1(-growth) * scale * (double)cohort->work[i];
            mass /= crowding < 1e-300 ? 1e-300 : crowding;
        } else {
            mass *= exp(growth);
        }
        cohort->mass[i] = ep_cohort_settle(mass);
    }
}

const ep_dynamics ep_dynamics_lotka_volterra = {
    .name = "lotka_volterra",
    .doc =
        "m_i' = r_i m_i (1 - sum_j a_ij m_j / K), r = h (F - c) > 0; m_i' = r_i m_i where r <= 0: "
        "competition with populations of similar activity (Lotka 1925, Volterra 1926; step of "
        "Leslie & Gower 1958).",
    .fields = lotka_volterra_fields,
    .config_size = sizeof(lotka_volterra),
    .needs = EP_NEEDS_ACTIVITY_OVERLAP,
    .check = lotka_volterra_check,
    .step = lotka_volterra_step,
};
