/* arguments: check single numbers and dict items passed by a caller. See convert.h. */
#include "python/convert.h"

static bool is_bool(PyObject *object) {
    return PyBool_Check(object) || PyArray_IsScalar(object, Bool);
}

/* Return `object` as a Python int, a new reference. A TypeError is replaced by one that names the
 * argument; other exceptions from __index__ propagate. */
static PyObject *whole_of(PyObject *object, const char *name) {
    PyObject *whole = is_bool(object) ? NULL : PyNumber_Index(object);
    if (!whole && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError))) {
        PyErr_Clear();
        ep_raise_got(PyExc_TypeError, object, "%s%sexpected a whole number", name ? name : "",
                     name ? ": " : "");
    }
    return whole;
}

bool ep_whole(PyObject *object, const char *name, int64_t low, int64_t high, int64_t *to) {
    PyObject *whole = whole_of(object, name);
    if (!whole) {
        return false;
    }
    int overflow = 0;
    *to = PyLong_AsLongLongAndOverflow(whole, &overflow);
    bool ok = !overflow && *to >= low && *to <= high;
    if (!ok && !PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "%s: expected a whole number from %lld to %lld, got %S",
                     name, (long long)low, (long long)high, whole);
    }
    Py_DECREF(whole);
    return ok && !PyErr_Occurred();
}

int ep_convert_u64(PyObject *object, void *to) {
    PyObject *whole = whole_of(object, NULL);
    if (!whole) {
        return 0;
    }
    *(uint64_t *)to = PyLong_AsUnsignedLongLong(whole);
    bool fits = !PyErr_Occurred();
    if (!fits && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "expected a whole number from 0 to 2^64 - 1, got %S", whole);
    }
    Py_DECREF(whole);
    return fits;
}

int ep_convert_count(PyObject *object, void *to) {
    int64_t n;
    if (!ep_whole(object, "count", 0, PY_SSIZE_T_MAX, &n)) {
        return 0;
    }
    *(Py_ssize_t *)to = (Py_ssize_t)n;
    return 1;
}

int ep_convert_real(PyObject *object, void *to) {
    double x = PyFloat_AsDouble(object);
    if (x == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Clear();
            PyErr_SetString(PyExc_ValueError, "expected a finite number, got one above 1e308");
        }
        return 0;
    }
    *(double *)to = x;
    return 1;
}

bool ep_truth(PyObject *object, const char *name, bool *to) {
    if (!is_bool(object)) {
        ep_raise_got(PyExc_TypeError, object, "%s: expected True or False", name);
        return false;
    }
    int truth = PyObject_IsTrue(object);
    *to = truth > 0;
    return truth >= 0;
}

bool ep_item(PyObject *dict, const char *key, PyObject **value) {
    PyObject *name = PyUnicode_FromString(key);
    *value = name ? PyDict_GetItemWithError(dict, name) : NULL;
    Py_XINCREF(*value);
    Py_XDECREF(name);
    return *value || !PyErr_Occurred();
}
