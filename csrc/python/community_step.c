/* community_step: one generation of a community: check the signals from Python, measure, step. */
#include "python/community.h"

#include <math.h>
#include <string.h>

/* The arguments of a step: flat vectors by name, NULL if not given. */
typedef struct {
    PyArrayObject *raw, *gradient, *owned[3], *activity, *norm2, *overlap;
    double terms;
    ep_real *alike; /* overlaps of a niche's living populations */
    ep_community *self;
} signals;

static void drop_signals(signals *s) {
    PyArrayObject *arrays[] = {s->raw,      s->gradient, s->owned[0], s->owned[1],
                               s->owned[2], s->activity, s->norm2,    s->overlap};
    for (int i = 0; i < EP_COUNT(arrays); i++) {
        ep_array_drop(arrays[i]);
    }
    PyMem_Free(s->alike);
}

static const ep_real *from(PyArrayObject *array, int64_t at) {
    return array ? (const ep_real *)PyArray_DATA(array) + at : NULL;
}

/* Return the flat place of birth id 0 of a niche's first group; sets its number of founders. */
static int64_t niche_at(const ep_community *self, int group, int64_t *founded) {
    if (self->generation->settings.niche == EP_NICHE_NETWORK) {
        *founded = self->founded;
        return 0;
    }
    *founded = self->group[group].founded;
    return self->group[group].mass - self->column[EP_MASS];
}

/* Implement ep_occasion's measure: copy the given overlaps and norms of the living populations. */
static void pick(void *context, const ep_generation *g, int64_t first, ep_cohort *cohort) {
    const signals *s = context;
    const ep_community *self = s->self;
    int64_t founded, at = niche_at(self, g->group[first], &founded), all = self->founded;
    ep_real *norm2 = s->alike + (s->overlap ? all * all : 0);
    for (int64_t k = 0; k < cohort->n; k++) {
        int64_t i = at + cohort->birth[k];
        for (int64_t l = 0; s->overlap && l < cohort->n; l++) {
            s->alike[k * cohort->n + l] = *from(s->overlap, i * all + at + cohort->birth[l]);
        }
        norm2[k] = s->norm2 ? *from(s->norm2, i) : 1;
    }
    cohort->overlap = s->overlap ? s->alike : NULL;
    cohort->norm2 = s->norm2 ? norm2 : NULL;
}

/* Write this generation's fitness to the column EP_RAW. False: an exception, or error is filled. */
static bool measure(ep_community *self, const signals *s, ep_error *error) {
    ep_real *raw = self->column[EP_RAW];
    if (s->raw) {
        memcpy(raw, PyArray_DATA(s->raw), (size_t)self->founded * sizeof *raw);
        return true;
    }
    for (int i = 0; i < self->n_groups; i++) {
        int64_t at = self->group[i].mass - self->column[EP_MASS];
        const ep_signals given = {.n = self->group[i].n,
                                  .mass = self->group[i].mass,
                                  .mass_gradient = from(s->gradient, at),
                                  .owned_norm2 = from(s->owned[0], at),
                                  .owned_gradient2 = from(s->owned[1], at),
                                  .owned_product = from(s->owned[2], at),
                                  .activity = from(s->activity, at),
                                  .terms = s->terms};
        if (self->calls.fitness) {
            if (!ep_call_fitness(&self->calls, &given, raw + at, error)) {
                return false;
            }
        } else {
            self->fitness->measure(self->fitness_config, &given, raw + at);
        }
    }
    return true;
}

/* Check that living populations have a finite fitness; extinct ones may have any. */
static bool check_fitness(ep_community *self) {
    for (int64_t j = 0; j < self->founded; j++) {
        ep_real *raw = &self->column[EP_RAW][j];
        if (!(self->column[EP_ALIVE][j] > 0)) {
            *raw = 0;
        } else if (!isfinite(*raw)) {
            PyErr_Format(PyExc_ValueError,
                         "fitness: expected finite numbers for living populations, got another at "
                         "place %lld",
                         (long long)j);
            return false;
        }
    }
    return true;
}

