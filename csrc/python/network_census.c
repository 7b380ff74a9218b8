/* network_census: returns mass, fitness and upkeep of the living populations of a network. */
#include "python/network.h"

#include <string.h>

/* Return the birth ids (int32), mass, fitness and upkeep (float64) of the populations first ..
 * last - 1 of a generation, which belong to one layer. */
static PyObject *rows_of(const ep_generation *g, const ep_group *group, int64_t first,
                         int64_t last) {
    npy_intp n = last - first;
    PyArrayObject *births = ep_array_vector(n, NPY_INT32), *column[3] = {NULL, NULL, NULL};
    const ep_real *from[] = {g->mass, g->fitness, g->upkeep};
    bool ok = births != NULL;
    for (int i = 0; ok && i < EP_COUNT(from); i++) {
        column[i] = ep_array_vector(n, NPY_FLOAT64);
        ok = column[i] != NULL;
        for (int64_t k = 0; ok && k < n; k++) {
            ((double *)PyArray_DATA(column[i]))[k] = (double)from[i][first + k];
        }
    }
    for (int64_t k = 0; ok && k < n; k++) {
        int64_t j = g->place[first + k];
        ((int32_t *)PyArray_DATA(births))[k] = group->birth ? group->birth[j] : (int32_t)j;
    }
    PyObject *rows = ok ? Py_BuildValue("(OOOO)", births, column[0], column[1], column[2]) : NULL;
    ep_array_drop(births);
    for (int i = 0; i < EP_COUNT(column); i++) {
        ep_array_drop(column[i]);
    }
    return rows;
}

/* Compute the upkeep of the living populations with these settings. Returns a dict from layer names
 * to the tuples of rows_of(). */
static PyObject *census_of(const ep_net *net, const ep_selection *settings, double pressure) {
    ep_error error = {EP_OK, ""};
    ep_census census = {0};
    size_t layers = (size_t)ep_max(1, net->n_populations);
    ep_group *group = PyMem_Calloc(layers, sizeof *group);
    ep_headcount *counts = PyMem_Calloc(layers, sizeof *counts);
    ep_generation *g = NULL;
    PyObject *all = NULL;
    if (!group || !counts || !ep_census_open(&census, net)) {
        PyErr_NoMemory();
        goto done;
    }
    ep_evolve_count(net, counts);
    g = ep_generation_new(settings, NULL, &ep_dynamics_none, NULL, net->n_populations, counts,
                          &error);
    if (!g) {
        ep_raise(&error, NULL);
        goto done;
    }
    ep_census_take(&census, net, (ep_upkeep)settings->upkeep);
    ep_evolve_groups(net, &census, group);
    ep_generation_price(g, group, net->generation, pressure);
    all = PyDict_New();
    int64_t first = 0, last = 0;
    for (int i = 0; all && i < net->n_populations; i++, first = last) {
        while (last < g->n && g->group[last] == i) {
            last++;
        }
        PyObject *rows = rows_of(g, &group[i], first, last);
        if (!rows || PyDict_SetItemString(all, net->layers[net->populations[i].layer].name, rows)) {
            Py_CLEAR(all);
        }
        Py_XDECREF(rows);
    }
done:
    ep_generation_free(g);
    ep_census_close(&census);
    PyMem_Free(counts);
    PyMem_Free(group);
    return all;
}

PyDoc_STRVAR(census_doc,
             "census(pressure, selection=None)\n--\n\n"
             "Return the living populations by layer: {layer: (birth ids, mass, fitness, "
             "upkeep)}, each (alive,). Fitness is corrected for its start at zero, and upkeep "
             "is that of the next generation at this pressure if fitness does not change. "
             "selection: a dict of settings; None: those configured, or the defaults.");
static PyObject *census(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"pressure", "selection", NULL};
    ep_network *self = (ep_network *)object;
    double pressure;
    PyObject *selection = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|O:census", names, ep_convert_real, &pressure,
                                     &selection)) {
        return NULL;
    }
    ep_settings settings;
    const ep_evolution *e = self->regime.evolution;
    if (!ep_settings_open(&settings, ep_selection_fields, sizeof(ep_selection),
                          selection == Py_None ? NULL : selection, "selection")) {
        return NULL;
    }
    PyObject *all = NULL;
    if (ep_network_enter(self)) {
        bool configured = selection == Py_None && e != NULL;
        all = census_of(self->net, configured ? &e->generation->settings : settings.at, pressure);
        ep_network_leave(self);
    }
    ep_settings_close(&settings);
    return all;
}

PyMethodDef ep_network_census_methods[] = {
    EP_METHOD(census, census_doc),
    EP_METHODS_END,
};
