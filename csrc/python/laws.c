/* laws: the catalogue as a dict, and its losses and optimizers as Python functions over plain
 * arrays (plain_laws.c has fitness and dynamics). Inputs are never modified; results are new
 * arrays. No function uses a network: they are for tests and study. */
#include "python/convert.h"

#include "catalogue.h"
#include "laws/generation.h"

#include <string.h>

/* ---- catalogue ------------------------------------------------------------------------------- */
typedef struct {
    unsigned bit;
    const char *name;
} flag;

static const flag needs_flags[] = {
    {EP_NEEDS_NORM, "norm"},
    {EP_NEEDS_GRADIENT, "gradient"},
    {EP_NEEDS_PRODUCT, "product"},
    {EP_NEEDS_ACTIVITY, "activity"},
    {EP_NEEDS_ACTIVITY_OVERLAP, "activity_overlap"},
    {EP_NEEDS_WEIGHT_OVERLAP, "weight_overlap"},
    {EP_NEEDS_WEIGHT_NORM, "weight_norm"},
};

static PyObject *names_of(unsigned needs) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < EP_COUNT(needs_flags); i++) {
        if (!(needs & needs_flags[i].bit)) {
            continue;
        }
        PyObject *name = PyUnicode_FromString(needs_flags[i].name);
        if (!name || PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(name);
    }
    return list;
}

/* Add "doc" and "fields" to the dict `more`, and set group[name] to it. Steals `more`; does nothing
 * and returns false if it is NULL because its creation failed. */
static bool add_entry(PyObject *group, const char *name, const char *doc, const ep_field *fields,
                      PyObject *more) {
    PyObject *list = !more ? NULL : ep_fields_describe(fields);
    PyObject *text = !list ? NULL : PyUnicode_FromString(doc ? doc : "");
    bool done = text && PyDict_SetItemString(more, "doc", text) == 0 &&
                PyDict_SetItemString(more, "fields", list) == 0 &&
                PyDict_SetItemString(group, name, more) == 0;
    Py_XDECREF(text);
    Py_XDECREF(list);
    Py_XDECREF(more);
    return done;
}

static bool add_losses(PyObject *group) {
    const ep_loss *law;
    for (int i = 0; (law = ep_catalogue_losses(i)) != NULL; i++) {
        PyObject *more = Py_BuildValue("{s:s,s:O}", "target",
                                       law->target == EP_TARGET_CLASS ? "class" : "real", "judges",
                                       law->judges ? Py_True : Py_False);
        if (!add_entry(group, law->name, law->doc, law->fields, more)) {
            return false;
        }
    }
    return true;
}

static bool add_optimizers(PyObject *group) {
    const ep_optimizer *law;
    for (int i = 0; (law = ep_catalogue_optimizers(i)) != NULL; i++) {
        PyObject *more = Py_BuildValue("{s:i}", "moments", law->moments);
        if (!add_entry(group, law->name, law->doc, law->fields, more)) {
            return false;
        }
    }
    return true;
}

static bool add_fitness(PyObject *group) {
    const ep_fitness *law;
    for (int i = 0; (law = ep_catalogue_fitnesses(i)) != NULL; i++) {
        PyObject *more = Py_BuildValue("{s:N}", "needs", names_of(law->needs));
        if (!add_entry(group, law->name, law->doc, law->fields, more)) {
            return false;
        }
    }
    return true;
}

static bool add_dynamics(PyObject *group) {
    const ep_dynamics *law;
    for (int i = 0; (law = ep_catalogue_all_dynamics(i)) != NULL; i++) {
        PyObject *more = Py_BuildValue("{s:N,s:N,s:i}", "needs", names_of(law->needs), "conserves",
                                       PyBool_FromLong(law->conserves), "states", law->states);
        if (!add_entry(group, law->name, law->doc, law->fields, more)) {
            return false;
        }
    }
    return true;
}

