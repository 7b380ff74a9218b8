/* evolve: selection on a network: measures signals, runs one generation (laws/generation.h), writes
 * the result back, and removes extinct populations when that saves time. Finds populations by the
 * roles of tensors, not by the kind of layer. Runs on one worker between two steps. */
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

typedef struct {
    int64_t step;
    int32_t population; /* index in net->populations */
    int32_t birth;
    int64_t parent; /* birth id of the parent; -1 for an immigrant */
    double mass, fitness;
} ep_birth_record;

/* A record of generations. ep_chronicle_open allocates room for the deaths of all populations
 * present; when populations are born, ep_evolve enlarges the room. */
typedef struct {
    ep_death *deaths;
    ep_birth_record *births;
    int64_t n_deaths, n_births, room, births_room; /* counts, then capacities, of both arrays */
    int64_t floor_reached; /* number of times that the floor kept a population alive */
    int64_t compactions;
} ep_chronicle;
/* Returns false if out of memory. ep_chronicle_close must be called in either case. */
bool ep_chronicle_open(ep_chronicle *chronicle, const ep_net *net);
void ep_chronicle_close(ep_chronicle *chronicle);

/* All data for the generations of a network. A generation allocates memory only for births. */
typedef struct {
    ep_generation *generation; /* settings, law and vectors of a generation */
    const ep_fitness *fitness;
    void *fitness_config;
    ep_fitness_call call_fitness; /* called instead of fitness->measure, or NULL */
    void *context;
    ep_census census;
    ep_group *group; /* (n_populations) the populations of each layer under selection */
    bool *barren; /* (n_populations) true: no births in this layer */
    bool *returns; /* (n_populations) true: extinct populations of this layer can return */
    ep_slab *room; /* memory of the vectors below: `overlap` (most, most), the others (most) */
    /* `raw` is the fitness before smoothing. `norm2` and `overlap` are those of ep_cohort, and the
     * other vectors are the signals with the same names in ep_signals. */
    ep_real *raw, *norm2, *owned_norm2, *owned_gradient2, *owned_product, *activity, *overlap;
    int64_t founded; /* number of founders in the network */
    int64_t most; /* populations that the vectors have room for */
    ep_ranks *ranks; /* the processes that train this network together, or NULL: one process */
    /* Set during a generation: */
    ep_net *net;
    ep_real *scratch; /* for ep_gemm */
    ep_chronicle *chronicle;
} ep_evolution;

/* Copies the settings and configs. If `births` is NULL, there are no births. Returns NULL and sets
 * error on failure. */
ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_births *births, const ep_fitness *fitness,
                               const void *fitness_config, const ep_dynamics *dynamics,
                               const void *dynamics_config, ep_error *error);
void ep_evolution_free(ep_evolution *evolution);
/* Returns a copy of the network's description, without arrays, in which every axis has as many
 * populations as births can lead to. The copy shares with `net` what does not depend on sizes.
 * NULL: out of memory. */
ep_net *ep_evolution_largest(const ep_net *net, const ep_evolution *evolution);
void ep_evolution_largest_free(ep_net *most);

/* Return true if generations need the mean activities of populations (needs_activity), or the
 * cosines of the populations' outputs (needs_overlap). */
bool ep_evolution_needs_activity(const ep_evolution *evolution);
bool ep_evolution_needs_overlap(const ep_evolution *evolution);
/* Runs one generation, births included, on the current gradients. Births replace all arrays by new
 * ones; chronicle->compactions counts this. `scratch`: EP_GEMM_SCRATCH elements. */
bool ep_evolve(ep_net *net, ep_evolution *evolution, double pressure, double strength,
               ep_real *scratch, ep_chronicle *chronicle, ep_error *error);
/* Removes the extinct populations if the setting `removal` requires it. EP_REMOVE_AUTO requires it
 * once the work done for them (net->waste, in steps) has reached the cost of a removal. */
bool ep_evolve_compact(ep_net *net, ep_evolution *evolution, ep_chronicle *chronicle,
                       ep_error *error);
/* Fills the groups of a generation from the populations of the network, and their costs from
 * `census`. */
void ep_evolve_groups(const ep_net *net, const ep_census *census, ep_group *groups);
/* Counts the populations of each group. */
void ep_evolve_count(const ep_net *net, ep_headcount *counts);
/* Marks population j of a layer extinct and sets its mass and all weights it owns to 0, so that
 * signals of other populations do not include them. Compaction removes it. */
void ep_kill(ep_net *net, const ep_population *population, int64_t j);

#endif
