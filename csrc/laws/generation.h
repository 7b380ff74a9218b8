/* generation: one generation of populations, as vectors. Smooths fitness, computes upkeep,
 * applies the dynamics, marks populations extinct and decides births. Does not depend on networks
 * or layers: the trainer, Python's communities and the history of a run all call this code. A group
 * is the populations of one layer; a niche is the groups that compete: one, or all. */
#ifndef EP_GENERATION_H
#define EP_GENERATION_H

#include "births.h"
#include "dynamics.h"

typedef enum {
    EP_UPKEEP_SOFT,
    EP_UPKEEP_MACS,
    EP_UPKEEP_PARAMS,
    EP_UPKEEP_UNIFORM,
    EP_UPKEEP_GIVEN
} ep_upkeep;
typedef enum { EP_NICHE_LAYER, EP_NICHE_NETWORK } ep_niche_scope;
typedef enum { EP_REMOVE_AUTO, EP_REMOVE_ALWAYS, EP_REMOVE_NEVER } ep_removal;

/* The settings of selection; ep_selection_fields is their only declaration. */
typedef struct {
    int64_t upkeep, niche, removal; /* the enums above */
    ep_vector given; /* upkeep per founding population, groups in order */
    double memory, threshold;
    int64_t floor, min_age, every;
} ep_selection;
extern const ep_field ep_selection_fields[];
extern const char ep_selection_doc[];

/* A dynamics written by the user. Returns false if it failed, with error set to EP_RAISED. */
typedef bool (*ep_dynamics_call)(void *context, const ep_cohort *cohort, ep_error *error);

/* The populations of one layer: living ones, and extinct ones that are not removed yet. */
typedef struct {
    int64_t n; /* populations present */
    int64_t founded; /* populations at the founding of the network */
    int64_t born; /* populations born so far, founders included: greater than all birth ids */
    bool barren; /* no births in this group */
    bool returns; /* extinct founders can return: they are features of the data */
    const int32_t *birth; /* (n) ids, ascending; NULL: 0 .. n - 1 */
    ep_real *mass; /* (n) */
    ep_real *fitness; /* (n) smoothed fitness, before bias correction */
    ep_real *alive; /* (n) 1, or 0 if extinct */
    ep_real *state; /* (EP_STATES, n) memory of the dynamics */
    const ep_real *raw; /* (n) fitness as measured now */
    double cost; /* multiply-adds or parameters of each population, as a share of the network's */
    const double *costs; /* (born) cost by birth id, used instead of `cost`; or NULL */
} ep_group;

typedef struct {
    int group;
    int32_t birth;
    int64_t place; /* index in its group's vectors */
    ep_real mass, fitness; /* mass before it was set to 0; smoothed, bias-corrected fitness */
} ep_extinct;

/* The result of a generation. */
typedef struct {
    int64_t n_extinct, n_born;
    int64_t floor_reached; /* populations kept alive by the floor */
    int64_t capped; /* masses capped at EP_MASS_MOST */
} ep_outcome;

/* A niche: its groups, its members in the generation's vectors, and its number of founders. */
typedef struct {
    int first_group, last_group;
    int64_t first, last, founded;
} ep_niche;

/* Settings, a law, and vectors with room for all populations, so that a generation allocates
 * nothing. The vectors describe the populations that were alive at the start of the last call. */
typedef struct {
    ep_selection settings;
    const ep_births *births; /* NULL: none */
    double inherited; /* share of a parent's fitness that each half gets at division: 0.5 or 1 */
    const ep_dynamics *dynamics;
    void *dynamics_config;
    ep_dynamics_call call; /* called instead of dynamics->step, or NULL */
    void *context;
    int n_groups;
    int64_t founded; /* number of founders of all groups together */
    int64_t room; /* populations that the vectors can hold */
    int64_t n; /* living populations */
    ep_real *mass, *fitness, *upkeep; /* (n) fitness is smoothed and bias-corrected */
    ep_real *state; /* a (states, living populations) block for each niche */
    int32_t *birth; /* (n) birth ids, shifted by group so that they are unique in a niche */
    int64_t *place; /* (n) index of the population in its group's vectors */
    int *group; /* (n) index of the population's group */
    ep_niche *niche; /* at most n_groups niches */
    ep_real *memory; /* (present) smoothed fitness after this generation, before bias correction */
    ep_real *work; /* scratch of the dynamics: see ep_cohort */
    int32_t *order;
    ep_extinct *extinct; /* (n_extinct) by group, lightest first */
    ep_newborn *newborn; /* (n_born) by group, ids ascending */
    int32_t *chosen; /* the parents in a group: see ep_births_choose */
    bool *survives; /* (n) true: alive after this generation */
    void *block; /* the memory of all vectors above */
} ep_generation;

/* The context of a generation. `measure` writes overlap and norm2 of a niche's cohort, whose
 * members are first .. first + n of the generation's vectors; NULL if they are not measured.
 * `mark_extinct` is called with the extinct populations of a niche before the next niche is
 * measured; NULL if not needed. */
typedef struct {
    const ep_group *group; /* (n_groups) */
    int64_t number; /* index of this generation, from 1 */
    uint64_t seed;
    double pressure, strength;
    void (*measure)(void *context, const ep_generation *generation, int64_t first,
                    ep_cohort *cohort);
    void (*mark_extinct)(void *context, const ep_extinct *extinct, int64_t n);
    void *context;
} ep_occasion;

/* Numbers of populations of a group: founders; all born so far, founders included; present now. */
typedef struct {
    int64_t founded, born, present;
} ep_headcount;
/* Create a generation from copies of settings, births (NULL: none) and config, with room for the
 * populations present and for as many as births allow. Returns NULL, with error filled, if it
 * fails. */
ep_generation *ep_generation_new(const ep_selection *settings, const ep_births *births,
                                 const ep_dynamics *dynamics, const void *dynamics_config,
                                 int n_groups, const ep_headcount *counts, ep_error *error);
/* Make room for n populations present. Return false, with nothing changed, if out of memory. */
bool ep_generation_reserve(ep_generation *generation, int64_t n);
void ep_generation_free(ep_generation *generation);
/* Run one generation: write mass, fitness, alive and state of the groups, generation->extinct and
 * generation->newborn. Parents already have the mass and fitness of a half; the caller adds the
 * newborn as living populations. A newborn half copies its parent's state; an immigrant's is zero.
 * Returns false, with nothing changed, if a user's law failed. */
bool ep_generation_step(ep_generation *generation, const ep_occasion *occasion, ep_outcome *outcome,
                        ep_error *error);
/* Write fitness and upkeep of the living populations, as they are after `number` generations, to
 * the generation's vectors. Changes no group. */
void ep_generation_price(ep_generation *generation, const ep_group *groups, int64_t number,
                         double pressure);

/* Return the number of living populations of a group. */
EP_INLINE int64_t ep_group_alive(const ep_real *alive, int64_t n) {
    int64_t living = 0;
    for (int64_t j = 0; j < n; j++) {
        living += alive[j] > 0;
    }
    return living;
}

#endif
