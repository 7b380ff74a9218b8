/* network_regime: how a network is trained from now on (losses, optimizers, selection), how its input
 * is scaled, and its counters. All or nothing: on an error what was set before stays. */
#include "python/network.h"

#include "catalogue.h"

#include <math.h>
#include <string.h>

PyDoc_STRVAR(
    configure_doc,
    "configure(*, loss='cross_entropy', loss_config=None, optimizer='adamw', "
    "optimizer_config=None, clip=0.0, selection=None)\n--\n\n"
    "How the network is trained from now on. selection: None, or a dict of settings with fitness and "
    "dynamics (names or callables of one dict) and their configs. All or nothing: on an error the "
    "former settings stay.");

typedef struct {
    ep_settings loss, optimizer, fitness, dynamics, selection;
    PyObject *fitness_call, *dynamics_call;
    ep_evolution *evolution;
} draft;

static void discard(draft *d) {
    ep_settings_close(&d->loss);
    ep_settings_close(&d->optimizer);
    ep_settings_close(&d->fitness);
    ep_settings_close(&d->dynamics);
    ep_settings_close(&d->selection);
    Py_CLEAR(d->fitness_call);
    Py_CLEAR(d->dynamics_call);
    ep_evolution_free(d->evolution);
}

/* Takes `key` out of the dict: a new reference, or NULL if there is none. False with an exception. */
static bool take(PyObject *dict, const char *key, PyObject **value) {
    return ep_item(dict, key, value) && (!*value || PyDict_DelItemString(dict, key) == 0);
}

/* The name of a law, or the callable into *call and `fallback`. */
static const char *law_name(PyObject *value, const char *what, const char *fallback,
                            PyObject **call) {
    if (!value) {
        return fallback;
    }
    if (PyUnicode_Check(value)) {
        return PyUnicode_AsUTF8AndSize(value, NULL);
    }
    if (!PyCallable_Check(value)) {
        ep_raise_got(PyExc_TypeError, value, "selection: %s must be a name or a function", what);
        return NULL;
    }
    *call = Py_NewRef(value);
    return strcmp(what, "fitness") == 0 ? "marginal" : "none";
}

static bool draft_selection(ep_network *self, draft *d, PyObject *given) {
    if (!PyDict_Check(given)) {
        ep_raise_got(PyExc_TypeError, given, "selection must be a dict or None");
        return false;
    }
    PyObject *dict = PyDict_Copy(given);
    if (!dict) {
        return false;
    }
    PyObject *fitness = NULL, *fitness_config = NULL, *dynamics = NULL, *dynamics_config = NULL;
    bool taken = take(dict, "fitness", &fitness) && take(dict, "dynamics", &dynamics) &&
                 take(dict, "fitness_config", &fitness_config) &&
                 take(dict, "dynamics_config", &dynamics_config);
    const char *fitness_name = taken ? law_name(fitness, "fitness", "marginal", &d->fitness_call)
                                     : NULL;
    const char *dynamics_name = fitness_name ? law_name(dynamics, "dynamics", "malthusian",
                                                        &d->dynamics_call)
                                             : NULL;
    const ep_fitness *f = dynamics_name ? ep_found(ep_catalogue_fitness(fitness_name), "fitness",
                                                   fitness_name)
                                        : NULL;
    const ep_dynamics *m = f ? ep_found(ep_catalogue_dynamics(dynamics_name), "dynamics",
                                        dynamics_name)
                             : NULL;
    ep_error error = {EP_OK, ""};
    bool ok = m &&
              ep_settings_open(&d->fitness, f->fields, f->config_size,
                               d->fitness_call ? NULL : fitness_config, fitness_name) &&
              ep_settings_open(&d->dynamics, m->fields, m->config_size,
                               d->dynamics_call ? NULL : dynamics_config, dynamics_name) &&
              ep_settings_open(&d->selection, ep_selection_fields, sizeof(ep_selection), dict,
                               "selection");
    if (ok) {
        d->evolution = ep_evolution_new(self->net, d->selection.at, f, d->fitness.at, m,
                                        d->dynamics.at, &error);
        if (!d->evolution) {
            ep_raise(&error, NULL);
            ok = false;
        } else {
            ep_evolution_call(d->evolution, d->fitness_call ? ep_call_fitness : NULL,
                              d->dynamics_call ? ep_call_dynamics : NULL, self);
        }
    }
    Py_XDECREF(fitness);
    Py_XDECREF(fitness_config);
    Py_XDECREF(dynamics);
    Py_XDECREF(dynamics_config);
    Py_DECREF(dict);
    return ok;
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
    const char *loss_name = "cross_entropy", *optimizer_name = "adamw";
    PyObject *loss_config = NULL, *optimizer_config = NULL, *selection = NULL;
    double clip = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$sOsOO&O:configure", names, &loss_name,
                                     &loss_config, &optimizer_name, &optimizer_config,
                                     ep_convert_real, &clip, &selection)) {
        return NULL;
    }
    if (!(clip >= 0 && clip < 1e300)) {
        PyErr_SetString(PyExc_ValueError,
                        "clip: expected a finite number of at least 0 (0: no limit)");
        return NULL;
    }
    const ep_loss *loss = ep_found(ep_catalogue_loss(loss_name), "loss", loss_name);
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
    if (ok && loss->check && !loss->check(d.loss.at, outputs, &error)) {
        ep_raise(&error, NULL);
        ok = false;
    }
    ok = ok && (!selection || selection == Py_None || draft_selection(self, &d, selection));
    if (ok) { /* the new in, the old out with the draft */
        ep_regime *r = &self->regime;
        const ep_field *old_loss = r->loss ? r->loss->fields : NULL;
        const ep_field *old_optimizer = r->optimizer ? r->optimizer->fields : NULL;
        swap_pointer(&r->loss_config, &d.loss.at);
        swap_pointer(&r->optimizer_config, &d.optimizer.at);
        swap_pointer(&r->evolution, &d.evolution);
        swap_pointer(&self->fitness_call, &d.fitness_call);
        swap_pointer(&self->dynamics_call, &d.dynamics_call);
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

PyDoc_STRVAR(
    scale_input_doc,
    "scale_input(shift, scale)\n--\n\n"
    "Inputs become (x - shift) * scale from now on: numbers, or vectors of the founding width.");
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
        PyObject *flat = PyArray_FROMANY(objects[i], NPY_FLOAT64, 0, 1,
                                         NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
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
    double *made[2] = {NULL, NULL};
    ep_real *near[2] = {NULL, NULL};
    bool exact = true;
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
             "restore(step, generation)\n--\n\nSets the counters of updates and generations.");
static PyObject *restore(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"step", "generation", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *objects[2];
    int64_t step, generation;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:restore", names, &objects[0], &objects[1]) ||
        !ep_whole(objects[0], "restore: step", 0, EP_COUNT_MOST, &step) ||
        !ep_whole(objects[1], "restore: generation", 0, EP_COUNT_MOST, &generation) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    self->net->step = step;
    self->net->generation = generation;
    ep_network_leave(self);
    return Py_NewRef(Py_None);
}

PyMethodDef ep_network_build_methods[] = {
    EP_METHOD(configure, configure_doc),
    EP_METHOD(scale_input, scale_input_doc),
    EP_METHOD(restore, restore_doc),
    EP_METHODS_END,
};
