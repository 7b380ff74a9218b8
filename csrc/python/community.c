/* community: the type Community: populations without a network. It holds their masses,
 * fitness, costs and state as vectors that grow when populations are born. A vector contains one
 * layer after the other, each indexed by birth id. evoprune.Community adds names. */
#include "python/community.h"

#include <math.h>
#include <string.h>

bool ep_community_enter(ep_community *self) {
    int idle = 0;
    if (!atomic_compare_exchange_strong(&self->busy, &idle, 1)) {
        PyErr_SetString(PyExc_RuntimeError, "community: another call is at work on it");
        return false;
    }
    return true;
}

/* ---- create and free ------------------------------------------------------------------------- */

/* The vectors of a community with a given number of populations. */
typedef struct {
    ep_real *column[EP_COLUMNS], *memory;
    double *costs;
} vectors;

static bool vectors_new(vectors *v, int64_t size) {
    size_t n = (size_t)ep_max(1, size);
    v->column[0] = PyMem_Calloc(n * (EP_COLUMNS + EP_STATES), sizeof(ep_real));
    v->costs = PyMem_Calloc(n, sizeof *v->costs);
    if (!v->column[0] || !v->costs) {
        PyMem_Free(v->column[0]);
        PyMem_Free(v->costs);
        PyErr_NoMemory();
        return false;
    }
    for (int c = 1; c < EP_COLUMNS; c++) {
        v->column[c] = v->column[0] + (int64_t)n * c;
    }
    v->memory = v->column[0] + (int64_t)n * EP_COLUMNS;
    return true;
}

/* Copy the vectors of one layer from index `from` of the old vectors to index `at` of the new ones,
 * where the layer has room for n populations. */
static void move_group(const ep_community *self, const vectors *to, const ep_group *group,
                       int64_t from, int64_t at, int64_t n) {
    if (group->n == 0) {
        return;
    }
    for (int c = 0; c < EP_COLUMNS; c++) {
        memcpy(to->column[c] + at, self->column[c] + from, (size_t)group->n * sizeof(ep_real));
    }
    for (int s = 0; s < EP_STATES; s++) {
        memcpy(to->memory + at * EP_STATES + s * n, group->state + s * group->n,
               (size_t)group->n * sizeof(ep_real));
    }
    memcpy(to->costs + at, self->costs + from, (size_t)group->n * sizeof *to->costs);
}

bool ep_community_grow(ep_community *self, const int64_t *more) {
    vectors to;
    int64_t size = self->size, from = 0, at = 0;
    for (int i = 0; i < self->n_groups; i++) {
        size += more[i];
    }
    if (size > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "community: more than 2^31 - 1 populations were born");
        return false;
    }
    if (!vectors_new(&to, size)) {
        return false;
    }
    if (!ep_generation_reserve(self->generation, size)) {
        PyMem_Free(to.column[0]);
        PyMem_Free(to.costs);
        PyErr_NoMemory();
        return false;
    }
    for (int i = 0; i < self->n_groups; i++) {
        ep_group *group = &self->group[i];
        int64_t n = group->n + more[i];
        move_group(self, &to, group, from, at, n);
        from += group->n;
        *group = (ep_group){.n = n,
                            .founded = group->founded,
                            .born = n,
                            .mass = to.column[EP_MASS] + at,
                            .fitness = to.column[EP_FITNESS_MEMORY] + at,
                            .alive = to.column[EP_ALIVE] + at,
                            .raw = to.column[EP_RAW] + at,
                            .state = to.memory + at * EP_STATES,
                            .costs = to.costs + at};
        at += n;
    }
    PyMem_Free(self->column[0]);
    PyMem_Free(self->costs);
    memcpy(self->column, to.column, sizeof self->column);
    self->memory = to.memory;
    self->costs = to.costs;
    self->size = size;
    return true;
}

/* Create the founders of all layers: living populations of mass 1. */
static bool found(ep_community *self, const ep_headcount *counts) {
    int64_t *n = PyMem_Calloc((size_t)ep_max(1, self->n_groups), sizeof *n);
    self->group = PyMem_Calloc((size_t)ep_max(1, self->n_groups), sizeof *self->group);
    bool ok = n && self->group;
    for (int i = 0; ok && i < self->n_groups; i++) {
        n[i] = self->group[i].founded = counts[i].founded;
    }
    if (!ok) {
        PyErr_NoMemory();
    }
    ok = ok && ep_community_grow(self, n);
    for (int64_t j = 0; ok && j < self->size; j++) {
        self->column[EP_MASS][j] = self->column[EP_ALIVE][j] = 1;
        self->costs[j] = 1 / (double)self->size;
    }
    PyMem_Free(n);
    return ok;
}

