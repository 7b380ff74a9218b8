/* network_regime: set how a network is trained (losses, optimizers, selection), its input scaling
 * and its counters. Every call is all or nothing: on an error the previous settings stay. */
#include "python/network.h"

#include "catalogue.h"

#include <math.h>
#include <string.h>

PyDoc_STRVAR(configure_doc,
             "configure(*, loss='cross_entropy', loss_config=None, optimizer='adamw', "
             "optimizer_config=None, clip=0.0, selection=None)\n--\n\n"
             "Set how the network is trained from now on. loss: a name, or a function of "
             "outputs and targets with the attribute target. selection: None, or a dict of "
             "settings with fitness and dynamics (names, or functions of one dict) and their "
             "configs. On an error the previous settings stay.");

typedef struct {
    ep_settings loss, optimizer;
    ep_calls calls;
    PyObject *loss_call;
    ep_evolution *evolution;
} draft;

static void discard(draft *d) {
    ep_settings_close(&d->loss);
    ep_settings_close(&d->optimizer);
    Py_CLEAR(d->calls.fitness);
    Py_CLEAR(d->calls.dynamics);
    Py_CLEAR(d->loss_call);
    ep_evolution_free(d->evolution);
}

/* Make room for all input features in the list of living ones, since extinct ones may return. */
static bool reserve_living(ep_network *self) {
    size_t n = (size_t)self->input_width + 1;
    void *more = PyMem_Realloc(self->living, n * sizeof *self->living);
    if (!more) {
        PyErr_NoMemory();
        return false;
    }
    self->living = more;
    return true;
}

static bool draft_selection(ep_network *self, draft *d, PyObject *given) {
    ep_lawbook book;
    ep_error error = {EP_OK, ""};
    if (!ep_lawbook_open(&book, given)) {
        return false;
    }
    ep_evolution *e = ep_evolution_new(self->net, book.settings.at, book.births.at, book.fitness,
                                       book.fitness_config.at, book.dynamics,
                                       book.dynamics_config.at, &error);
    if (e) {
        d->evolution = e;
        d->calls = book.calls;
        book.calls = (ep_calls){NULL, NULL};
        e->call_fitness = d->calls.fitness ? ep_call_fitness : NULL;
        e->context = &self->calls;
        e->generation->call = d->calls.dynamics ? ep_call_dynamics : NULL;
        e->generation->context = &self->calls;
    } else {
        ep_raise(&error, NULL);
    }
    ep_lawbook_close(&book);
    const ep_births *births = e ? e->generation->births : NULL;
    return e && (!births || !(births->returns > 0) || reserve_living(self));
}

static void swap_pointer(void *a, void *b) {
    void *keep;
    memcpy(&keep, a, sizeof keep);
    memcpy(a, b, sizeof keep);
    memcpy(b, &keep, sizeof keep);
}

static PyObject *configure(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"loss", "loss_config", "optimizer", "optimizer_config",
                            "clip", "selection",   NULL};
    ep_network *self = (ep_network *)object;
    PyObject *loss_given = NULL;
    const char *loss_name = "cross_entropy", *optimizer_name = "adamw";
    PyObject *loss_config = NULL, *optimizer_config = NULL, *selection = NULL;
    double clip = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOsOO&O:configure", names, &loss_given,
                                     &loss_config, &optimizer_name, &optimizer_config,
                                     ep_convert_real, &clip, &selection)) {
        return NULL;
    }
    if (!(clip >= 0 && clip < 1e300)) {
        PyErr_SetString(PyExc_ValueError,
                        "clip: expected a finite number of at least 0 (0: no limit)");
        return NULL;
    }
    bool calls = loss_given && !PyUnicode_Check(loss_given) && PyCallable_Check(loss_given);
    if (loss_given && !calls && !(loss_name = PyUnicode_AsUTF8AndSize(loss_given, NULL))) {
        return NULL;
    }
    const ep_loss *loss = calls ? ep_python_loss(loss_given)
                                : ep_found(ep_catalogue_loss(loss_name), "loss", loss_name);
    const ep_optimizer *optimizer = loss ? ep_found(ep_catalogue_optimizer(optimizer_name),
                                                    "optimizer", optimizer_name)
                                         : NULL;
    if (!optimizer || !ep_network_enter(self)) {
        return NULL;
    }
    draft d;
    memset(&d, 0, sizeof d);
    ep_error error = {EP_OK, ""};
    const ep_value *out = ep_net_output(self->net);
    int64_t outputs = self->net->axes[out->axis[out->rank - 1]].n;
    bool ok = ep_settings_open(&d.loss, loss->fields, loss->config_size, loss_config, loss_name) &&
              ep_settings_open(&d.optimizer, optimizer->fields, optimizer->config_size,
                               optimizer_config, optimizer_name);
    if (ok && calls) {
        d.loss_call = Py_NewRef(loss_given);
        ep_python_loss_config(d.loss.at, loss_given);
    }
    if (ok && loss->check && !loss->check(d.loss.at, outputs, &error)) {
        ep_raise(&error, NULL);
        ok = false;
    }
    ok = ok && (!selection || selection == Py_None || draft_selection(self, &d, selection));
    if (ok) { /* swap, so that discard() frees the old settings */
        ep_regime *r = &self->regime;
        const ep_field *old_loss = r->loss ? r->loss->fields : NULL;
        const ep_field *old_optimizer = r->optimizer ? r->optimizer->fields : NULL;
        swap_pointer(&r->loss_config, &d.loss.at);
        swap_pointer(&r->optimizer_config, &d.optimizer.at);
        swap_pointer(&r->evolution, &d.evolution);
        swap_pointer(&self->calls.fitness, &d.calls.fitness);
        swap_pointer(&self->calls.dynamics, &d.calls.dynamics);
        swap_pointer(&self->loss_call, &d.loss_call);
        d.loss.fields = old_loss;
        d.optimizer.fields = old_optimizer;
        r->loss = loss;
        r->optimizer = optimizer;
        r->clip = clip;
    }
    ep_forget_checked(self);
    discard(&d);
    ep_network_leave(self);
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(scale_input_doc,
             "scale_input(shift, scale)\n--\n\n"
             "Transform inputs to (x - shift) * scale from now on. shift, scale: numbers, or "
             "vectors of the founding width.");
