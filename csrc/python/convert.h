/* convert: between Python's objects and the core's: settings and dicts, errors and exceptions,
 * arrays and pointers. The texts of errors that a caller can cause by a wrong object are made here.
 * Which function is being called, and what for, is its caller's to say. */
#ifndef EP_CONVERT_H
#define EP_CONVERT_H

#include "python/module.h"

/* ---- errors -------------------------------------------------------------------------------- */
/* Raises what `error` says (ValueError, TypeError, MemoryError, Diverged) and returns NULL.
 * EP_RAISED means that a Python exception is already set. state may be NULL where the error cannot
 * be EP_DIVERGED. */
PyObject *ep_raise(const ep_error *error, const ep_state *state);
/* Raises Diverged with its attribute step, and returns NULL. */
PyObject *ep_raise_diverged(const ep_state *state, int64_t step, const char *text);
/* Raises `kind` with "<format>, got <type of object>"; returns NULL. */
PyObject *ep_raise_got(PyObject *kind, PyObject *got, const char *format, ...);

/* ---- settings ------------------------------------------------------------------------------ */
/* Fills `config` (as large as the fields need; nothing need be in it) from a dict of settings, or
 * from None: defaults, then each item. `owner` opens every error text. Returns 0, or -1 with an
 * exception: TypeError for an unknown name (the known ones are listed), a missing required one or
 * a wrong type; ValueError out of bounds (which are printed). On failure nothing is held. */
int ep_config_from_dict(const ep_field *fields, void *config, PyObject *dict, const char *owner);
/* Every setting as plain Python: int, float, bool, str, list of floats (None if empty). */
PyObject *ep_config_as_dict(const ep_field *fields, const void *config);
/* The fields as a list of dicts: name, type, default, low, high, choices, doc, required. */
PyObject *ep_fields_describe(const ep_field *fields);

/* The settings of one law for the time of a call: `at` is a config, NULL while closed. */
typedef struct {
    const ep_field *fields;
    void *at;
} ep_settings;

/* False with an exception; then there is nothing to close. */
bool ep_settings_open(ep_settings *settings, const ep_field *fields, size_t size, PyObject *dict,
                      const char *owner);
void ep_settings_close(ep_settings *settings);
/* `row` of a catalogue as it is; where it is NULL, ValueError that no `what` has this name. */
const void *ep_found(const void *row, const char *what, const char *name);

/* ---- arrays -------------------------------------------------------------------------------- */
/* `object` as NumPy makes an array of it; a new reference. Lists are copied first: NumPy reads them
 * twice and believes their first length, while __index__ or __array__ of an element may change them
 * in between. Raises ValueError for lists nested too deeply. */
PyArrayObject *ep_array_of(PyObject *object, const char *name);
/* `object` as a C-contiguous, aligned, native array of `type` (EP_NPY_REAL, NPY_INT64, ...): the
 * array itself where it is one already, else a copy. A new reference; to be read, not written.
 * shape[rank] is what is expected, -1 for any size. Raises TypeError where it is not made of real
 * numbers (of whole ones, for an integer type), ValueError for a wrong shape; `name` is the
 * argument's. */
PyArrayObject *ep_array_in(PyObject *object, const char *name, int type, int rank,
                           const npy_intp *shape);
/* As above, but always a fresh copy that may be written. */
PyArrayObject *ep_array_copy(PyObject *object, const char *name, int type, int rank,
                             const npy_intp *shape);
/* Gives up a reference; array may be NULL. */
EP_INLINE void ep_array_drop(PyArrayObject *array) { Py_XDECREF((PyObject *)array); }
/* A new vector of n; zeros. n < 0 raises ValueError. */
PyArrayObject *ep_array_vector(npy_intp n, int type);

/* ---- arguments ----------------------------------------------------------------------------- */
/* For PyArg_Parse's "O&": a whole number from 0 to 2^64 - 1 into a uint64_t, one of at least 0 into
 * a Py_ssize_t, a real number into a double. ValueError where it does not fit. */
int ep_convert_u64(PyObject *object, void *to);
int ep_convert_count(PyObject *object, void *to);
int ep_convert_real(PyObject *object, void *to);
/* A whole number from low to high; TypeError or ValueError names the argument. */
bool ep_whole(PyObject *object, const char *name, int64_t low, int64_t high, int64_t *to);
/* True or False, as Python's or NumPy's bool. */
bool ep_truth(PyObject *object, const char *name, bool *to);
/* Item `key` of a dict into *value: a new reference, or NULL where there is none. False with an
 * exception. A borrowed one would not outlive the next call of foreign code. */
bool ep_item(PyObject *dict, const char *key, PyObject **value);

#endif
