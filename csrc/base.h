/* base: definitions shared by all files: the number type, errors, assertions and the description of
 * a setting (ep_field). Independent of networks. The core never prints and never exits: errors of
 * the caller are reported as an ep_error, which the Python boundary turns into an exception. */
#ifndef EP_BASE_H
#define EP_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef EP_DOUBLE
typedef double ep_real;
#else
typedef float ep_real;
#endif

#define EP_ALIGN 64 /* bytes: a cache line and the widest vector */
#define EP_LINE (EP_ALIGN / sizeof(ep_real)) /* elements per cache line */
#define EP_TEXT 512 /* characters in an error text */
#define EP_NAME 64 /* characters in a layer's or tensor's name */
#define EP_STATES 4 /* values a dynamics may store per population */
#define EP_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Checks for bugs in the core, never for errors of the caller. Enabled in every test build. */
#ifdef EP_CHECK
#define EP_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#else
#define EP_ASSERT(condition) ((void)sizeof((condition) ? 1 : 0)) /* not evaluated */
#endif

#define EP_INLINE static inline __attribute__((always_inline))

/* ---- errors ------------------------------------------------------------------------------- */
typedef enum {
    EP_OK = 0,
    EP_BAD_VALUE, /* caller's error: names the argument, what was expected and what was given */
    EP_BAD_TYPE, /* caller's error: an object of the wrong type */
    EP_NO_MEMORY, /* at build or compaction; the state is unchanged */
    EP_DIVERGED, /* a loss, gradient or fitness is not finite; the step was not applied */
    EP_RAISED, /* a law written in Python raised an exception, which is still set */
    EP_APART, /* data-parallel training: another process failed, or its network differs */
} ep_code;

typedef struct {
    ep_code code;
    char text[EP_TEXT];
} ep_error;

/* Sets `error` (printf format) and returns false, so that a function can `return ep_fail(...)`. */
bool ep_fail(ep_error *error, ep_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Calls snprintf. Only base.c includes <stdio.h>. */
void ep_format(char *to, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- settings -----------------------------------------------------------------------------
 * Each kind of layer and each law describes its settings in one table, with one row (ep_field) for
 * each setting. Keyword, bounds check, error text, docstring, repr, stub and saved file are derived
 * from this row. Every setting is one member of a config struct: int64_t (EP_INT, EP_BOOL,
 * EP_CHOICE: the index), double (EP_REAL) or ep_vector (EP_VECTOR, owned by the config). */
typedef enum { EP_INT, EP_REAL, EP_BOOL, EP_CHOICE, EP_VECTOR } ep_type;

typedef struct {
    double *at;
    int64_t n;
} ep_vector;

typedef struct {
    const char *name;
    ep_type type;
    size_t offset;
    double initial, low, high; /* default value; inclusive bounds, also of each vector element */
    const char *const *choices; /* EP_CHOICE: names, NULL-terminated */
    const char *doc;
    bool required; /* has no default */
} ep_field;

/* One row of a table of settings. The setting is named after its member of `config`. */
#define EP_FIELD(config, member, type_, initial_, low_, high_, ...) \
    {.name = #member,                                               \
     .type = type_,                                                 \
     .offset = offsetof(config, member),                            \
     .initial = initial_,                                           \
     .low = low_,                                                   \
     .high = high_,                                                 \
     __VA_ARGS__}
#define EP_FIELD_INT(config, member, initial, low, high, text) \
    EP_FIELD(config, member, EP_INT, initial, low, high, .doc = text)
#define EP_FIELD_REAL(config, member, initial, low, high, text) \
    EP_FIELD(config, member, EP_REAL, initial, low, high, .doc = text)
#define EP_FIELD_BOOL(config, member, initial, text) \
    EP_FIELD(config, member, EP_BOOL, initial, 0, 1, .doc = text)
#define EP_FIELD_CHOICE(config, member, initial, names, text) \
    EP_FIELD(config, member, EP_CHOICE, initial, 0, 0, .choices = names, .doc = text)
#define EP_FIELD_VECTOR(config, member, low, high, text) \
    EP_FIELD(config, member, EP_VECTOR, 0, low, high, .doc = text)
#define EP_FIELD_REQUIRED(type, config, member, low, high, text) \
    EP_FIELD(config, member, type, 0, low, high, .required = true, .doc = text)
#define EP_FIELDS_END {.name = NULL}
/* The table of a kind of layer, or of a law, that has no settings. */
extern const ep_field ep_no_fields[];

/* Sets every setting to its default, and vectors to empty. `config` may be NULL if the table has no
 * row. */
void ep_fields_init(const ep_field *fields, void *config);
/* Frees the vectors of a config, but not the config itself. */
void ep_fields_free(const ep_field *fields, void *config);
/* Makes `to` (uninitialized) a deep copy of the config `from` of `size` bytes. False: out of
 * memory; `to` holds the defaults. */
bool ep_fields_copy(const ep_field *fields, void *to, const void *from, size_t size);
/* Allocates a deep copy of a config; free it with ep_config_free. False: out of memory. */
bool ep_config_copy(const ep_field *fields, size_t size, const void *from, void **to);
void ep_config_free(const ep_field *fields, void *config);
const ep_field *ep_field_find(const ep_field *fields, const char *name);
/* Set one setting of a config; `owner` names the layer or law in the error text. Vectors are
 * copied. */
bool ep_field_set_number(const ep_field *field, void *config, double value, const char *owner,
                         ep_error *error);
bool ep_field_set_choice(const ep_field *field, void *config, const char *value, const char *owner,
                         ep_error *error);
bool ep_field_set_vector(const ep_field *field, void *config, const double *at, int64_t n,
                         const char *owner, ep_error *error);
EP_INLINE void *ep_field_slot(const ep_field *field, void *config) {
    return (char *)config + field->offset;
}

EP_INLINE int64_t ep_min(int64_t a, int64_t b) { return a < b ? a : b; }
EP_INLINE int64_t ep_max(int64_t a, int64_t b) { return a > b ? a : b; }
/* a * b, or -1 if a factor is negative or the product overflows. */
EP_INLINE int64_t ep_times(int64_t a, int64_t b) {
    int64_t product;
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) {
        return -1;
    }
    return product;
}
/* Index of the first item of part `part`, if n items are split into `parts` almost equal parts. */
EP_INLINE int64_t ep_split(int64_t n, int64_t part, int64_t parts) { return n * part / parts; }

#endif
