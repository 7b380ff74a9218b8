/* evolution: what selection is told (settings and laws), what it keeps for its generations (room for
 * the largest cohort), who is alive and what they cost. The generations themselves are evolve's. */
#ifndef EP_EVOLUTION_H
#define EP_EVOLUTION_H

#include "laws/dynamics.h"
#include "laws/fitness.h"
#include "net.h"

typedef enum {
    EP_UPKEEP_MACS,
    EP_UPKEEP_PARAMS,
    EP_UPKEEP_UNIFORM,
    EP_UPKEEP_GIVEN,
    EP_UPKEEP_SOFT
} ep_upkeep;
typedef enum { EP_NICHE_LAYER, EP_NICHE_NETWORK } ep_niche_scope;
typedef enum { EP_REMOVE_AUTO, EP_REMOVE_NEVER, EP_REMOVE_ALWAYS } ep_removal;

/* The settings of selection; ep_selection_fields describes them. */
typedef struct {
    int64_t upkeep, niche, removal; /* the choices above */
    ep_vector given; /* upkeep per founding population, in order */
    double memory, threshold;
    int64_t floor, min_age, every;
} ep_selection;
extern const ep_field ep_selection_fields[];

/* A law written by the user: may fail (error filled with EP_RAISED). NULL: the catalogue's. */
typedef bool (*ep_fitness_call)(void *context, const ep_signals *signals, ep_real *fitness,
                                ep_error *error);
typedef bool (*ep_dynamics_call)(void *context, const ep_cohort *cohort, ep_error *error);

/* Everything a generation needs; nothing is allocated in one. */
typedef struct {
    ep_selection selection;
    const ep_fitness *fitness;
    const ep_dynamics *dynamics;
    void *fitness_config, *dynamics_config;
    ep_fitness_call call_fitness;
    ep_dynamics_call call_dynamics;
    void *context;
    int64_t born; /* founding populations of the network */
    ep_slab *room; /* the vectors below, and overlap when a law needs it */
    ep_real *mass, *fit, *upkeep, *state, *norm2, *overlap;
    ep_real *owned_norm2, *owned_gradient2, *owned_product, *activity;
    int32_t *birth;
    int64_t *place; /* index along its axis of every cohort member */
    int *member; /* and its population */
    double waste; /* steps' worth of work done for the dead since the last removal */
    double *share; /* upkeep share per population of every layer, for this census: */
    uint64_t census; /* 0: none yet */
    int64_t living;
    double living_flops; /* of the same moment */
} ep_evolution;

/* Takes copies of the settings and configs. NULL: error filled. */
ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_fitness *fitness, const void *fitness_config,
                               const ep_dynamics *dynamics, const void *dynamics_config,
                               ep_error *error);
void ep_evolution_free(ep_evolution *evolution);
void ep_evolution_call(ep_evolution *evolution, ep_fitness_call fitness, ep_dynamics_call dynamics,
                       void *context);

/* Living populations of one axis' masses. */
int64_t ep_alive(const ep_net *net, const ep_population *population);
/* Marks a population dead: its mass is 0 from now on, and so is all it owned, so that no one else's
 * weights are counted with what led to or from it; its place goes at the next compaction. */
void ep_kill(ep_net *net, const ep_population *population, int64_t j);
/* Upkeep share per population of axis `i` at the living shape: d cost / d n over the founding cost. */
double ep_upkeep_share(const ep_net *net, int i, ep_upkeep unit);
/* Lends the axes the numbers of the living (true), or takes them back: for counting costs. */
void ep_set_living(const ep_net *net, ep_axis *axes, bool living);
/* Measures the shares anew if someone has died since; they change then, and only then. */
void ep_refresh_shares(const ep_net *net, ep_evolution *evolution);

#endif
