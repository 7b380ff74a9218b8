/* network_run: train, evaluate and predict on the user's arrays, without the GIL. */
#include "python/network.h"

#include "infer.h"

#include <math.h>
#include <string.h>

enum { SHIFT, FLIP, SHAPE, AUGMENTS };

/* Get height, width and channels of the input image, from the network or from augment["shape"]. */
static bool image_size(ep_network *self, PyObject *shape, int64_t size[3]) {
    const ep_value *in = &self->net->values[0];
    size[2] = 1;
    if (shape && shape != Py_None) {
        npy_intp any = -1;
        PyArrayObject *sizes = ep_array_in(shape, "augment['shape']", NPY_INT64, 1, &any);
        if (!sizes) {
            return false;
        }
        for (npy_intp d = 0; d < PyArray_DIM(sizes, 0) && d < 3; d++) {
            size[d] = ((const int64_t *)PyArray_DATA(sizes))[d];
        }
        ep_array_drop(sizes);
    } else {
        for (int d = 0; d < in->rank && d < 3; d++) {
            size[d] = self->net->axes[in->axis[d]].founded;
        }
    }
    if (ep_times(ep_times(size[0], size[1]), size[2]) != self->input_width) {
        PyErr_Format(PyExc_ValueError,
                     "augment: expected an image shape (height, width[, channels]) of "
                     "%lld numbers, got (%lld, %lld, %lld)",
                     (long long)self->input_width, (long long)size[0], (long long)size[1],
                     (long long)size[2]);
        return false;
    }
    return true;
}

static bool image_from(ep_network *self, PyObject *const *given, ep_intake *intake) {
    PyObject *shift = given[SHIFT], *flip = given[FLIP];
    int64_t size[3] = {0, 0, 1};
    if (!image_size(self, given[SHAPE], size) ||
        (shift && shift != Py_None &&
         !ep_whole(shift, "augment['shift']", 0, ep_min(size[0], size[1]), &intake->move)) ||
        (flip && flip != Py_None && !ep_truth(flip, "augment['flip']", &intake->flip))) {
        return false;
    }
    intake->height = size[0];
    intake->breadth = size[1];
    intake->channels = size[2];
    intake->noise = (ep_noise){self->net->seed, EP_STREAM_AUGMENT};
    return true;
}

static bool image_of(ep_network *self, PyObject *augment, ep_intake *intake) {
    static const char *const names[AUGMENTS] = {"shift", "flip", "shape"};
    if (!augment || augment == Py_None) {
        return true;
    }
    if (!PyDict_Check(augment)) {
        ep_raise_got(PyExc_TypeError, augment,
                     "augment must be a dict(shift=, flip=, shape=) or None");
        return false;
    }
    PyObject *given[AUGMENTS] = {NULL};
    Py_ssize_t known = 0;
    bool ok = true;
    for (int i = 0; ok && i < AUGMENTS; i++) {
        ok = ep_item(augment, names[i], &given[i]);
        known += given[i] != NULL;
    }
    if (ok && known != PyDict_Size(augment)) {
        PyErr_Format(PyExc_ValueError, "augment: expected the keys shift, flip and shape, got %R",
                     augment);
        ok = false;
    }
    ok = ok && image_from(self, given, intake);
    for (int i = 0; i < AUGMENTS; i++) {
        Py_XDECREF(given[i]);
    }
    return ok;
}

/* Read one schedule: a float64 vector of `steps` values from 0 to EP_LEVEL_MOST. */
static PyArrayObject *schedule(PyObject *object, const char *name, npy_intp *steps) {
    PyArrayObject *array = ep_array_in(object, name, NPY_FLOAT64, 1, steps);
    for (npy_intp i = 0; array && i < PyArray_DIM(array, 0); i++) {
        double v = ((const double *)PyArray_DATA(array))[i];
        if (!(v >= 0 && v <= EP_LEVEL_MOST)) {
            PyErr_Format(PyExc_ValueError,
                         "%s: expected finite numbers of at least 0 and at most 1e30, got a bad "
                         "one at step %zd",
                         name, i);
            Py_CLEAR(array);
        }
    }
    if (array) {
        *steps = PyArray_DIM(array, 0);
    }
    return array;
}

