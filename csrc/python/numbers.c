/* numbers: random numbers and elementary functions as Python functions over arrays, for tests and
 * for initial values made in a notebook; and the instruction set level of the processor. */
#include "python/convert.h"

#include "elementary.h"
#include "random.h"
#ifdef EP_HOSTILE
#include "slab.h"
#endif

#include <string.h>

/* ---- random --------------------------------------------------------------------------------- */
typedef struct {
    uint64_t seed, stream, start;
    Py_ssize_t n;
} range;

/* Parse the arguments (seed, stream, start, n). */
static bool parse_range(PyObject *args, PyObject *kwargs, const char *format, range *r) {
    static char *names[] = {"seed", "stream", "start", "n", NULL};
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, ep_convert_u64, &r->seed,
                                       ep_convert_u64, &r->stream, ep_convert_u64, &r->start,
                                       ep_convert_count, &r->n);
}

PyDoc_STRVAR(random_words_doc,
             "random_words(seed, stream, start, n)\n--\n\n"
             "Return the words of Philox4x32-10 at counters start .. start + n - 1 of a "
             "stream: uint32 (n, 4).");

static PyObject *random_words(PyObject *module, PyObject *args, PyObject *kwargs) {
    range r;
    (void)module;
    if (!parse_range(args, kwargs, "O&O&O&O&:random_words", &r)) {
        return NULL;
    }
    npy_intp shape[2] = {r.n, 4};
    if (r.n < 0) {
        PyErr_Format(PyExc_ValueError, "n: expected a number of at least 0, got %zd", r.n);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)PyArray_ZEROS(2, shape, NPY_UINT32, 0);
    if (!array) {
        return NULL;
    }
    uint32_t *at = PyArray_DATA(array);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < r.n; i++) {
        ep_random_words((ep_noise){r.seed, r.stream}, r.start + (uint64_t)i, at + 4 * i);
    }
    Py_END_ALLOW_THREADS
    return (PyObject *)array;
}

static PyObject *fill(PyObject *args, PyObject *kwargs, const char *format,
                      double (*draw)(ep_noise, uint64_t)) {
    range r;
    if (!parse_range(args, kwargs, format, &r)) {
        return NULL;
    }
    PyArrayObject *array = ep_array_vector(r.n, NPY_FLOAT64);
    if (!array) {
        return NULL;
    }
    double *at = PyArray_DATA(array);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < r.n; i++) {
        at[i] = draw((ep_noise){r.seed, r.stream}, r.start + (uint64_t)i);
    }
    Py_END_ALLOW_THREADS
    return (PyObject *)array;
}

PyDoc_STRVAR(random_uniform_doc,
             "random_uniform(seed, stream, start, n)\n--\n\n"
             "Return numbers start .. start + n - 1 of a stream, uniform on the open interval "
             "(0, 1): float64 (n,).");

static PyObject *random_uniform(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    return fill(args, kwargs, "O&O&O&O&:random_uniform", ep_random_uniform);
}

PyDoc_STRVAR(random_normal_doc,
             "random_normal(seed, stream, start, n)\n--\n\n"
             "Return numbers start .. start + n - 1 of a stream, normal with mean 0 and "
             "variance 1: float64 (n,).");

static PyObject *random_normal(PyObject *module, PyObject *args, PyObject *kwargs) {
    (void)module;
    return fill(args, kwargs, "O&O&O&O&:random_normal", ep_random_normal);
}

PyDoc_STRVAR(random_permutation_doc,
             "random_permutation(seed, stream, n)\n--\n\n"
             "Return the positions of items 0 .. n - 1 in the permutation of this seed and "
             "stream: int64 (n,).");

static PyObject *random_permutation(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"seed", "stream", "n", NULL};
    ep_noise noise;
    Py_ssize_t n;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&O&:random_permutation", names,
                                     ep_convert_u64, &noise.seed, ep_convert_u64, &noise.stream,
                                     ep_convert_count, &n)) {
        return NULL;
    }
    PyArrayObject *array = ep_array_vector(n, NPY_INT64);
    if (!array) {
        return NULL;
    }
    int64_t *at = PyArray_DATA(array);
    Py_BEGIN_ALLOW_THREADS
    ep_permutation permutation = ep_random_permutation(noise, n);
    for (Py_ssize_t i = 0; i < n; i++) {
        at[i] = ep_permutation_place(&permutation, i);
    }
    Py_END_ALLOW_THREADS
    return (PyObject *)array;
}

PyDoc_STRVAR(random_binomial_doc,
             "random_binomial(seed, stream, size, trials, p)\n--\n\n"
             "Return successive draws from Binomial(trials, p) on a stream: int64 (size,).");

static PyObject *random_binomial(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"seed", "stream", "size", "trials", "p", NULL};
    ep_noise noise;
    Py_ssize_t size;
    Py_ssize_t trials;
    double p;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&O&O&O&:random_binomial", names,
                                     ep_convert_u64, &noise.seed, ep_convert_u64, &noise.stream,
                                     ep_convert_count, &size, ep_convert_count, &trials,
                                     ep_convert_real, &p)) {
        return NULL;
    }
    if (!(p >= 0 && p <= 1)) {
        PyErr_SetString(PyExc_ValueError, "p: expected a number from 0 to 1");
        return NULL;
    }
    PyArrayObject *array = ep_array_vector(size, NPY_INT64);
    if (!array) {
        return NULL;
    }
    int64_t *at = PyArray_DATA(array);
    Py_BEGIN_ALLOW_THREADS
    uint64_t index = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        at[i] = ep_random_binomial(noise, &index, trials, p);
    }
    Py_END_ALLOW_THREADS
    return (PyObject *)array;
}

