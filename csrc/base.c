/* base: formats errors, and reads and writes settings through their table of fields. All settings
 * of layers and laws are set here, so bounds are checked and errors worded in one place. <stdio.h>
 * is included for vsnprintf and snprintf alone: the core prints nothing. */
#include "base.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ep_fail(ep_error *error, ep_code code, const char *format, ...) {
    va_list arguments;
    error->code = code;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return false;
}

void ep_format(char *to, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(to, size, format, arguments);
    va_end(arguments);
}

/* ---- slots --------------------------------------------------------------------------------- */
static ep_vector *slot_vector(const ep_field *field, void *config) {
    return ep_field_slot(field, config);
}

static bool is_last(const ep_field *field) { return !field || !field->name; }

const ep_field ep_no_fields[] = {EP_FIELDS_END};

void ep_fields_init(const ep_field *fields, void *config) {
    for (const ep_field *field = fields; !is_last(field); field++) {
        void *slot = ep_field_slot(field, config);
        switch (field->type) {
        case EP_INT:
        case EP_BOOL:
        case EP_CHOICE: *(int64_t *)slot = (int64_t)field->initial; break;
        case EP_REAL: *(double *)slot = field->initial; break;
        case EP_VECTOR: *(ep_vector *)slot = (ep_vector){NULL, 0}; break;
        }
    }
}

void ep_fields_free(const ep_field *fields, void *config) {
    for (const ep_field *field = fields; !is_last(field); field++) {
        if (field->type == EP_VECTOR) {
            ep_vector *vector = slot_vector(field, config);
            free(vector->at);
            *vector = (ep_vector){NULL, 0};
        }
    }
}

/* Returns a copy of n elements; NULL if n is 0 or memory is insufficient. */
static double *copied(const double *at, int64_t n) {
    if (n <= 0 || (uint64_t)n > SIZE_MAX / sizeof(double)) {
        return NULL;
    }
    double *copy = malloc((size_t)n * sizeof(double));
    if (copy) {
        memcpy(copy, at, (size_t)n * sizeof(double));
    }
    return copy;
}

#if defined(__GNUC__) && !defined(__clang__)
/* the analyzer does not track what `to` owns */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
bool ep_fields_copy(const ep_field *fields, void *to, const void *from, size_t size) {
    bool whole = true;
    if (size == 0) {
        return true;
    }
    memcpy(to, from, size);
    for (const ep_field *field = fields; !is_last(field); field++) {
        if (field->type == EP_VECTOR) { /* `to` must never own a vector of `from` */
            ep_vector *vector = slot_vector(field, to);
            vector->at = copied(vector->at, vector->n);
            whole = whole && (vector->at || vector->n == 0);
        }
    }
    if (!whole) {
        ep_fields_free(fields, to);
        ep_fields_init(fields, to);
    }
    return whole;
}

bool ep_config_copy(const ep_field *fields, size_t size, const void *from, void **to) {
    *to = calloc(1, size ? size : 1);
    if (*to && !ep_fields_copy(fields, *to, from, size)) {
        free(*to);
        *to = NULL;
    }
    return *to != NULL;
}

void ep_config_free(const ep_field *fields, void *config) {
    if (config) {
        ep_fields_free(fields, config);
        free(config);
    }
}

const ep_field *ep_field_find(const ep_field *fields, const char *name) {
    for (const ep_field *field = fields; !is_last(field); field++) {
        if (strcmp(field->name, name) == 0) {
            return field;
        }
    }
    return NULL;
}

/* ---- bounds -------------------------------------------------------------------------------- */
enum { BOUNDS_TEXT = 96 };

/* Write the bounds of a setting: "from 0 to 1", "at least 0", "at most 1" or "finite". */
static void bounds_text(const ep_field *field, char text[BOUNDS_TEXT]) {
    bool low = isfinite(field->low), high = isfinite(field->high);
    if (low && high) {
        snprintf(text, BOUNDS_TEXT, "from %.15g to %.15g", field->low, field->high);
    } else if (low) {
        snprintf(text, BOUNDS_TEXT, "at least %.15g", field->low);
    } else if (high) {
        snprintf(text, BOUNDS_TEXT, "at most %.15g", field->high);
    } else {
        snprintf(text, BOUNDS_TEXT, "finite");
    }
}

