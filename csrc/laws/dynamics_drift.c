/* dynamics_drift: finite populations. The mass of a niche consists of N individuals, `size` per
 * unit of mass, and offspring are drawn at random: selection with genetic drift at constant total
 * mass. Upkeep is subtracted from fitness, so only differences count. Each birth id has its own
 * random numbers and populations are visited by birth id, so results depend neither on the order of
 * the populations nor on the removal of extinct ones (except for the rounding of a probability).
 * Symbols: see dynamics.h; here x' is the share after the generation. */
#include "cohort.h"

/* Write the indices of the populations to order (n), sorted by birth id. A niche is sorted already,
 * so this insertion sort usually takes one pass; other callers may give any order. */
static void by_birth(const ep_cohort *cohort, int32_t *order) {
    for (int64_t i = 0; i < cohort->n; i++) {
        int64_t at = i;
        while (at > 0 && cohort->birth[order[at - 1]] > cohort->birth[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = (int32_t)i;
    }
}

static double total_in_order(const ep_cohort *cohort, const int32_t *order) {
    double total = 0;
    for (int64_t rank = 0; rank < cohort->n; rank++) {
        total += (double)cohort->mass[order[rank]];
    }
    return total;
}

static double individuals(double size, double total, double most) {
    return fmin(fmax(nearbyint(size * total), 1), most);
}

/* ---- wright_fisher ------------------------------------------------------------------------- */
/* N offspring replace all N individuals and choose their parents at random: the new counts are
 * Multinomial(N, p) with p = x w / wbar, w = e^{h (F - c)} and wbar = sum x w. The new shares x'
 * have mean p and covariance (p_i [i = j] - p_i p_j) / N. A generation of length eta (the strength
 * of the cohort) multiplies both selection and drift by eta: h eta in place of h, N / eta in place
 * of N. */
typedef struct {
    double strength, clip, size;
} wright_fisher;

static const ep_field wright_fisher_fields[] = {
    EP_GROWTH_FIELDS(wright_fisher, 50, "|log-growth above the mean|"),
    /* Without selection, a population of mass 1 is lost within T generations with probability
     * e^(-2 size / T): with the default size 12 % for T = 9400, 20 epochs of MNIST in batches of
     * 128. So drift is visible, but selection dominates. */
    EP_FIELD_REAL(wright_fisher, size, 10000, 1e-6, 1e12,
                  "individuals per unit of mass: N = size * total mass"),
    EP_FIELDS_END,
};

static void wright_fisher_step(const void *config, const ep_cohort *cohort) {
    const wright_fisher *law = config;
    if (ep_cohort_rests(cohort)) {
        return;
    }
    int32_t *order = cohort->order;
    by_birth(cohort, order);
    double total = total_in_order(cohort, order), chance = 0;
    double eta = cohort->strength;
    ep_growth own = ep_growth_of(cohort, law->strength * eta, law->clip * eta, true);
    /* last rank (position in `order`) of positive weight: its population gets the remaining
     * offspring */
    int64_t last = -1;
    for (int64_t rank = 0; rank < cohort->n; rank++) {
        int64_t i = order[rank];
        double weight = (double)cohort->mass[i] * ep_growth_worth(&own, i);
        chance += weight;
        last = weight > 0 ? rank : last;
    }
    if (!(chance > 0 && isfinite(chance))) {
        return; /* no population has offspring */
    }
    double size = individuals(law->size / eta, total, 0x1p50);
    int64_t left = (int64_t)size;
    for (int64_t rank = 0; rank < cohort->n; rank++) {
        int64_t i = order[rank];
        double weight = (double)cohort->mass[i] * ep_growth_worth(&own, i);
        uint64_t draw = 0;
        ep_noise luck = ep_random_fork(cohort->noise, (uint64_t)cohort->birth[i]);
        double share = weight < chance ? weight / chance : weight > 0;
        int64_t count = rank == last ? left : ep_random_binomial(luck, &draw, left, share);
        left -= count;
        chance -= weight;
        cohort->mass[i] = ep_cohort_settle((double)count / size * total);
    }
}

const ep_dynamics ep_dynamics_wright_fisher = {
    .name = "wright_fisher",
    .doc = "N x' ~ Multinomial(N, p), p = x w / wbar, w = e^{h (F - c)}, h (F - Fbar) within "
           "clip: selection and drift, without overlap of generations (Fisher 1930, Wright 1931).",
    .fields = wright_fisher_fields,
    .config_size = sizeof(wright_fisher),
    .conserves = true,
    .step = wright_fisher_step,
};

/* ---- moran --------------------------------------------------------------------------------- */
/* In each generation, D = turnover * N individuals (`events`) die at random, and D are born to
 * parents chosen by fitness among the N individuals before these deaths. D = 1 is Moran's process,
 * D = N is Wright-Fisher. An individual lives 1 / turnover generations on average, and selection
 * acts once per life with w = e^{h (F - c) / turnover}, so that h is log-growth per generation as
 * in every law. No population gains more than D individuals. The strength of the cohort multiplies
 * D. Without selection, x' has mean x. For two populations, D = 1 and w1 / w2 = q, the first one,
 * starting with k individuals, takes over with probability (1 - q^-k) / (1 - q^-N). */
typedef struct {
    double strength, clip, size, turnover;
} moran;

static const ep_field moran_fields[] = {
    EP_GROWTH_FIELDS(moran, 50, "|log-growth above the mean|"),
    /* Without selection, a population of mass 1 is lost within T generations with probability
     * e^(-size / (turnover T)): 12 % for T = 9400. An unfit population of 100 individuals becomes
     * extinct in about ln(100) / turnover = 920 generations. */
    EP_FIELD_REAL(moran, size, 100, 1e-6, 1e7,
                  "individuals per unit of mass: N = size * total mass, at most 2^24"),
    EP_FIELD_REAL(moran, turnover, 0.005, 1e-9, 1,
                  "share of the individuals replaced in a generation, at least one"),
    EP_FIELDS_END,
};

/* Return the first index (at most `last`) at which the running sums exceed `at`. */
static int64_t find_count(const int32_t *sums, int64_t last, double at) {
    int64_t low = 0;
    while (low < last) {
        int64_t middle = low + (last - low) / 2;
        if ((double)sums[middle] > at) {
            last = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Like find_count(), for running sums of the weights by which parents are chosen. */
static int64_t find_chance(const ep_real *sums, int64_t last, double at) {
    int64_t low = 0;
    while (low < last) {
        int64_t middle = low + (last - low) / 2;
        if ((double)sums[middle] > at) {
            last = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Replace masses by whole numbers of individuals, `size` in total, and write their running sums by
 * rank to sums (n) (exact: size <= 2^24). Rounding the running sum loses no individual, and
 * restores exactly the counts from which the masses were computed. */
static void count(const ep_cohort *cohort, const int32_t *order, int32_t *sums, double size,
                  double total) {
    double sum = 0, counted = 0, per_mass = size / total;
    bool tiny = !isfinite(per_mass); /* total mass is subnormal */
    for (int64_t rank = 0; rank < cohort->n; rank++) {
        ep_real *mass = cohort->mass + order[rank];
        sum += (double)*mass;
        double upto = floor((tiny ? sum / total * size : sum * per_mass) + 0.5);
        *mass = (ep_real)(upto - counted);
        sums[rank] = (int32_t)upto;
        counted = upto;
    }
}

/* Remove `events` individuals from the counts in mass, drawn without replacement: draw a population
 * in proportion to its initial count, and accept it with probability remaining / initial count. If
 * more than half of all individuals are removed, draw the survivors instead. */
static void strike(const ep_cohort *cohort, const int32_t *order, const int32_t *sums,
                   int64_t events, ep_noise noise) {
    int64_t last = cohort->n - 1;
    double size = (double)sums[last];
    if ((double)events > size / 2) {
        strike(cohort, order, sums, (int64_t)size - events, noise);
        for (int64_t rank = 0; rank <= last; rank++) {
            double began = (double)(sums[rank] - (rank ? sums[rank - 1] : 0));
            ep_real *left = cohort->mass + order[rank];
            *left = (ep_real)(began - (double)*left);
        }
        return;
    }
    uint64_t draw = 0;
    for (int64_t dead = 0; dead < events;) {
        int64_t rank = find_count(sums, last, ep_random_uniform(noise, draw) * size);
        double began = (double)(sums[rank] - (rank ? sums[rank - 1] : 0));
        ep_real *left = cohort->mass + order[rank];
        if (ep_random_uniform(noise, draw + 1) * began < (double)*left) {
            *left -= 1;
            dead++;
        }
        draw += 2;
    }
}

static void moran_step(const void *config, const ep_cohort *cohort) {
    const moran *law = config;
    int64_t n = cohort->n;
    if (ep_cohort_rests(cohort)) {
        return;
    }
    int32_t *order = cohort->order, *sums = order + n;
    ep_real *parents = cohort->work;
    by_birth(cohort, order);
    double total = total_in_order(cohort, order);
    if (!(total > 0 && isfinite(total))) {
        return;
    }
    double size = individuals(law->size, total, 0x1p24);
    int64_t events = (int64_t)individuals(law->turnover * cohort->strength, size, size);
    count(cohort, order, sums, size, total);
    /* Growth over one life, 1 / turnover generations. cohort->strength (a schedule) changes only
     * the number of deaths. */
    double length = 1 / law->turnover;
    ep_growth life = ep_growth_of(cohort, law->strength * length, law->clip * length, true);
    double chance = 0;
    int64_t last = 0;
    for (int64_t rank = 0; rank < n; rank++) {
        int64_t i = order[rank];
        double weight = (double)cohort->mass[i] * ep_growth_worth(&life, i);
        chance += weight;
        parents[rank] = (ep_real)chance;
        last = weight > 0 ? rank : last;
    }
    strike(cohort, order, sums, events, ep_random_fork(cohort->noise, 0));
    ep_noise luck = ep_random_fork(cohort->noise, 1);
    for (int64_t born = 0; born < events; born++) {
        double at = ep_random_uniform(luck, (uint64_t)born) * (double)parents[last];
        cohort->mass[order[find_chance(parents, last, at)]] += 1;
    }
    for (int64_t i = 0; i < n; i++) {
        cohort->mass[i] = ep_cohort_settle((double)cohort->mass[i] / size * total);
    }
}

const ep_dynamics ep_dynamics_moran = {
    .name = "moran",
    .doc = "deaths at random, births by fitness w = e^{h (F - c) / turnover}, turnover * N of each "
           "per generation: selection and drift with overlapping generations (Moran 1958).",
    .fields = moran_fields,
    .config_size = sizeof(moran),
    .conserves = true,
    .step = moran_step,
};
