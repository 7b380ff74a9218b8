/* evolve: one generation: signals > fitness > memory > dynamics > extinction > compaction. It finds
 * populations by the role of their tensors, never by kind, and asks the laws through their tables.
 * It is run by one worker between two steps, on vectors of a few hundred numbers. */
#ifndef EP_EVOLVE_H
#define EP_EVOLVE_H

#include "evolution.h"

typedef struct {
    int64_t step;
    int32_t population; /* index in net->populations */
    int32_t birth;
    double mass, fitness;
} ep_death;

/* What a generation did. `deaths` has room for every living population. */
typedef struct {
    ep_death *deaths;
    int64_t n_deaths, room;
    int64_t bound; /* populations the floor held alive */
    int64_t compactions;
} ep_chronicle;

/* One generation from the gradients as they are. `scratch` (EP_GEMM_SCRATCH) serves products. */
bool ep_evolve(ep_net *net, ep_evolution *evolution, double pressure, double strength,
               ep_real *scratch, ep_chronicle *chronicle, ep_error *error);
/* Removes the dead if that has come to pay (or `now`). */
bool ep_evolve_compact(ep_net *net, ep_evolution *evolution, bool now, ep_chronicle *chronicle,
                       ep_error *error);
/* Gathers away all that are marked dead. */
bool ep_bury(ep_net *net, ep_error *error);

#endif
