/* network: the type `Network`: builds a network from a spec, and frees it. See network.h.
 * Properties, arrays, runs and single steps are in the other network_*.c files. */
#include "python/network.h"

#include "catalogue.h"

#include <string.h>

/* ---- from a spec ----------------------------------------------------------------------------- */

/* Return item `key` of a dict, a new reference; NULL with TypeError if missing. */
static PyObject *needed(PyObject *dict, const char *key, const char *owner) {
    PyObject *value;
    if (ep_item(dict, key, &value) && !value) {
        PyErr_Format(PyExc_TypeError, "%s: '%s' must be given", owner, key);
    }
    return value;
}

enum { NAME = 40 }; /* maximum number of bytes of a name */

/* Copy a name, since the object may be freed when the user's code runs. */
static bool text_of(PyObject *object, const char *what, char to[NAME + 1]) {
    if (!PyUnicode_Check(object)) {
        ep_raise_got(PyExc_TypeError, object, "%s must be a str", what);
        return false;
    }
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text && (size == 0 || size > NAME || (Py_ssize_t)strlen(text) != size)) {
        PyErr_Format(PyExc_ValueError, "%s: expected 1 to 40 bytes, got %R", what, object);
        return false;
    }
    if (text) {
        memcpy(to, text, (size_t)size + 1);
    }
    return text != NULL;
}

/* Copy the name (a str) in item `key` of a dict. Return false with an exception on failure. */
static bool needed_text(PyObject *dict, const char *key, const char *owner, char to[NAME + 1]) {
    PyObject *object = needed(dict, key, owner);
    bool ok = object && text_of(object, key, to);
    Py_XDECREF(object);
    return ok;
}

static PyArrayObject *input_sizes(PyObject *spec, uint64_t *seed) {
    PyObject *number, *input = needed(spec, "input", "spec");
    const npy_intp any = -1;
    if (!input || !ep_item(spec, "seed", &number)) {
        Py_XDECREF(input);
        return NULL;
    }
    bool ok = !number || ep_convert_u64(number, seed);
    PyArrayObject *sizes = ok ? ep_array_in(input, "input", NPY_INT64, 1, &any) : NULL;
    Py_XDECREF(number);
    Py_DECREF(input);
    return sizes;
}

static ep_net *net_of_input(PyObject *spec) {
    uint64_t seed_value = 0;
    PyArrayObject *sizes = input_sizes(spec, &seed_value);
    if (!sizes) {
        return NULL;
    }
    ep_error error = {EP_OK, ""};
    npy_intp rank = PyArray_DIM(sizes, 0);
    ep_net *net = ep_net_new(seed_value, (int)(rank > 1000 ? 1000 : rank), PyArray_DATA(sizes),
                             &error);
    ep_array_drop(sizes);
    if (!net) {
        ep_raise(&error, NULL);
    }
    return net;
}

/* Return the value that layer `name` (or "input") writes, or -1 with an exception. */
static int value_named(const ep_net *net, const char *name, const char *reader) {
    if (strcmp(name, "input") == 0) {
        return 0;
    }
    for (int i = 0; i < net->n_layers; i++) {
        if (strcmp(net->layers[i].name, name) == 0) {
            return net->layers[i].out;
        }
    }
    PyErr_Format(PyExc_ValueError, "%s: inputs names '%s', which is no earlier layer", reader,
                 name);
    return -1;
}

/* Get the indices of the values that a layer reads; return their number, or -1 with an
 * exception. */
static int inputs_of(const ep_net *net, PyObject *layer, const char *name, int *input) {
    PyObject *names;
    if (!ep_item(layer, "inputs", &names)) {
        return -1;
    }
    if (!names || names == Py_None) {
        Py_XDECREF(names);
        input[0] = net->n_layers ? net->layers[net->n_layers - 1].out : 0;
        return 1;
    }
    PyObject *fast = PySequence_List(names);
    Py_DECREF(names);
    Py_ssize_t n = fast ? PyList_Size(fast) : -1;
    if (n > EP_INPUTS) {
        PyErr_Format(PyExc_ValueError, "%s: at most %d inputs, got %zd", name, EP_INPUTS, n);
        n = -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        char other[NAME + 1];
        bool named = text_of(PyList_GetItem(fast, i), "inputs", other);
        input[i] = named ? value_named(net, other, name) : -1;
        if (input[i] < 0) {
            n = -1;
        }
    }
    Py_XDECREF(fast);
    return (int)n;
}

