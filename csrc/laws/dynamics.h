/* dynamics: the laws that change masses by fitness in one generation. Each law is a stateless
 * function over plain vectors, with its equation and invariants next to its code. Its step solves
 * the equation exactly where a solution is known. What a population is, and what happens when its
 * mass falls below the threshold, is decided elsewhere. Zero mass stays zero unless the law says
 * "reborn".
 *
 * Symbols in all laws: m mass, M = sum m, x = m / M share, F fitness, c upkeep, r = h (F - c)
 * log-growth per generation with the law's strength h; Fbar and rbar are means weighted by mass,
 * and m', x' in a differential equation are derivatives with respect to time. */
#ifndef EP_DYNAMICS_H
#define EP_DYNAMICS_H

#include "base.h"
#include "needs.h"
#include "random.h"

/* Number of scratch vectors of each type (`work` and `order`) in a cohort. They are not on the
 * stack, which thousands of populations would overflow. */
enum { EP_WORK = 2 };

/* The living populations of one niche at one generation. */
typedef struct {
    int64_t n;
    ep_real *mass;           /* (n) in and out, >= 0 */
    const ep_real *fitness;  /* (n) smoothed */
    const ep_real *upkeep;   /* (n) >= 0, in units of fitness */
    ep_real *state;          /* (states, n) memory of the law per population, zero at birth */
    const int32_t *birth;    /* (n) unique birth ids, < founded unless any were born later */
    int64_t founded;         /* populations of the niche at the founding of the network */
    int64_t generation;      /* index, from 1 */
    ep_real *work;           /* (EP_WORK, n) scratch */
    int32_t *order;          /* (EP_WORK, n) scratch */
    const ep_real *overlap;  /* (n, n), or NULL: each population overlaps with itself only */
    const ep_real *norm2;    /* (n) |w|^2 of the in-weights, or NULL */
    double threshold;        /* a population with less mass is extinct */
    double strength;         /* eta: multiplies the law's step size (a schedule), 1 by default */
    ep_noise noise;          /* random stream of this generation and niche */
} ep_cohort;

typedef struct {
    const char *name;
    const char *doc;       /* the equation and its source */
    const ep_field *fields;
    size_t config_size;
    int states;            /* values per population remembered between generations */
    unsigned needs;
    bool conserves;        /* total mass is constant, so only differences of upkeep matter */
    /* True if a niche of `founded` founders can use the config. NULL: every niche can. */
    bool (*check)(const void *config, int64_t founded, ep_error *error);
    void (*step)(const void *config, const ep_cohort *cohort);
} ep_dynamics;

#define EP_DYNAMICS(name) extern const ep_dynamics ep_dynamics_##name;
#include "dynamics.def"
#undef EP_DYNAMICS

#endif
