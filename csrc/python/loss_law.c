/* loss_law: a loss written in Python. The function is called with the GIL held, with copies of the
 * outputs and targets of some rows, and returns the loss and the gradient of every row. It runs on
 * the calling thread (ep_loss.interpreted), so an exception stays set there: the remaining rows get
 * NaN, which stops the run, and the caller sees the exception. */
#include "python/network.h"

#include <math.h>
#include <string.h>

/* The config of a loss written in Python. The network owns the reference. */
typedef struct {
    PyObject *function;
} python_config;

static const ep_field no_fields[] = {EP_FIELDS_END};

static PyObject *copied(const void *from, int nd, npy_intp rows, npy_intp n, int type,
                        size_t size) {
    npy_intp shape[2] = {rows, n};
    PyObject *array = PyArray_SimpleNew(nd, shape, type);
    if (array) {
        memcpy(PyArray_DATA((PyArrayObject *)array), from,
               (size_t)(rows * (nd == 2 ? n : 1)) * size);
    }
    return array;
}

/* Call function(y, targets), which returns a tuple: losses (rows,) and their gradient (rows, n).
 * Copy the losses to `loss`, and the gradient times `scale` to dy unless dy is NULL. */
static bool call(PyObject *function, PyObject *y, PyObject *targets, npy_intp rows, npy_intp n,
                 ep_real scale, ep_real *loss, ep_real *dy) {
    PyObject *result = PyObject_CallFunctionObjArgs(function, y, targets, NULL);
    if (!result) {
        return false;
    }
    if (!PyTuple_Check(result) || PyTuple_Size(result) != 2) {
        ep_raise_got(PyExc_TypeError, result, "loss: expected (values, gradient)");
        Py_DECREF(result);
        return false;
    }
    npy_intp shape[2] = {rows, n};
    PyArrayObject *value = ep_array_in(PyTuple_GetItem(result, 0), "loss: values", EP_NPY_REAL, 1,
                                       shape);
    PyArrayObject *slope = value ? ep_array_in(PyTuple_GetItem(result, 1), "loss: gradient",
                                               EP_NPY_REAL, 2, shape)
                                 : NULL;
    Py_DECREF(result);
    if (slope) {
        memcpy(loss, PyArray_DATA(value), (size_t)rows * sizeof *loss);
        const ep_real *from = PyArray_DATA(slope);
        for (npy_intp i = 0; dy && i < rows * n; i++) {
            dy[i] = scale * from[i];
        }
    }
    bool ok = slope != NULL;
    ep_array_drop(value);
    ep_array_drop(slope);
    return ok;
}

static void measure(const void *config, ep_target kind, int64_t rows, int64_t n, const ep_real *y,
                    const void *targets, ep_real scale, ep_real *loss, ep_real *dy) {
    PyGILState_STATE gil = PyGILState_Ensure();
    bool ok = !PyErr_Occurred(); /* false if the call for earlier rows has raised */
    PyObject *outputs = ok ? copied(y, 2, rows, n, EP_NPY_REAL, sizeof *y) : NULL;
    PyObject *right = NULL;
    if (outputs && kind == EP_TARGET_CLASS) {
        right = copied(targets, 1, rows, 1, NPY_INT64, sizeof(int64_t));
    } else if (outputs) {
        right = copied(targets, 2, rows, n, EP_NPY_REAL, sizeof *y);
    }
    ok = right &&
         call(((const python_config *)config)->function, outputs, right, rows, n, scale, loss, dy);
    Py_XDECREF(outputs);
    Py_XDECREF(right);
    PyGILState_Release(gil);
    for (int64_t r = 0; !ok && r < rows; r++) {
        loss[r] = (ep_real)NAN;
    }
    if (!ok && dy) {
        memset(dy, 0, (size_t)(rows * n) * sizeof *dy);
    }
}

static void measure_classes(const void *config, int64_t rows, int64_t n, const ep_real *y,
                            const void *targets, ep_real scale, ep_real *loss, ep_real *hit,
                            ep_real *dy) {
    measure(config, EP_TARGET_CLASS, rows, n, y, targets, scale, loss, dy);
    const int64_t *class = targets;
    for (int64_t r = 0; r < rows; r++) {
        int64_t best = 0;
        for (int64_t k = 1; k < n; k++) {
            best = y[r * n + k] > y[r * n + best] ? k : best;
        }
        if (hit) {
            hit[r] = best == class[r];
        }
        if (class[r] < 0) { /* ignored, whatever the function returns */
            loss[r] = 0;
            for (int64_t k = r * n; dy && k < (r + 1) * n; k++) {
                dy[k] = 0;
            }
        }
    }
}

static void measure_reals(const void *config, int64_t rows, int64_t n, const ep_real *y,
                          const void *targets, ep_real scale, ep_real *loss, ep_real *hit,
                          ep_real *dy) {
    measure(config, EP_TARGET_REAL, rows, n, y, targets, scale, loss, dy);
    for (int64_t r = 0; hit && r < rows; r++) {
        hit[r] = 0;
    }
}

static double known(const void *config, const void *target) {
    (void)config;
    return *(const int64_t *)target >= 0;
}

static const ep_loss of_classes = {
    .name = "python",
    .fields = no_fields,
    .config_size = sizeof(python_config),
    .target = EP_TARGET_CLASS,
    .judges = true,
    .interpreted = true,
    .weight = known,
    .measure = measure_classes,
};

#ifdef EP_DOUBLE
#define MOST __DBL_MAX__
#else
#define MOST ((double)__FLT_MAX__)
#endif

static const ep_loss of_reals = {
    .name = "python",
    .fields = no_fields,
    .config_size = sizeof(python_config),
    .target = EP_TARGET_REAL,
    .low = -MOST,
    .high = MOST,
    .interpreted = true,
    .measure = measure_reals,
};

const ep_loss *ep_python_loss(PyObject *function) {
    PyObject *target = PyObject_GetAttrString(function, "target");
    if (!target) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            ep_raise_got(PyExc_TypeError, function,
                         "loss: expected a name or a loss made by evoprune.loss");
        }
        return NULL;
    }
    bool classes = PyUnicode_Check(target) &&
                   PyUnicode_CompareWithASCIIString(target, "class") == 0;
    Py_DECREF(target);
    return classes ? &of_classes : &of_reals;
}

void ep_python_loss_config(void *config, PyObject *function) {
    ((python_config *)config)->function = function;
}