/* Read the requested number of threads; 1 if not given. */
static bool threads_from(PyObject *object, int64_t *threads) {
    return !object || ep_whole(object, "threads", 1, INT32_MAX, threads);
}

static PyObject *result_of(const ep_record *record, PyArrayObject *const *columns) {
    PyObject *deaths = ep_deaths_array(record->chronicle.deaths, record->chronicle.n_deaths);
    PyObject *births = deaths
                           ? ep_births_array(record->chronicle.births, record->chronicle.n_births)
                           : NULL;
    if (!births) {
        Py_XDECREF(deaths);
        return NULL;
    }
    return Py_BuildValue("{s:L,s:O,s:O,s:O,s:O,s:L,s:L,s:N,s:N}", "steps", (long long)record->steps,
                         "loss", columns[0], "hits", columns[1], "weight", columns[2], "counted",
                         columns[3], "compactions", (long long)record->chronicle.compactions,
                         "floor_reached", (long long)record->chronicle.floor_reached, "deaths",
                         deaths, "births", births);
}

/* The resources of one call of train; opened and closed as a whole. */
typedef struct {
    ep_job job;
    ep_record record;
    ep_feed feed;
    ep_crowd crowd;
    PyArrayObject *plans[3], *columns[4];
} errand;

static void close_errand(errand *e) {
    ep_chronicle_close(&e->record.chronicle);
    for (int i = 0; i < EP_COUNT(e->plans); i++) {
        ep_array_drop(e->plans[i]);
    }
    for (int i = 0; i < EP_COUNT(e->columns); i++) {
        ep_array_drop(e->columns[i]);
    }
    ep_feed_close(&e->feed);
    ep_crowd_close(&e->crowd);
}

/* Open the schedules and allocate the record of the run. */
static bool open_errand(ep_network *self, errand *e, PyObject *const *schedules) {
    static const char *const names[] = {"rate", "pressure", "strength"};
    npy_intp steps = -1;
    for (int i = 0; i < EP_COUNT(e->plans); i++) {
        e->plans[i] = schedule(schedules[i], names[i], &steps);
        if (!e->plans[i]) {
            return false;
        }
    }
    for (int i = 0; i < EP_COUNT(e->columns); i++) {
        e->columns[i] = ep_array_vector(steps, NPY_FLOAT64);
        if (!e->columns[i]) {
            return false;
        }
    }
    e->job.steps = steps;
    e->job.rate = PyArray_DATA(e->plans[0]);
    e->job.pressure = PyArray_DATA(e->plans[1]);
    e->job.strength = PyArray_DATA(e->plans[2]);
    e->record.loss = PyArray_DATA(e->columns[0]);
    e->record.hits = PyArray_DATA(e->columns[1]);
    e->record.weight = PyArray_DATA(e->columns[2]);
    e->record.counted = PyArray_DATA(e->columns[3]);
    bool ok = ep_chronicle_open(&e->record.chronicle, self->net);
    if (!ok) {
        PyErr_NoMemory();
    }
    return ok;
}

/* Store the record in the network, so that a failed run loses nothing, and return it; or raise the
 * exception of the failed run. */
static PyObject *conclude(ep_network *self, const errand *e, bool ok, const ep_error *error) {
    PyObject *kind = NULL, *value = NULL, *trace = NULL;
    PyErr_Fetch(&kind, &value, &trace); /* raised by a law written in Python */
    PyObject *record = result_of(&e->record, e->columns), *before = self->record;
    if (!record) {
        if (kind) { /* the law's own exception takes precedence */
            PyErr_Restore(kind, value, trace);
        }
        return NULL;
    }
    self->record = record;
    Py_XDECREF(before);
    PyErr_Restore(kind, value, trace);
    if (ok) {
        return Py_NewRef(record);
    }
    if (PyErr_Occurred()) { /* a law has raised; other errors follow from this */
        return NULL;
    }
    if (error->code == EP_DIVERGED) {
        return ep_raise_diverged(self->state, self->net->step, error->text);
    }
    return ep_raise(error, self->state);
}

