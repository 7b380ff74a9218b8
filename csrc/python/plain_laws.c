/* plain_laws: the fitness and dynamics of the catalogue as Python functions over plain arrays, one
 * generation at a time. Inputs are never modified; results are new arrays. No function uses
 * networks, niches, memory or extinction: they are for tests and study. */
#include "python/convert.h"

#include "catalogue.h"

/* ---- fitness --------------------------------------------------------------------------------- */
PyDoc_STRVAR(fitness_measure_doc,
             "fitness_measure(name, config, mass, mass_gradient, owned_norm2=None, "
             "owned_gradient2=None, owned_product=None, activity=None, terms=1.0)\n--\n\n"
             "Return the fitness (n,) of n populations from their mass, the gradient of the "
             "loss with respect to it, and the other signals that this fitness needs: the sums "
             "of w^2, dw^2 and w dw over the weights w that each population owns, and its mean "
             "|output|.");

static PyObject *fitness_measure(PyObject *module, PyObject *args, PyObject *kwargs) {
    enum { SIGNALS = 6 };
    static char *names[] = {"name",          "config",
                            "mass",          "mass_gradient",
                            "owned_norm2",   "owned_gradient2",
                            "owned_product", "activity",
                            "terms",         NULL};
    static const unsigned need[SIGNALS] = {
        0, 0, EP_NEEDS_NORM, EP_NEEDS_GRADIENT, EP_NEEDS_PRODUCT, EP_NEEDS_ACTIVITY};
    const char *name;
    double terms = 1;
    PyObject *dict, *object[SIGNALS] = {NULL};
    PyArrayObject *array[SIGNALS] = {NULL}, *fitness = NULL;
    const ep_real *at[SIGNALS] = {NULL};
    ep_settings config = {NULL, NULL};
    npy_intp n = -1;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOOO|OOOOO&:fitness_measure", names, &name,
                                     &dict, object, object + 1, object + 2, object + 3, object + 4,
                                     object + 5, ep_convert_real, &terms)) {
        return NULL;
    }
    const ep_fitness *law = ep_found(ep_catalogue_fitness(name), "fitness", name);
    if (!law || !ep_settings_open(&config, law->fields, law->config_size, dict, name)) {
        return NULL;
    }
    for (int i = 0; i < SIGNALS; i++) {
        if (!object[i] || object[i] == Py_None) {
            if (i < 2 || (law->needs & need[i])) { /* every law reads mass and its gradient */
                PyErr_Format(PyExc_ValueError, "%s: %s must be given", name, names[i + 2]);
                goto done;
            }
            continue;
        }
        array[i] = ep_array_in(object[i], names[i + 2], EP_NPY_REAL, 1, &n);
        if (!array[i]) {
            goto done;
        }
        n = PyArray_DIM(array[i], 0);
        at[i] = PyArray_DATA(array[i]);
    }
    if ((fitness = ep_array_vector(n, EP_NPY_REAL)) != NULL) {
        const ep_signals signals = {.n = n,
                                    .mass = at[0],
                                    .mass_gradient = at[1],
                                    .owned_norm2 = at[2],
                                    .owned_gradient2 = at[3],
                                    .owned_product = at[4],
                                    .activity = at[5],
                                    .terms = terms};
        Py_BEGIN_ALLOW_THREADS
        law->measure(config.at, &signals, PyArray_DATA(fitness));
        Py_END_ALLOW_THREADS
    }
done:
    ep_settings_close(&config);
    for (int i = 0; i < SIGNALS; i++) {
        ep_array_drop(array[i]);
    }
    return (PyObject *)fitness;
}

/* ---- dynamics -------------------------------------------------------------------------------- */
/* Return birth ids (n,) as int32: the given ones, checked, or 0 .. n - 1. If *born is negative, set
 * it to the largest id plus 1. NULL with an exception. */