PyDoc_STRVAR(random_fork_doc, "random_fork(seed, stream, branch)\n--\n\n"
                              "Return the (seed, stream) of a branch of a stream.");

static PyObject *random_fork(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"seed", "stream", "branch", NULL};
    ep_noise noise;
    uint64_t branch;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&O&:random_fork", names, ep_convert_u64,
                                     &noise.seed, ep_convert_u64, &noise.stream, ep_convert_u64,
                                     &branch)) {
        return NULL;
    }
    noise = ep_random_fork(noise, branch);
    return Py_BuildValue("KK", (unsigned long long)noise.seed, (unsigned long long)noise.stream);
}

/* ---- elementary ------------------------------------------------------------------------------ */
/* Define one loop per function, so that the function is inlined and the loop vectorized, as in the
 * layers. A macro, because a call through a function pointer could not be inlined. */
#define MAP(function)                                                                         \
    static void loop_##function(npy_intp n, const ep_real *restrict x, ep_real *restrict y) { \
        ep_map(ep_##function, n, x, y);                                                       \
    }
#define LOOP(function)                                                                        \
    static void loop_##function(npy_intp n, const ep_real *restrict x, ep_real *restrict y) { \
        for (npy_intp i = 0; i < n; i++) {                                                    \
            y[i] = ep_##function(x[i]);                                                       \
        }                                                                                     \
    }
MAP(exp)
MAP(tanh)
MAP(sigmoid)
LOOP(log)
LOOP(log1p_unit)

static const struct {
    const char *name;
    void (*loop)(npy_intp, const ep_real *, ep_real *);
} functions[] = {
    {"exp", loop_exp},   {"log", loop_log},         {"log1p_unit", loop_log1p_unit},
    {"tanh", loop_tanh}, {"sigmoid", loop_sigmoid},
};

PyDoc_STRVAR(elementary_doc,
             "elementary(name, x)\n--\n\n"
             "Apply an elementary function of the core to a vector x (n,): exp, log, "
             "log1p_unit, tanh or sigmoid.");

static PyObject *elementary(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "x", NULL};
    const char *name;
    PyObject *object;
    const npy_intp any = -1;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO:elementary", names, &name, &object)) {
        return NULL;
    }
    for (int i = 0; i < EP_COUNT(functions); i++) {
        if (strcmp(functions[i].name, name) != 0) {
            continue;
        }
        PyArrayObject *x = ep_array_in(object, "x", EP_NPY_REAL, 1, &any), *y = NULL;
        if (x && (y = ep_array_vector(PyArray_DIM(x, 0), EP_NPY_REAL)) != NULL) {
            functions[i].loop(PyArray_DIM(x, 0), PyArray_DATA(x), PyArray_DATA(y));
        }
        ep_array_drop(x);
        return (PyObject *)y;
    }
    return PyErr_Format(PyExc_ValueError, "name: no elementary function '%s'", name);
}

/* ---- processor ------------------------------------------------------------------------------- */
PyDoc_STRVAR(cpu_level_doc, "cpu_level()\n--\n\n"
                            "Return the highest level that this processor supports: 0 base, 1 avx2 "
                            "(x86-64-v3), 2 avx512 (x86-64-v4).");

/* Check the features that distinguish the processors of a level from older ones; every processor
 * with these has the rest of the level. The builtin also checks that the operating system saves the
 * registers. */
static PyObject *cpu_level(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {NULL};
    int level = 0;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":cpu_level", names)) {
        return NULL;
    }
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) {
        level = 1;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl")) {
            level = 2;
        }
    }
#endif
    return PyLong_FromLong(level);
}

/* ---- the hostile test build ------------------------------------------------------------------ */
#ifdef EP_HOSTILE
PyDoc_STRVAR(fail_after_doc,
             "fail_after(n)\n--\n\n"
             "Make the n-th allocation of a slab from now fail (0: the next one); negative: "
             "none fails.");

static PyObject *fail_after(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"n", NULL};
    int n;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i:fail_after", names, &n)) {
        return NULL;
    }
    ep_slab_fail_after(n);
    return Py_NewRef(Py_None);
}
#endif

PyMethodDef ep_numbers_methods[] = {
    EP_METHOD(random_words, random_words_doc),
    EP_METHOD(random_uniform, random_uniform_doc),
    EP_METHOD(random_normal, random_normal_doc),
    EP_METHOD(random_permutation, random_permutation_doc),
    EP_METHOD(random_binomial, random_binomial_doc),
    EP_METHOD(random_fork, random_fork_doc),
    EP_METHOD(elementary, elementary_doc),
    EP_METHOD(cpu_level, cpu_level_doc),
#ifdef EP_HOSTILE
    EP_METHOD(fail_after, fail_after_doc),
#endif
    EP_METHODS_END,
};
