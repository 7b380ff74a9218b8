/* network_run: training, evaluation and prediction over the user's arrays, without the GIL. */
#include "python/network.h"

#include <string.h>

/* Refreshes which input features live; called after anything that may have removed some. */
static void refresh_living(ep_network *self) {
    self->all_living = !ep_living_inputs(self->net, self->living);
}

PyObject *ep_deaths_array(const ep_death *deaths, int64_t n) {
    PyObject *dtype_spec = Py_BuildValue("[(ss)(ss)(ss)(ss)(ss)]", "step", "<i8", "population",
                                         "<i4", "birth", "<i4", "mass", "<f8", "fitness", "<f8");
    PyArray_Descr *dtype = NULL;
    if (!dtype_spec || !PyArray_DescrConverter(dtype_spec, &dtype)) {
        Py_XDECREF(dtype_spec);
        return NULL;
    }
    Py_DECREF(dtype_spec);
    npy_intp size = n;
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, dtype, 1, &size, NULL, NULL, 0, NULL);
    if (array && n) {
        memcpy(PyArray_DATA((PyArrayObject *)array), deaths, (size_t)n * sizeof *deaths);
    }
    return array;
}

static int64_t living_populations(const ep_net *net) {
    int64_t n = 0;
    for (int i = 0; i < net->n_populations; i++) {
        n += net->axes[net->populations[i].axis].n;
    }
    return n;
}

static bool image_of(ep_network *self, PyObject *augment, ep_intake *intake) {
    if (!augment || augment == Py_None) {
        return true;
    }
    if (!PyDict_Check(augment)) {
        ep_raise_got(PyExc_TypeError, augment,
                     "augment must be a dict(shift=, flip=, shape=) or None");
        return false;
    }
    PyObject *shift = PyDict_GetItemString(augment, "shift");
    PyObject *flip = PyDict_GetItemString(augment, "flip");
    PyObject *shape = PyDict_GetItemString(augment, "shape");
    const ep_value *in = &self->net->values[0];
    int64_t size[3] = {0, 0, 1};
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
            size[d] = self->net->axes[in->axis[d]].born;
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
    intake->move = shift && shift != Py_None ? PyLong_AsLongLong(shift) : 0;
    if (PyErr_Occurred()) {
        return false;
    }
    if (intake->move < 0 || intake->move > ep_min(size[0], size[1])) {
        PyErr_Format(PyExc_ValueError, "augment: shift must be in [0, %lld], got %lld",
                     (long long)ep_min(size[0], size[1]), (long long)intake->move);
        return false;
    }
    intake->flip = flip && PyObject_IsTrue(flip) == 1;
    intake->height = size[0];
    intake->breadth = size[1];
    intake->channels = size[2];
    intake->noise = (ep_noise){self->net->seed, EP_STREAM_AUGMENT};
    return true;
}

/* One of the schedules: a float64 vector of `steps` finite numbers of at least 0. */
static PyArrayObject *schedule(PyObject *object, const char *name, npy_intp *steps) {
    PyArrayObject *array = ep_array_in(object, name, NPY_FLOAT64, 1, steps);
    for (npy_intp i = 0; array && i < PyArray_DIM(array, 0); i++) {
        double v = ((const double *)PyArray_DATA(array))[i];
        if (!(v >= 0 && v < 1e300)) {
            PyErr_Format(PyExc_ValueError,
                         "%s: expected finite numbers of at least 0, got a bad one at "
                         "step %zd",
                         name, i);
            Py_CLEAR(array);
        }
    }
    if (array) {
        *steps = PyArray_DIM(array, 0);
    }
    return array;
}

static PyObject *result_of(const ep_record *record, PyArrayObject *const *columns) {
    PyObject *deaths = ep_deaths_array(record->chronicle.deaths, record->chronicle.n_deaths);
    if (!deaths) {
        return NULL;
    }
    return Py_BuildValue("{s:L,s:O,s:O,s:O,s:L,s:L,s:N}", "steps", (long long)record->steps, "loss",
                         columns[0], "hits", columns[1], "weight", columns[2], "compactions",
                         (long long)record->chronicle.compactions, "bound",
                         (long long)record->chronicle.bound, "deaths", deaths);
}

PyDoc_STRVAR(
    train_doc,
    "train(x, y, *, batch, first, rate, pressure, strength, shuffle=True, threads=1, "
    "augment=None)\n--\n\n"
    "len(rate) steps on batches first, first + 1, ... of the data. Returns a dict: steps, loss, hits, "
    "weight (one number a step), compactions, bound, deaths. Raises Diverged (attribute step) with "
    "the network as it was before that step's update.");
