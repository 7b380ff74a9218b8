/* network_feed: the inputs and targets of one call, with the selected rows. Every value of these
 * rows is checked before anything is computed; an error names the row and column of the first
 * invalid value. */
#include "python/network.h"

#include <string.h>

#ifdef EP_DOUBLE
static const double FINITE = __DBL_MAX__;
#else
static const double FINITE = (double)__FLT_MAX__;
#endif

/* ---- values ---------------------------------------------------------------------------------- */

enum { PIECE = 1 << 20 }; /* elements between two checks for signals such as Ctrl-C */

/* Return 1 if every element of the table is in range. If not, store the first that is out of range
 * in *misfit and return 0. Return -1 if a signal handler has raised or memory ran out. Releases the
 * GIL. */
static int within(const ep_table *table, const ep_intake *intake, ep_range range,
                  ep_misfit *misfit) {
    ep_real *room = PyMem_Calloc((size_t)intake->width + 1, sizeof *room);
    int good = room ? 1 : -1;
    if (!room) {
        PyErr_NoMemory();
    }
    int64_t step = ep_max(1, PIECE / ep_max(1, table->width));
    for (int64_t i = 0; good == 1 && i < table->rows; i += step) {
        Py_BEGIN_ALLOW_THREADS
        good = ep_table_within(table, intake, i, ep_min(i + step, table->rows), range, room,
                               misfit);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) {
            good = -1;
        }
    }
    PyMem_Free(room);
    return good;
}

/* Raise ValueError: "x: expected <what>, got 7 in row 3, column 2". */
static bool refuse(const char *name, const char *what, const ep_misfit *at) {
    PyObject *value = PyFloat_FromDouble(at->value);
    bool integral = at->value > -1e15 && at->value < 1e15 &&
                    at->value == __builtin_trunc(at->value);
    /* print a whole number as 5, not as 5.0 */
    if (value && integral) {
        Py_DECREF(value);
        value = PyLong_FromDouble(at->value);
    }
    if (value) {
        PyErr_Format(PyExc_ValueError, "%s: expected %s, got %S in row %lld, column %lld", name,
                     what, value, (long long)at->row, (long long)at->column);
        Py_DECREF(value);
    }
    return false;
}

bool ep_check_ids(ep_network *self, const ep_table *x) {
    int64_t ids = ep_net_ids(self->net);
    ep_intake intake = ep_network_intake(self);
    ep_misfit misfit;
    int good = ids ? within(x, &intake, (ep_range){0, (double)(ids - 1), true}, &misfit) : 1;
    if (good == 0) {
        char what[80];
        PyOS_snprintf(what, sizeof what, "whole-number codes in [0, %lld]", (long long)(ids - 1));
        refuse("x", what, &misfit);
    }
    return good == 1;
}

static bool check_inputs(ep_network *self, const ep_table *x) {
    if (ep_net_ids(self->net)) {
        return ep_check_ids(self, x);
    }
    if (x->type != EP_FLOAT32 && x->type != EP_FLOAT64) {
        return true; /* whole numbers are finite, also when scaled: shift and scale are finite */
    }
    ep_intake intake = ep_network_intake(self);
    ep_misfit misfit;
    int good = within(x, &intake, (ep_range){-FINITE, FINITE, false}, &misfit);
    if (good == 0) {
        refuse("x", "finite numbers", &misfit);
    }
    return good == 1;
}

static bool check_classes(const ep_table *y, const ep_targets *of) {
    int64_t low = of->positions > 1 ? -1 : 0, found = 0, row;
    Py_BEGIN_ALLOW_THREADS
    row = ep_table_outside(y, low, of->outputs - 1, &found);
    Py_END_ALLOW_THREADS
    if (row >= 0) {
        PyErr_Format(PyExc_ValueError, "y: labels must be in [%lld, %lld], got %lld in row %lld",
                     (long long)low, (long long)of->outputs - 1, (long long)found, (long long)row);
    }
    return row < 0;
}

bool ep_check_targets(ep_network *self, const ep_table *y) {
    const ep_loss *loss = self->regime.loss;
    ep_targets of = ep_targets_of(self->net, loss);
    if (loss->target == EP_TARGET_CLASS) {
        return check_classes(y, &of);
    }
    ep_intake plain = ep_intake_plain(y->width);
    ep_misfit misfit;
    int good = within(y, &plain, (ep_range){loss->low, loss->high, false}, &misfit);
    if (good == 0) {
        char what[160] = "finite numbers";
        if (isfinite(misfit.value) || loss->low >= 0) {
            PyOS_snprintf(what, sizeof what, "targets of %s in [%g, %g]", loss->name, loss->low,
                          loss->high);
        }
        refuse("y", what, &misfit);
    }
    return good == 1;
}

/* ---- checked arrays -------------------------------------------------------------------------- */

static void forget(ep_checked *c) {
    for (int i = 0; i < EP_COUNT(c->of); i++) {
        Py_CLEAR(c->of[i]);
    }
}

void ep_forget_checked(ep_network *self) {
    for (int i = 0; i < EP_CHECKED; i++) {
        forget(&self->checked[i]);
    }
}

static bool is_of(const ep_checked *c, const ep_feed *feed) {
    bool same = c->of[0] != NULL;
    for (int i = 0; same && i < EP_COUNT(c->of); i++) {
        same = (c->of[i] ? PyWeakref_GetObject(c->of[i]) : NULL) == feed->keep[i];
    }
    return same;
}

