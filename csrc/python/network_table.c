/* network_table: the user's arrays as tables of rows. An array is read in place if its rows are
 * contiguous numbers of a known type (memory maps, overlapping windows, any row stride), else
 * converted once. Shapes and types that do not fit the network are reported here, before anything
 * runs. */
#include "python/network.h"

#include <string.h>

static bool number_of(int type, ep_number *number) {
    switch (type) {
    case NPY_FLOAT32: *number = EP_FLOAT32; return true;
    case NPY_FLOAT64: *number = EP_FLOAT64; return true;
    case NPY_BOOL: /* bytes 0 and 1 */
    case NPY_UINT8: *number = EP_UINT8; return true;
    case NPY_INT8: *number = EP_INT8; return true;
    case NPY_UINT16: *number = EP_UINT16; return true;
    case NPY_INT16: *number = EP_INT16; return true;
    case NPY_UINT32: *number = EP_UINT32; return true;
    case NPY_INT32: *number = EP_INT32; return true;
    default: break;
    }
    if (PyTypeNum_ISSIGNED(type) && (type == NPY_LONG || type == NPY_LONGLONG)) {
        *number = EP_INT64; /* NPY_LONG has 8 bytes on supported systems; checked below */
        return true;
    }
    return false;
}

/* True if the elements of each sample are contiguous. */
static bool rows_contiguous(PyArrayObject *array) {
    npy_intp expected = PyArray_ITEMSIZE(array);
    for (int d = PyArray_NDIM(array) - 1; d > 0; d--) {
        if (PyArray_DIM(array, d) != 1 && PyArray_STRIDE(array, d) != expected) {
            return false;
        }
        expected *= PyArray_DIM(array, d);
    }
    return true;
}

static bool as_table(PyObject *object, const char *name, int fallback, ep_table *table,
                     PyObject **keep) {
    PyArrayObject *array = ep_array_of(object, name);
    if (!array) {
        return false;
    }
    *keep = (PyObject *)array;
    int type = PyArray_TYPE(array);
    if (!PyTypeNum_ISNUMBER(type) && type != NPY_BOOL) {
        PyErr_Format(PyExc_TypeError, "%s: expected an array of real numbers, got dtype %R", name,
                     (PyObject *)PyArray_DESCR(array));
        return false;
    }
    if (PyTypeNum_ISCOMPLEX(type)) {
        PyErr_Format(PyExc_TypeError, "%s: expected real numbers, got complex ones", name);
        return false;
    }
    bool classes = fallback == NPY_INT64;
    if (classes && PyTypeNum_ISFLOAT(type)) {
        PyErr_Format(PyExc_TypeError, "%s: expected whole-number class labels, got dtype %R", name,
                     (PyObject *)PyArray_DESCR(array));
        return false;
    }
    if (PyArray_NDIM(array) < 1) {
        PyErr_Format(PyExc_ValueError, "%s: expected an array of samples, got a single number",
                     name);
        return false;
    }
    ep_number number;
    bool known = number_of(type, &number) && PyArray_ISBEHAVED_RO(array) &&
                 rows_contiguous(array) && !(number == EP_INT64 && PyArray_ITEMSIZE(array) != 8);
    if (!known) {
        int wanted = number_of(type, &number) ? type : fallback;
        PyObject *converted = PyArray_FROMANY((PyObject *)array, wanted, 0, 0,
                                              NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
        if (!converted) {
            return false;
        }
        Py_DECREF(array);
        *keep = converted;
        array = (PyArrayObject *)converted;
        number_of(PyArray_TYPE(array), &number);
        const int64_t *at = PyArray_DATA(array);
        bool risky = classes && wanted == NPY_INT64 && PyTypeNum_ISUNSIGNED(type);
        for (npy_intp i = 0; risky && i < PyArray_SIZE(array); i++) {
            /* The label was above 2^63 - 1 and became negative; -1 would mean an ignored target. */
            if (at[i] < 0) {
                PyErr_Format(PyExc_ValueError, "%s: a label is above 2^63 - 1", name);
                return false;
            }
        }
    }
    int64_t width = 1;
    for (int d = 1; d < PyArray_NDIM(array); d++) {
        width = ep_times(width, PyArray_DIM(array, d));
    }
    *table = (ep_table){.at = PyArray_DATA(array),
                        .type = number,
                        .rows = PyArray_DIM(array, 0),
                        .width = width,
                        .stride = PyArray_STRIDE(array, 0)};
    return true;
}

static PyObject *shape_of(PyObject *array) { return PyObject_GetAttrString(array, "shape"); }

static void raise_shape(const char *format, PyObject *array, long long wanted) {
    PyObject *shape = shape_of(array);
    if (shape) {
        PyErr_Format(PyExc_ValueError, format, wanted, shape);
        Py_DECREF(shape);
    }
}

bool ep_table_of_inputs(ep_network *self, PyObject *object, ep_table *table, PyObject **keep) {
    *keep = NULL;
    if (!as_table(object, "x", EP_NPY_REAL, table, keep)) {
        Py_CLEAR(*keep);
        return false;
    }
    bool column = PyArray_NDIM((PyArrayObject *)*keep) == 1 && self->input_width == 1;
    if (table->width != self->input_width ||
        (PyArray_NDIM((PyArrayObject *)*keep) == 1 && !column)) {
        raise_shape(
            "x: expected (samples, ...) with %lld numbers to a sample (the network's input), got "
            "shape %S",
            *keep, (long long)self->input_width);
        Py_CLEAR(*keep);
        return false;
    }
    return true;
}

bool ep_table_of_targets(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep) {
    *keep = NULL;
    if (!self->regime.loss) {
        PyErr_SetString(PyExc_RuntimeError, "network: no loss is configured yet");
        return false;
    }
    ep_targets of = ep_targets_of(self->net, self->regime.loss);
    bool classes = self->regime.loss->target == EP_TARGET_CLASS;
    if (!as_table(object, "y", classes ? NPY_INT64 : EP_NPY_REAL, table, keep)) {
        Py_CLEAR(*keep);
        return false;
    }
    int64_t wanted = classes ? of.positions : of.positions * of.outputs;
    bool ok = false;
    if (table->rows != rows) {
        PyErr_Format(PyExc_ValueError, "y: expected as many rows as x (%lld), got %lld",
                     (long long)rows, (long long)table->rows);
    } else if (table->width != wanted) {
        raise_shape("y: expected (samples, ...) with %lld numbers to a sample, got shape %S", *keep,
                    (long long)wanted);
    } else {
        ok = true;
    }
    if (!ok) {
        Py_CLEAR(*keep);
    }
    return ok;
}