static PyObject *scale_input(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"shift", "scale", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *objects[2];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:scale_input", names, &objects[0],
                                     &objects[1])) {
        return NULL;
    }
    PyArrayObject *arrays[2] = {NULL, NULL};
    int64_t n = 1;
    bool ok = true;
    for (int i = 0; ok && i < 2; i++) {
        PyObject *given = (PyObject *)ep_array_of(objects[i], names[i]);
        PyObject *flat = !given ? NULL
                                : PyArray_FROMANY(given, NPY_FLOAT64, 0, 1,
                                                  NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
        Py_XDECREF(given);
        if (!flat && PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Format(PyExc_ValueError, "%s: expected finite numbers", names[i]);
        }
        arrays[i] = (PyArrayObject *)flat;
        ok = flat != NULL;
        if (ok && PyArray_NDIM(arrays[i]) == 1) {
            n = self->input_width;
            if (PyArray_DIM(arrays[i], 0) != n) {
                PyErr_Format(PyExc_ValueError, "%s: expected a number or a vector of %lld, got %zd",
                             names[i], (long long)n, PyArray_DIM(arrays[i], 0));
                ok = false;
            }
        }
    }
    const double identity[2] = {0, 1};
    double *made[2] = {NULL, NULL};
    ep_real *near[2] = {NULL, NULL};
    bool exact = true, codes = ep_net_ids(self->net) > 0;
    for (int i = 0; ok && i < 2; i++) {
        made[i] = PyMem_Calloc((size_t)n, sizeof *made[i]);
        near[i] = PyMem_Calloc((size_t)n, sizeof *near[i]);
        if (!made[i] || !near[i]) {
            PyErr_NoMemory();
            ok = false;
        }
        for (int64_t j = 0; ok && j < n; j++) {
            const double *from = PyArray_DATA(arrays[i]);
            made[i][j] = from[PyArray_NDIM(arrays[i]) == 1 ? j : 0];
            near[i][j] = (ep_real)made[i][j];
            exact = exact && (i > 0 || (double)near[i][j] == made[i][j]);
            if (!isfinite((double)near[i][j])) {
                PyErr_Format(PyExc_ValueError,
                             "%s: expected finite numbers, got one at %lld that is not in %s",
                             names[i], (long long)j, sizeof(ep_real) == 4 ? "float32" : "float64");
                ok = false;
            } else if (codes && made[i][j] != identity[i]) {
                PyErr_Format(PyExc_ValueError,
                             "%s: expected %d for a network that reads codes, got another number",
                             names[i], i);
                ok = false;
            }
        }
    }
    if (ok && ep_network_enter(self)) {
        swap_pointer(&self->shift, &made[0]);
        swap_pointer(&self->scale, &made[1]);
        swap_pointer(&self->near_shift, &near[0]);
        swap_pointer(&self->near_scale, &near[1]);
        self->exact_scaling = exact;
        self->n_scaling = n;
        ep_forget_checked(self);
        ep_network_leave(self);
    } else {
        ok = false;
    }
    for (int i = 0; i < 2; i++) {
        PyMem_Free(made[i]);
        PyMem_Free(near[i]);
        ep_array_drop(arrays[i]);
    }
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(restore_doc,
             "restore(step, generation, waste=0.0)\n--\n\n"
             "Set the counters of updates and generations, and the work done for extinct "
             "populations since the last removal, in steps.");
static PyObject *restore(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"step", "generation", "waste", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *objects[2];
    int64_t step, generation;
    double waste = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O&:restore", names, &objects[0], &objects[1],
                                     ep_convert_real, &waste) ||
        !ep_whole(objects[0], "restore: step", 0, EP_COUNT_MOST, &step) ||
        !ep_whole(objects[1], "restore: generation", 0, EP_COUNT_MOST, &generation)) {
        return NULL;
    }
    if (!(waste >= 0 && waste < 1e300)) {
        PyErr_SetString(PyExc_ValueError, "restore: waste: expected a finite number of at least 0");
        return NULL;
    }
    if (!ep_network_enter(self)) {
        return NULL;
    }
    self->net->step = step;
    self->net->generation = generation;
    self->net->waste = waste;
    ep_network_leave(self);
    return Py_NewRef(Py_None);
}

PyMethodDef ep_network_regime_methods[] = {
    EP_METHOD(configure, configure_doc),
    EP_METHOD(scale_input, scale_input_doc),
    EP_METHOD(restore, restore_doc),
    EP_METHODS_END,
};
