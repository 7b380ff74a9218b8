/* births: decides which populations divide, and how many immigrants arrive, from plain vectors.
 * Does not depend on networks: the owner of the populations copies or creates them. */
#ifndef EP_BIRTHS_H
#define EP_BIRTHS_H

#include "random.h"

typedef enum { EP_DIVISION, EP_IMMIGRATION } ep_birth_kind;
typedef enum { EP_BIRTHS_UPKEEP, EP_BIRTHS_VACANCIES, EP_BIRTHS_NUMBER } ep_birth_rate;

/* The settings of births; ep_births_fields is their only declaration. */
typedef struct {
    int64_t kind, rate; /* values of ep_birth_kind and of ep_birth_rate */
    double number, mutation, capacity, mass, least_strength, returns;
    int64_t every;
} ep_births;
extern const ep_field ep_births_fields[];
extern const char ep_births_doc[];

/* A population that is born: a copy of a parent with half of its mass, an immigrant, or a founder
 * that returns with its former id. */
typedef struct {
    int group;
    int32_t birth, parent; /* ids; parent is -1 for an immigrant */
    int64_t place; /* index of the parent in its group's vectors, or -1 */
    ep_real mass, fitness; /* fitness is smoothed and bias-corrected */
} ep_newborn;

/* The populations of one layer that were alive when the generation began, in the order of the
 * layer's vectors. */
typedef struct {
    int64_t n, founded;
    const ep_real *mass, *fitness, *upkeep; /* (n) */
    const bool *alive; /* (n) false: became extinct in this generation */
    double mean; /* mean fitness of the living populations of the niche */
} ep_parents;

/* Return the largest number of populations that a layer of `founded` founders may have. */
int64_t ep_births_capacity(const ep_births *births, int64_t founded);
/* Choose at random which extinct founders return in generation `number`: write their ids (0 ..
 * founded - 1), ascending, to `chosen` (founded) and return their number. The layer has n
 * populations; `birth` (n, ascending; NULL: 0 .. n - 1) are their ids, alive[j] > 0: living. */
int64_t ep_births_returning(const ep_births *births, int64_t founded, int64_t n,
                            const int32_t *birth, const ep_real *alive, int64_t number,
                            ep_noise noise, int32_t *chosen);
/* Return true if populations may be born in generation `number`, at this strength of selection. */
bool ep_births_due(const ep_births *births, int64_t number, double strength);
/* Write the indices of the populations that divide, fittest first, to `chosen` (n), and return
 * their number; for immigration, only return the number of immigrants. `number` is the index of
 * the generation, from 1. */
int64_t ep_births_choose(const ep_births *births, const ep_parents *parents, int64_t number,
                         int32_t *chosen);

#endif
