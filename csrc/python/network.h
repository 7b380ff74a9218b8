/* network: the one C type, `Network`: a net, how it is trained, and what Python must keep alive
 * meanwhile. Shared by the files network*.c, each a group of its methods. */
#ifndef EP_PYTHON_NETWORK_H
#define EP_PYTHON_NETWORK_H

#include "python/lawbook.h"

#include "train.h"

#include <pythread.h>

/* Who works on a network; see network_lock.c. */
typedef struct {
    PyThread_type_lock turn, work;
    atomic_ulong owner;  /* the thread that has `work`; 0: none */
    atomic_long process; /* and its process */
    bool at_work;        /* a call of the core is in work: the owner must not come again */
    int holds;           /* `with` blocks of the owner */
} ep_lock;
bool ep_lock_init(ep_lock *lock); /* false with an exception */
void ep_lock_free(ep_lock *lock);

/* Most that a rate, pressure or strength may be: far below where float32 overflows. */
#define EP_LEVEL_MOST 1e30
/* Most that a counter (step, generation, batch) may be: whole as a double, and years from overflow. */
#define EP_COUNT_MOST (INT64_C(1) << 53)

enum { EP_CHECKED = 2 }; /* sets of arrays that are known to fit: to train on, to evaluate on */

/* Arrays that were found to hold no value that does not fit. */
typedef struct {
    PyObject *of[3]; /* weak references to x, y and rows as in an ep_feed, or NULL */
} ep_checked;

typedef struct {
    PyObject_HEAD
    ep_lock lock;
    ep_net *net;
    ep_state *state;
    ep_regime regime; /* configs and evolution are owned here */
    ep_calls calls; /* laws written in Python */
    PyObject *loss_call; /* a loss written in Python, or NULL */
    double *shift, *scale; /* input scaling, n_scaling numbers each */
    ep_real *near_shift, *near_scale; /* the same, rounded */
    bool exact_scaling; /* rounding changed no shift */
    int64_t n_scaling; /* 1, or the founding width of the input */
    int64_t input_width; /* founding */
    int32_t *living; /* room for ep_living_inputs */
    ep_checked checked[EP_CHECKED]; /* the last ones first */
    bool all_living; /* no input feature has died */
    PyObject *record; /* of the last call of train, whether it ended well or not */
} ep_network;

/* Waits until no other thread works on the network, without the GIL. True: ours now, until
 * ep_network_leave. False with an exception: RuntimeError where this thread is at work on it already
 * (a law that calls back), or what a signal handler raised. */
bool ep_network_enter(ep_network *self);
void ep_network_leave(ep_network *self);
/* The same for plain numbers, which a law may also ask of its own network: then *entered is false,
 * and there is nothing to leave. */
bool ep_network_look(ep_network *self, bool *entered);

extern PyType_Spec ep_network_spec;
/* Method tables of the files, joined by network.c. */
extern PyMethodDef ep_network_build_methods[], ep_network_array_methods[], ep_network_run_methods[],
    ep_network_step_methods[], ep_network_lock_methods[], ep_network_census_methods[];

/* ---- network_table.c: the user's arrays as tables -------------------------------------------- */
/* Rows of numbers of `object`; `keep` receives a reference that must be held while the table is in
 * use. Borrows any row-contiguous array of a known number type, converts once otherwise. */
bool ep_table_of_inputs(ep_network *self, PyObject *object, ep_table *table, PyObject **keep);
/* Raises ValueError with row and column where the network takes ids and a value of x is none. */
bool ep_check_ids(ep_network *self, const ep_table *x);
/* The same for targets that the configured loss cannot take. */
bool ep_check_targets(ep_network *self, const ep_table *y);
/* Targets for the configured loss, of the right shape; their values are not looked at. */
bool ep_table_of_targets(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep);
/* Both at once, with the rows that are meant (None: all, in order): sample i is row rows[i]. The
 * values of these rows are checked, once per set of arrays: numbers of x are finite, ids and labels
 * in range, targets such as the loss takes. */
typedef struct {
    ep_table x, y, w; /* w: a weight for each of `rows`; at NULL: all 1 */
    PyObject *keep[3], *keep_weights;
} ep_feed;
bool ep_feed_open(ep_network *self, PyObject *x, PyObject *y, PyObject *rows, PyObject *weights,
                  ep_feed *feed);
/* Weights of `rows` samples, (rows,) or, where a sample has several predictions, (rows, positions):
 * finite and at least 0. NULL or None leaves the table empty. */
bool ep_table_of_weights(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep);
void ep_feed_close(ep_feed *feed);
/* What was checked may fit no longer: a loss or an input scaling was set. */
void ep_forget_checked(ep_network *self);
ep_intake ep_network_intake(const ep_network *self);

/* ---- loss_law.c: a loss written in Python ----------------------------------------------------- */
/* The loss that calls a function, by its attribute `target`, "class" or "real"; NULL: raised. */
const ep_loss *ep_python_loss(PyObject *function);
void ep_python_loss_config(void *config, PyObject *function);

#endif
