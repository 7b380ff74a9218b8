/* network_ranks: the ranks of data-parallel training, given in Python as a tuple (rank, ranks,
 * function), where function(array) adds up an array over all ranks, in place. */
#include "python/network.h"

#include <string.h>

/* Implement ep_ranks_call: call the Python function that adds up the buffer. If a law written in
 * Python has already raised, mark this rank as failed in the buffer, so that all ranks stop, and
 * keep that exception. */
static bool call(void *context, ep_real *buffer, int64_t n, ep_error *error) {
    ep_crowd *crowd = context;
    (void)buffer;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *kind = NULL, *value = NULL, *trace = NULL;
    PyErr_Fetch(&kind, &value, &trace);
    if (kind) {
        ep_ranks_mark(&crowd->ranks);
    }
    PyObject *part = PySequence_GetSlice((PyObject *)crowd->buffer, 0, (Py_ssize_t)n);
    PyObject *result = part ? PyObject_CallFunctionObjArgs(crowd->add_up, part, NULL) : NULL;
    bool ok = result != NULL;
    Py_XDECREF(result);
    Py_XDECREF(part);
    if (kind) { /* the first exception takes precedence */
        PyErr_Clear();
        PyErr_Restore(kind, value, trace);
    }
    PyGILState_Release(gil);
    return ok || ep_fail(error, EP_RAISED, "ranks");
}

bool ep_crowd_open(ep_network *self, PyObject *object, ep_crowd *crowd) {
    memset(crowd, 0, sizeof *crowd);
    if (!object || object == Py_None) {
        return true;
    }
    int64_t rank, ranks;
    if (!PyTuple_Check(object) || PyTuple_Size(object) != 3) {
        ep_raise_got(PyExc_TypeError, object, "train: ranks must be (rank, ranks, function)");
        return false;
    }
    if (!ep_whole(PyTuple_GetItem(object, 1), "train: ranks", 1, 1 << 20, &ranks) ||
        !ep_whole(PyTuple_GetItem(object, 0), "train: rank", 0, ranks - 1, &rank)) {
        return false;
    }
    crowd->add_up = Py_NewRef(PyTuple_GetItem(object, 2));
    ep_ranks *k = &crowd->ranks;
    k->rank = (int)rank;
    k->ranks = (int)ranks;
    k->call = call;
    k->context = crowd;
    const ep_evolution *e = self->regime.evolution;
    k->activity = e && ep_evolution_needs_activity(e);
    k->overlap = e && ep_evolution_needs_overlap(e);
    k->room = ep_ranks_elements(k, self->net);
    crowd->buffer = ep_array_vector((npy_intp)k->room, EP_NPY_REAL);
    if (!crowd->buffer) {
        ep_crowd_close(crowd);
        return false;
    }
    k->buffer = PyArray_DATA(crowd->buffer);
    return true;
}

void ep_crowd_close(ep_crowd *crowd) {
    Py_CLEAR(crowd->add_up);
    Py_CLEAR(crowd->buffer);
}
