/* network_lock: only one thread at a time uses a network; the other threads wait. A thread that
 * re-enters its own network, from a law written in Python, would deadlock, so ep_network_enter()
 * raises an exception.
 *
 * There are two locks. A thread holds `turn` while it waits for `work`, so that a thread that takes
 * the network again and again (a run, a loop of predictions) cannot starve the thread that waits.
 * Waiting is done without the GIL, in slices of time, and ends when a signal handler raises. */
#include "python/network.h"

#include <unistd.h>

enum { SLICE = 50000 }; /* microseconds between two checks for signals (Ctrl-C) */

bool ep_lock_init(ep_lock *lock) {
    lock->turn = PyThread_allocate_lock();
    lock->work = PyThread_allocate_lock();
    atomic_init(&lock->owner, 0);
    if (!lock->turn || !lock->work) {
        PyErr_NoMemory();
    }
    return lock->turn && lock->work;
}

void ep_lock_free(ep_lock *lock) {
    if (lock->turn) {
        PyThread_free_lock(lock->turn);
    }
    if (lock->work) {
        PyThread_free_lock(lock->work);
    }
}

static bool is_mine(const ep_lock *lock) {
    return atomic_load(&lock->owner) == PyThread_get_thread_ident();
}

/* True if this process is a fork, made while another thread held the lock: that thread does not
 * exist here. */
static bool is_orphan(const ep_lock *lock) {
    return atomic_load(&lock->owner) != 0 && atomic_load(&lock->process) != (long)getpid();
}

/* Acquire a lock. False with an exception: a signal handler has raised, or the lock is orphaned. */
static bool wait_for(const ep_lock *lock, PyThread_type_lock which) {
    for (PyLockStatus status = PyThread_acquire_lock_timed(which, 0, 0);
         status != PY_LOCK_ACQUIRED;) {
        if (is_orphan(lock)) {
            PyErr_SetString(PyExc_RuntimeError,
                            "network: another thread was using it when this process was forked; "
                            "read it from a file, or fork between two calls");
            return false;
        }
        Py_BEGIN_ALLOW_THREADS
        status = PyThread_acquire_lock_timed(which, SLICE, 1);
        Py_END_ALLOW_THREADS
        if (status != PY_LOCK_ACQUIRED && PyErr_CheckSignals() < 0) {
            return false;
        }
    }
    return true;
}

static bool take(ep_lock *lock) {
    if (!wait_for(lock, lock->turn)) {
        return false;
    }
    bool taken = wait_for(lock, lock->work);
    PyThread_release_lock(lock->turn);
    if (taken) {
        atomic_store(&lock->process, (long)getpid());
        atomic_store(&lock->owner, PyThread_get_thread_ident());
    }
    return taken;
}

static void give_back(ep_lock *lock) {
    atomic_store(&lock->owner, 0);
    PyThread_release_lock(lock->work);
}

bool ep_network_enter(ep_network *self) {
    ep_lock *lock = &self->lock;
    if (!is_mine(lock)) {
        if (!take(lock)) {
            return false;
        }
    } else if (lock->at_work) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "network: another call is using it (from a law or an argument that calls back into "
            "its own network)");
        return false;
    }
    lock->at_work = true;
    return true;
}

void ep_network_leave(ep_network *self) {
    self->lock.at_work = false;
    if (self->lock.holds == 0) {
        give_back(&self->lock);
    }
}

bool ep_network_look(ep_network *self, bool *entered) {
    *entered = !(is_mine(&self->lock) && self->lock.at_work);
    return !*entered || ep_network_enter(self);
}

/* ---- with blocks ----------------------------------------------------------------------------- */

PyDoc_STRVAR(enter_doc,
             "__enter__()\n--\n\n"
             "Hold the network: until __exit__, calls by other threads wait, so that several "
             "calls read one consistent state.");
static PyObject *enter(PyObject *object, PyObject *ignored) {
    (void)ignored;
    ep_network *self = (ep_network *)object;
    if (!ep_network_enter(self)) {
        return NULL;
    }
    self->lock.at_work = false;
    self->lock.holds++;
    return Py_NewRef(object);
}

PyDoc_STRVAR(exit_doc, "__exit__(*error)\n--\n\n"
                       "End the block that __enter__ began.");
static PyObject *leave(PyObject *object, PyObject *ignored) {
    (void)ignored;
    ep_lock *lock = &((ep_network *)object)->lock;
    if (!is_mine(lock) || lock->at_work || lock->holds == 0) {
        PyErr_SetString(PyExc_RuntimeError, "network: __exit__ without __enter__ in this thread");
        return NULL;
    }
    lock->holds--;
    if (lock->holds == 0) {
        give_back(lock);
    }
    return Py_NewRef(Py_None);
}

PyMethodDef ep_network_lock_methods[] = {
    {"__enter__", enter, METH_NOARGS, enter_doc},
    {"__exit__", leave, METH_VARARGS, exit_doc},
    EP_METHODS_END,
};
