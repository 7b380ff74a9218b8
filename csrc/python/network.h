/* network: the C type `Network`: an ep_net, its training setup, and the Python objects it keeps
 * alive. Shared by the files network*.c, each of which has a group of its methods. */
#ifndef EP_PYTHON_NETWORK_H
#define EP_PYTHON_NETWORK_H

#include "python/lawbook.h"

#include "train.h"

#include <pythread.h>

/* The lock of a network; see network_lock.c. */
typedef struct {
    PyThread_type_lock turn, work;
    atomic_ulong owner;  /* thread that holds `work`; 0: none */
    atomic_long process; /* process id of the owner */
    bool at_work;        /* a call of the core is running: the owner must not re-enter */
    int holds;           /* number of `with` blocks that the owner is in */
} ep_lock;
bool ep_lock_init(ep_lock *lock); /* false with an exception */
void ep_lock_free(ep_lock *lock);

/* Largest rate, pressure or strength: far below where float32 overflows. */
#define EP_LEVEL_MOST 1e30
/* Largest counter (step, generation, batch): exact as a double, and far below INT64_MAX. */
#define EP_COUNT_MOST (INT64_C(1) << 53)

/* number of sets of arrays that are remembered as checked, such as training and validation data */
enum { EP_CHECKED = 2 };

/* Arrays in which every value was found valid. */
typedef struct {
    PyObject *of[3]; /* weak references to x, y and rows as in an ep_feed, or NULL */
} ep_checked;

typedef struct {
    PyObject_HEAD
    ep_lock lock;
    ep_net *net;
    ep_state *state;
    ep_regime regime; /* the network owns the configs and the evolution in it */
    ep_calls calls; /* laws written in Python */
    PyObject *loss_call; /* a loss written in Python, or NULL */
    double *shift, *scale; /* input scaling, n_scaling values each */
    ep_real *near_shift, *near_scale; /* shift and scale, rounded to ep_real */
    bool exact_scaling; /* near_shift equals shift: rounding changed no shift */
    int64_t n_scaling; /* number of shifts and of scales: 1, or the input's founding width */
    int64_t input_width; /* founding width of the input */
    int32_t *living; /* buffer for ep_living_inputs(), used if input features can go extinct */
    ep_checked checked[EP_CHECKED]; /* arrays that were checked before, most recent first */
    bool all_living; /* all input features are living */
    PyObject *record; /* record of the last call of train, even if it failed */
} ep_network;

/* Wait, without the GIL, until no other thread uses the network. True: locked until
 * ep_network_leave(). False with an exception: RuntimeError if this thread is already using it (a
 * law that calls back), or what a signal handler raised. */
bool ep_network_enter(ep_network *self);
void ep_network_leave(ep_network *self);
/* Like ep_network_enter(), but only for reading plain numbers. A law written in Python may also
 * read them from the network that is calling the law: then *entered is false, and
 * ep_network_leave() must not be called. */
bool ep_network_look(ep_network *self, bool *entered);

extern PyType_Spec ep_network_spec;
extern PyGetSetDef ep_network_properties[];
/* Record which input features are living; called after anything that may have removed or added
 * some. */
void ep_network_refresh(ep_network *self);
/* Method tables of the files, joined by network.c. */
extern PyMethodDef ep_network_regime_methods[], ep_network_array_methods[],
    ep_network_run_methods[], ep_network_step_methods[], ep_network_lock_methods[],
    ep_network_census_methods[];

/* ---- network_table.c: the user's arrays as tables -------------------------------------------- */
/* Read `object` as a table of rows. `keep` receives a reference that must be held while the table
 * is in use. An array of a known number type with contiguous rows is read in place; any other array
 * is converted once. */
bool ep_table_of_inputs(ep_network *self, PyObject *object, ep_table *table, PyObject **keep);
/* Check the ids of a network that takes ids. Raises ValueError with row and column of the first
 * element of x that is not a valid id. */
bool ep_check_ids(ep_network *self, const ep_table *x);
/* Check that the configured loss accepts all targets. Raises ValueError with the row of the first
 * target that it does not accept. */
bool ep_check_targets(ep_network *self, const ep_table *y);
/* Read targets and check that their shape fits the configured loss. Does not check their values. */
bool ep_table_of_targets(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep);
/* x and y together, with the selected rows (None: all, in order): sample i is row rows[i]. The
 * values of these rows are checked, once per set of arrays: x is finite, ids and labels are in
 * range, and the loss accepts the targets. */
typedef struct {
    ep_table x, y, w; /* w: a weight for each selected row; w.at NULL: all weights are 1 */
    PyObject *keep[3], *keep_weights;
} ep_feed;
bool ep_feed_open(ep_network *self, PyObject *x, PyObject *y, PyObject *rows, PyObject *weights,
                  ep_feed *feed);
/* Read the weights of `rows` samples: (rows,) or, if a sample has several predictions, (rows,
 * positions); finite and at least 0. NULL or None leaves the table empty. */
bool ep_table_of_weights(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep);
void ep_feed_close(ep_feed *feed);
/* Forget which arrays were checked, because setting a loss or an input scaling may make them
 * invalid. */
void ep_forget_checked(ep_network *self);
ep_intake ep_network_intake(const ep_network *self);

/* ---- network_ranks.c: data-parallel training ------------------------------------------------- */
typedef struct {
    ep_ranks ranks;
    PyObject *add_up; /* adds up an array over the ranks; NULL: one process */
    PyArrayObject *buffer;
} ep_crowd;
/* Open *crowd from a Python tuple (rank, ranks, function), or None. False with an exception; then
 * there is nothing to close. */
bool ep_crowd_open(ep_network *self, PyObject *object, ep_crowd *crowd);
void ep_crowd_close(ep_crowd *crowd);

/* ---- loss_law.c: a loss written in Python ---------------------------------------------------- */
/* Return the ep_loss that calls a Python function. The function's attribute `target`, "class" or
 * "real", selects the kind of targets. NULL with an exception. */
const ep_loss *ep_python_loss(PyObject *function);
void ep_python_loss_config(void *config, PyObject *function);

#endif
