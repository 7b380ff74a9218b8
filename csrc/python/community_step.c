/* community_step: one generation of a community: check the signals from Python, measure, step. */
#include "python/community.h"

#include <math.h>
#include <string.h>

/* The arguments of a step: flat vectors by name, NULL if not given. */
typedef struct {
    PyArrayObject *raw, *gradient, *owned[3], *activity, *norm2, *overlap;
    double terms;
    ep_real *alike; /* buffer for overlaps, then norms, of the living populations of a niche */
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

/* Return where a niche begins in the flat vectors: the index of birth id 0 of its first group. */
static int64_t niche_at(const ep_community *self, int group) {
    if (self->generation->settings.niche == EP_NICHE_NETWORK) {
        return 0;
    }
    return self->group[group].mass - self->column[EP_MASS];
}

/* Implement `measure` of ep_occasion: copy the overlaps and squared norms of the cohort's living
 * populations from the arguments of the step to the cohort. */
static void pick(void *context, const ep_generation *g, int64_t first, ep_cohort *cohort) {
    const signals *s = context;
    const ep_community *self = s->self;
    int64_t at = niche_at(self, g->group[first]), all = self->size;
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

/* Write the fitness of this generation to the column EP_RAW. Return false with an exception, or
 * with `error` filled. */
static bool measure(ep_community *self, const signals *s, ep_error *error) {
    ep_real *raw = self->column[EP_RAW];
    if (s->raw) {
        memcpy(raw, PyArray_DATA(s->raw), (size_t)self->size * sizeof *raw);
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

/* Check that living populations have a finite fitness, and set the fitness of extinct ones to 0. */
static bool check_fitness(ep_community *self) {
    for (int64_t j = 0; j < self->size; j++) {
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

/* Convert the given signals to arrays, and check that no signal that the law needs is missing.
 * False with an exception. */
static bool open_signals(ep_community *self, signals *s, PyObject *const *objects) {
    static const char *const names[] = {
        "fitness",       "mass_gradient", "owned_norm2", "owned_gradient2",
        "owned_product", "activity",      "norm2"};
    static const unsigned need[] = {
        0, 0, EP_NEEDS_NORM, EP_NEEDS_GRADIENT, EP_NEEDS_PRODUCT, EP_NEEDS_ACTIVITY, 0};
    PyArrayObject **to[] = {&s->raw,      &s->gradient, &s->owned[0], &s->owned[1],
                            &s->owned[2], &s->activity, &s->norm2};
    npy_intp n = self->size;
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

static PyObject *births_of(const ep_community *self, int64_t n) {
    ep_birth_record *births = PyMem_Calloc((size_t)n + 1, sizeof *births);
    if (!births) {
        return PyErr_NoMemory();
    }
    for (int64_t k = 0; k < n; k++) {
        const ep_newborn *one = &self->generation->newborn[k];
        births[k] = (ep_birth_record){self->number, one->group,        one->birth,
                                      one->parent,  (double)one->mass, (double)one->fitness};
    }
    PyObject *array = ep_births_array(births, n);
    PyMem_Free(births);
    return array;
}

/* Return the mean cost of the living populations of a layer, which is the cost of an immigrant. */
static double mean_cost(const ep_group *group) {
    double sum = 0, n = 0;
    for (int64_t j = 0; j < group->n; j++) {
        sum += group->alive[j] > 0 ? group->costs[j] : 0;
        n += group->alive[j] > 0;
    }
    return n > 0 ? sum / n : 1;
}

/* Add the newborn populations of a generation. A half of a divided parent gets the cost and the
 * state of this parent. */
static bool add_newborn(ep_community *self, int64_t n) {
    int64_t *more = PyMem_Calloc((size_t)self->n_groups + 1, sizeof *more);
    double *cost = PyMem_Calloc((size_t)self->n_groups + 1, sizeof *cost);
    const ep_newborn *newborn = self->generation->newborn;
    /* a copy of `newborn`, because ep_community_grow() may reallocate that array */
    ep_newborn *kept = PyMem_Calloc((size_t)n + 1, sizeof *kept);
    bool ok = more && cost && kept;
    for (int64_t k = 0; ok && k < n; k++) {
        more[newborn[k].group]++;
        kept[k] = newborn[k];
    }
    for (int i = 0; ok && i < self->n_groups; i++) {
        cost[i] = mean_cost(&self->group[i]);
    }
    if (!ok) {
        PyErr_NoMemory();
    }
    ok = ok && ep_community_grow(self, more);
    for (int64_t k = 0; ok && k < n; k++) {
        const ep_newborn *one = &kept[k];
        const ep_group *group = &self->group[one->group];
        int64_t at = group->mass - self->column[EP_MASS], j = one->birth, parent = one->place;
        group->mass[j] = one->mass;
        group->alive[j] = 1;
        self->costs[at + j] = parent < 0 ? cost[one->group] : group->costs[parent];
        group->fitness[j] = parent < 0 ? 0 : group->fitness[parent];
        for (int s = 0; s < EP_STATES; s++) {
            group->state[s * group->n + j] = parent < 0 ? 0 : group->state[s * group->n + parent];
        }
    }
    PyMem_Free(more);
    PyMem_Free(cost);
    PyMem_Free(kept);
    return ok;
}

PyDoc_STRVAR(step_doc,
             "step(pressure, strength, fitness=None, mass_gradient=None, owned_norm2=None, "
             "owned_gradient2=None, owned_product=None, activity=None, norm2=None, "
             "overlap=None, terms=1.0)\n--\n\n"
             "Run one generation. All vectors are (born,), layer after layer. Returns the "
             "extinct populations (a structured array as in training; step is the generation), "
             "the number of populations that the floor kept alive, the number of masses capped "
             "at the largest allowed value, and the newborn (a structured array). On an error "
             "nothing has changed.");
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
    ep_outcome outcome = {0};
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
            PyObject *births = deaths ? births_of(self, outcome.n_born) : NULL;
            if (births && (outcome.n_born == 0 || add_newborn(self, outcome.n_born))) {
                result = Py_BuildValue("(OLLO)", deaths, (long long)outcome.floor_reached,
                                       (long long)outcome.capped, births);
            }
            Py_XDECREF(deaths);
            Py_XDECREF(births);
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