/* True if these arrays were checked by an earlier call. Their contents may have changed since then,
 * so losses and embedding tables also check every index that they read. */
static bool is_checked(const ep_network *self, const ep_feed *feed) {
    for (int i = 0; i < EP_CHECKED; i++) {
        if (is_of(&self->checked[i], feed)) {
            return true;
        }
    }
    return false;
}

/* Remember these arrays as checked, by weak references, so that the network does not keep the
 * user's data alive. */
static bool remember(ep_network *self, const ep_feed *feed) {
    ep_checked now = {{NULL, NULL, NULL}};
    bool ok = true;
    for (int i = 0; ok && i < EP_COUNT(now.of); i++) {
        now.of[i] = feed->keep[i] ? PyWeakref_NewRef(feed->keep[i], NULL) : NULL;
        ok = !feed->keep[i] || now.of[i];
    }
    ep_checked *out = ok ? &self->checked[EP_CHECKED - 1] : &now;
    ep_checked gone = *out;
    if (ok) {
        memmove(self->checked + 1, self->checked, (EP_CHECKED - 1) * sizeof *self->checked);
        self->checked[0] = now;
    }
    forget(&gone);
    return ok;
}

/* ---- feeds ----------------------------------------------------------------------------------- */

/* Read the row numbers, and check that each is a row of the table. */
static bool map_rows(PyObject *rows, ep_feed *feed) {
    npy_intp any = -1;
    PyArrayObject *map = ep_array_in(rows, "rows", NPY_INT64, 1, &any);
    feed->keep[2] = (PyObject *)map;
    for (npy_intp i = 0; map && i < PyArray_DIM(map, 0); i++) {
        int64_t row = ((const int64_t *)PyArray_DATA(map))[i];
        if (row < 0 || row >= feed->x.rows) {
            PyErr_Format(PyExc_ValueError, "rows: expected row numbers in [0, %lld), got %lld",
                         (long long)feed->x.rows, (long long)row);
            return false;
        }
    }
    if (map) {
        feed->x.map = feed->y.map = PyArray_DATA(map);
        feed->x.rows = feed->y.rows = PyArray_DIM(map, 0);
    }
    return map != NULL;
}

static bool check_values(ep_network *self, const ep_feed *feed) {
    if (is_checked(self, feed)) {
        return true;
    }
    return check_inputs(self, &feed->x) && ep_check_targets(self, &feed->y) && remember(self, feed);
}

bool ep_table_of_weights(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep) {
    *table = (ep_table){.rows = rows};
    if (!object || object == Py_None) {
        return true;
    }
    const ep_targets of = ep_targets_of(self->net, self->regime.loss);
    npy_intp shape[2] = {rows, of.positions};
    bool each = PyArray_Check(object) && PyArray_NDIM((PyArrayObject *)object) == 2;
    PyArrayObject *array = ep_array_in(object, "weights", EP_NPY_REAL, each ? 2 : 1, shape);
    *keep = (PyObject *)array;
    if (!array) {
        return false;
    }
    const int64_t width = each ? of.positions : 1;
    const ep_real *at = PyArray_DATA(array);
    double sum = 0;
    for (int64_t i = 0; i < rows * width; i++) {
        if (!(at[i] >= 0 && (double)at[i] <= EP_LEVEL_MOST)) {
            PyErr_Format(PyExc_ValueError,
                         "weights: expected finite numbers of at least 0 and at most 1e30, got a "
                         "bad one in row %lld",
                         (long long)(i / ep_max(1, width)));
            return false;
        }
        sum += (double)at[i];
    }
    if (rows > 0 && !(sum > 0)) {
        PyErr_SetString(PyExc_ValueError, "weights: expected at least one above 0, got none");
        return false;
    }
    table->at = at;
    table->type = sizeof(ep_real) == sizeof(double) ? EP_FLOAT64 : EP_FLOAT32;
    table->width = width;
    table->stride = width * (int64_t)sizeof(ep_real);
    return true;
}

bool ep_feed_open(ep_network *self, PyObject *x, PyObject *y, PyObject *rows, PyObject *weights,
                  ep_feed *feed) {
    *feed = (ep_feed){.keep = {NULL, NULL, NULL}};
    bool ok = ep_table_of_inputs(self, x, &feed->x, &feed->keep[0]) &&
              ep_table_of_targets(self, y, feed->x.rows, &feed->y, &feed->keep[1]) &&
              (!rows || rows == Py_None || map_rows(rows, feed)) &&
              ep_table_of_weights(self, weights, feed->x.rows, &feed->w, &feed->keep_weights);
    if (ok && feed->x.rows < 1) {
        PyErr_SetString(PyExc_ValueError, "x: expected at least one sample, got none");
        ok = false;
    }
    ok = ok && check_values(self, feed);
    if (!ok) {
        ep_feed_close(feed);
    }
    return ok;
}

void ep_feed_close(ep_feed *feed) {
    for (int i = 0; i < EP_COUNT(feed->keep); i++) {
        Py_CLEAR(feed->keep[i]);
    }
    Py_CLEAR(feed->keep_weights);
}

ep_intake ep_network_intake(const ep_network *self) {
    return (ep_intake){.shift = self->shift,
                       .scale = self->scale,
                       .near_shift = self->near_shift,
                       .near_scale = self->near_scale,
                       .exact = self->exact_scaling,
                       .each = self->n_scaling > 1,
                       .living = self->all_living ? NULL : self->living,
                       .width = self->net->values[0].width};
}