/* Open the given signals, and check those that the law needs. False with an exception. */
static bool open_signals(ep_community *self, signals *s, PyObject *const *objects) {
    static const char *const names[] = {
        "fitness",       "mass_gradient", "owned_norm2", "owned_gradient2",
        "owned_product", "activity",      "norm2"};
    static const unsigned need[] = {
        0, 0, EP_NEEDS_NORM, EP_NEEDS_GRADIENT, EP_NEEDS_PRODUCT, EP_NEEDS_ACTIVITY, 0};
    PyArrayObject **to[] = {&s->raw,      &s->gradient, &s->owned[0], &s->owned[1],
                            &s->owned[2], &s->activity, &s->norm2};
    npy_intp n = self->founded;
    for (int i = 0; i < EP_COUNT(to); i++) {
        if (objects[i] != Py_None) {
            *to[i] = ep_array_in(objects[i], names[i], EP_NPY_REAL, 1, &n);
            if (!*to[i]) {
                return false;
            }
        } else if (i > 0 && !s->raw && !self->calls.fitness &&
                   (i == 1 ? !self->fitness->needs : (self->fitness->needs & need[i]) != 0)) {
            PyErr_Format(PyExc_ValueError, "step: fitness or %s must be given (fitness is %s)",
                         names[i], self->fitness->name);
            return false;
        }
    }
    if (!s->raw && self->calls.fitness && !s->gradient) {
        PyErr_SetString(PyExc_ValueError, "step: fitness or mass_gradient must be given");
        return false;
    }
    PyObject *overlap = objects[EP_COUNT(to)];
    npy_intp square[2] = {n, n};
    if (overlap != Py_None) {
        s->overlap = ep_array_in(overlap, "overlap", EP_NPY_REAL, 2, square);
        if (!s->overlap) {
            return false;
        }
    }
    if (s->overlap || s->norm2) {
        int64_t all = s->overlap ? ep_times(n, n) : 0;
        s->alike = all < 0 ? NULL : PyMem_Calloc((size_t)(all + n + 1), sizeof *s->alike);
        if (!s->alike) {
            PyErr_NoMemory();
            return false;
        }
    }
    return true;
}

static PyObject *deaths_of(const ep_community *self, int64_t n) {
    ep_death *deaths = PyMem_Calloc((size_t)n + 1, sizeof *deaths);
    if (!deaths) {
        return PyErr_NoMemory();
    }
    for (int64_t k = 0; k < n; k++) {
        const ep_extinct *gone = &self->generation->extinct[k];
        deaths[k] = (ep_death){self->number, gone->group, gone->birth, (double)gone->mass,
                               (double)gone->fitness};
    }
    PyObject *array = ep_deaths_array(deaths, n);
    PyMem_Free(deaths);
    return array;
}

PyDoc_STRVAR(
    step_doc,
    "step(pressure, strength, fitness=None, mass_gradient=None, owned_norm2=None, "
    "owned_gradient2=None, owned_product=None, activity=None, norm2=None, overlap=None, terms=1.0)\n"
    "--\n\n"
    "One generation. All vectors (founded,), layer after layer. Returns the extinct (a structured "
    "array as in training; step is the generation), how many the floor kept alive, and how many "
    "masses stand at the largest number that a mass can be. On an error nothing has changed.");
static PyObject *step(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pressure",    "strength",        "fitness",       "mass_gradient",
                            "owned_norm2", "owned_gradient2", "owned_product", "activity",
                            "norm2",       "overlap",         "terms",         NULL};
    ep_community *self = (ep_community *)object;
    PyObject *objects[8];
    double pressure, strength;
    signals s = {.terms = 1, .self = self};
    for (int i = 0; i < EP_COUNT(objects); i++) {
        objects[i] = Py_None;
    }
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&|OOOOOOOOO&:step", names, ep_convert_real,
                                     &pressure, ep_convert_real, &strength, &objects[0],
                                     &objects[1], &objects[2], &objects[3], &objects[4],
                                     &objects[5], &objects[6], &objects[7], ep_convert_real,
                                     &s.terms)) {
        return NULL;
    }
    if (!(pressure >= 0 && pressure < 1e300) || !(strength >= 0 && strength < 1e300)) {
        PyErr_SetString(PyExc_ValueError,
                        "step: pressure and strength: expected finite numbers of at least 0");
        return NULL;
    }
    if (!ep_community_enter(self)) {
        return NULL;
    }
    ep_error error = {EP_OK, ""};
    ep_outcome outcome = {0, 0, 0};
    PyObject *result = NULL;
    bool ok = open_signals(self, &s, objects) &&
              (measure(self, &s, &error) || ep_raise(&error, NULL)) && check_fitness(self);
    if (ok) {
        ep_occasion occasion = {.group = self->group,
                                .number = self->number + 1,
                                .seed = self->seed,
                                .pressure = pressure,
                                .strength = strength,
                                .measure = s.alike ? pick : NULL,
                                .context = &s};
        Py_BEGIN_ALLOW_THREADS
        ok = ep_generation_step(self->generation, &occasion, &outcome, &error);
        Py_END_ALLOW_THREADS
        if (ok) {
            self->number++;
            PyObject *deaths = deaths_of(self, outcome.n_extinct);
            result = deaths ? Py_BuildValue("(NLL)", deaths, (long long)outcome.floor_reached,
                                            (long long)outcome.capped)
                            : NULL;
        } else {
            ep_raise(&error, NULL);
        }
    }
    drop_signals(&s);
    ep_community_leave(self);
    return result;
}

PyMethodDef ep_community_step_methods[] = {
    EP_METHOD(step, step_doc),
    EP_METHODS_END,
};