static PyObject *train(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x",        "y",       "batch",   "first",   "rate", "pressure",
                            "strength", "shuffle", "threads", "augment", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *y, *rate = NULL, *pressure = NULL, *strength = NULL, *augment = NULL;
    long long batch = 0, first = 0;
    int shuffle = 1, threads = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$LLOOOpiO:train", names, &x, &y, &batch,
                                     &first, &rate, &pressure, &strength, &shuffle, &threads,
                                     &augment)) {
        return NULL;
    }
    if (!rate || !pressure || !strength) {
        PyErr_SetString(PyExc_TypeError, "train: rate, pressure and strength must be given");
        return NULL;
    }
    if (batch < 1 || first < 0) {
        PyErr_Format(PyExc_ValueError,
                     "train: expected batch of at least 1 and first of at least 0, got "
                     "%lld and %lld",
                     batch, first);
        return NULL;
    }
    if (!ep_network_enter(self)) {
        return NULL;
    }
    ep_job job = {.batch = batch,
                  .first = first,
                  .shuffle = shuffle != 0,
                  .seed = self->net->seed,
                  .threads = threads < 1 ? 1 : threads};
    ep_record record = {0};
    ep_error error = {EP_OK, ""};
    PyObject *keep_x = NULL, *keep_y = NULL, *result = NULL;
    PyArrayObject *plans[3] = {NULL}, *columns[3] = {NULL};
    npy_intp steps = -1;
    job.intake = ep_network_intake(self);
    plans[0] = schedule(rate, "rate", &steps);
    plans[1] = plans[0] ? schedule(pressure, "pressure", &steps) : NULL;
    plans[2] = plans[1] ? schedule(strength, "strength", &steps) : NULL;
    if (!plans[2] || !ep_table_of_inputs(self, x, &job.x, &keep_x) ||
        !ep_table_of_targets(self, y, job.x.rows, &job.y, &keep_y) ||
        !image_of(self, augment, &job.intake)) {
        goto done;
    }
    if (job.x.rows < 1) {
        PyErr_SetString(PyExc_ValueError, "x: expected at least one sample, got none");
        goto done;
    }
    for (int i = 0; i < 3; i++) {
        columns[i] = ep_array_vector(steps, NPY_FLOAT64);
        if (!columns[i]) {
            goto done;
        }
    }
    job.steps = steps;
    job.rate = PyArray_DATA(plans[0]);
    job.pressure = PyArray_DATA(plans[1]);
    job.strength = PyArray_DATA(plans[2]);
    record.loss = PyArray_DATA(columns[0]);
    record.hits = PyArray_DATA(columns[1]);
    record.weight = PyArray_DATA(columns[2]);
    record.chronicle.room = living_populations(self->net);
    record.chronicle.deaths = PyMem_Calloc((size_t)record.chronicle.room + 1, sizeof(ep_death));
    if (!record.chronicle.deaths) {
        PyErr_NoMemory();
        goto done;
    }
    bool ok;
    Py_BEGIN_ALLOW_THREADS
    ok = ep_train(self->net, &self->regime, &job, self->living, &record, &error);
    Py_END_ALLOW_THREADS
    refresh_living(self);
    if (ok) {
        result = result_of(&record, columns);
    } else if (error.code == EP_DIVERGED) {
        ep_raise_diverged(self->state, self->net->step, error.text);
    } else {
        ep_raise(&error, self->state);
    }
done:
    PyMem_Free(record.chronicle.deaths);
    for (int i = 0; i < 3; i++) {
        ep_array_drop(plans[i]);
        ep_array_drop(columns[i]);
    }
    Py_XDECREF(keep_x);
    Py_XDECREF(keep_y);
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(check_data_doc, "check_data(x, y)\n--\n\nRaises what train would; reads every label.");
static PyObject *check_data(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "y", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *y, *keep_x = NULL, *keep_y = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:check_data", names, &x, &y) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_table of_x, of_y;
    bool ok = ep_table_of_inputs(self, x, &of_x, &keep_x) &&
              ep_table_of_targets(self, y, of_x.rows, &of_y, &keep_y);
    if (ok && of_x.rows < 1) {
        PyErr_SetString(PyExc_ValueError, "x: expected at least one sample, got none");
        ok = false;
    }
    Py_XDECREF(keep_x);
    Py_XDECREF(keep_y);
    ep_network_leave(self);
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(evaluate_doc, "evaluate(x, y, *, threads=1)\n--\n\n"
                           "(mean loss, share of predictions right, total weight) over all rows.");
static PyObject *evaluate(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "y", "threads", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *y, *keep_x = NULL, *keep_y = NULL, *result = NULL;
    int threads = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$i:evaluate", names, &x, &y, &threads) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_table of_x, of_y;
    ep_error error = {EP_OK, ""};
    if (ep_table_of_inputs(self, x, &of_x, &keep_x) &&
        ep_table_of_targets(self, y, of_x.rows, &of_y, &keep_y)) {
        ep_intake intake = ep_network_intake(self);
        double loss = 0, hits = 0, weight = 0;
        bool ok;
        Py_BEGIN_ALLOW_THREADS
        ok = ep_infer(self->net, &self->regime, &of_x, &of_y, &intake, threads, NULL, &loss, &hits,
                      &weight, &error);
        Py_END_ALLOW_THREADS
        int64_t predictions = of_x.rows *
                              (self->regime.loss->target == EP_TARGET_CLASS ? of_y.width : 1);
        result = ok ? Py_BuildValue("(ddd)", loss,
                                    predictions ? hits / (double)predictions : Py_NAN, weight)
                    : ep_raise(&error, self->state);
    }
    Py_XDECREF(keep_x);
    Py_XDECREF(keep_y);
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(predict_doc,
             "predict(x, threads=1)\n--\n\n"
             "The outputs (samples, axes ...) for x of the founding input shape, any dtype.");
static PyObject *predict(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "threads", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *keep = NULL, *result = NULL;
    int threads = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|i:predict", names, &x, &threads) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_table table;
    if (ep_table_of_inputs(self, x, &table, &keep)) {
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
            double ignored;
            bool ok;
            Py_BEGIN_ALLOW_THREADS
            ok = ep_infer(self->net, &self->regime, &table, NULL, &intake, threads, to, &ignored,
                          &ignored, &ignored, &error);
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
