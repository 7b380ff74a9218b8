/* cohort: functions shared by all dynamics. They compute, from an ep_cohort (the living populations
 * of a niche), whether masses may change, the growth of each population without competition, and
 * the total mass. Arithmetic is double in the float32 build too: a few hundred exponentials per
 * generation take microseconds, and sums over a niche stay accurate. Symbols: see dynamics.h. */
#ifndef EP_COHORT_H
#define EP_COHORT_H

#include "dynamics.h"

#include <math.h>

/* Masses are capped at this finite value. ep_outcome counts capped masses, so that a caller can
 * report unbounded growth. */
#ifdef EP_DOUBLE
#define EP_MASS_MOST 1e300
#else
#define EP_MASS_MOST 1e30
#endif

/* True if no law may change the masses: the strength is 0, or the cohort is empty. */
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

/* The log-growth of each population in one generation: h (F - c), or h (F - c - a) where `a` is the
 * mean of F - c weighted by mass, bounded to [-clip, clip]. Fields: twice = 2 h; centre = a / 2, or
 * 0 without `a`; best: the largest growth of a population of nonzero mass.
 *
 * The bound keeps selection slower than learning. Growing mass makes gradients, and so fitness,
 * larger, and without the bound a strong law runs away: on MNIST, h = 50 left one population with
 * all the mass within 50 generations. With clip = 0.01, a mass needs at least ln 1000 / 0.01 = 690
 * generations to fall from 1 to 1e-3; meanwhile the network adapts to the coming extinction. */
typedef struct {
    const ep_cohort *cohort;
    double twice, clip, centre, best;
} ep_growth;

/* The settings of a law that uses ep_growth. `h`: the default strength; `of`: the quantity that
 * `clip` bounds, in words. */
#define EP_GROWTH_FIELDS(law, h, of)                                                   \
    EP_FIELD_REAL(law, strength, h, 0, 1e9,                                            \
                  "h, log-growth per generation for each nat of fitness less upkeep"), \
        EP_FIELD_REAL(law, clip, 0.01, 0, 1e6, "bound on " of " of one generation")

/* Return sum + a b. In the float64 build, an empty asm makes the compiler round the product before
 * the addition. Otherwise it would fuse the two in the remainder of a vectorized loop only, and the
 * last bit of a sum would depend on how many of its terms are extinct populations. The float32
 * build does not need this: the last bit of a double is far below that of a mass. */
EP_INLINE double ep_add_product(double sum, double a, double b) {
    double product = a * b;
#if !defined(EP_DOUBLE)
#elif defined(__x86_64__)
    __asm__("" : "+x"(product));
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#else
    __asm__("" : "+m"(product));
#endif
    return sum + product;
}

/* Return (F - c) / 2, computed as F / 2 - c / 2, which is finite for all finite F and c. */
EP_INLINE double ep_growth_half(const ep_cohort *cohort, int64_t i) {
    return 0.5 * (double)cohort->fitness[i] - 0.5 * (double)cohort->upkeep[i];
}

EP_INLINE double ep_growth_at(const ep_growth *growth, int64_t i) {
    double r = growth->twice * (ep_growth_half(growth->cohort, i) - growth->centre);
    r = r > growth->clip ? growth->clip : r;
    return r < -growth->clip ? -growth->clip : r;
}

/* Prepare the growth of a cohort. If `relative`, the mean of F - c weighted by mass is subtracted
 * from F - c, as laws that conserve total mass need. */
EP_INLINE ep_growth ep_growth_of(const ep_cohort *cohort, double h, double clip, bool relative) {
    ep_growth growth = {.cohort = cohort, .twice = 2 * h, .clip = clip, .best = -INFINITY};
    double total = ep_cohort_total(cohort);
    for (int64_t i = 0; relative && total > 0 && i < cohort->n; i++) {
        growth.centre = ep_add_product(growth.centre, (double)cohort->mass[i] / total,
                                       ep_growth_half(cohort, i));
    }
    for (int64_t i = 0; i < cohort->n; i++) {
        if (cohort->mass[i] > 0) {
            growth.best = fmax(growth.best, ep_growth_at(&growth, i));
        }
    }
    return growth;
}

/* Return w = e^(growth - best). Subtracting `best` prevents overflow. w is capped at 1, because
 * `best` ignores populations of zero mass, which may grow faster. NaN is propagated. */
EP_INLINE double ep_growth_worth(const ep_growth *growth, int64_t i) {
    double behind = ep_growth_at(growth, i) - growth->best;
    return exp(behind > 0 ? 0 : behind);
}

/* Return the mass, capped to a finite value. */
EP_INLINE ep_real ep_cohort_settle(double mass) {
    return (ep_real)(mass > EP_MASS_MOST ? EP_MASS_MOST : mass);
}

/* Return mass e^growth. Zero mass stays zero, even if e^growth is infinite. */
EP_INLINE double ep_cohort_grown(const ep_cohort *cohort, int64_t i, double growth) {
    double mass = (double)cohort->mass[i];
    return mass == 0 ? 0 : mass * exp(growth);
}

#endif