static int32_t *births_from(PyObject *object, npy_intp n, int64_t *born) {
    PyArrayObject *given = NULL;
    if (object != Py_None && (given = ep_array_in(object, "birth", NPY_INT64, 1, &n)) == NULL) {
        return NULL;
    }
    const int64_t *id = !given ? NULL : PyArray_DATA(given);
    int64_t most = -1;
    for (npy_intp i = 0; i < n; i++) {
        most = ep_max(most, id ? id[i] : i);
    }
    int32_t *birth = NULL;
    char *taken = NULL;
    if (most >= INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "birth: expected ids from 0 to 2^31 - 2, got %lld",
                     (long long)most);
        goto done;
    }
    *born = *born < 0 ? most + 1 : *born;
    if (most >= *born || *born > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "born: expected from %lld to 2^31 - 1, got %lld",
                     (long long)most + 1, (long long)*born);
        goto done;
    }
    birth = PyMem_Calloc(n ? (size_t)n : 1, sizeof *birth);
    taken = PyMem_Calloc(*born ? (size_t)*born : 1, 1);
    if (!birth || !taken) {
        PyErr_NoMemory();
        PyMem_Free(birth);
        birth = NULL;
        goto done;
    }
    for (npy_intp i = 0; i < n; i++) {
        int64_t b = id ? id[i] : i;
        if (b < 0 || taken[b]) {
            PyErr_Format(PyExc_ValueError, "birth: expected ids of at least 0, each once, got %lld",
                         (long long)b);
            PyMem_Free(birth);
            birth = NULL;
            goto done;
        }
        taken[b] = 1;
        birth[i] = (int32_t)b;
    }
done:
    PyMem_Free(taken);
    ep_array_drop(given);
    return birth;
}

/* Read `object` into *array and *at. If it is None, leave both NULL, which is an error if
 * `needed`. */
static bool optional(PyObject *object, const char *owner, const char *name, bool needed, int rank,
                     const npy_intp *shape, PyArrayObject **array, const ep_real **at) {
    if (object == Py_None) {
        if (needed) {
            PyErr_Format(PyExc_ValueError, "%s: %s must be given", owner, name);
        }
        return !needed;
    }
    *array = ep_array_in(object, name, EP_NPY_REAL, rank, shape);
    *at = !*array ? NULL : PyArray_DATA(*array);
    return *array != NULL;
}

/* Return true if no element of x is negative or NaN; else raise ValueError. */
static bool all_positive(PyArrayObject *x, const char *name) {
    const ep_real *at = PyArray_DATA(x);
    for (npy_intp i = 0; i < PyArray_SIZE(x); i++) {
        if (!(at[i] >= 0)) {
            PyErr_Format(PyExc_ValueError, "%s[%zd]: expected a number of at least 0", name, i);
            return false;
        }
    }
    return true;
}

PyDoc_STRVAR(dynamics_step_doc,
             "dynamics_step(name, config, mass, fitness, upkeep=None, state=None, birth=None, "
             "born=None, overlap=None, norm2=None, threshold=0.001, strength=1.0, seed=0, "
             "generation=0)\n--\n\n"
             "Run one generation of n populations of one niche; return the new mass (n,) and "
             "state (states, n).\n\n"
             "upkeep (n,): in units of fitness; None: 0. state: the law's memory; None: zeros. "
             "birth (n,): unique ids below born; None: 0 .. n - 1. born: number of ids; None: "
             "the largest id plus 1. overlap (n, n) and norm2 (n,): required if the dynamics "
             "needs them. (seed, generation) selects the random numbers.");