static bool add_layers(PyObject *group) {
    const ep_kind *kind;
    for (int i = 0; (kind = ep_catalogue_kinds(i)) != NULL; i++) {
        static const char *const linear[] = {NULL, "pass", "weight", "window", "gain"};
        int axis = kind->founding_axis;
        PyObject *more = Py_BuildValue("{s:(ii),s:z,s:i,s:z,s:N}", "inputs", kind->least_inputs,
                                       kind->most_inputs, "linear", linear[kind->linear],
                                       "linear_input", kind->linear_input, "sizes", kind->sizes,
                                       "founding_axis",
                                       axis == 0 ? Py_NewRef(Py_None)
                                                 : PyLong_FromLong(axis > 0 ? axis - 1 : axis));
        if (!add_entry(group, kind->name, kind->doc, kind->fields, more)) {
            return false;
        }
    }
    return true;
}

static bool add_births(PyObject *group) {
    return add_entry(group, "births", ep_births_doc, ep_births_fields, PyDict_New());
}

static bool add_selection(PyObject *group) {
    return add_entry(group, "selection", ep_selection_doc, ep_selection_fields, PyDict_New());
}

PyDoc_STRVAR(
    catalogue_doc,
    "catalogue()\n--\n\n"
    "Every kind of layer and every law: {\"layers\", \"losses\", \"optimizers\", "
    "\"fitness\", \"dynamics\": {name: {\"doc\", \"fields\": [{\"name\", \"type\", "
    "\"default\", \"low\", \"high\", \"choices\", \"doc\", \"required\"}], ...}}}, in the "
    "order of the C tables. Layers have \"inputs\" (least, most), \"linear\", "
    "\"linear_input\", \"sizes\" and \"founding_axis\" (see ep_kind), losses \"target\" "
    "(class or real) and \"judges\" (bool: right predictions are counted), optimizers \"moments\" "
    "(int), fitness \"needs\" (names of signals), dynamics \"needs\", \"conserves\" (bool) and "
    "\"states\" (int). The groups \"selection\" and \"births\" have one row each.");

static PyObject *catalogue(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {NULL};
    static const struct {
        const char *name;
        bool (*add)(PyObject *);
    } groups[] = {
        {"layers", add_layers},   {"losses", add_losses},     {"optimizers", add_optimizers},
        {"fitness", add_fitness}, {"dynamics", add_dynamics}, {"selection", add_selection},
        {"births", add_births},
    };
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":catalogue", names)) {
        return NULL;
    }
    PyObject *all = PyDict_New();
    for (int i = 0; all && i < EP_COUNT(groups); i++) {
        PyObject *group = PyDict_New();
        if (!group || !groups[i].add(group) ||
            PyDict_SetItemString(all, groups[i].name, group) < 0) {
            Py_CLEAR(all);
        }
        Py_XDECREF(group);
    }
    return all;
}

/* ---- settings -------------------------------------------------------------------------------- */
/* Get the fields and the config size of a row of the catalogue; false if there is no such row. */
static bool row_of(const char *group, const char *name, const ep_field **fields, size_t *size) {
#define ROW(type, what, find)               \
    if (strcmp(group, what) == 0) {         \
        const type *row = find(name);       \
        *fields = row ? row->fields : NULL; \
        *size = row ? row->config_size : 0; \
        return row != NULL;                 \
    }
    ROW(ep_kind, "layers", ep_catalogue_kind)
    ROW(ep_loss, "losses", ep_catalogue_loss)
    ROW(ep_optimizer, "optimizers", ep_catalogue_optimizer)
    ROW(ep_fitness, "fitness", ep_catalogue_fitness)
    ROW(ep_dynamics, "dynamics", ep_catalogue_dynamics)
#undef ROW
    if (strcmp(group, "births") == 0) {
        *fields = ep_births_fields;
        *size = sizeof(ep_births);
        return strcmp(name, "births") == 0;
    }
    *fields = ep_selection_fields;
    *size = sizeof(ep_selection);
    return strcmp(group, "selection") == 0 && strcmp(name, "selection") == 0;
}

PyDoc_STRVAR(settings_doc,
             "settings(group, name, config=None)\n--\n\n"
             "Return all settings of a kind or law of the catalogue as plain Python values: "
             "those of the dict config, checked, and defaults for the rest.\n\n"
             "TypeError for an unknown, missing or wrongly typed setting, ValueError for one "
             "out of bounds.");

