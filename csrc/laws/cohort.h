/* cohort: what every dynamics asks of a cohort: whether it moves at all, how fast a population
 * would grow by itself, how much mass there is. Arithmetic is in double in both builds: a few
 * hundred exponentials a generation cost microseconds, and sums over a niche keep their digits.
 * It knows no law. */
#ifndef EP_COHORT_H
#define EP_COHORT_H

#include "dynamics.h"

#include <math.h>

/* Masses are cut at it, so that a loss can tell of a mass that grew without bound. */
#ifdef EP_DOUBLE
#define EP_MASS_MOST 1e300
#else
#define EP_MASS_MOST 1e30
#endif

/* Strength 0 puts the masses at rest: no law touches a bit of them. */
EP_INLINE bool ep_cohort_rests(const ep_cohort *cohort) {
    return cohort->n < 1 || cohort->strength == 0;
}

EP_INLINE double ep_cohort_total(const ep_cohort *cohort) {
    double total = 0;
    for (int64_t i = 0; i < cohort->n; i++) {
        total += (double)cohort->mass[i];
    }
    return total;
}

/* How fast populations grow by themselves: h (F - c - centre), bounded to [-clip, clip], each
 * generation. The bound keeps selection slower than learning: mass that grows makes gradients, and
 * so fitness, larger, and a law strong enough to select runs away without it: on MNIST, h = 50 left
 * one population with all the mass within 50 generations. A hundredth leaves a network the time
 * (ln 1000 / 0.01 = 690 generations) to do without those that go. */
typedef struct {
    const ep_cohort *cohort;
    double twice, clip, centre, best;
} ep_growth;

#define EP_GROWTH_FIELDS(law, h, of)                                        \
    {.name = "strength",                                                    \
     .type = EP_REAL,                                                       \
     .offset = offsetof(law, strength),                                     \
     .initial = h,                                                          \
     .low = 0,                                                              \
     .high = 1e9,                                                           \
     .doc = "h, log-growth per generation and nat of fitness less upkeep"}, \
        {.name = "clip",                                                    \
         .type = EP_REAL,                                                   \
         .offset = offsetof(law, clip),                                     \
         .initial = 0.01,                                                   \
         .low = 0,                                                          \
         .high = 1e6,                                                       \
         .doc = "bound on " of " of one generation"}

/* F - c - centre, by halves, so that finite numbers give a finite one. */
EP_INLINE double ep_growth_half(const ep_cohort *cohort, int64_t i) {
    return 0.5 * (double)cohort->fitness[i] - 0.5 * (double)cohort->upkeep[i];
}

EP_INLINE double ep_growth_at(const ep_growth *growth, int64_t i) {
    double r = growth->twice * (ep_growth_half(growth->cohort, i) - growth->centre);
    r = r > growth->clip ? growth->clip : r;
    return r < -growth->clip ? -growth->clip : r;
}

/* `relative`: from the mean by mass, as the laws that keep the total mass want it. `best` is the
 * largest growth among those with mass: subtracted before exp, so that nothing overflows. */
EP_INLINE ep_growth ep_growth_of(const ep_cohort *cohort, double h, double clip, bool relative) {
    ep_growth growth = {.cohort = cohort, .twice = 2 * h, .clip = clip, .best = -INFINITY};
    double total = ep_cohort_total(cohort);
    for (int64_t i = 0; relative && total > 0 && i < cohort->n; i++) {
        growth.centre += (double)cohort->mass[i] / total * ep_growth_half(cohort, i);
    }
    for (int64_t i = 0; i < cohort->n; i++) {
        if (cohort->mass[i] > 0) {
            growth.best = fmax(growth.best, ep_growth_at(&growth, i));
        }
    }
    return growth;
}

/* w = e^(growth - best), at most 1. The dead may be fitter than the best alive. NaN passes. */
EP_INLINE double ep_growth_worth(const ep_growth *growth, int64_t i) {
    double behind = ep_growth_at(growth, i) - growth->best;
    return exp(behind > 0 ? 0 : behind);
}

/* The mass of a population, kept finite. */
EP_INLINE ep_real ep_cohort_settle(double mass) {
    return (ep_real)(mass > EP_MASS_MOST ? EP_MASS_MOST : mass);
}

/* mass e^growth; nothing grows to nothing, even where e^growth is infinite. */
EP_INLINE double ep_cohort_grown(const ep_cohort *cohort, int64_t i, double growth) {
    double mass = (double)cohort->mass[i];
    return mass == 0 ? 0 : mass * exp(growth);
}

#endif
