/* cohort: what every dynamics asks of a cohort: whether it moves at all, how fast a population
 * would grow by itself, how much mass there is. Arithmetic is in double in both builds: a few
 * hundred exponentials a generation cost microseconds, and sums over a niche keep their digits.
 * It knows no law. */
#ifndef EP_COHORT_H
#define EP_COHORT_H

#include "dynamics.h"

#include <math.h>

#define EP_MASS_MOST \
    1e30 /* a mass above it is lost already; kept finite so that the loss says so */

/* Strength 0 puts the masses at rest: no law touches a bit of them. */
EP_INLINE bool ep_cohort_rests(const ep_cohort *cohort) {
    return cohort->n < 1 || cohort->strength == 0;
}

/* h (F - c): log-growth of population i in one generation. The bound keeps differences of two of
 * them finite, halves the difference; e^1e100 and e^inf select alike. NaN passes. */
EP_INLINE double ep_cohort_growth(const ep_cohort *cohort, int64_t i, double strength) {
    double half = 0.5 * (double)cohort->fitness[i] - 0.5 * (double)cohort->upkeep[i];
    double r = 2 * strength * cohort->strength * half;
    r = r > 1e100 ? 1e100 : r;
    return r < -1e100 ? -1e100 : r;
}

/* The largest growth among those with mass: subtracted before exp, so that nothing overflows. */
EP_INLINE double ep_cohort_best(const ep_cohort *cohort, double strength) {
    double best = -1e100;
    for (int64_t i = 0; i < cohort->n; i++) {
        if (cohort->mass[i] > 0) {
            best = fmax(best, ep_cohort_growth(cohort, i, strength));
        }
    }
    return best;
}

/* w = e^(growth - best) of population i, at most 1. The dead may be fitter than the best alive. */
EP_INLINE double ep_cohort_worth(const ep_cohort *cohort, int64_t i, double strength, double best) {
    double behind = ep_cohort_growth(cohort, i, strength) - best;
    return exp(behind > 0 ? 0 : behind);
}

EP_INLINE double ep_cohort_total(const ep_cohort *cohort) {
    double total = 0;
    for (int64_t i = 0; i < cohort->n; i++) {
        total += (double)cohort->mass[i];
    }
    return total;
}

EP_INLINE ep_real ep_cohort_settle(double mass) {
    return (ep_real)(mass > EP_MASS_MOST ? EP_MASS_MOST : mass);
}

#endif
