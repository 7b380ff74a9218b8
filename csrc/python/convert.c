/* convert: see convert.h. */
#include "python/convert.h"

#include <stdarg.h>
#include <string.h>

/* ---- errors -------------------------------------------------------------------------------- */
PyObject *ep_raise(const ep_error *error, const ep_state *state) {
    switch (error->code) {
    case EP_BAD_TYPE: PyErr_SetString(PyExc_TypeError, error->text); return NULL;
    case EP_NO_MEMORY: PyErr_SetString(PyExc_MemoryError, error->text); return NULL;
    case EP_DIVERGED:
        PyErr_SetString(state ? state->diverged : PyExc_ArithmeticError, error->text);
        return NULL;
    case EP_RAISED:
        if (PyErr_Occurred()) {
            return NULL;
        }
        PyErr_SetString(PyExc_SystemError, "evoprune: an exception was announced but not set");
        return NULL;
    case EP_APART: PyErr_SetString(PyExc_RuntimeError, error->text); return NULL;
    case EP_OK:
    case EP_BAD_VALUE: break;
    }
    PyErr_SetString(PyExc_ValueError, error->text);
    return NULL;
}

PyObject *ep_raise_diverged(const ep_state *state, int64_t step, const char *text) {
    PyObject *exception = PyObject_CallFunction(state->diverged, "s", text);
    PyObject *number = PyLong_FromLongLong(step);
    if (exception && number && PyObject_SetAttrString(exception, "step", number) == 0) {
        PyErr_SetObject(state->diverged, exception);
    }
    Py_XDECREF(number);
    Py_XDECREF(exception);
    return NULL;
}

PyObject *ep_raise_got(PyObject *kind, PyObject *got, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyObject *name = PyType_GetName(Py_TYPE(got));
    if (text && name) {
        PyErr_Format(kind, "%U, got %U", text, name);
    }
    Py_XDECREF(text);
    Py_XDECREF(name);
    return NULL;
}

/* ---- settings ------------------------------------------------------------------------------ */
static bool is_last(const ep_field *field) { return !field || !field->name; }

static const char *const type_names[] = {
    [EP_INT] = "int",       [EP_REAL] = "real",     [EP_BOOL] = "bool",
    [EP_CHOICE] = "choice", [EP_VECTOR] = "vector",
};

static bool is_bool(PyObject *object) {
    return PyBool_Check(object) || PyArray_IsScalar(object, Bool);
}

/* Write the number in `object` to *value. Returns 0, or -1 with an exception. */
static int number_from(const ep_field *field, PyObject *object, const char *owner, double *value) {
    if (field->type == EP_BOOL) {
        if (!is_bool(object)) {
            ep_raise_got(PyExc_TypeError, object, "%s: %s must be True or False", owner,
                         field->name);
            return -1;
        }
        int truth = PyObject_IsTrue(object);
        *value = truth;
        return truth < 0 ? -1 : 0;
    }
    if (field->type == EP_INT) {
        if (is_bool(object) || !PyIndex_Check(object)) {
            ep_raise_got(PyExc_TypeError, object, "%s: %s must be a whole number", owner,
                         field->name);
            return -1;
        }
        PyObject *whole = PyNumber_Index(object);
        if (!whole) {
            return -1;
        }
        *value = PyLong_AsDouble(whole);
        Py_DECREF(whole);
    } else {
        bool text = PyUnicode_Check(object) || PyBytes_Check(object);
        if (is_bool(object) || text || !PyNumber_Check(object)) {
            ep_raise_got(PyExc_TypeError, object, "%s: %s must be a number", owner, field->name);
            return -1;
        }
        *value = PyFloat_AsDouble(object);
        if (*value == -1 && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear(); /* complex, or a number of another type that is not real */
            ep_raise_got(PyExc_TypeError, object, "%s: %s must be a number", owner, field->name);
            return -1;
        }
    }
    if (*value == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) { /* a huge int exceeds any bounds */
            PyErr_Clear();
            *value = Py_HUGE_VAL;
            return 0;
        }
        return -1;
    }
    return 0;
}

/* True for a single number (or bool, refused later) of Python or NumPy; false for text. */
static bool is_scalar(PyObject *object) {
    bool text = PyUnicode_Check(object) || PyBytes_Check(object);
    return !text &&
           (PyFloat_Check(object) || PyLong_Check(object) || PyArray_IsScalar(object, Generic));
}