static PyObject *community_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"founded", "selection", "seed", "threshold", NULL};
    PyObject *sizes, *selection;
    double threshold = -1;
    uint64_t seed = 0;
    npy_intp any = -1;
    ep_error error = {EP_OK, ""};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O&O&:Community", names, &sizes, &selection,
                                     ep_convert_u64, &seed, ep_convert_real, &threshold)) {
        return NULL;
    }
    PyArrayObject *founded = ep_array_in(sizes, "founded", NPY_INT64, 1, &any);
    allocfunc make = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    ep_community *self = founded ? (ep_community *)make(type, 0) : NULL;
    ep_lawbook book = {0};
    if (!self || !ep_lawbook_open(&book, selection)) {
        ep_array_drop(founded);
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    const int64_t *n = PyArray_DATA(founded);
    bool ok = true;
    int64_t all = 0;
    self->seed = seed;
    self->n_groups = (int)PyArray_DIM(founded, 0);
    ep_headcount *counts = PyMem_Calloc((size_t)self->n_groups + 1, sizeof *counts);
    if (!counts) {
        PyErr_NoMemory();
        ok = false;
    }
    for (int i = 0; ok && i < self->n_groups; i++) {
        if (n[i] < 1 || n[i] > INT32_MAX || (all += n[i]) > INT32_MAX) {
            PyErr_Format(PyExc_ValueError,
                         "founded: expected from 1 to 2^31 - 1 populations in all, got %lld",
                         (long long)n[i]);
            ok = false;
        } else {
            counts[i] = (ep_headcount){n[i], n[i], n[i]};
        }
    }
    const ep_births *births = book.births.at;
    if (ok && births && births->returns > 0) {
        PyErr_SetString(PyExc_ValueError, "births: returns: expected 0, since only features of a "
                                          "network's data can return");
        ok = false;
    }
    if (ok) {
        self->generation = ep_generation_new(book.settings.at, book.births.at, book.dynamics,
                                             book.dynamics_config.at, self->n_groups, counts,
                                             &error);
        self->fitness = book.fitness;
        ok = self->generation && ep_config_copy(book.fitness->fields, book.fitness->config_size,
                                                book.fitness_config.at, &self->fitness_config);
        if (!ok && error.code == EP_OK) {
            PyErr_NoMemory();
        } else if (!ok) {
            ep_raise(&error, NULL);
        }
    }
    ok = ok && found(self, counts);
    PyMem_Free(counts);
    if (ok) {
        self->calls = book.calls;
        book.calls = (ep_calls){NULL, NULL};
        self->generation->call = self->calls.dynamics ? ep_call_dynamics : NULL;
        self->generation->context = &self->calls;
        self->generation->inherited = book.fitness->extensive && !self->calls.fitness ? 0.5 : 1;
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
    ep_community *self = (ep_community *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->calls.fitness);
    Py_VISIT(self->calls.dynamics);
    return 0;
}

static int community_clear(PyObject *object) {
    ep_community *self = (ep_community *)object;
    Py_CLEAR(self->calls.fitness);
    Py_CLEAR(self->calls.dynamics);
    return 0;
}

static void community_dealloc(PyObject *object) {
    ep_community *self = (ep_community *)object;
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

/* ---- vectors --------------------------------------------------------------------------------- */

static PyObject *vector_of(const ep_real *from_, int64_t n) {
    PyArrayObject *array = ep_array_vector(n, EP_NPY_REAL);
    if (array && n) {
        memcpy(PyArray_DATA(array), from_, (size_t)n * sizeof *from_);
    }
    return (PyObject *)array;
}

PyDoc_STRVAR(state_doc,
             "state()\n--\n\n"
             "Return all that the next step depends on, as copies in a dict: mass, remembered "
             "fitness, alive, the dynamics' state (memory), costs, number of populations born "
             "so far by layer (next_births), and number of generations.");
static PyObject *get_state(PyObject *object, PyObject *ignored) {
    (void)ignored;
    ep_community *self = (ep_community *)object;
    if (!ep_community_enter(self)) {
        return NULL;
    }
    PyArrayObject *costs = ep_array_vector(self->size, NPY_FLOAT64);
    PyArrayObject *born = ep_array_vector(self->n_groups, NPY_INT64);
    PyObject *result = NULL;
    for (int i = 0; born && i < self->n_groups; i++) {
        ((int64_t *)PyArray_DATA(born))[i] = self->group[i].n;
    }
    if (costs && born) {
        memcpy(PyArray_DATA(costs), self->costs, (size_t)self->size * sizeof *self->costs);
        result = Py_BuildValue("{s:N,s:N,s:N,s:N,s:O,s:O,s:L}", "mass",
                               vector_of(self->column[EP_MASS], self->size), "fitness",
                               vector_of(self->column[EP_FITNESS_MEMORY], self->size), "alive",
                               vector_of(self->column[EP_ALIVE], self->size), "memory",
                               vector_of(self->memory, self->size * EP_STATES), "costs", costs,
                               "next_births", born, "generation", (long long)self->number);
    }
    ep_array_drop(costs);
    ep_array_drop(born);
    ep_community_leave(self);
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

/* Grow the layers to the numbers of populations in `object`, one number per layer. */
static bool grow_to(ep_community *self, PyObject *object) {
    npy_intp layers = self->n_groups;
    PyArrayObject *born = ep_array_in(object, "next_births", NPY_INT64, 1, &layers);
    int64_t *more = PyMem_Calloc((size_t)layers + 1, sizeof *more);
    bool ok = born && more;
    if (born && !more) {
        PyErr_NoMemory();
    }
    for (npy_intp i = 0; ok && i < layers; i++) {
        int64_t n = ((const int64_t *)PyArray_DATA(born))[i];
        more[i] = n - self->group[i].n;
        if (more[i] < 0 || n > INT32_MAX) {
            PyErr_Format(PyExc_ValueError,
                         "next_births: expected at least the %lld populations born here, got %lld",
                         (long long)self->group[i].n, (long long)n);
            ok = false;
        }
    }
    ok = ok && ep_community_grow(self, more);
    PyMem_Free(more);
    ep_array_drop(born);
    return ok;
}

PyDoc_STRVAR(restore_doc,
             "restore(mass=None, fitness=None, alive=None, memory=None, costs=None, "
             "generation=None, next_births=None)\n--\n\n"
             "Set what `state` returned; None keeps the current value. On an error nothing has "
             "changed, except that layers may have grown.");
static PyObject *restore(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"mass",  "fitness",    "alive",       "memory",
                            "costs", "generation", "next_births", NULL};
    ep_community *self = (ep_community *)object;
    PyObject *given[7] = {NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    PyArrayObject *array[5] = {NULL, NULL, NULL, NULL, NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOOOOOO:restore", names, &given[0], &given[1],
                                     &given[2], &given[3], &given[4], &given[5], &given[6]) ||
        !ep_community_enter(self)) {
        return NULL;
    }
    bool ok = !given[6] || given[6] == Py_None || grow_to(self, given[6]);
    ep_real *to[] = {self->column[EP_MASS], self->column[EP_FITNESS_MEMORY], self->column[EP_ALIVE],
                     self->memory};
    int64_t number = self->number;
    for (int i = 0; ok && i < EP_COUNT(array); i++) {
        if (!given[i] || given[i] == Py_None) {
            continue;
        }
        npy_intp n = i == 3 ? self->size * EP_STATES : self->size;
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
        ok = ep_whole(given[5], "generation", 0, INT64_MAX, &number);
    }
    if (ok) {
        for (int i = 0; i < EP_COUNT(to); i++) {
            if (array[i]) {
                memcpy(to[i], PyArray_DATA(array[i]), (size_t)PyArray_SIZE(array[i]) * sizeof **to);
            }
        }
        if (array[4]) {
            memcpy(self->costs, PyArray_DATA(array[4]), (size_t)self->size * sizeof *self->costs);
        }
        self->number = number;
    }
    for (int i = 0; i < EP_COUNT(array); i++) {
        ep_array_drop(array[i]);
    }
    ep_community_leave(self);
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(price_doc,
             "price(pressure)\n--\n\n"
             "Return the current fitness and upkeep (born,) of populations, NaN if extinct. "
             "Fitness is corrected for its start at zero; upkeep is that of the next "
             "generation at this pressure if fitness does not change.");
static PyObject *price(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pressure", NULL};
    ep_community *self = (ep_community *)object;
    double pressure;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:price", names, ep_convert_real, &pressure) ||
        !ep_community_enter(self)) {
        return NULL;
    }
    PyArrayObject *fitness = ep_array_vector(self->size, EP_NPY_REAL);
    PyArrayObject *upkeep = ep_array_vector(self->size, EP_NPY_REAL);
    PyObject *result = NULL;
    if (fitness && upkeep) {
        const ep_generation *g = self->generation;
        ep_real *f = PyArray_DATA(fitness), *c = PyArray_DATA(upkeep);
        for (int64_t j = 0; j < self->size; j++) {
            f[j] = c[j] = (ep_real)NAN;
        }
        ep_generation_price(self->generation, self->group, self->number, pressure);
        for (int64_t k = 0; k < g->n; k++) {
            int64_t j = self->group[g->group[k]].mass - self->column[EP_MASS] + g->place[k];
            f[j] = g->fitness[k];
            c[j] = g->upkeep[k];
        }
        result = Py_BuildValue("(OO)", fitness, upkeep);
    }
    ep_array_drop(fitness);
    ep_array_drop(upkeep);
    ep_community_leave(self);
    return result;
}

static PyMethodDef methods[] = {
    {NULL, NULL, 0, NULL}, /* set below to step() of community_step.c */
    {"state", get_state, METH_NOARGS, state_doc},
    EP_METHOD(restore, restore_doc),
    EP_METHOD(price, price_doc),
    EP_METHODS_END,
};

PyDoc_STRVAR(community_doc,
             "Community(founded, selection, seed=0, threshold=-1.0)\n--\n\n"
             "Populations without a network. founded: number of founders of each layer. "
             "selection: a dict as for Network.configure.");

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
    .basicsize = sizeof(ep_community),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int ep_community_add_type(PyObject *module) {
    /* every import writes the same value, under the import lock */
    methods[0] = ep_community_step_methods[0];
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddObjectRef(module, "Community", type) : -1;
    Py_XDECREF(type);
    return failed;
}