static bool add_layer(ep_net *net, PyObject *layer) {
    if (!PyDict_Check(layer)) {
        ep_raise_got(PyExc_TypeError, layer, "spec: a layer must be a dict");
        return false;
    }
    char kind_name[NAME + 1], name[NAME + 1];
    if (!needed_text(layer, "kind", "layer", kind_name) ||
        !needed_text(layer, "name", "layer", name)) {
        return false;
    }
    const ep_kind *kind = ep_catalogue_kind(kind_name);
    if (!kind) {
        PyErr_Format(PyExc_ValueError, "%s: no kind of layer is called '%s'", name, kind_name);
        return false;
    }
    bool taken = strcmp(name, "input") == 0 || strchr(name, '.');
    for (int i = 0; i < net->n_layers; i++) {
        taken = taken || strcmp(net->layers[i].name, name) == 0;
    }
    if (taken) {
        PyErr_Format(PyExc_ValueError, "name: '%s' is taken, or has a dot", name);
        return false;
    }
    int input[EP_INPUTS], n = inputs_of(net, layer, name, input);
    ep_settings config;
    PyObject *given = NULL;
    bool open = n >= 0 && ep_item(layer, "config", &given) &&
                ep_settings_open(&config, kind->fields, kind->config_size, given, name);
    Py_XDECREF(given);
    if (!open) {
        return false;
    }
    ep_error error = {EP_OK, ""};
    int value = ep_net_add(net, kind, name, n, input, config.at, &error);
    ep_settings_close(&config);
    if (value < 0) {
        ep_raise(&error, NULL);
    }
    return value >= 0;
}

/* Set the birth ids of the populations of axis `name` to `births`. The next birth id, for a
 * population born later, is born[name], or the founded number if `born` is NULL or lacks `name`. */
static bool populate(ep_net *net, PyObject *name, PyObject *births, PyObject *born) {
    char text[NAME + 1];
    if (!text_of(name, "births", text)) {
        return false;
    }
    int axis = -1;
    for (int i = 0; i < net->n_populations; i++) {
        int of = net->populations[i].axis;
        axis = strcmp(net->axes[of].name, text) == 0 ? of : axis;
    }
    if (axis < 0) {
        PyErr_Format(PyExc_ValueError, "births: %R is no axis with populations", name);
        return false;
    }
    npy_intp any = -1;
    PyArrayObject *ids = ep_array_in(births, "births", NPY_INT64, 1, &any);
    if (!ids) {
        return false;
    }
    ep_error error = {EP_OK, ""};
    int64_t count = net->axes[axis].founded;
    PyObject *given = born ? PyDict_GetItemWithError(born, name) : NULL;
    bool ok = !PyErr_Occurred() && (!given || ep_whole(given, "next_births", 0, INT32_MAX, &count));
    ok = ok && (ep_net_populate(net, axis, count, PyArray_DIM(ids, 0), PyArray_DATA(ids), &error) ||
                ep_raise(&error, NULL));
    ep_array_drop(ids);
    return ok;
}

/* Set the populations of all axes from `births`, and check that the tensors then have at most
 * `most` elements. */
static bool set_shape(ep_net *net, PyObject *births, PyObject *born, long long most) {
    PyObject *items = births ? PyMapping_Items(births) : PyList_New(0);
    bool ok = items != NULL;
    for (Py_ssize_t i = 0; ok && i < PyList_Size(items); i++) {
        PyObject *pair = PyList_GetItem(items, i);
        ok = populate(net, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1), born);
    }
    Py_XDECREF(items);
    int64_t n = ok ? ep_net_elements(net) : 0;
    if (ok && most >= 0 && (n < 0 || n > most)) {
        PyErr_Format(PyExc_ValueError,
                     "spec: expected arrays of at most %lld elements in all, got more", most);
        ok = false;
    }
    return ok;
}

/* True if input features can go extinct. */
static bool selects_inputs(const ep_net *net) {
    const ep_value *input = &net->values[0];
    bool selects = false;
    for (int d = 0; d < input->rank; d++) {
        selects = selects || net->axes[input->axis[d]].mortal;
    }
    return selects;
}

static bool build(ep_network *self, PyObject *spec, PyObject *births, PyObject *born,
                  long long most) {
    self->net = net_of_input(spec);
    PyObject *layers = self->net ? needed(spec, "layers", "spec") : NULL;
    PyObject *list = layers ? PySequence_List(layers) : NULL;
    Py_XDECREF(layers);
    bool ok = list != NULL;
    for (Py_ssize_t i = 0; ok && i < PyList_Size(list); i++) {
        ok = add_layer(self->net, PyList_GetItem(list, i));
    }
    Py_XDECREF(list);
    ok = ok && set_shape(self->net, births, born, most);
    ep_error error = {EP_OK, ""};
    if (!ok || !ep_net_build(self->net, &error)) {
        if (ok) {
            ep_raise(&error, NULL);
        }
        return false;
    }
    self->input_width = ep_net_founding_width(self->net);
    bool selects = selects_inputs(self->net);
    if (selects && (self->input_width < 0 || self->input_width > INT32_MAX)) {
        PyErr_SetString(PyExc_ValueError, "spec: expected at most 2^31 - 1 input features if they "
                                          "can go extinct, got more");
        return false;
    }
    self->living = PyMem_Calloc(selects ? (size_t)self->net->values[0].width + 1 : 1,
                                sizeof *self->living);
    self->shift = PyMem_Calloc(1, sizeof *self->shift);
    self->scale = PyMem_Calloc(1, sizeof *self->scale);
    self->near_shift = PyMem_Calloc(1, sizeof *self->near_shift);
    self->near_scale = PyMem_Calloc(1, sizeof *self->near_scale);
    if (!self->living || !self->shift || !self->scale || !self->near_shift || !self->near_scale) {
        PyErr_NoMemory();
        return false;
    }
    self->scale[0] = self->near_scale[0] = 1;
    self->exact_scaling = true;
    self->n_scaling = 1;
    ep_network_refresh(self);
    return true;
}