static PyObject *settings(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"group", "name", "config", NULL};
    const char *group, *name;
    PyObject *dict = Py_None;
    ep_settings config;
    const ep_field *fields;
    size_t size;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ss|O:settings", names, &group, &name, &dict)) {
        return NULL;
    }
    if (!row_of(group, name, &fields, &size)) {
        return PyErr_Format(PyExc_ValueError, "the catalogue has no '%s' under '%s'", name, group);
    }
    if (!ep_settings_open(&config, fields, size, dict, name)) {
        return NULL;
    }
    PyObject *all = ep_config_as_dict(fields, config.at);
    ep_settings_close(&config);
    return all;
}

/* ---- losses ---------------------------------------------------------------------------------- */
/* Check that the targets are valid for the loss. Raises ValueError if not. */
static bool targets_good(const ep_loss *law, int64_t rows, int64_t n, const void *targets) {
    const int64_t *class = targets;
    const ep_real *real = targets;
    for (int64_t r = 0; law->target == EP_TARGET_CLASS && r < rows; r++) {
        if (class[r] < -1 || class[r] >= n) {
            PyErr_Format(PyExc_ValueError,
                         "targets: row %lld: expected a class from 0 to %lld, or -1 for ignored, "
                         "got %lld",
                         (long long)r, (long long)(n - 1), (long long)class[r]);
            return false;
        }
    }
    for (int64_t i = 0; law->target == EP_TARGET_REAL && law->low >= 0 && i < rows * n; i++) {
        if (!((double)real[i] >= law->low && (double)real[i] <= law->high)) {
            PyErr_Format(PyExc_ValueError, "targets: row %lld: expected numbers %s",
                         (long long)(i / n), law->high == 1 ? "from 0 to 1" : "of at least 0");
            return false;
        }
    }
    return true;
}

PyDoc_STRVAR(loss_measure_doc,
             "loss_measure(name, config, y, targets, scale=None)\n--\n\n"
             "Return loss (rows,), hit (rows,) and dy (rows, n) of outputs y (rows, n) against "
             "targets: int (rows,), or real (rows, n).\n\n"
             "dy is the gradient of the sum of the losses times scale; None: 1 / (total weight "
             "of the rows), so that dy is the gradient of their mean.");

static PyObject *loss_measure(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "config", "y", "targets", "scale", NULL};
    const char *name;
    PyObject *dict, *y_object, *target_object, *scale_object = Py_None, *result = NULL;
    PyArrayObject *y = NULL, *targets = NULL, *loss = NULL, *hit = NULL, *dy = NULL;
    ep_settings config = {NULL, NULL};
    ep_error error = {EP_OK, ""};
    const npy_intp any[2] = {-1, -1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOOO|O:loss_measure", names, &name, &dict,
                                     &y_object, &target_object, &scale_object)) {
        return NULL;
    }
    const ep_loss *law = ep_found(ep_catalogue_loss(name), "loss", name);
    if (!law || !ep_settings_open(&config, law->fields, law->config_size, dict, name)) {
        return NULL;
    }
    if ((y = ep_array_in(y_object, "y", EP_NPY_REAL, 2, any)) == NULL) {
        goto done;
    }
    const bool by_class = law->target == EP_TARGET_CLASS;
    const npy_intp *shape = PyArray_DIMS(y), rows = shape[0], n = shape[1];
    targets = ep_array_in(target_object, "targets", by_class ? NPY_INT64 : EP_NPY_REAL,
                          by_class ? 1 : 2, shape);
    if (!targets || !targets_good(law, rows, n, PyArray_DATA(targets))) {
        goto done;
    }
    if (law->check && !law->check(config.at, n, &error)) {
        ep_raise(&error, ep_state_of(module));
        goto done;
    }
    const char *target = PyArray_DATA(targets);
    const npy_intp stride = rows ? PyArray_NBYTES(targets) / rows : 0;
    double scale = 0;
    if (scale_object == Py_None) {
        double total = 0;
        for (npy_intp r = 0; r < rows; r++) {
            total += ep_loss_weight(law, config.at, target + r * stride);
        }
        scale = total > 0 ? 1 / total : 0;
    } else {
        if (!ep_convert_real(scale_object, &scale)) {
            goto done;
        }
    }
    loss = ep_array_vector(rows, EP_NPY_REAL);
    hit = ep_array_vector(rows, EP_NPY_REAL);
    dy = (PyArrayObject *)PyArray_ZEROS(2, shape, EP_NPY_REAL, 0);
    if (loss && hit && dy) {
        Py_BEGIN_ALLOW_THREADS
        law->measure(config.at, rows, n, PyArray_DATA(y), target, (ep_real)scale,
                     PyArray_DATA(loss), PyArray_DATA(hit), PyArray_DATA(dy));
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("OOO", loss, hit, dy);
    }
