/* callback: call a fitness or a dynamics written in Python, between two steps and with the GIL
 * held. The function gets copies of the arrays, its result is checked for shape and finiteness, and
 * an exception stops the run and propagates to the caller. */
#include "python/lawbook.h"

#include <math.h>
#include <string.h>

static PyObject *vector(const void *at, npy_intp n, int type, size_t size) {
    PyArrayObject *array = ep_array_vector(n, type);
    if (array && n) {
        memcpy(PyArray_DATA(array), at, (size_t)n * size);
    }
    return (PyObject *)array;
}

/* Store a copy of a vector under `key`; do nothing if `at` is NULL. */
static bool put(PyObject *dict, const char *key, const ep_real *at, npy_intp n) {
    if (!at) {
        return true;
    }
    PyObject *array = vector(at, n, EP_NPY_REAL, sizeof *at);
    bool ok = array && PyDict_SetItemString(dict, key, array) == 0;
    Py_XDECREF(array);
    return ok;
}

static bool put_number(PyObject *dict, const char *key, double x) {
    PyObject *number = PyFloat_FromDouble(x);
    bool ok = number && PyDict_SetItemString(dict, key, number) == 0;
    Py_XDECREF(number);
    return ok;
}

/* Call the law, check its result (n,) and copy it to `to`. `positive`: no number of the result may
 * be negative. */
static bool call(PyObject *law, PyObject *argument, const char *what, bool positive, npy_intp n,
                 ep_real *to) {
    PyObject *result = PyObject_CallFunctionObjArgs(law, argument, NULL);
    PyArrayObject *array = result ? ep_array_in(result, what, EP_NPY_REAL, 1, &n) : NULL;
    Py_XDECREF(result);
    if (!array) {
        return false;
    }
    const ep_real *from = PyArray_DATA(array);
    bool ok = true;
    for (npy_intp i = 0; ok && i < n; i++) {
        if (!isfinite(from[i]) || (positive && from[i] < 0)) {
            PyErr_Format(PyExc_ValueError,
                         "%s: expected finite numbers%s, got a bad one at index %zd", what,
                         positive ? " of at least 0" : "", i);
            ok = false;
        }
    }
    if (ok && n) {
        memcpy(to, from, (size_t)n * sizeof *to);
    }
    ep_array_drop(array);
    return ok;
}

bool ep_call_fitness(void *context, const ep_signals *s, ep_real *fitness, ep_error *error) {
    const ep_calls *calls = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *dict = PyDict_New();
    bool ok = dict && put(dict, "mass", s->mass, s->n) &&
              put(dict, "mass_gradient", s->mass_gradient, s->n) &&
              put(dict, "owned_norm2", s->owned_norm2, s->n) &&
              put(dict, "owned_gradient2", s->owned_gradient2, s->n) &&
              put(dict, "owned_product", s->owned_product, s->n) &&
              put(dict, "activity", s->activity, s->n) && put_number(dict, "terms", s->terms) &&
              call(calls->fitness, dict, "fitness", false, s->n, fitness);
    Py_XDECREF(dict);
    PyGILState_Release(gil);
    return ok || ep_fail(error, EP_RAISED, "fitness");
}

bool ep_call_dynamics(void *context, const ep_cohort *c, ep_error *error) {
    const ep_calls *calls = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *dict = Py_BuildValue("{s:L,s:d,s:d,s:L}", "born", (long long)c->founded, "threshold",
                                   c->threshold, "strength", c->strength, "generation",
                                   (long long)c->generation);
    PyObject *birth = vector(c->birth, c->n, NPY_INT32, sizeof *c->birth);
    bool ok = dict && birth && PyDict_SetItemString(dict, "birth", birth) == 0 &&
              put(dict, "mass", c->mass, c->n) && put(dict, "fitness", c->fitness, c->n) &&
              put(dict, "upkeep", c->upkeep, c->n) &&
              call(calls->dynamics, dict, "dynamics", true, c->n, c->mass);
    Py_XDECREF(birth);
    Py_XDECREF(dict);
    PyGILState_Release(gil);
    return ok || ep_fail(error, EP_RAISED, "dynamics");
}