void ep_network_refresh(ep_network *self) {
    self->all_living = !ep_living_inputs(self->net, self->living);
}

static PyObject *network_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"spec", "births", "most", "next_births", NULL};
    PyObject *spec, *births = NULL, *born = NULL, *most_given = NULL;
    int64_t most = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|O!OO!:Network", names, &PyDict_Type, &spec,
                                     &PyDict_Type, &births, &most_given, &PyDict_Type, &born) ||
        (most_given && !ep_whole(most_given, "most", -1, INT64_MAX, &most))) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    ep_network *self = (ep_network *)allocate(type, 0);
    if (!self) {
        return NULL;
    }
    self->state = PyType_GetModuleState(type);
    if (!ep_lock_init(&self->lock) || !build(self, spec, births, born, most)) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int network_traverse(PyObject *object, visitproc visit, void *arg) {
    ep_network *self = (ep_network *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->calls.fitness);
    Py_VISIT(self->calls.dynamics);
    Py_VISIT(self->loss_call);
    for (int i = 0; i < EP_CHECKED; i++) {
        Py_VISIT(self->checked[i].of[0]);
        Py_VISIT(self->checked[i].of[1]);
        Py_VISIT(self->checked[i].of[2]);
    }
    Py_VISIT(self->record);
    return 0;
}

static int network_clear(PyObject *object) {
    ep_network *self = (ep_network *)object;
    Py_CLEAR(self->calls.fitness);
    Py_CLEAR(self->calls.dynamics);
    Py_CLEAR(self->loss_call);
    ep_forget_checked(self);
    Py_CLEAR(self->record);
    return 0;
}

static void network_dealloc(PyObject *object) {
    ep_network *self = (ep_network *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    network_clear(object);
    if (self->regime.loss) {
        ep_fields_free(self->regime.loss->fields, self->regime.loss_config);
        ep_fields_free(self->regime.optimizer->fields, self->regime.optimizer_config);
    }
    PyMem_Free(self->regime.loss_config);
    PyMem_Free(self->regime.optimizer_config);
    ep_evolution_free(self->regime.evolution);
    ep_net_free(self->net);
    ep_lock_free(&self->lock);
    PyMem_Free(self->shift);
    PyMem_Free(self->scale);
    PyMem_Free(self->near_shift);
    PyMem_Free(self->near_scale);
    PyMem_Free(self->living);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- the type -------------------------------------------------------------------------------- */

PyDoc_STRVAR(
    network_doc,
    "Network(spec, births={}, most=-1, next_births={})\n--\n\n"
    "A network of the core. spec: {'seed': int, 'input': sizes, 'layers': [{'kind', 'name', "
    "'inputs': names of earlier layers or 'input' (default: the layer before), 'config': "
    "settings}]}. Raises ValueError or TypeError naming the layer and the setting, and "
    "MemoryError if memory is insufficient. births: birth ids, ascending, of the living "
    "populations of an axis; by default all founders. most: refuse a spec whose tensors have more "
    "elements in all. next_births: number of birth ids so far by axis; by default that of "
    "founders.");

static PyMethodDef *joined(void) {
    static PyMethodDef all[48]; /* every import writes the same values, under the import lock */
    PyMethodDef *tables[] = {ep_network_regime_methods, ep_network_array_methods,
                             ep_network_run_methods,    ep_network_step_methods,
                             ep_network_lock_methods,   ep_network_census_methods};
    int n = 0;
    for (int i = 0; i < EP_COUNT(tables); i++) {
        for (PyMethodDef *m = tables[i]; m->ml_name; m++) {
            EP_ASSERT(n + 1 < EP_COUNT(all));
            all[n++] = *m;
        }
    }
    return all;
}

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)network_doc},
    {Py_tp_new, network_new},
    {Py_tp_traverse, network_traverse},
    {Py_tp_clear, network_clear},
    {Py_tp_dealloc, network_dealloc},
    {Py_tp_getset, ep_network_properties},
    {Py_tp_methods, NULL},
    {0, NULL},
};

PyType_Spec ep_network_spec = {
    .name = "evoprune.core.Network",
    .basicsize = sizeof(ep_network),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int ep_network_add_type(PyObject *module, ep_state *state) {
    slots[EP_COUNT(slots) - 2].pfunc = joined();
    state->network_type = PyType_FromModuleAndSpec(module, &ep_network_spec, NULL);
    if (!state->network_type) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Network", state->network_type);
}
