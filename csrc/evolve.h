/* evolve: selection on a network: measures signals, runs one generation (laws/generation.h), writes
 * the result back, and removes extinct populations when that pays. Finds populations by the roles
 * of tensors, not by kind. Runs on one worker between two steps. */
#ifndef EP_EVOLVE_H
#define EP_EVOLVE_H

#include "census.h"
#include "laws/fitness.h"
#include "ranks.h"

/* A fitness function of the user. Returns false if it failed and set error to EP_RAISED. */
typedef bool (*ep_fitness_call)(void *context, const ep_signals *signals, ep_real *fitness,
                                ep_error *error);

typedef struct {
    int64_t step;
    int32_t population; /* index in net->populations */
    int32_t birth;
    double mass, fitness;
} ep_death;

/* A record of generations. `deaths` has room for every living population. */
typedef struct {
    ep_death *deaths;
    int64_t n_deaths, room;
    int64_t floor_reached; /* populations the floor kept alive */
    int64_t compactions;
} ep_chronicle;

/* All data for the generations of a network. A generation allocates nothing. */
typedef struct {
    ep_generation *generation; /* settings, dynamics, and its vectors */
    const ep_fitness *fitness;
    void *fitness_config;
    ep_fitness_call call_fitness; /* called instead of fitness->measure, or NULL */
    void *context;
    ep_census census;
    ep_group *group; /* (n_populations) */
    ep_slab *room; /* memory of the vectors below, and of overlap if a law needs it */
    ep_real *raw, *norm2, *owned_norm2, *owned_gradient2, *owned_product, *activity, *overlap;
    int64_t founded; /* populations of the network at founding */
    ep_ranks *ranks; /* with which this network is trained, or NULL */
    /* During a generation: */
    ep_net *net;
    ep_real *scratch; /* for ep_gemm */
    ep_chronicle *chronicle;
} ep_evolution;

/* Copies the settings and configs. Returns NULL and sets error on failure. */
ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_fitness *fitness, const void *fitness_config,
                               const ep_dynamics *dynamics, const void *dynamics_config,
                               ep_error *error);
void ep_evolution_free(ep_evolution *evolution);

/* True if generations need the mean activities of populations; the cosines of their outputs. */
bool ep_evolution_needs_activity(const ep_evolution *evolution);
bool ep_evolution_needs_overlap(const ep_evolution *evolution);
/* Runs one generation with the current gradients. `scratch`: EP_GEMM_SCRATCH elements. */
bool ep_evolve(ep_net *net, ep_evolution *evolution, double pressure, double strength,
               ep_real *scratch, ep_chronicle *chronicle, ep_error *error);
/* Removes extinct populations if the settings and the accumulated waste say so. */
bool ep_evolve_compact(ep_net *net, ep_evolution *evolution, ep_chronicle *chronicle,
                       ep_error *error);
/* Fills the groups of a generation from the network's populations and the census's cost shares. */
void ep_evolve_groups(const ep_net *net, const ep_census *census, ep_group *groups);
/* Marks a population extinct and sets its mass and all weights it owns to 0, so that signals of
 * other populations do not include them. Compaction removes it. */
void ep_kill(ep_net *net, const ep_population *population, int64_t j);

#endif
