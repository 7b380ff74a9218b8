/* network_array: every tensor and activation of a network as a zero-copy NumPy array, and a
 * description of the network in Python objects. A view holds a reference to its memory slab, so it
 * stays valid after a removal, with the old values. */
#include "python/network.h"

#include "alias.h"

#include <string.h>

static void drop_slab(PyObject *capsule) {
    ep_slab_drop(PyCapsule_GetPointer(capsule, "evoprune.slab"));
}

static PyObject *view(ep_slab *slab, int64_t at, int rank, const npy_intp *shape) {
    PyObject *array = PyArray_SimpleNewFromData(rank, (npy_intp *)shape, EP_NPY_REAL,
                                                slab->at + at);
    if (!array) {
        return NULL;
    }
    PyObject *owner = PyCapsule_New(ep_slab_keep(slab), "evoprune.slab", drop_slab);
    if (!owner) {
        ep_slab_drop(slab);
        Py_DECREF(array);
        return NULL;
    }
    if (PyArray_SetBaseObject((PyArrayObject *)array, owner) < 0) {
        Py_CLEAR(array);
    }
    return array;
}

PyDoc_STRVAR(array_doc, "array(name, of='value')\n--\n\n"
                        "Return a tensor as a zero-copy view at its current sizes. of: 'value', "
                        "'gradient', 'first' or 'second' (moments). KeyError for an unknown name.");
static PyObject *array(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "of", NULL};
    static const char *const kinds[] = {"value", "gradient", "first", "second"};
    ep_network *self = (ep_network *)object;
    const char *name, *of = "value";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|s:array", names, &name, &of)) {
        return NULL;
    }
    if (!ep_network_enter(self)) {
        return NULL;
    }
    ep_slab *slabs[] = {self->net->numbers, self->net->gradients, self->net->first,
                        self->net->second};
    int which = -1, tensor = ep_net_tensor(self->net, name);
    for (int i = 0; i < EP_COUNT(kinds); i++) {
        which = strcmp(of, kinds[i]) == 0 ? i : which;
    }
    PyObject *result = NULL;
    if (tensor < 0) {
        PyErr_Format(PyExc_KeyError, "%s", name);
    } else if (which < 0) {
        PyErr_Format(PyExc_ValueError, "of: expected value, gradient, first or second, got '%s'",
                     of);
    } else {
        const ep_tensor *t = &self->net->tensors[tensor];
        npy_intp shape[EP_RANK];
        for (int d = 0; d < t->rank; d++) {
            shape[d] = self->net->axes[t->axis[d]].n;
        }
        result = view(slabs[which], t->at, t->rank, shape);
    }
    ep_network_leave(self);
    return result;
}

PyDoc_STRVAR(activation_doc,
             "activation(name, of='value')\n--\n\n"
             "Return a layer's output ('input': the input) for the last training batch, (rows, "
             "axes ...), zero-copy; with of='gradient' the gradient of the loss with respect "
             "to it.");
static PyObject *activation(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "of", NULL};
    ep_network *self = (ep_network *)object;
    const char *name, *of = "value";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|s:activation", names, &name, &of) ||
        !ep_network_enter(self)) {
        return NULL;
    }
    const ep_net *net = self->net;
    bool gradient = strcmp(of, "gradient") == 0;
    int found = -1;
    for (int i = 0; i < net->n_values; i++) {
        found = strcmp(net->values[i].name, name) == 0 ? i : found;
    }
    PyObject *result = NULL;
    if (found < 0) {
        PyErr_Format(PyExc_KeyError, "%s", name);
    } else if (!gradient && strcmp(of, "value") != 0) {
        PyErr_Format(PyExc_ValueError, "of: expected value or gradient, got '%s'", of);
    } else if (!net->x || (net->room > 0 && net->rows == 0)) {
        PyErr_SetString(PyExc_RuntimeError,
                        net->x ? "network: no batch has been run through it since its last births"
                               : "network: no batch has been run through it yet");
    } else if (gradient && net->aliased && ep_alias_shared(net, found)) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s: its gradient was not kept because the run ended early; forward and "
                     "backward compute it",
                     name);
    } else {
        const ep_value *value = &net->values[found];
        npy_intp shape[EP_RANK + 1] = {net->rows};
        for (int d = 0; d < value->rank; d++) {
            shape[d + 1] = net->axes[value->axis[d]].n;
        }
        result = view(gradient ? net->dx : net->x, value->at * net->capacity, value->rank + 1,
                      shape);
    }
    ep_network_leave(self);
    return result;
}

/* ---- describe -------------------------------------------------------------------------------- */

static bool append(PyObject *list, PyObject *item) {
    bool ok = item && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return ok;
}

/* Return the birth ids of an axis: an array, or a range if its populations cannot become extinct,
 * since such an axis may be very long (the rows of an image). */
static PyObject *births_of(const ep_axis *axis) {
    if (!axis->birth) {
        return PyObject_CallFunction((PyObject *)&PyRange_Type, "L", (long long)axis->n);
    }
    PyArrayObject *ids = ep_array_vector(axis->n, NPY_INT32);
    for (int64_t j = 0; ids && j < axis->n; j++) {
        ((int32_t *)PyArray_DATA(ids))[j] = (int32_t)ep_birth(axis, j);
    }
    return (PyObject *)ids;
}

static int64_t alive_on(const ep_net *net, int axis) {
    for (int i = 0; i < net->n_populations; i++) {
        if (net->populations[i].axis == axis) {
            return ep_alive(net, &net->populations[i]);
        }
    }
    return net->axes[axis].n;
}

