/* network_step: the phases of a training step as separate calls, on the calling thread. */
#include "python/network.h"

#include "compact.h"
#include "step.h"
#include "walk.h"

#include <string.h>

static PyObject *finished(ep_network *self, bool ok, const ep_error *error) {
    ep_network_refresh(self);
    ep_network_leave(self);
    return ok ? Py_NewRef(Py_None) : ep_raise(error, self->state);
}

PyDoc_STRVAR(forward_doc,
             "forward(x, training=False)\n--\n\n"
             "Run x through the network as one batch and return a copy of the outputs.");
static PyObject *forward(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"x", "training", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *x, *keep = NULL, *result = NULL;
    int training = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:forward", names, &x, &training) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_table table;
    ep_error error = {EP_OK, ""};
    ep_net *net = self->net;
    if (ep_table_of_inputs(self, x, &table, &keep) && ep_check_ids(self, &table)) {
        if (!ep_net_reserve(net, table.rows, &error) || !ep_net_reserve_workers(net, 1, &error)) {
            ep_raise(&error, NULL);
        } else {
            net->rows = table.rows;
            ep_intake intake = ep_network_intake(self);
            ep_gather_inputs(&table, &intake, NULL, 0, table.rows, 0,
                             net->x->at + net->values[0].at * net->capacity);
            ep_step_forward(net, training != 0);
            const ep_value *out = ep_net_output(net);
            npy_intp shape[EP_RANK + 1] = {net->rows};
            for (int d = 0; d < out->rank; d++) {
                shape[d + 1] = net->axes[out->axis[d]].n;
            }
            result = PyArray_SimpleNew(out->rank + 1, shape, EP_NPY_REAL);
            if (result) {
                memcpy(PyArray_DATA((PyArrayObject *)result), net->x->at + out->at * net->capacity,
                       (size_t)(net->rows * out->width) * sizeof(ep_real));
            }
        }
    }
    Py_XDECREF(keep);
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(backward_doc,
             "backward(y, weights=None)\n--\n\n"
             "Return the loss of the last forward pass against y, and propagate its gradient "
             "back through all layers.");
static PyObject *backward(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"y", "weights", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *y, *weights = NULL, *keep = NULL, *keep_weights = NULL, *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:backward", names, &y, &weights) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_table table, w;
    double hits = 0;
    if (!self->net->x) {
        PyErr_SetString(PyExc_RuntimeError, "network: no batch has been run through it yet");
    } else if (ep_table_of_targets(self, y, self->net->rows, &table, &keep) &&
               ep_check_targets(self, &table) &&
               ep_table_of_weights(self, weights, self->net->rows, &w, &keep_weights)) {
        double mean = ep_step_backward(self->net, &self->regime, &table, &w, &hits);
        result = PyErr_Occurred() ? NULL : PyFloat_FromDouble(mean);
    }
    Py_XDECREF(keep);
    Py_XDECREF(keep_weights);
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(gradient_doc,
             "gradient()\n--\n\n"
             "Compute the gradients of parameters and masses after the last backward pass.");
static PyObject *gradient(PyObject *object, PyObject *ignored) {
    (void)ignored;
    ep_network *self = (ep_network *)object;
    if (!ep_network_enter(self)) {
        return NULL;
    }
    if (self->net->x) {
        ep_step_gradient(self->net);
    }
    ep_network_leave(self);
    return Py_NewRef(Py_None);
}

/* Check a rate, pressure or strength, as train() does. */
static bool level(const char *name, double x) {
    if (!(x >= 0 && x <= EP_LEVEL_MOST)) {
        PyErr_Format(PyExc_ValueError, "%s: expected a number from 0 to 1e30", name);
        return false;
    }
    return true;
}

PyDoc_STRVAR(update_doc, "update(rate)\n--\n\n"
                         "Take one step of the optimizer with the current gradients.");
static PyObject *update(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rate", NULL};
    ep_network *self = (ep_network *)object;
    double rate;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:update", names, ep_convert_real, &rate) ||
        !level("rate", rate) || !ep_network_enter(self)) {
        return NULL;
    }
    bool ready = self->regime.optimizer != NULL;
    if (ready) {
        ep_step_update(self->net, &self->regime, rate);
    } else {
        PyErr_SetString(PyExc_RuntimeError, "network: no optimizer is configured yet");
    }
    ep_network_leave(self);
    return ready ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(evolve_doc,
             "evolve(pressure, strength=1.0)\n--\n\n"
             "Run one generation on the current gradients and return the deaths. Extinct "
             "populations are only marked, unless populations are born: then all arrays are "
             "new, without extinct populations.");
static PyObject *evolve(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pressure", "strength", NULL};
    ep_network *self = (ep_network *)object;
    double pressure, strength = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O&:evolve", names, ep_convert_real,
                                     &pressure, ep_convert_real, &strength) ||
        !level("pressure", pressure) || !level("strength", strength) || !ep_network_enter(self)) {
        return NULL;
    }
    ep_net *net = self->net;
    PyObject *result = NULL;
    ep_error error = {EP_OK, ""};
    if (!self->regime.evolution) {
        PyErr_SetString(PyExc_RuntimeError, "network: no selection is configured yet");
    } else if (!ep_net_reserve_workers(net, 1, &error)) {
        ep_raise(&error, NULL);
    } else {
        ep_chronicle chronicle;
        bool open = ep_chronicle_open(&chronicle, net);
        ep_pass pass = ep_net_training_pass(net, 0, 1);
        if (!open) {
            PyErr_NoMemory();
        } else if (!ep_evolve(net, self->regime.evolution, pressure, strength, pass.scratch,
                              &chronicle, &error)) {
            ep_raise(&error, self->state);
        } else {
            result = ep_deaths_array(chronicle.deaths, chronicle.n_deaths);
        }
        ep_chronicle_close(&chronicle);
        ep_network_refresh(self);
    }
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(compact_doc,
             "compact()\n--\n\n"
             "Remove populations marked extinct from every array; return True if there were "
             "any.");
static PyObject *compact(PyObject *object, PyObject *ignored) {
    (void)ignored;
    ep_network *self = (ep_network *)object;
    ep_error error = {EP_OK, ""};
    if (!ep_network_enter(self)) {
        return NULL;
    }
    int64_t before = ep_net_parameters(self->net);
    PyObject *done = finished(self, ep_compact_extinct(self->net, &error), &error);
    Py_XDECREF(done);
    return done ? PyBool_FromLong(before != ep_net_parameters(self->net)) : NULL;
}

/* True if tensor t is a mass on an axis of the output; these are not in net->populations. */
static bool is_output_mass(const ep_net *net, const ep_tensor *t) {
    return t->role == EP_EVOLVED && !net->axes[t->axis[0]].mortal;
}

/* Return the populations of the named layer, or NULL with an exception. */
static const ep_population *populations_of(const ep_net *net, const char *layer) {
    for (int i = 0; i < net->n_populations; i++) {
        if (strcmp(net->layers[net->populations[i].layer].name, layer) == 0) {
            return &net->populations[i];
        }
    }
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *other = &net->layers[i];
        if (strcmp(other->name, layer) == 0 && other->n_tensors > 0 &&
            is_output_mass(net, &net->tensors[other->tensor[0]])) {
            PyErr_Format(PyExc_ValueError,
                         "%s: its populations are the network's outputs, which cannot become "
                         "extinct; put a layer without masses after it",
                         layer);
            return NULL;
        }
    }
    PyErr_Format(PyExc_KeyError, "%s", layer);
    return NULL;
}

