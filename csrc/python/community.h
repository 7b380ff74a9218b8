/* community: the type Community: populations without a network. community.c creates it and exposes
 * its vectors; community_step.c runs its generations. This header is shared by both. */
#ifndef EP_PYTHON_COMMUNITY_H
#define EP_PYTHON_COMMUNITY_H

#include "python/lawbook.h"

#include <stdatomic.h>

enum { EP_MASS, EP_FITNESS_MEMORY, EP_ALIVE, EP_RAW, EP_COLUMNS };

typedef struct {
    PyObject_HEAD
    ep_state *state;
    ep_generation *generation;
    const ep_fitness *fitness;
    void *fitness_config;
    ep_calls calls;
    ep_group *group;
    int n_groups;
    int64_t size; /* populations of all layers, living and extinct */
    ep_real *column[EP_COLUMNS]; /* (size) each: EP_MASS and the others above */
    /* state of the dynamics, (EP_STATES, n) for each layer, one layer after the other */
    ep_real *memory;
    double *costs; /* (size) cost of each population */
    uint64_t seed;
    int64_t number; /* generations so far */
    atomic_int busy;
} ep_community;

/* Return true and lock the community until ep_community_leave(). If another call is using it, raise
 * RuntimeError and return false. */
bool ep_community_enter(ep_community *self);
EP_INLINE void ep_community_leave(ep_community *self) { atomic_store(&self->busy, 0); }

/* Append n[i] extinct populations to layer i, with all their values 0. On failure, return false
 * with an exception; nothing has changed. */
bool ep_community_grow(ep_community *self, const int64_t *n);

/* The methods of community_step.c, terminated by an empty row. */
extern PyMethodDef ep_community_step_methods[];

#endif
