/* network: the one C type, `Network`: a net, how it is trained, and what Python must keep alive
 * meanwhile. Shared by the files network*.c, each a group of its methods. */
#ifndef EP_PYTHON_NETWORK_H
#define EP_PYTHON_NETWORK_H

#include "python/lawbook.h"

#include "train.h"

typedef struct {
    PyObject_HEAD
    ep_net *net;
    ep_state *state;
    PyObject *spec;            /* dict, the founding structure with defaults filled in */
    ep_regime regime;          /* configs and evolution are owned here */
    ep_calls calls;            /* laws written in Python */
    ep_real *shift, *scale;    /* input scaling, n_scaling numbers each */
    int64_t n_scaling;         /* 1, or the founding width of the input */
    int64_t input_width;       /* founding */
    int32_t *living;           /* room for ep_living_inputs */
    atomic_int busy;           /* a call is in work, perhaps without the GIL */
    PyObject
        *checked_y; /* labels of this array were found in range; held, so that it stays itself */
    int64_t checked_outputs;
    bool all_living; /* no input feature has died */
    PyObject *record; /* of the last call of train, whether it ended well or not */
} ep_network;

/* Raises RuntimeError when another call is in work; true: ours now, ep_network_leave gives it back. */
bool ep_network_enter(ep_network *self);
EP_INLINE void ep_network_leave(ep_network *self) { atomic_store(&self->busy, 0); }

extern PyType_Spec ep_network_spec;
/* Method tables of the files, joined by network.c. */
extern PyMethodDef ep_network_build_methods[], ep_network_array_methods[], ep_network_run_methods[],
    ep_network_step_methods[], ep_network_census_methods[];

/* ---- network_table.c: the user's arrays as tables -------------------------------------------- */
/* Rows of numbers of `object`; `keep` receives a reference that must be held while the table is in
 * use. Borrows any row-contiguous array of a known number type, converts once otherwise. */
bool ep_table_of_inputs(ep_network *self, PyObject *object, ep_table *table, PyObject **keep);
/* Targets for the configured loss; labels are checked for range (once per array). */
bool ep_table_of_targets(ep_network *self, PyObject *object, int64_t rows, ep_table *table,
                         PyObject **keep);
/* Both at once, with the rows that are meant (None: all, in order): sample i is row rows[i]. */
typedef struct {
    ep_table x, y;
    PyObject *keep[3];
} ep_feed;
bool ep_feed_open(ep_network *self, PyObject *x, PyObject *y, PyObject *rows, ep_feed *feed);
void ep_feed_close(ep_feed *feed);
ep_intake ep_network_intake(const ep_network *self);

#endif