static int64_t place_of(const ep_axis *axis, int64_t birth) {
    int64_t low = 0, high = axis->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (ep_birth(axis, middle) < birth) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < axis->n && ep_birth(axis, low) == birth ? low : -1;
}

PyDoc_STRVAR(kill_doc,
             "kill(layer, births)\n--\n\n"
             "Mark the populations with these birth ids extinct: mass 0, weights 0. compact() "
             "removes them.");
static PyObject *kill(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"layer", "births", NULL};
    ep_network *self = (ep_network *)object;
    const char *layer;
    PyObject *births;
    npy_intp any = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO:kill", names, &layer, &births)) {
        return NULL;
    }
    PyArrayObject *ids = ep_array_in(births, "births", NPY_INT64, 1, &any);
    if (!ids || !ep_network_enter(self)) {
        ep_array_drop(ids);
        return NULL;
    }
    const ep_population *p = populations_of(self->net, layer);
    const int64_t *id = PyArray_DATA(ids);
    bool ok = p != NULL;
    /* check all ids in the first pass, act in the second */
    for (int pass = 0; ok && pass < 2; pass++) {
        for (npy_intp i = 0; ok && i < PyArray_DIM(ids, 0); i++) {
            int64_t j = place_of(&self->net->axes[p->axis], id[i]);
            if (j < 0) {
                PyErr_Format(PyExc_ValueError, "births: no population of %s has birth id %lld",
                             layer, (long long)id[i]);
                ok = false;
            } else if (pass) {
                ep_kill(self->net, p, j);
            }
        }
    }
    ep_array_drop(ids);
    ep_network_leave(self);
    return ok ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(shrink_doc,
             "shrink(axes)\n--\n\n"
             "Keep only the populations with these birth ids on each named axis, and the "
             "living ones on every other axis.");

