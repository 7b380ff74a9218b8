/* evolve: one generation: signals > fitness > memory > dynamics > extinction > compaction. It finds
 * populations by the role of their tensors, never by kind, and asks the laws through their tables.
 * It is run by one worker between two steps, on vectors of a few hundred numbers. */
#ifndef EP_EVOLVE_H
#define EP_EVOLVE_H

#include "laws/dynamics.h"
#include "laws/fitness.h"
#include "net.h"

typedef enum { EP_UPKEEP_MACS, EP_UPKEEP_PARAMS, EP_UPKEEP_UNIFORM, EP_UPKEEP_GIVEN } ep_upkeep;
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

typedef struct {
    int64_t step;
    int32_t population; /* index in net->populations */
    int32_t birth;
    double mass, fitness;
} ep_death;

typedef struct ep_evolution ep_evolution;

/* Takes copies of the settings and configs. NULL: error filled. */
ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_fitness *fitness, const void *fitness_config,
                               const ep_dynamics *dynamics, const void *dynamics_config,
                               ep_error *error);
void ep_evolution_free(ep_evolution *evolution);
void ep_evolution_call(ep_evolution *evolution, ep_fitness_call fitness, ep_dynamics_call dynamics,
                       void *context);
const ep_selection *ep_evolution_selection(const ep_evolution *evolution);

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
/* Living populations of one axis' masses. */
int64_t ep_alive(const ep_net *net, const ep_population *population);
/* Marks a population dead: its mass is 0 from now on, its place goes at the next compaction. */
void ep_kill(ep_net *net, const ep_population *population, int64_t j);
/* Gathers away all that are marked dead. evolution may be NULL. */
bool ep_bury(ep_net *net, ep_error *error);
/* Upkeep share per population of axis `i` at the living shape: d cost / d n over the founding cost. */
double ep_upkeep_share(const ep_net *net, int i, ep_upkeep unit);

#endif
