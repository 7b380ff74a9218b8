/* module: assemble the extension: exceptions, types, functions, constants. The same sources are
 * built as several modules (float32 or float64, one per kind of processor), named by -DEP_MODULE.
 * Each has its own state and no global state. */
#define EP_IMPORT_ARRAY
#include "python/module.h"

#ifndef EP_MODULE
#define EP_MODULE _core
#endif
#define JOIN(a, b) a##b
#define INIT_NAME(module) JOIN(PyInit_, module)
#define TEXT(a) #a
#define NAME_TEXT(module) TEXT(module)

/* ---- exceptions ---------------------------------------------------------------------------- */
PyDoc_STRVAR(diverged_doc,
             "The loss is not finite.\n\n"
             "The step that found it was not applied: the network is as it was before.\n\n"
             "Attributes:\n    step (int or None): the step that was not applied.");

static int add_exceptions(PyObject *module, ep_state *state) {
    PyObject *names = Py_BuildValue("{s:O,s:s}", "step", Py_None, "__module__", "evoprune");
    if (names == NULL) {
        return -1;
    }
    state->diverged = PyErr_NewExceptionWithDoc("evoprune.Diverged", diverged_doc,
                                                PyExc_ArithmeticError, names);
    Py_DECREF(names);
    if (state->diverged == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Diverged", state->diverged);
}

/* ---- types --------------------------------------------------------------------------------- */
static int add_types(PyObject *module, ep_state *state) {
    return ep_network_add_type(module, state) < 0 ? -1 : ep_community_add_type(module);
}

/* ---- constants ----------------------------------------------------------------------------- */
static int add_constants(PyObject *module) {
    return PyModule_AddStringConstant(module, "dtype",
                                      sizeof(ep_real) == sizeof(double) ? "float64" : "float32");
}

/* ---- load and free ------------------------------------------------------------------------- */
static int module_exec(PyObject *module) {
    ep_state *state = ep_state_of(module);
    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    if (add_exceptions(module, state) < 0 || add_types(module, state) < 0 ||
        add_constants(module) < 0) {
        return -1;
    }
    PyMethodDef *const tables[] = {ep_laws_methods, ep_selection_methods, ep_numbers_methods};
    for (int i = 0; i < EP_COUNT(tables); i++) {
        if (PyModule_AddFunctions(module, tables[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    ep_state *state = ep_state_of(module);
    if (state != NULL) {
        Py_VISIT(state->diverged);
        Py_VISIT(state->network_type);
    }
    return 0;
}

static int module_clear(PyObject *module) {
    ep_state *state = ep_state_of(module);
    if (state != NULL) {
        Py_CLEAR(state->diverged);
        Py_CLEAR(state->network_type);
    }
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_GIL_DISABLED
    /* Safe without the GIL: networks have locks, communities refuse a second call, slabs count
     * references atomically, and nothing else changes after the import. */
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = NAME_TEXT(EP_MODULE),
    .m_doc = "The compiled core of evoprune. evoprune.core picks the one for this processor.",
    .m_size = sizeof(ep_state),
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC INIT_NAME(EP_MODULE)(void);
PyMODINIT_FUNC INIT_NAME(EP_MODULE)(void) { return PyModuleDef_Init(&definition); }
