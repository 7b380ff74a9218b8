/* module: declarations for all files of csrc/python: the headers of Python and NumPy, included in
 * one way, the module's state, and the tables that module.c assembles. Only this folder may include
 * Python. All code uses the limited API of Python 3.11 and the C API of NumPy 2. */
#ifndef EP_MODULE_H
#define EP_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* module.c imports NumPy's function table (EP_IMPORT_ARRAY); the other files use it. */
#define PY_ARRAY_UNIQUE_SYMBOL ep_array_api
#ifndef EP_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "base.h"

#ifdef EP_DOUBLE
#define EP_NPY_REAL NPY_FLOAT64
#else
#define EP_NPY_REAL NPY_FLOAT32
#endif

/* The state of one module object; nothing else persists between calls. */
typedef struct {
    PyObject *diverged;     /* class Diverged(ArithmeticError), attribute step */
    PyObject *network_type; /* class Network, once it exists */
} ep_state;

EP_INLINE ep_state *ep_state_of(PyObject *module) { return PyModule_GetState(module); }

/* Create the type Network and add it to the module. Returns 0, or -1 with an exception. */
int ep_network_add_type(PyObject *module, ep_state *state);
/* Create the type Community and add it to the module. Returns 0, or -1 with an exception. */
int ep_community_add_type(PyObject *module);

/* The functions of each file, terminated by an empty row. */
extern PyMethodDef ep_laws_methods[];
extern PyMethodDef ep_selection_methods[];
extern PyMethodDef ep_numbers_methods[];

/* Every function takes keywords; Python's API requires the cast. */
#define EP_METHOD(name, text) \
    {#name, (PyCFunction)(void (*)(void))name, METH_VARARGS | METH_KEYWORDS, text}
#define EP_METHODS_END {NULL, NULL, 0, NULL}

#endif