static int set_field(const ep_field *field, void *config, PyObject *object, const char *owner) {
    ep_error error = {EP_OK, ""};
    bool done = false;
    if (field->type == EP_CHOICE) {
        if (!PyUnicode_Check(object)) {
            ep_raise_got(PyExc_TypeError, object, "%s: %s must be a name (str)", owner,
                         field->name);
            return -1;
        }
        const char *name = PyUnicode_AsUTF8AndSize(object, NULL);
        if (!name) {
            return -1;
        }
        done = ep_field_set_choice(field, config, name, owner, &error);
    } else if (field->type == EP_VECTOR) {
        if (object == Py_None) {
            return 0;
        }
        if (is_scalar(object)) {
            double only; /* a single number stands for a vector of one element */
            if (number_from(field, object, owner, &only) < 0) {
                return -1;
            }
            if (!ep_field_set_vector(field, config, &only, 1, owner, &error)) {
                ep_raise(&error, NULL);
                return -1;
            }
            return 0;
        }
        char name[2 * EP_NAME];
        PyOS_snprintf(name, sizeof name, "%s: %s", owner, field->name);
        const npy_intp any = -1;
        PyArrayObject *array = ep_array_in(object, name, NPY_FLOAT64, 1, &any);
        if (!array) {
            return -1;
        }
        done = ep_field_set_vector(field, config, PyArray_DATA(array), PyArray_DIM(array, 0), owner,
                                   &error);
        ep_array_drop(array);
    } else {
        double value;
        if (number_from(field, object, owner, &value) < 0) {
            return -1;
        }
        done = ep_field_set_number(field, config, value, owner, &error);
    }
    if (!done) {
        ep_raise(&error, NULL);
    }
    return done ? 0 : -1;
}

/* Raise TypeError: "<owner>: no setting 'foo'; it has a, b". */
static void raise_unknown(const ep_field *fields, PyObject *name, const char *owner) {
    PyObject *known = PyUnicode_FromString("");
    for (const ep_field *field = fields; known && !is_last(field); field++) {
        PyObject *longer = PyUnicode_FromFormat("%U%s%s", known, field == fields ? "" : ", ",
                                                field->name);
        Py_DECREF(known);
        known = longer;
    }
    if (known) {
        PyErr_Format(PyExc_TypeError, "%s: no setting %R; it has %s%U", owner, name,
                     is_last(fields) ? "none" : "", known);
        Py_DECREF(known);
    }
}

/* Set every item of `dict`, and check that it has all required ones. Returns 0, or -1 with an
 * exception. */
static int set_items(const ep_field *fields, void *config, PyObject *dict, const char *owner) {
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict, &at, &key, &value)) {
        const char *name = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, NULL) : "";
        if (!name) {
            return -1;
        }
        const ep_field *field = ep_field_find(fields, name);
        if (!field) {
            raise_unknown(fields, key, owner);
            return -1;
        }
        Py_INCREF(value); /* __index__ and __float__ may run code that changes the dict */
        int failed = set_field(field, config, value, owner);
        Py_DECREF(value);
        if (failed) {
            return -1;
        }
    }
    for (const ep_field *field = fields; !is_last(field); field++) {
        if (!field->required) {
            continue;
        }
        PyObject *name = PyUnicode_FromString(field->name);
        int there = !name ? -1 : PyDict_Contains(dict, name);
        Py_XDECREF(name);
        if (there == 0) {
            PyErr_Format(PyExc_TypeError, "%s: %s must be given (%s)", owner, field->name,
                         field->doc ? field->doc : "");
        }
        if (there <= 0) {
            return -1;
        }
    }
    return 0;
}

int ep_config_from_dict(const ep_field *fields, void *config, PyObject *dict, const char *owner) {
    PyObject *items;
    if (dict == Py_None || !dict) {
        items = PyDict_New();
    } else if (PyDict_Check(dict)) {
        items = PyDict_Copy(dict); /* a private copy: it cannot change while it is read */
    } else {
        ep_raise_got(PyExc_TypeError, dict, "%s: settings must be a dict", owner);
        return -1;
    }
    if (!items) {
        return -1;
    }
    ep_fields_init(fields, config);
    int failed = set_items(fields, config, items, owner);
    Py_DECREF(items);
    if (failed) {
        ep_fields_free(fields, config);
    }
    return failed;
}