PyDoc_STRVAR(train_doc,
             "train(x, y, *, batch, first, rate, pressure, strength, shuffle=True, threads=1, "
             "augment=None, rows=None, weights=None, keep=True, ranks=None)\n--\n\n"
             "Run len(rate) steps on batches first, first + 1, ... of the data. Returns a "
             "dict: steps, loss, hits, weight, counted (one number per step), compactions, "
             "floor_reached, deaths, births. Raises Diverged (attribute step) with the network "
             "as it was before that step's update. keep: keep every gradient of an activation "
             "of the last step; otherwise those that no later step needs may be overwritten. "
             "weights: of the samples (n,), in the order of rows, or of their predictions (n, "
             "positions). ranks: (rank, ranks, function): this process computes its rows of "
             "each batch, and function(array) adds up an array over all ranks, in place.");
static PyObject *train(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x",        "y",        "batch",   "first",   "rate",
                            "pressure", "strength", "shuffle", "threads", "augment",
                            "rows",     "weights",  "keep",    "ranks",   NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *y, *schedules[3] = {NULL, NULL, NULL}, *augment = NULL, *rows = NULL;
    PyObject *weights = NULL, *ranks = NULL;
    PyObject *numbers[3] = {NULL, NULL, NULL};
    int64_t batch = 0, first = 0, threads = 1;
    int shuffle = 1, keep = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OOOOOpOOOOpO:train", names, &x, &y,
                                     &numbers[0], &numbers[1], &schedules[0], &schedules[1],
                                     &schedules[2], &shuffle, &numbers[2], &augment, &rows,
                                     &weights, &keep, &ranks)) {
        return NULL;
    }
    if (!numbers[0] || !numbers[1] || !schedules[0] || !schedules[1] || !schedules[2]) {
        PyErr_SetString(PyExc_TypeError,
                        "train: batch, first, rate, pressure and strength must be given");
        return NULL;
    }
    if (!ep_whole(numbers[0], "train: batch", 1, EP_COUNT_MOST, &batch) ||
        !ep_whole(numbers[1], "train: first", 0, EP_COUNT_MOST, &first) ||
        !threads_from(numbers[2], &threads) || !ep_network_enter(self)) {
        return NULL;
    }
    errand e;
    memset(&e, 0, sizeof e);
    ep_error error = {EP_OK, ""};
    PyObject *result = NULL;
    e.job.intake = ep_network_intake(self);
    if (open_errand(self, &e, schedules) && ep_feed_open(self, x, y, rows, weights, &e.feed) &&
        image_of(self, augment, &e.job.intake) && ep_crowd_open(self, ranks, &e.crowd)) {
        e.job.x = e.feed.x;
        e.job.y = e.feed.y;
        e.job.w = e.feed.w;
        e.job.batch = ep_min(batch, e.job.x.rows);
        e.job.first = first;
        e.job.shuffle = shuffle != 0;
        e.job.seed = self->net->seed;
        e.job.threads = self->regime.loss->interpreted ? 1 : (int)threads;
        e.job.keep = keep != 0;
        e.job.ranks = e.crowd.add_up ? &e.crowd.ranks : NULL;
        bool ok;
        Py_BEGIN_ALLOW_THREADS
        ok = ep_train(self->net, &self->regime, &e.job, self->living, &e.record, &error);
        Py_END_ALLOW_THREADS
        ep_network_refresh(self);
        result = conclude(self, &e, ok, &error);
    }
    close_errand(&e);
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(check_data_doc, "check_data(x, y, rows=None, weights=None)\n--\n\n"
                             "Raise what train would raise for these data; reads every value.");
