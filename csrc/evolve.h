/* evolve: selection on a network: measure signals, read the network, call one generation
 * (laws/generation.h), write back, and remove the extinct once that pays. It finds populations by
 * the role of their tensors, never by kind. It is run by one worker between two steps. */
#ifndef EP_EVOLVE_H
#define EP_EVOLVE_H

#include "census.h"
#include "laws/fitness.h"

/* A fitness written by the user. False: it failed, error filled with EP_RAISED. */
typedef bool (*ep_fitness_call)(void *context, const ep_signals *signals, ep_real *fitness,
                                ep_error *error);

typedef struct {
    int64_t step;
    int32_t population; /* index in net->populations */
    int32_t birth;
    double mass, fitness;
} ep_death;

/* What generations did. `deaths` has room for every living population. */
typedef struct {
    ep_death *deaths;
    int64_t n_deaths, room;
    int64_t floor_reached; /* populations the floor kept alive */
    int64_t compactions;
} ep_chronicle;

/* Everything a generation of a network needs; nothing is allocated in one. */
typedef struct {
    ep_generation *generation; /* settings, dynamics, and its vectors */
    const ep_fitness *fitness;
    void *fitness_config;
    ep_fitness_call call_fitness; /* in place of fitness->measure, or NULL */
    void *context;
    ep_census census;
    ep_group *group; /* (n_populations) */
    ep_slab *room; /* the vectors below, and overlap when a law needs it */
    ep_real *raw, *norm2, *owned_norm2, *owned_gradient2, *owned_product, *activity, *overlap;
    int64_t founded; /* populations of the network */
    /* During a generation: */
    ep_net *net;
    ep_real *scratch; /* for products */
    ep_chronicle *chronicle;
} ep_evolution;

/* Takes copies of the settings and configs. NULL: error filled. */
ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_fitness *fitness, const void *fitness_config,
                               const ep_dynamics *dynamics, const void *dynamics_config,
                               ep_error *error);
void ep_evolution_free(ep_evolution *evolution);

/* One generation from the gradients as they are. `scratch` (EP_GEMM_SCRATCH) serves products. */
bool ep_evolve(ep_net *net, ep_evolution *evolution, double pressure, double strength,
               ep_real *scratch, ep_chronicle *chronicle, ep_error *error);
/* Removes the extinct if that has come to pay. */
bool ep_evolve_compact(ep_net *net, ep_evolution *evolution, ep_chronicle *chronicle,
                       ep_error *error);
/* The network's populations as a generation sees them; shares are those of the census. */
void ep_evolve_groups(const ep_net *net, const ep_census *census, ep_group *groups);
/* Marks a population extinct: its mass is 0 from now on, and so is all it owns, so that no other
 * population's weights are counted with what led to or from it. Compaction removes it. */
void ep_kill(ep_net *net, const ep_population *population, int64_t j);

#endif
