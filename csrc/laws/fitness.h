/* fitness: laws that compute one number per population from local learning signals. Stateless
 * functions over plain vectors; they do not depend on how, or over which tensors, the signals were
 * measured. */
#ifndef EP_FITNESS_H
#define EP_FITNESS_H

#include "base.h"
#include "needs.h"

/* Signals of n populations; all vectors are (n,). Those of needs.h are NULL if not needed. */
typedef struct {
    int64_t n;
    const ep_real *mass;
    const ep_real *mass_gradient;   /* dL/dm, mean over the batch */
    const ep_real *owned_norm2;     /* this and the next three vectors: see needs.h */
    const ep_real *owned_gradient2;
    const ep_real *owned_product;
    const ep_real *activity;
    double terms; /* number of predictions in the mean loss, without those of weight 0 */
} ep_signals;

typedef struct {
    const char *name;
    const char *doc;
    const ep_field *fields;
    size_t config_size;
    unsigned needs;
    bool extensive; /* fitness is proportional to mass: each half of a population has half of it */
    void (*measure)(const void *config, const ep_signals *signals, ep_real *fitness);
} ep_fitness;

#define EP_FITNESS(name) extern const ep_fitness ep_fitness_##name;
#include "fitness.def"
#undef EP_FITNESS

#endif
