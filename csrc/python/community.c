/* community: populations without a network: the type Community, which holds the vectors of a
 * generation and steps them. Vectors are flat, layer after layer, of founding size, indexed by birth
 * id; evoprune.Community gives them names. */
#include "python/lawbook.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { MASS, FITNESS, ALIVE, RAW, COLUMNS };

typedef struct {
    PyObject_HEAD
    ep_state *state;
    ep_generation *generation;
    const ep_fitness *fitness;
    void *fitness_config;
    ep_calls calls;
    ep_group *group;
    int n_groups;
    int64_t founded; /* populations of all layers */
    ep_real *column[COLUMNS]; /* (founded) each */
    ep_real *memory; /* (EP_STATES, n) of each layer, one after the other */
    double *costs; /* (founded) */
    uint64_t seed;
    int64_t number; /* generations so far */
    atomic_int busy;
} community;

static bool enter(community *self) {
    int idle = 0;
    if (!atomic_compare_exchange_strong(&self->busy, &idle, 1)) {
        PyErr_SetString(PyExc_RuntimeError, "community: another call is at work on it");
        return false;
    }
    return true;
}

static void leave(community *self) { atomic_store(&self->busy, 0); }

/* ---- made and freed --------------------------------------------------------------------------- */

static bool make_groups(community *self, const int64_t *founded) {
    size_t n = (size_t)ep_max(1, self->founded);
    self->group = PyMem_Calloc((size_t)ep_max(1, self->n_groups), sizeof *self->group);
    self->column[0] = PyMem_Calloc(n * (COLUMNS + EP_STATES), sizeof(ep_real));
    self->costs = PyMem_Calloc(n, sizeof *self->costs);
    if (!self->group || !self->column[0] || !self->costs) {
        PyErr_NoMemory();
        return false;
    }
    for (int c = 1; c < COLUMNS; c++) {
        self->column[c] = self->column[0] + (int64_t)n * c;
    }
    self->memory = self->column[0] + (int64_t)n * COLUMNS;
    for (int64_t j = 0; j < self->founded; j++) {
        self->column[MASS][j] = self->column[ALIVE][j] = 1;
        self->costs[j] = 1 / (double)self->founded;
    }
    int64_t at = 0;
    for (int i = 0; i < self->n_groups; at += founded[i++]) {
        self->group[i] = (ep_group){.n = founded[i],
                                    .founded = founded[i],
                                    .mass = self->column[MASS] + at,
                                    .fitness = self->column[FITNESS] + at,
                                    .alive = self->column[ALIVE] + at,
                                    .raw = self->column[RAW] + at,
                                    .state = self->memory + at * EP_STATES,
                                    .costs = self->costs + at};
    }
    return true;
}

