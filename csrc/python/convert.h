/* convert: conversions between Python objects and the core: settings and dicts, errors and
 * exceptions, arrays and pointers. Error messages about objects of the wrong type or value are
 * written here; the name of the function or argument comes from the caller. */
#ifndef EP_CONVERT_H
#define EP_CONVERT_H

#include "python/module.h"

/* ---- errors -------------------------------------------------------------------------------- */
/* Raise the exception of `error` (ValueError, TypeError, MemoryError, Diverged) and return NULL.
 * EP_RAISED means that a Python exception is already set. `state` may be NULL if the error cannot
 * be EP_DIVERGED. */
PyObject *ep_raise(const ep_error *error, const ep_state *state);
/* Raise Diverged with its attribute step, and return NULL. */
PyObject *ep_raise_diverged(const ep_state *state, int64_t step, const char *text);
/* Raise the exception class `kind` with "<format>, got <type of `got`>"; return NULL. */
PyObject *ep_raise_got(PyObject *kind, PyObject *got, const char *format, ...);

/* ---- settings ------------------------------------------------------------------------------ */
/* Fill `config` (as large as the fields need; may be uninitialized) from a dict of settings, or
 * from None: defaults first, then each item. `owner` begins every error message. Returns 0, or -1
 * with an exception: TypeError for an unknown name, a missing required setting or a wrong type;
 * ValueError for a value out of bounds. The messages list the known names or the bounds. After a
 * failure, nothing needs to be freed. */
int ep_config_from_dict(const ep_field *fields, void *config, PyObject *dict, const char *owner);
/* Return all settings as a dict of Python objects: int, float, bool, str, list of floats (None if
 * empty). */
PyObject *ep_config_as_dict(const ep_field *fields, const void *config);
/* Return the fields as a list of dicts: name, type, default, low, high, choices, doc, required. */
PyObject *ep_fields_describe(const ep_field *fields);

/* The settings of one law during a call: `at` is its config, or NULL while closed. */
typedef struct {
    const ep_field *fields;
    void *at;
} ep_settings;

/* Fill the settings from a dict or None. Returns false with an exception; then there is nothing to
 * close. */
bool ep_settings_open(ep_settings *settings, const ep_field *fields, size_t size, PyObject *dict,
                      const char *owner);
void ep_settings_close(ep_settings *settings);
/* Return `row`, the result of a search in the catalogue. If it is NULL, raise ValueError: no `what`
 * has this name. */
const void *ep_found(const void *row, const char *what, const char *name);

/* ---- arrays -------------------------------------------------------------------------------- */
/* Convert `object` to an array as NumPy does; a new reference. Lists are copied first: NumPy reads
 * them twice and relies on their first length, but __index__ or __array__ of an element may change
 * them in between. Raises ValueError for lists nested too deeply; returns NULL if an exception is
 * already set, since code of the object could clear it. */
PyArrayObject *ep_array_of(PyObject *object, const char *name);
/* Return `object` as a C-contiguous, aligned, native array of `type` (EP_NPY_REAL, NPY_INT64, ...):
 * the same array if possible, else a copy. A new reference, read-only. shape[rank] is the expected
 * shape, -1 for any size; `name` is the argument's name in messages. Raises TypeError if the
 * elements are not real numbers (for an integer type, whole numbers), ValueError for a wrong
 * shape. */
PyArrayObject *ep_array_in(PyObject *object, const char *name, int type, int rank,
                           const npy_intp *shape);
/* Like ep_array_in(), but always return a new, writable copy. */
PyArrayObject *ep_array_copy(PyObject *object, const char *name, int type, int rank,
                             const npy_intp *shape);
/* Release a reference; `array` may be NULL. */
EP_INLINE void ep_array_drop(PyArrayObject *array) { Py_XDECREF((PyObject *)array); }
/* Return a new vector of n zeros. n < 0 raises ValueError. */
PyArrayObject *ep_array_vector(npy_intp n, int type);

/* ---- arguments ----------------------------------------------------------------------------- */
/* Converters for PyArg_Parse's "O&": ep_convert_u64 stores a whole number from 0 to 2^64 - 1 in a
 * uint64_t, ep_convert_count a whole number of at least 0 in a Py_ssize_t, and ep_convert_real a
 * real number in a double. They raise ValueError if the number does not fit. */
int ep_convert_u64(PyObject *object, void *to);
int ep_convert_count(PyObject *object, void *to);
int ep_convert_real(PyObject *object, void *to);
/* Convert a whole number from low to high. Raises TypeError or ValueError with the name of the
 * argument. */
bool ep_whole(PyObject *object, const char *name, int64_t low, int64_t high, int64_t *to);
/* Convert True or False of Python or NumPy to bool. */
bool ep_truth(PyObject *object, const char *name, bool *to);
/* Get item `key` of a dict into *value: a new reference, or NULL if missing. Return false with an
 * exception on failure. The reference is not borrowed, because Python code that runs later could
 * free the item. */
bool ep_item(PyObject *dict, const char *key, PyObject **value);

#endif
