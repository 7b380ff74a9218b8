/* lawbook: see lawbook.h. */
#include "python/lawbook.h"

#include "catalogue.h"

#include <string.h>

void ep_lawbook_close(ep_lawbook *book) {
    ep_settings_close(&book->fitness_config);
    ep_settings_close(&book->dynamics_config);
    ep_settings_close(&book->settings);
    ep_settings_close(&book->births);
    Py_CLEAR(book->calls.fitness);
    Py_CLEAR(book->calls.dynamics);
}

/* Remove `key` from the dict and return its value: a new reference, or NULL. */
static PyObject *take(PyObject *dict, const char *key) {
    PyObject *value = PyDict_GetItemString(dict, key);
    Py_XINCREF(value);
    if (value && PyDict_DelItemString(dict, key) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

/* Return the name of a law: `value` if it is a str, `usual` if it is NULL. If it is a function,
 * store it in *call and return `fallback`. */
static const char *law_name(PyObject *value, const char *what, const char *usual,
                            const char *fallback, PyObject **call) {
    if (!value) {
        return usual;
    }
    if (PyUnicode_Check(value)) {
        return PyUnicode_AsUTF8AndSize(value, NULL);
    }
    if (!PyCallable_Check(value)) {
        ep_raise_got(PyExc_TypeError, value, "selection: %s must be a name or a function", what);
        return NULL;
    }
    *call = Py_NewRef(value);
    return fallback;
}

bool ep_lawbook_open(ep_lawbook *book, PyObject *given) {
    memset(book, 0, sizeof *book);
    if (!PyDict_Check(given)) {
        ep_raise_got(PyExc_TypeError, given, "selection must be a dict or None");
        return false;
    }
    PyObject *dict = PyDict_Copy(given);
    if (!dict) {
        return false;
    }
    PyObject *fitness = take(dict, "fitness"), *fitness_config = take(dict, "fitness_config");
    PyObject *dynamics = take(dict, "dynamics"), *dynamics_config = take(dict, "dynamics_config");
    PyObject *births = take(dict, "births");
    ep_calls *calls = &book->calls;
    const char *name = law_name(fitness, "fitness", "marginal", "marginal", &calls->fitness);
    book->fitness = name ? ep_found(ep_catalogue_fitness(name), "fitness", name) : NULL;
    name = book->fitness ? law_name(dynamics, "dynamics", "malthusian", "none", &calls->dynamics)
                         : NULL;
    book->dynamics = name ? ep_found(ep_catalogue_dynamics(name), "dynamics", name) : NULL;
    bool ok = book->dynamics != NULL;
    if (ok) {
        const ep_fitness *f = book->fitness;
        const ep_dynamics *m = book->dynamics;
        ok = ep_settings_open(&book->fitness_config, f->fields, f->config_size,
                              calls->fitness ? NULL : fitness_config, f->name) &&
             ep_settings_open(&book->dynamics_config, m->fields, m->config_size,
                              calls->dynamics ? NULL : dynamics_config, m->name) &&
             ep_settings_open(&book->settings, ep_selection_fields, sizeof(ep_selection), dict,
                              "selection") &&
             (!births || births == Py_None ||
              ep_settings_open(&book->births, ep_births_fields, sizeof(ep_births), births,
                               "births"));
    }
    if (!ok) {
        ep_lawbook_close(book);
    }
    Py_XDECREF(fitness);
    Py_XDECREF(fitness_config);
    Py_XDECREF(dynamics);
    Py_XDECREF(dynamics_config);
    Py_XDECREF(births);
    Py_DECREF(dict);
    return ok;
}

/* Return a structured array of n rows. Steals the reference to `fields`. */
static PyObject *rows_array(PyObject *fields, const void *rows, size_t size, int64_t n) {
    PyArray_Descr *dtype = NULL;
    int made = fields ? PyArray_DescrConverter(fields, &dtype) : 0;
    Py_XDECREF(fields);
    if (!made) {
        return NULL;
    }
    npy_intp count = n;
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, dtype, 1, &count, NULL, NULL, 0, NULL);
    if (array && n) {
        memcpy(PyArray_DATA((PyArrayObject *)array), rows, (size_t)n * size);
    }
    return array;
}

PyObject *ep_deaths_array(const ep_death *deaths, int64_t n) {
    PyObject *fields = Py_BuildValue("[(ss)(ss)(ss)(ss)(ss)]", "step", "<i8", "population", "<i4",
                                     "birth", "<i4", "mass", "<f8", "fitness", "<f8");
    return rows_array(fields, deaths, sizeof *deaths, n);
}

PyObject *ep_births_array(const ep_birth_record *births, int64_t n) {
    PyObject *fields = Py_BuildValue("[(ss)(ss)(ss)(ss)(ss)(ss)]", "step", "<i8", "population",
                                     "<i4", "birth", "<i4", "parent", "<i8", "mass", "<f8",
                                     "fitness", "<f8");
    return rows_array(fields, births, sizeof *births, n);
}
