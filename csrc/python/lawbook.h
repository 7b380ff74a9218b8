/* lawbook: convert a selection given in Python (settings, and laws by name or as functions) to the
 * core's types, and call back into Python. Used by networks and communities. */
#ifndef EP_LAWBOOK_H
#define EP_LAWBOOK_H

#include "python/convert.h"

#include "evolve.h"

/* The fitness and the dynamics if they are Python functions, else NULL. */
typedef struct {
    PyObject *fitness, *dynamics;
} ep_calls;

typedef struct {
    const ep_fitness *fitness;
    const ep_dynamics *dynamics;
    /* settings.at points to an ep_selection */
    ep_settings fitness_config, dynamics_config, settings;
    ep_settings births; /* births.at points to an ep_births; NULL: no births */
    ep_calls calls;
} ep_lawbook;

/* Open a lawbook from a dict with the settings of selection, fitness and dynamics (names or
 * functions) and their configs. False with an exception; then there is nothing to close. */
bool ep_lawbook_open(ep_lawbook *book, PyObject *dict);
void ep_lawbook_close(ep_lawbook *book);

/* Call the Python functions in `calls`, an ep_calls. These are the ep_fitness_call and the
 * ep_dynamics_call of the core; see callback.c. */
bool ep_call_fitness(void *calls, const ep_signals *signals, ep_real *fitness, ep_error *error);
bool ep_call_dynamics(void *calls, const ep_cohort *cohort, ep_error *error);

/* Return a structured array of n deaths, with the fields step, population, birth, mass and fitness,
 * or of n births, with the fields step, population, birth, parent, mass and fitness. */
PyObject *ep_deaths_array(const ep_death *deaths, int64_t n);
PyObject *ep_births_array(const ep_birth_record *births, int64_t n);

#endif