static PyObject *dynamics_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name",      "config",   "mass", "fitness",    "upkeep",
                            "state",     "birth",    "born", "overlap",    "norm2",
                            "threshold", "strength", "seed", "generation", NULL};
    const char *name;
    PyObject *dict, *mass_object, *fitness_object, *upkeep_object = Py_None;
    PyObject *state_object = Py_None, *birth_object = Py_None, *born_object = Py_None;
    PyObject *overlap_object = Py_None, *norm2_object = Py_None, *result = NULL;
    PyArrayObject *mass = NULL, *fitness = NULL, *upkeep = NULL, *state = NULL, *overlap = NULL;
    PyArrayObject *norm2 = NULL;
    ep_settings config = {NULL, NULL};
    ep_error error = {EP_OK, ""};
    int32_t *birth = NULL;
    uint64_t seed = 0, generation = 0;
    const npy_intp any = -1;
    ep_cohort cohort = {.founded = -1, .threshold = 1e-3, .strength = 1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOOO|OOOOOOO&O&O&O&:dynamics_step", names,
                                     &name, &dict, &mass_object, &fitness_object, &upkeep_object,
                                     &state_object, &birth_object, &born_object, &overlap_object,
                                     &norm2_object, ep_convert_real, &cohort.threshold,
                                     ep_convert_real, &cohort.strength, ep_convert_u64, &seed,
                                     ep_convert_u64, &generation)) {
        return NULL;
    }
    const ep_dynamics *law = ep_found(ep_catalogue_dynamics(name), "dynamics", name);
    if (!law || !ep_settings_open(&config, law->fields, law->config_size, dict, name)) {
        return NULL;
    }
    mass = ep_array_copy(mass_object, "mass", EP_NPY_REAL, 1, &any);
    if (!mass || !all_positive(mass, "mass")) {
        goto done;
    }
    const npy_intp n = PyArray_DIM(mass, 0), square[2] = {n, n}, memory[2] = {law->states, n};
    fitness = ep_array_in(fitness_object, "fitness", EP_NPY_REAL, 1, &n);
    upkeep = upkeep_object == Py_None ? ep_array_vector(n, EP_NPY_REAL)
                                      : ep_array_in(upkeep_object, "upkeep", EP_NPY_REAL, 1, &n);
    state = state_object == Py_None
                ? (PyArrayObject *)PyArray_ZEROS(2, (npy_intp *)memory, EP_NPY_REAL, 0)
                : ep_array_copy(state_object, "state", EP_NPY_REAL, 2, memory);
    if (!fitness || !upkeep || !state || !all_positive(upkeep, "upkeep")) {
        goto done;
    }
    if (born_object != Py_None && !ep_whole(born_object, "born", 0, INT64_MAX, &cohort.founded)) {
        goto done;
    }
    cohort.work = PyMem_Calloc((size_t)n * EP_WORK + 1, sizeof *cohort.work);
    cohort.order = PyMem_Calloc((size_t)n * EP_WORK + 1, sizeof *cohort.order);
    if (!cohort.work || !cohort.order) {
        PyErr_NoMemory();
        goto done;
    }
    const bool by_overlap = law->needs & (EP_NEEDS_ACTIVITY_OVERLAP | EP_NEEDS_WEIGHT_OVERLAP);
    const bool by_norm = law->needs & EP_NEEDS_WEIGHT_NORM;
    if ((birth = births_from(birth_object, n, &cohort.founded)) == NULL ||
        !optional(overlap_object, name, "overlap", by_overlap, 2, square, &overlap,
                  &cohort.overlap) ||
        !optional(norm2_object, name, "norm2", by_norm, 1, &n, &norm2, &cohort.norm2)) {
        goto done;
    }
    if (law->check && !law->check(config.at, cohort.founded, &error)) {
        ep_raise(&error, ep_state_of(module));
        goto done;
    }
    cohort.n = n;
    cohort.mass = PyArray_DATA(mass);
    cohort.fitness = PyArray_DATA(fitness);
    cohort.upkeep = PyArray_DATA(upkeep);
    cohort.state = PyArray_DATA(state);
    cohort.birth = birth;
    cohort.generation = (int64_t)generation;
    cohort.noise = ep_random_fork((ep_noise){seed, EP_STREAM_EVOLVE}, generation);
    Py_BEGIN_ALLOW_THREADS
    law->step(config.at, &cohort);
    Py_END_ALLOW_THREADS
    result = Py_BuildValue("OO", mass, state);
done:
    ep_settings_close(&config);
    PyMem_Free(birth);
    PyMem_Free(cohort.work);
    PyMem_Free(cohort.order);
    ep_array_drop(norm2);
    ep_array_drop(overlap);
    ep_array_drop(state);
    ep_array_drop(upkeep);
    ep_array_drop(fitness);
    ep_array_drop(mass);
    return result;
}

PyMethodDef ep_selection_methods[] = {
    EP_METHOD(fitness_measure, fitness_measure_doc),
    EP_METHOD(dynamics_step, dynamics_step_doc),
    EP_METHODS_END,
};