done:
    ep_settings_close(&config);
    ep_array_drop(dy);
    ep_array_drop(hit);
    ep_array_drop(loss);
    ep_array_drop(targets);
    ep_array_drop(y);
    return result;
}

/* ---- optimizers ------------------------------------------------------------------------------ */
/* Return a copy of `object` as n numbers; zeros for None. */
static PyArrayObject *vector_or_zeros(PyObject *object, const char *name, npy_intp n) {
    return object == Py_None ? ep_array_vector(n, EP_NPY_REAL)
                             : ep_array_copy(object, name, EP_NPY_REAL, 1, &n);
}

PyDoc_STRVAR(optimizer_step_doc,
             "optimizer_step(name, config, value, gradient, first=None, second=None, "
             "rate=0.001, decay=None, scale=1.0, step=1)\n--\n\n"
             "Run one update of value (n,) and return (value, first, second). Moments that are "
             "None start at zero.\n\n"
             "decay: weight decay; None: that of the config. The gradient is first multiplied "
             "by scale; step is 1 at the first update.");

static PyObject *optimizer_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "config", "value", "gradient", "first", "second",
                            "rate", "decay",  "scale", "step",     NULL};
    const char *name;
    PyObject *dict, *value_object, *gradient_object, *first_object = Py_None;
    PyObject *second_object = Py_None, *decay_object = Py_None, *result = NULL;
    PyArrayObject *value = NULL, *gradient = NULL, *first = NULL, *second = NULL;
    ep_settings config = {NULL, NULL};
    Py_ssize_t step = 1;
    const npy_intp any = -1;
    ep_pace pace = {.rate = 1e-3, .scale = 1};
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOOO|OOO&OO&O&:optimizer_step", names, &name,
                                     &dict, &value_object, &gradient_object, &first_object,
                                     &second_object, ep_convert_real, &pace.rate, &decay_object,
                                     ep_convert_real, &pace.scale, ep_convert_count, &step)) {
        return NULL;
    }
    const ep_optimizer *law = ep_found(ep_catalogue_optimizer(name), "optimizer", name);
    if (!law || !ep_settings_open(&config, law->fields, law->config_size, dict, name)) {
        return NULL;
    }
    if (step < 1) {
        PyErr_Format(PyExc_ValueError, "step: expected at least 1, got %zd", step);
        goto done;
    }
    pace.step = step;
    pace.decay = law->decay(config.at);
    if (decay_object != Py_None) {
        if (!ep_convert_real(decay_object, &pace.decay)) {
            goto done;
        }
    }
    if ((value = ep_array_copy(value_object, "value", EP_NPY_REAL, 1, &any)) == NULL) {
        goto done;
    }
    const npy_intp n = PyArray_DIM(value, 0);
    gradient = ep_array_in(gradient_object, "gradient", EP_NPY_REAL, 1, &n);
    first = vector_or_zeros(first_object, "first", n);
    second = !first ? NULL : vector_or_zeros(second_object, "second", n);
    if (gradient && first && second) {
        Py_BEGIN_ALLOW_THREADS
        law->step(config.at, pace, (ep_block){1, n, n}, PyArray_DATA(value), PyArray_DATA(gradient),
                  law->moments > 0 ? PyArray_DATA(first) : NULL,
                  law->moments > 1 ? PyArray_DATA(second) : NULL);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("OOO", value, first, second);
    }
done:
    ep_settings_close(&config);
    ep_array_drop(second);
    ep_array_drop(first);
    ep_array_drop(gradient);
    ep_array_drop(value);
    return result;
}

PyMethodDef ep_laws_methods[] = {
    EP_METHOD(catalogue, catalogue_doc),
    EP_METHOD(settings, settings_doc),
    EP_METHOD(loss_measure, loss_measure_doc),
    EP_METHOD(optimizer_step, optimizer_step_doc),
    EP_METHODS_END,
};