static PyObject *check_data(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "y", "rows", "weights", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *y, *rows = NULL, *weights = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:check_data", names, &x, &y, &rows,
                                     &weights) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_feed feed;
    bool ok = ep_feed_open(self, x, y, rows, weights, &feed);
    if (ok) {
        ep_feed_close(&feed);
    }
    ep_network_leave(self);
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(evaluate_doc,
             "evaluate(x, y, *, threads=1, rows=None, weights=None, sums=False)\n--\n\n"
             "Return (mean loss, share of correct predictions, total weight) over all rows; "
             "with sums=True (sum of losses, sum of correct predictions, total weight, number "
             "of predictions with weight > 0).");
static PyObject *evaluate(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "y", "threads", "rows", "weights", "sums", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *y, *number = NULL, *rows = NULL, *weights = NULL, *result = NULL;
    int64_t threads = 1;
    int sums = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OOOp:evaluate", names, &x, &y, &number,
                                     &rows, &weights, &sums) ||
        !threads_from(number, &threads) || !ep_network_enter(self)) {
        return NULL;
    }
    ep_feed feed;
    ep_error error = {EP_OK, ""};
    if (ep_feed_open(self, x, y, rows, weights, &feed)) {
        ep_intake intake = ep_network_intake(self);
        ep_tally sum = {0, 0, 0, 0};
        bool ok;
        threads = self->regime.loss->interpreted ? 1 : threads;
        Py_BEGIN_ALLOW_THREADS
        ok = ep_infer(self->net, &self->regime, &feed.x, &feed.y, &feed.w, &intake, (int)threads,
                      NULL, &sum, &error);
        Py_END_ALLOW_THREADS
        if (PyErr_Occurred()) { /* raised by a loss written in Python */
            ep_feed_close(&feed);
            ep_network_leave(self);
            return NULL;
        }
        if (ok && sums) {
            result = Py_BuildValue("(dddd)", sum.loss, sum.hits, sum.weight, sum.counted);
            ep_feed_close(&feed);
            ep_network_leave(self);
            return result;
        }
        result = ok ? Py_BuildValue("(ddd)", sum.weight > 0 ? sum.loss / sum.weight : (double)NAN,
                                    sum.counted > 0 ? sum.hits / sum.counted : (double)NAN,
                                    sum.weight)
                    : ep_raise(&error, self->state);
        ep_feed_close(&feed);
    }
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(predict_doc,
             "predict(x, threads=1)\n--\n\n"
             "Return the outputs (samples, axes ...) for x, which has the founding input shape "
             "and any dtype.");
static PyObject *predict(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "threads", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *number = NULL, *keep = NULL, *result = NULL;
    int64_t threads = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:predict", names, &x, &number) ||
        !threads_from(number, &threads) || !ep_network_enter(self)) {
        return NULL;
    }
    ep_table table;
    if (ep_table_of_inputs(self, x, &table, &keep) && ep_check_ids(self, &table)) {
        const ep_net *net = self->net;
        const ep_value *out = ep_net_output(net);
        npy_intp shape[EP_RANK + 1] = {table.rows};
        for (int d = 0; d < out->rank; d++) {
            shape[d + 1] = net->axes[out->axis[d]].n;
        }
        result = PyArray_SimpleNew(out->rank + 1, shape, EP_NPY_REAL);
        if (result) {
            ep_intake intake = ep_network_intake(self);
            ep_error error = {EP_OK, ""};
            ep_real *to = PyArray_DATA((PyArrayObject *)result);
            bool ok;
            Py_BEGIN_ALLOW_THREADS
            ok = ep_infer(self->net, &self->regime, &table, NULL, NULL, &intake, (int)threads, to,
                          NULL, &error);
            Py_END_ALLOW_THREADS
            if (!ok) {
                Py_CLEAR(result);
                ep_raise(&error, self->state);
            }
        }
    }
    Py_XDECREF(keep);
    ep_network_leave(self);
    return result;
}

PyMethodDef ep_network_run_methods[] = {
    EP_METHOD(train, train_doc),
    EP_METHOD(check_data, check_data_doc),
    EP_METHOD(evaluate, evaluate_doc),
    EP_METHOD(predict, predict_doc),
    EP_METHODS_END,
};