/* Return the index of the named axis, or -1 with an exception if it is not under selection. */
static int mortal_axis(const ep_net *net, PyObject *name) {
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    for (int i = 0; text && i < net->n_axes; i++) {
        if (net->axes[i].mortal && strcmp(net->axes[i].name, text) == 0) {
            return i;
        }
    }
    if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "axes: %R is no axis whose populations can become extinct",
                     name);
    }
    return -1;
}

/* Clear stays[j] for every entry j of an axis whose birth id is not in `ids`. */
static bool keep_listed(const ep_axis *axis, PyObject *ids, bool *stays) {
    npy_intp any = -1;
    PyArrayObject *array = ep_array_in(ids, "axes", NPY_INT64, 1, &any);
    bool *listed = array ? PyMem_Calloc((size_t)axis->n + 1, sizeof *listed) : NULL;
    bool ok = listed != NULL;
    if (array && !ok) {
        PyErr_NoMemory();
    }
    for (npy_intp i = 0; ok && i < PyArray_DIM(array, 0); i++) {
        int64_t id = ((const int64_t *)PyArray_DATA(array))[i], j = place_of(axis, id);
        if (j < 0) {
            PyErr_Format(PyExc_ValueError, "axes: %s has no birth id %lld", axis->name,
                         (long long)id);
            ok = false;
        } else {
            listed[j] = true;
        }
    }
    for (int64_t j = 0; ok && j < axis->n; j++) {
        stays[j] = stays[j] && listed[j];
    }
    PyMem_Free(listed);
    ep_array_drop(array);
    return ok;
}

/* Which populations stay. For an axis i whose populations can go extinct (ep_axis.mortal),
 * stays[first[i] + j] is true if its entry j stays. Other axes have no entries. */
typedef struct {
    int64_t *first;
    bool *stays;
} census;

static census census_of(const ep_net *net) {
    census c = {PyMem_Calloc((size_t)net->n_axes + 1, sizeof *c.first), NULL};
    for (int i = 0; c.first && i < net->n_axes; i++) {
        c.first[i + 1] = c.first[i] + (net->axes[i].mortal ? net->axes[i].n : 0);
    }
    c.stays = c.first ? PyMem_Calloc((size_t)c.first[net->n_axes] + 1, sizeof *c.stays) : NULL;
    if (!c.stays) {
        PyErr_NoMemory();
        return c;
    }
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_real *alive = ep_net_numbers(net, p->alive);
        for (int64_t j = 0; j < net->axes[p->axis].n; j++) {
            c.stays[c.first[p->axis] + j] = alive[j] > 0;
        }
    }
    return c;
}

/* `alive` of a living population that is about to be removed; not > 0, so it counts as extinct */
static const ep_real LEAVING = -1;

/* Change `alive` from `from` to `to` for every population that does not stay. */
static void mark(ep_net *net, const census *c, ep_real from, ep_real to) {
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        ep_real *alive = ep_net_numbers(net, p->alive);
        for (int64_t j = 0; j < net->axes[p->axis].n; j++) {
            bool leaves = alive[j] == from && !c->stays[c->first[p->axis] + j];
            alive[j] = leaves ? to : alive[j];
        }
    }
}

static PyObject *shrink(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"axes", NULL};
    ep_network *self = (ep_network *)object;
    PyObject *dict, *key, *value;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:shrink", names, &PyDict_Type, &dict) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    ep_net *net = self->net;
    /* a private copy, which the user's code cannot change */
    PyObject *items = PyDict_Copy(dict);
    census c = {NULL, NULL};
    bool ok = items != NULL && (c = census_of(net)).stays != NULL;
    for (Py_ssize_t at = 0; ok && PyDict_Next(items, &at, &key, &value);) {
        int i = mortal_axis(net, key);
        ok = i >= 0 && keep_listed(&net->axes[i], value, c.stays + c.first[i]);
    }
    ep_error error = {EP_OK, ""};
    if (ok) {
        mark(net, &c, 1, LEAVING);
        ok = ep_compact_extinct(net, &error);
        if (!ok) {
            mark(net, &c, LEAVING, 1);
        }
    }
    Py_XDECREF(items);
    PyMem_Free(c.first);
    PyMem_Free(c.stays);
    if (!ok && error.code == EP_OK) { /* nothing has changed */
        ep_network_leave(self);
        return NULL;
    }
    return finished(self, ok, &error);
}

PyMethodDef ep_network_step_methods[] = {
    EP_METHOD(forward, forward_doc),
    EP_METHOD(backward, backward_doc),
    {"gradient", gradient, METH_NOARGS, gradient_doc},
    EP_METHOD(update, update_doc),
    EP_METHOD(evolve, evolve_doc),
    {"compact", compact, METH_NOARGS, compact_doc},
    EP_METHOD(kill, kill_doc),
    EP_METHOD(shrink, shrink_doc),
    EP_METHODS_END,
};