static PyObject *community_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"founded", "selection", "seed", "threshold", NULL};
    PyObject *sizes, *selection;
    double threshold = -1;
    uint64_t seed = 0;
    npy_intp any = -1;
    ep_error error = {EP_OK, ""};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O&d:Community", names, &sizes, &selection,
                                     ep_convert_u64, &seed, &threshold)) {
        return NULL;
    }
    PyArrayObject *founded = ep_array_in(sizes, "founded", NPY_INT64, 1, &any);
    allocfunc make = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    community *self = founded ? (community *)make(type, 0) : NULL;
    ep_lawbook book = {0};
    if (!self || !ep_lawbook_open(&book, selection)) {
        ep_array_drop(founded);
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    const int64_t *n = PyArray_DATA(founded);
    bool ok = true;
    self->seed = seed;
    self->n_groups = (int)PyArray_DIM(founded, 0);
    for (int i = 0; ok && i < self->n_groups; i++) {
        if (n[i] < 1 || n[i] > INT32_MAX || (self->founded += n[i]) > INT32_MAX) {
            PyErr_Format(PyExc_ValueError,
                         "founded: expected from 1 to 2^31 - 1 populations in all, got %lld",
                         (long long)n[i]);
            ok = false;
        }
    }
    ok = ok && make_groups(self, n);
    if (ok) {
        self->generation = ep_generation_new(book.settings.at, book.dynamics,
                                             book.dynamics_config.at, self->n_groups, n, &error);
        self->fitness = book.fitness;
        ok = self->generation && ep_config_copy(book.fitness->fields, book.fitness->config_size,
                                                book.fitness_config.at, &self->fitness_config);
        if (!ok && error.code == EP_OK) {
            PyErr_NoMemory();
        } else if (!ok) {
            ep_raise(&error, NULL);
        }
    }
    if (ok) {
        self->calls = book.calls;
        book.calls = (ep_calls){NULL, NULL};
        self->generation->call = self->calls.dynamics ? ep_call_dynamics : NULL;
        self->generation->context = &self->calls;
        if (threshold >= 0) {
            self->generation->settings.threshold = threshold;
        }
    }
    ep_lawbook_close(&book);
    ep_array_drop(founded);
    if (!ok) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int community_traverse(PyObject *object, visitproc visit, void *arg) {
    community *self = (community *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->calls.fitness);
    Py_VISIT(self->calls.dynamics);
    return 0;
}

static int community_clear(PyObject *object) {
    community *self = (community *)object;
    Py_CLEAR(self->calls.fitness);
    Py_CLEAR(self->calls.dynamics);
    return 0;
}

static void community_dealloc(PyObject *object) {
    community *self = (community *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    community_clear(object);
    ep_generation_free(self->generation);
    if (self->fitness) {
        ep_config_free(self->fitness->fields, self->fitness_config);
    }
    PyMem_Free(self->group);
    PyMem_Free(self->column[0]);
    PyMem_Free(self->costs);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- one generation --------------------------------------------------------------------------- */

/* What a step is called with: flat vectors by name, NULL where they are not given. */
typedef struct {
    PyArrayObject *raw, *gradient, *owned[3], *activity, *norm2, *overlap;
    double terms;
    ep_real *alike; /* overlaps of the living of a niche */
    community *self;
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

/* The flat place of birth id 0 of a niche's first group, and its number of founders. */
static int64_t niche_at(const community *self, int group, int64_t *founded) {
    if (self->generation->settings.niche == EP_NICHE_NETWORK) {
        *founded = self->founded;
        return 0;
    }
    *founded = self->group[group].founded;
    return self->group[group].mass - self->column[MASS];
}

/* An ep_occasion's measure: rows of the given overlaps and norms for the living. */
static void pick(void *context, const ep_generation *g, int64_t first, ep_cohort *cohort) {
    const signals *s = context;
    const community *self = s->self;
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

/* Fitness of this generation, into the column RAW. False with an exception, or error filled. */
static bool measure(community *self, const signals *s, ep_error *error) {
    ep_real *raw = self->column[RAW];
    if (s->raw) {
        memcpy(raw, PyArray_DATA(s->raw), (size_t)self->founded * sizeof *raw);
        return true;
    }
    for (int i = 0; i < self->n_groups; i++) {
        int64_t at = self->group[i].mass - self->column[MASS];
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

/* Extinct populations may have any fitness; living ones a finite one. */
static bool check_fitness(community *self) {
    for (int64_t j = 0; j < self->founded; j++) {
        ep_real *raw = &self->column[RAW][j];
        if (!(self->column[ALIVE][j] > 0)) {
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

/* The signals that the step's law needs, or what was given: false with an exception. */
static bool open_signals(community *self, signals *s, PyObject *const *objects) {
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

static PyObject *deaths_of(const community *self, int64_t n) {
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
    community *self = (community *)object;
    PyObject *objects[8];
    double pressure, strength;
    signals s = {.terms = 1, .self = self};
    for (int i = 0; i < EP_COUNT(objects); i++) {
        objects[i] = Py_None;
    }
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "dd|OOOOOOOOd:step", names, &pressure, &strength,
                                     &objects[0], &objects[1], &objects[2], &objects[3],
                                     &objects[4], &objects[5], &objects[6], &objects[7],
                                     &s.terms)) {
        return NULL;
    }
    if (!(pressure >= 0 && pressure < 1e300) || !(strength >= 0 && strength < 1e300)) {
        PyErr_SetString(PyExc_ValueError,
                        "step: pressure and strength: expected finite numbers of at least 0");
        return NULL;
    }
    if (!enter(self)) {
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
    leave(self);
    return result;
}

/* ---- its vectors ------------------------------------------------------------------------------ */

static PyObject *vector_of(const ep_real *from_, int64_t n) {
    PyArrayObject *array = ep_array_vector(n, EP_NPY_REAL);
    if (array && n) {
        memcpy(PyArray_DATA(array), from_, (size_t)n * sizeof *from_);
    }
    return (PyObject *)array;
}

PyDoc_STRVAR(
    state_doc,
    "state()\n--\n\n"
    "Copies of mass, fitness (its memory), alive, the dynamics' memory, costs, and the number "
    "of generations: all that the next step depends on.");
static PyObject *get_state(PyObject *object, PyObject *ignored) {
    (void)ignored;
    community *self = (community *)object;
    if (!enter(self)) {
        return NULL;
    }
    PyArrayObject *costs = ep_array_vector(self->founded, NPY_FLOAT64);
    PyObject *result = NULL;
    if (costs) {
        memcpy(PyArray_DATA(costs), self->costs, (size_t)self->founded * sizeof *self->costs);
        result = Py_BuildValue("{s:N,s:N,s:N,s:N,s:O,s:L}", "mass",
                               vector_of(self->column[MASS], self->founded), "fitness",
                               vector_of(self->column[FITNESS], self->founded), "alive",
                               vector_of(self->column[ALIVE], self->founded), "memory",
                               vector_of(self->memory, self->founded * EP_STATES), "costs", costs,
                               "generation", (long long)self->number);
        ep_array_drop(costs);
    }
    leave(self);
    return result;
}

static bool not_negative(PyArrayObject *array, const char *name) {
    const ep_real *at = PyArray_DATA(array);
    for (npy_intp i = 0; i < PyArray_SIZE(array); i++) {
        if (!(at[i] >= 0 && isfinite(at[i]))) {
            PyErr_Format(PyExc_ValueError, "%s: expected finite numbers of at least 0", name);
            return false;
        }
    }
    return true;
}

PyDoc_STRVAR(restore_doc,
             "restore(mass=None, fitness=None, alive=None, memory=None, costs=None, "
             "generation=None)\n--\n\nSets what `state` gives; None leaves it. All or nothing.");
static PyObject *restore(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"mass", "fitness", "alive", "memory", "costs", "generation", NULL};
    community *self = (community *)object;
    PyObject *given[6] = {NULL, NULL, NULL, NULL, NULL, NULL};
    PyArrayObject *array[5] = {NULL, NULL, NULL, NULL, NULL};
    ep_real *to[] = {self->column[MASS], self->column[FITNESS], self->column[ALIVE], self->memory};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOOOOO:restore", names, &given[0], &given[1],
                                     &given[2], &given[3], &given[4], &given[5]) ||
        !enter(self)) {
        return NULL;
    }
    bool ok = true;
    long long number = self->number;
    for (int i = 0; ok && i < EP_COUNT(array); i++) {
        if (!given[i] || given[i] == Py_None) {
            continue;
        }
        npy_intp n = i == 3 ? self->founded * EP_STATES : self->founded;
        array[i] = ep_array_in(given[i], names[i], i == 4 ? NPY_FLOAT64 : EP_NPY_REAL, 1, &n);
        ok = array[i] && (i == 1 || i == 3 || i == 4 || not_negative(array[i], names[i]));
        for (int64_t j = 0; ok && i == 4 && j < n; j++) {
            double cost = ((const double *)PyArray_DATA(array[i]))[j];
            if (!(cost >= 0 && cost < 1e300)) {
                PyErr_SetString(PyExc_ValueError, "cost: expected finite numbers of at least 0");
                ok = false;
            }
        }
    }
    if (ok && given[5] && given[5] != Py_None) {
        number = PyLong_AsLongLong(given[5]);
        if (number < 0 && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "generation: expected a number of at least 0");
        }
        ok = !PyErr_Occurred();
    }
    if (ok) {
        for (int i = 0; i < EP_COUNT(to); i++) {
            if (array[i]) {
                memcpy(to[i], PyArray_DATA(array[i]), (size_t)PyArray_SIZE(array[i]) * sizeof **to);
            }
        }
        if (array[4]) {
            memcpy(self->costs, PyArray_DATA(array[4]),
                   (size_t)self->founded * sizeof *self->costs);
        }
        self->number = number;
    }
    for (int i = 0; i < EP_COUNT(array); i++) {
        ep_array_drop(array[i]);
    }
    leave(self);
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(
    price_doc,
    "price(pressure)\n--\n\n"
    "Fitness and upkeep (founded,) of populations as they are now, NaN of the extinct: "
    "fitness corrected for its start at zero, upkeep what the next generation would take at "
    "this pressure if fitness stayed.");
static PyObject *price(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pressure", NULL};
    community *self = (community *)object;
    double pressure;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "d:price", names, &pressure) || !enter(self)) {
        return NULL;
    }
    PyArrayObject *fitness = ep_array_vector(self->founded, EP_NPY_REAL);
    PyArrayObject *upkeep = ep_array_vector(self->founded, EP_NPY_REAL);
    PyObject *result = NULL;
    if (fitness && upkeep) {
        const ep_generation *g = self->generation;
        ep_real *f = PyArray_DATA(fitness), *c = PyArray_DATA(upkeep);
        for (int64_t j = 0; j < self->founded; j++) {
            f[j] = c[j] = (ep_real)NAN;
        }
        ep_generation_price(self->generation, self->group, self->number, pressure);
        for (int64_t k = 0; k < g->n; k++) {
            int64_t j = self->group[g->group[k]].mass - self->column[MASS] + g->place[k];
            f[j] = g->fitness[k];
            c[j] = g->upkeep[k];
        }
        result = Py_BuildValue("(OO)", fitness, upkeep);
    }
    ep_array_drop(fitness);
    ep_array_drop(upkeep);
    leave(self);
    return result;
}

static PyMethodDef methods[] = {
    EP_METHOD(step, step_doc),
    {"state", get_state, METH_NOARGS, state_doc},
    EP_METHOD(restore, restore_doc),
    EP_METHOD(price, price_doc),
    EP_METHODS_END,
};

PyDoc_STRVAR(
    community_doc,
    "Community(founded, selection, seed=0)\n--\n\n"
    "Populations without a network: founded gives the number of each layer, selection is a "
    "dict as for Network.configure.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)community_doc},
    {Py_tp_new, community_new},
    {Py_tp_traverse, community_traverse},
    {Py_tp_clear, community_clear},
    {Py_tp_dealloc, community_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "evoprune.core.Community",
    .basicsize = sizeof(community),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int ep_community_add_type(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddObjectRef(module, "Community", type) : -1;
    Py_XDECREF(type);
    return failed;
}