static PyObject *axis_names(const ep_net *net, int rank, const int *axis) {
    PyObject *list = PyList_New(0);
    for (int d = 0; list && d < rank; d++) {
        if (!append(list, PyUnicode_FromString(net->axes[axis[d]].name))) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *describe_axes(const ep_net *net) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < net->n_axes; i++) {
        const ep_axis *axis = &net->axes[i];
        if (!append(list, Py_BuildValue("{s:s,s:L,s:L,s:L,s:L,s:N,s:N}", "name", axis->name, "n",
                                        (long long)axis->n, "alive", (long long)alive_on(net, i),
                                        "born", (long long)axis->founded, "next_birth",
                                        (long long)axis->next_birth, "mortal",
                                        PyBool_FromLong(axis->mortal), "birth", births_of(axis)))) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* True if the layer's masses are on an axis of the output. Selection does not change these. */
static bool is_fixed(const ep_net *net, const ep_layer *layer) {
    const ep_tensor *mass = layer->n_tensors ? &net->tensors[layer->tensor[0]] : NULL;
    return mass && mass->role == EP_EVOLVED && !net->axes[mass->axis[0]].mortal;
}

/* Describe the layers. `axes`: the axes with their current numbers of living populations;
 * `founding`: the axes with their founded numbers of populations. */
static PyObject *describe_layers(const ep_net *net, const ep_axis *axes, const ep_axis *founding) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        const ep_value *out = &net->values[layer->out];
        PyObject *tensors = PyList_New(0), *inputs = PyList_New(0);
        int64_t parameters = 0;
        bool ok = tensors && inputs;
        for (int j = 0; ok && j < layer->n_tensors; j++) {
            const ep_tensor *t = &net->tensors[layer->tensor[j]];
            parameters += t->role <= EP_EVOLVED ? ep_axes_size(axes, t->rank, t->axis) : 0;
            ok = append(tensors, PyUnicode_FromString(net->tensors[layer->tensor[j]].name));
        }
        for (int j = 0; ok && j < layer->n_inputs; j++) {
            ok = append(inputs, PyUnicode_FromString(net->values[layer->input[j]].name));
        }
        ok = ok &&
             append(list,
                    Py_BuildValue("{s:s,s:s,s:O,s:i,s:N,s:d,s:d,s:L,s:O,s:N}", "name", layer->name,
                                  "kind", layer->kind->name, "inputs", inputs, "reads",
                                  layer->reads, "output", axis_names(net, out->rank, out->axis),
                                  "macs", ep_layer_macs(layer, axes, net->values), "founding_macs",
                                  ep_layer_macs(layer, founding, net->values), "parameters",
                                  (long long)parameters, "tensors", tensors, "fixed",
                                  PyBool_FromLong(is_fixed(net, layer))));
        Py_XDECREF(tensors);
        Py_XDECREF(inputs);
        if (!ok) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *describe_populations(const ep_net *net, const ep_census *census) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        if (!append(list, Py_BuildValue("{s:s,s:s,s:L,s:L,s:L,s:d}", "layer",
                                        net->layers[p->layer].name, "axis", net->axes[p->axis].name,
                                        "born", (long long)net->axes[p->axis].founded, "next_birth",
                                        (long long)net->axes[p->axis].next_birth, "alive",
                                        (long long)ep_alive(net, p), "cost", census->cost[i]))) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *describe_tensors(const ep_net *net) {
    static const char *const roles[] = {"decayed", "free", "evolved", "tracked"};
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < net->n_tensors; i++) {
        const ep_tensor *t = &net->tensors[i];
        if (!append(list, Py_BuildValue("{s:s,s:s,s:N}", "name", t->name, "role", roles[t->role],
                                        "axes", axis_names(net, t->rank, t->axis)))) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyDoc_STRVAR(describe_doc,
             "describe()\n--\n\n"
             "Return axes, layers, populations and tensors as they are now. The birth ids of "
             "an axis are an array, or range(n) if its populations cannot become extinct.");
static PyObject *describe(PyObject *object, PyObject *ignored) {
    (void)ignored;
    ep_network *self = (ep_network *)object;
    if (!ep_network_enter(self)) {
        return NULL;
    }
    const ep_net *net = self->net;
    ep_census census, founding = {0};
    if (!ep_census_open(&census, net) || !ep_census_open(&founding, net)) {
        ep_census_close(&census);
        ep_network_leave(self);
        return PyErr_NoMemory();
    }
    ep_census_take(&census, net, EP_UPKEEP_MACS);
    for (int i = 0; i < net->n_axes; i++) {
        founding.axes[i].n = founding.axes[i].founded;
    }
    PyObject *parts[] = {describe_axes(net), describe_layers(net, census.axes, founding.axes),
                         describe_populations(net, &census), describe_tensors(net)};
    ep_census_close(&census);
    ep_census_close(&founding);
    PyObject *result = NULL;
    if (parts[0] && parts[1] && parts[2] && parts[3]) {
        result = Py_BuildValue("{s:O,s:O,s:O,s:O}", "axes", parts[0], "layers", parts[1],
                               "populations", parts[2], "tensors", parts[3]);
    }
    for (int i = 0; i < EP_COUNT(parts); i++) {
        Py_XDECREF(parts[i]);
    }
    ep_network_leave(self);
    return result;
}

PyMethodDef ep_network_array_methods[] = {
    EP_METHOD(array, array_doc),
    EP_METHOD(activation, activation_doc),
    {"describe", describe, METH_NOARGS, describe_doc},
    EP_METHODS_END,
};