/* Return a vector as a list of floats, or None if empty. */
static PyObject *list_of(const ep_vector *vector) {
    if (vector->n == 0) {
        return Py_NewRef(Py_None);
    }
    PyObject *list = PyList_New(vector->n);
    for (int64_t i = 0; list && i < vector->n; i++) {
        PyObject *number = PyFloat_FromDouble(vector->at[i]);
        if (!number || PyList_SetItem(list, i, number) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Return the value of a field: the one in `config`, or the default if `config` is NULL. */
static PyObject *value_of(const ep_field *field, const void *config) {
    const void *slot = config ? (const char *)config + field->offset : NULL;
    int64_t whole = slot ? *(const int64_t *)slot : (int64_t)field->initial;
    switch (field->type) {
    case EP_INT: return PyLong_FromLongLong(whole);
    case EP_BOOL: return PyBool_FromLong(whole != 0);
    case EP_CHOICE: return PyUnicode_FromString(field->choices[whole]);
    case EP_REAL: return PyFloat_FromDouble(slot ? *(const double *)slot : field->initial);
    case EP_VECTOR: break;
    }
    return slot ? list_of(slot) : Py_NewRef(Py_None);
}

PyObject *ep_config_as_dict(const ep_field *fields, const void *config) {
    PyObject *dict = PyDict_New();
    for (const ep_field *field = fields; dict && !is_last(field); field++) {
        PyObject *value = value_of(field, config);
        if (!value || PyDict_SetItemString(dict, field->name, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *choices_of(const ep_field *field) {
    if (field->type != EP_CHOICE) {
        return Py_NewRef(Py_None);
    }
    PyObject *list = PyList_New(0);
    for (int i = 0; list && field->choices[i]; i++) {
        PyObject *name = PyUnicode_FromString(field->choices[i]);
        if (!name || PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(name);
    }
    return list;
}

PyObject *ep_fields_describe(const ep_field *fields) {
    PyObject *list = PyList_New(0);
    for (const ep_field *field = fields; list && !is_last(field); field++) {
        PyObject *initial = field->required ? Py_NewRef(Py_None) : value_of(field, NULL);
        PyObject *choices = choices_of(field), *row = NULL;
        if (initial && choices) {
            row = Py_BuildValue("{s:s,s:s,s:O,s:d,s:d,s:O,s:s,s:N}", "name", field->name, "type",
                                type_names[field->type], "default", initial, "low", field->low,
                                "high", field->high, "choices", choices, "doc",
                                field->doc ? field->doc : "", "required",
                                PyBool_FromLong(field->required));
        }
        if (!row || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
        Py_XDECREF(choices);
        Py_XDECREF(initial);
    }
    return list;
}

bool ep_settings_open(ep_settings *settings, const ep_field *fields, size_t size, PyObject *dict,
                      const char *owner) {
    settings->fields = fields;
    settings->at = PyMem_Calloc(1, size ? size : 1);
    if (!settings->at) {
        PyErr_NoMemory();
        return false;
    }
    if (ep_config_from_dict(fields, settings->at, dict, owner) < 0) {
        PyMem_Free(settings->at);
        settings->at = NULL;
        return false;
    }
    return true;
}

void ep_settings_close(ep_settings *settings) {
    if (settings->at) {
        ep_fields_free(settings->fields, settings->at);
        PyMem_Free(settings->at);
        settings->at = NULL;
    }
}

const void *ep_found(const void *row, const char *what, const char *name) {
    if (!row) {
        PyErr_Format(PyExc_ValueError, "name: no %s is called '%s'", what, name);
    }
    return row;
}

/* ---- arrays -------------------------------------------------------------------------------- */
/* Return a shape as text, such as "(?, 10)", where ? is any size. */
static PyObject *shape_text(int rank, const npy_intp *shape) {
    PyObject *text = PyUnicode_FromString("(");
    for (int i = 0; text && i < rank; i++) {
        const char *before = i ? ", " : "", *after = rank == 1 ? "," : "";
        PyObject *longer = shape[i] < 0
                               ? PyUnicode_FromFormat("%U%s?%s", text, before, after)
                               : PyUnicode_FromFormat("%U%s%zd%s", text, before, shape[i], after);
        Py_DECREF(text);
        text = longer;
    }
    PyObject *whole = text ? PyUnicode_FromFormat("%U)", text) : NULL;
    Py_XDECREF(text);
    return whole;
}

static bool fits(PyArrayObject *array, int rank, const npy_intp *shape) {
    bool same = PyArray_NDIM(array) == rank;
    for (int i = 0; same && i < rank; i++) {
        same = shape[i] < 0 || PyArray_DIM(array, i) == shape[i];
    }
    return same;
}

static void raise_shape(PyArrayObject *array, const char *name, int rank, const npy_intp *shape) {
    PyObject *wanted = shape_text(rank, shape);
    PyObject *got = shape_text(PyArray_NDIM(array), PyArray_DIMS(array));
    if (wanted && got) {
        PyErr_Format(PyExc_ValueError, "%s: expected an array of shape %U, got %U", name, wanted,
                     got);
    }
    Py_XDECREF(wanted);
    Py_XDECREF(got);
}

/* True if unsigned numbers above the largest int64 have become negative in the conversion. */
static bool overflows(PyArrayObject *from, PyArrayObject *to, int type) {
    bool risky = type == NPY_INT64 && PyTypeNum_ISUNSIGNED(PyArray_TYPE(from)) &&
                 PyArray_ITEMSIZE(from) >= (npy_intp)sizeof(int64_t);
    const int64_t *at = PyArray_DATA(to);
    for (npy_intp i = 0; risky && i < PyArray_SIZE(to); i++) {
        if (at[i] < 0) {
            return true;
        }
    }
    return false;
}

enum { DEEPEST = 16 }; /* limit of nested lists; arrays here have fewer axes */

/* Return `object`, or a deep copy if it is a list or tuple; a new reference. */
static PyObject *settled(PyObject *object, const char *name, int depth) {
    if (!PyList_Check(object) && !PyTuple_Check(object)) {
        return Py_NewRef(object);
    }
    int inside = depth < DEEPEST ? Py_ReprEnter(object) : 1;
    if (inside != 0) {
        if (inside > 0) {
            PyErr_Format(PyExc_ValueError, "%s: expected an array, got a list that %s", name,
                         depth < DEEPEST ? "holds itself" : "is nested too deeply");
        }
        return NULL;
    }
    PyObject *copy = PySequence_List(object);
    for (Py_ssize_t i = 0; copy && i < PyList_Size(copy); i++) {
        PyObject *item = PyList_GetItem(copy, i);
        if (PyList_Check(item) || PyTuple_Check(item)) {
            item = settled(item, name, depth + 1);
            if (!item || PyList_SetItem(copy, i, item) < 0) {
                Py_CLEAR(copy);
            }
        }
    }
    Py_ReprLeave(object);
    return copy;
}

PyArrayObject *ep_array_of(PyObject *object, const char *name) {
    PyObject *source = PyErr_Occurred() ? NULL : settled(object, name, 0);
    PyArrayObject *array = source ? (PyArrayObject *)PyArray_FROM_O(source) : NULL;
    Py_XDECREF(source);
    return array;
}

static PyArrayObject *array_as(PyObject *object, const char *name, int type, int rank,
                               const npy_intp *shape, int flags) {
    PyArrayObject *array = ep_array_of(object, name);
    if (!array) {
        return NULL;
    }
    int from = PyArray_TYPE(array);
    bool whole = PyTypeNum_ISINTEGER(type);
    bool good = PyTypeNum_ISINTEGER(from) ||
                (!whole && (PyTypeNum_ISFLOAT(from) || PyTypeNum_ISBOOL(from)));
    /* NumPy makes float64 of an empty list, which is also valid as a list of whole numbers */
    good = good || (whole && PyArray_SIZE(array) == 0 && PyTypeNum_ISFLOAT(from));
    if (!good) {
        PyErr_Format(PyExc_TypeError, "%s: expected an array of %s numbers, got dtype %S", name,
                     whole ? "whole" : "real", (PyObject *)PyArray_DESCR(array));
        ep_array_drop(array);
        return NULL;
    }
    if (!fits(array, rank, shape)) {
        raise_shape(array, name, rank, shape);
        ep_array_drop(array);
        return NULL;
    }
    PyArrayObject *result = (PyArrayObject *)PyArray_FromArray(array, PyArray_DescrFromType(type),
                                                               flags | NPY_ARRAY_ENSUREARRAY |
                                                                   NPY_ARRAY_FORCECAST);
    if (result && overflows(array, result, type)) {
        PyErr_Format(PyExc_ValueError, "%s: a number is above 2^63 - 1", name);
        ep_array_drop(result);
        result = NULL;
    }
    ep_array_drop(array);
    return result;
}

PyArrayObject *ep_array_in(PyObject *object, const char *name, int type, int rank,
                           const npy_intp *shape) {
    return array_as(object, name, type, rank, shape, NPY_ARRAY_IN_ARRAY);
}

PyArrayObject *ep_array_copy(PyObject *object, const char *name, int type, int rank,
                             const npy_intp *shape) {
    return array_as(object, name, type, rank, shape, NPY_ARRAY_CARRAY | NPY_ARRAY_ENSURECOPY);
}

PyArrayObject *ep_array_vector(npy_intp n, int type) {
    if (n < 0) {
        PyErr_Format(PyExc_ValueError, "n: expected a number of at least 0, got %zd", n);
        return NULL;
    }
    return (PyArrayObject *)PyArray_ZEROS(1, &n, type, 0);
}
