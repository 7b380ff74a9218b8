/* network_properties: the properties of a network that are not arrays: its spec, scaling, record
 * and counts. */
#include "python/network.h"

#include <string.h>

static const char *value_name(const ep_net *net, int value) { return net->values[value].name; }

/* Return the spec as stored: every default filled in, every input named. */
static PyObject *spec_of(const ep_net *net) {
    PyObject *layers = PyList_New(0), *sizes = PyList_New(0);
    const ep_value *in = &net->values[0];
    for (int d = 0; sizes && d < in->rank; d++) {
        PyObject *size = PyLong_FromLongLong(net->axes[in->axis[d]].founded);
        if (!size || PyList_Append(sizes, size) < 0) {
            Py_CLEAR(sizes);
        }
        Py_XDECREF(size);
    }
    for (int i = 0; layers && i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        PyObject *names = PyList_New(0), *row = NULL;
        for (int j = 0; names && j < layer->n_inputs; j++) {
            PyObject *name = PyUnicode_FromString(value_name(net, layer->input[j]));
            if (!name || PyList_Append(names, name) < 0) {
                Py_CLEAR(names);
            }
            Py_XDECREF(name);
        }
        PyObject *config = ep_config_as_dict(layer->kind->fields, layer->config);
        if (names && config) {
            row = Py_BuildValue("{s:s,s:s,s:O,s:O}", "kind", layer->kind->name, "name", layer->name,
                                "inputs", names, "config", config);
        }
        if (!row || PyList_Append(layers, row) < 0) {
            Py_CLEAR(layers);
        }
        Py_XDECREF(row);
        Py_XDECREF(names);
        Py_XDECREF(config);
    }
    PyObject *spec = NULL;
    if (layers && sizes) {
        spec = Py_BuildValue("{s:K,s:O,s:O}", "seed", (unsigned long long)net->seed, "input", sizes,
                             "layers", layers);
    }
    Py_XDECREF(layers);
    Py_XDECREF(sizes);
    return spec;
}

/* Returns a new dict every time, so that a caller may change it. */
static PyObject *get_spec(PyObject *object, void *closure) {
    (void)closure;
    ep_network *self = (ep_network *)object;
    bool entered;
    if (!ep_network_look(self, &entered)) {
        return NULL;
    }
    PyObject *spec = spec_of(self->net);
    if (entered) {
        ep_network_leave(self);
    }
    return spec;
}

static PyObject *scaling(const double *from, int64_t n) {
    if (n == 1) {
        return PyFloat_FromDouble(from[0]);
    }
    PyArrayObject *array = ep_array_vector(n, NPY_FLOAT64);
    if (array) {
        memcpy(PyArray_DATA(array), from, (size_t)n * sizeof *from);
    }
    return (PyObject *)array;
}

static PyObject *get_input_scaling(PyObject *object, void *closure) {
    (void)closure;
    ep_network *self = (ep_network *)object;
    bool entered;
    if (!ep_network_look(self, &entered)) {
        return NULL;
    }
    PyObject *shift = scaling(self->shift, self->n_scaling);
    PyObject *scale = shift ? scaling(self->scale, self->n_scaling) : NULL;
    PyObject *pair = scale ? Py_BuildValue("(OO)", shift, scale) : NULL;
    if (entered) {
        ep_network_leave(self);
    }
    Py_XDECREF(shift);
    Py_XDECREF(scale);
    return pair;
}

static PyObject *get_record(PyObject *object, void *closure) {
    (void)closure;
    PyObject *record = ((ep_network *)object)->record;
    return Py_NewRef(record ? record : Py_None);
}

/* Return multiply-adds or parameters of living populations. Extinct ones cost nothing. */
static PyObject *get_cost(const ep_net *net, bool macs) {
    ep_census census;
    if (!ep_census_open(&census, net)) {
        return PyErr_NoMemory();
    }
    ep_census_take(&census, net, EP_UPKEEP_GIVEN);
    PyObject *cost = macs ? PyFloat_FromDouble(census.macs) : PyLong_FromDouble(census.parameters);
    ep_census_close(&census);
    return cost;
}

enum {
    STEP,
    GENERATION,
    MACS,
    FOUNDING_MACS,
    PARAMETERS,
    FOUNDING_PARAMETERS,
    NBYTES,
    ROWS,
    LEAST_ROWS,
    WASTE
};

static PyObject *number_of(const ep_net *net, int which) {
    switch (which) {
    case STEP: return PyLong_FromLongLong(net->step);
    case GENERATION: return PyLong_FromLongLong(net->generation);
    case MACS: return get_cost(net, true);
    case FOUNDING_MACS: return PyFloat_FromDouble(net->founding_macs);
    case PARAMETERS: return get_cost(net, false);
    case FOUNDING_PARAMETERS: return PyLong_FromLongLong(net->founding_parameters);
    case ROWS: return PyLong_FromLongLong(net->rows);
    case WASTE: return PyFloat_FromDouble(net->waste);
    case LEAST_ROWS: return PyLong_FromLongLong(ep_net_least_rows(net));
    default: return PyLong_FromLongLong(ep_net_allocated(net) * (int64_t)sizeof(ep_real));
    }
}

static PyObject *get_number(PyObject *object, void *closure) {
    ep_network *self = (ep_network *)object;
    bool entered;
    if (!ep_network_look(self, &entered)) {
        return NULL;
    }
    PyObject *number = number_of(self->net, (int)(intptr_t)closure);
    if (entered) {
        ep_network_leave(self);
    }
    return number;
}

#define NUMBER(name, which, doc) {name, get_number, NULL, doc, (void *)(intptr_t)(which)}
PyGetSetDef ep_network_properties[] = {
    {"spec", get_spec, NULL, "The network's spec at the start, with all defaults: a dict.", NULL},
    {"input_scaling", get_input_scaling, NULL, "The (shift, scale) that scale_input has set.",
     NULL},
    {"record", get_record, NULL,
     "Record of the last call of train, even if it failed: its first `steps` rows are valid.",
     NULL},
    NUMBER("step", STEP, "Updates so far."),
    NUMBER("generation", GENERATION, "Generations so far."),
    NUMBER("macs", MACS, "Multiply-adds of one sample's forward pass, of living populations."),
    NUMBER("founding_macs", FOUNDING_MACS, "Multiply-adds (macs) with the sizes at the start."),
    NUMBER("parameters", PARAMETERS, "Weights, biases and masses of living populations."),
    NUMBER("founding_parameters", FOUNDING_PARAMETERS, "Parameters with the sizes at the start."),
    NUMBER("waste", WASTE,
           "Work done for extinct populations since the last removal, in steps; see restore."),
    NUMBER("nbytes", NBYTES,
           "Bytes of all slabs: values, gradients, moments, activations, workspace."),
    NUMBER("rows", ROWS, "Samples of the last training batch."),
    NUMBER("least_rows", LEAST_ROWS,
           "Minimum number of samples in a training batch: two if a batch norm gets one value per "
           "channel from a sample, else one."),
    {NULL, NULL, NULL, NULL, NULL},
};