/* True if a value is within the bounds. NaN and infinities never are: an infinite bound means no
 * bound. */
static bool within(const ep_field *field, double value) {
    return isfinite(value) && value >= field->low && value <= field->high;
}

static bool fail_bounds(const ep_field *field, const char *owner, double value, ep_error *error) {
    char bounds[BOUNDS_TEXT];
    bounds_text(field, bounds);
    return ep_fail(error, EP_BAD_VALUE, "%s: %s must be %s, got %.15g", owner, field->name, bounds,
                   value);
}

/* ---- setting ------------------------------------------------------------------------------- */
bool ep_field_set_number(const ep_field *field, void *config, double value, const char *owner,
                         ep_error *error) {
    const double end = 9223372036854775808.0; /* 2^63: the least value that overflows int64_t */
    void *slot = ep_field_slot(field, config);
    switch (field->type) {
    case EP_REAL:
        if (!within(field, value)) {
            return fail_bounds(field, owner, value, error);
        }
        *(double *)slot = value;
        return true;
    case EP_INT:
        if (!within(field, value) || value >= end || value < -end) {
            return fail_bounds(field, owner, value, error);
        }
        if (value != floor(value)) {
            return ep_fail(error, EP_BAD_TYPE, "%s: %s must be a whole number, got %.15g", owner,
                           field->name, value);
        }
        *(int64_t *)slot = (int64_t)value;
        return true;
    case EP_BOOL:
        if (value != 0 && value != 1) {
            return ep_fail(error, EP_BAD_VALUE, "%s: %s must be true or false, got %.15g", owner,
                           field->name, value);
        }
        *(int64_t *)slot = value != 0;
        return true;
    case EP_CHOICE:
    case EP_VECTOR: break;
    }
    return ep_fail(error, EP_BAD_TYPE, "%s: %s must be %s, got a number", owner, field->name,
                   field->type == EP_CHOICE ? "a name" : "a list of numbers");
}

bool ep_field_set_choice(const ep_field *field, void *config, const char *value, const char *owner,
                         ep_error *error) {
    if (field->type != EP_CHOICE) {
        return ep_fail(error, EP_BAD_TYPE, "%s: %s must be a number, got the name '%.64s'", owner,
                       field->name, value);
    }
    for (int64_t i = 0; field->choices[i]; i++) {
        if (strcmp(field->choices[i], value) == 0) {
            *(int64_t *)ep_field_slot(field, config) = i;
            return true;
        }
    }
    char known[EP_TEXT / 2] = "";
    size_t used = 0;
    for (int64_t i = 0; field->choices[i] && used < sizeof known; i++) {
        int wrote = snprintf(known + used, sizeof known - used, "%s'%s'", i ? ", " : "",
                             field->choices[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return ep_fail(error, EP_BAD_VALUE, "%s: %s must be one of %s, got '%.64s'", owner, field->name,
                   known, value);
}

bool ep_field_set_vector(const ep_field *field, void *config, const double *at, int64_t n,
                         const char *owner, ep_error *error) {
    if (field->type != EP_VECTOR) {
        return ep_fail(error, EP_BAD_TYPE, "%s: %s must be a single value, got %lld numbers", owner,
                       field->name, (long long)n);
    }
    for (int64_t i = 0; i < n; i++) {
        if (!within(field, at[i])) {
            char bounds[BOUNDS_TEXT];
            bounds_text(field, bounds);
            return ep_fail(error, EP_BAD_VALUE, "%s: %s[%lld] must be %s, got %.15g", owner,
                           field->name, (long long)i, bounds, at[i]);
        }
    }
    double *copy = copied(at, n);
    if (!copy && n > 0) {
        return ep_fail(error, EP_NO_MEMORY, "%s: %s: no memory for %lld numbers", owner,
                       field->name, (long long)n);
    }
    ep_vector *vector = slot_vector(field, config);
    free(vector->at);
    *vector = (ep_vector){copy, n > 0 ? n : 0};
    return true;
}
