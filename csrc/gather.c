/* gather: see gather.h. */
#include "gather.h"

#include <string.h>

int64_t ep_batches(int64_t rows, int64_t batch) { return (rows + batch - 1) / batch; }

int64_t ep_batch_order(int64_t rows, int64_t batch, int64_t number, bool shuffle, uint64_t seed,
                       int64_t *order) {
    int64_t batches = ep_batches(rows, batch), epoch = number / batches;
    int64_t first = number % batches * batch, n = ep_min(batch, rows - first);
    ep_noise noise = ep_random_fork((ep_noise){seed, EP_STREAM_SHUFFLE}, (uint64_t)epoch);
    for (int64_t i = 0; i < n; i++) {
        order[i] = shuffle ? ep_random_permute(noise, first + i, rows) : first + i;
    }
    return n;
}

/* Expands CASE(enumerator, C type) for every number type. */
#define EACH_TYPE(CASE)       \
    CASE(EP_FLOAT32, float)   \
    CASE(EP_FLOAT64, double)  \
    CASE(EP_UINT8, uint8_t)   \
    CASE(EP_INT8, int8_t)     \
    CASE(EP_UINT16, uint16_t) \
    CASE(EP_INT16, int16_t)   \
    CASE(EP_UINT32, uint32_t) \
    CASE(EP_INT32, int32_t)   \
    CASE(EP_INT64, int64_t)

/* ---- one row, by type ------------------------------------------------------------------------ */

/* Defines the function for rows of one type: to[j] = (x[f] - shift) * scale in the arithmetic of
 * `real`, where f is the founding index of living feature j. It is a macro because these loops
 * differ only in their types. */
#define DEFINE_ROW(name, type, real, shifts, scales)                                \
    static void name(const void *from, const ep_intake *in, ep_real *restrict to) { \
        const type *restrict x = from;                                              \
        const real *shift = in->shifts, *scale = in->scales;                        \
        int64_t n = in->width;                                                      \
        if (in->living && in->each) {                                               \
            for (int64_t j = 0; j < n; j++) {                                       \
                int32_t f = in->living[j];                                          \
                to[j] = (ep_real)(((real)x[f] - shift[f]) * scale[f]);              \
            }                                                                       \
        } else if (in->living) {                                                    \
            for (int64_t j = 0; j < n; j++) {                                       \
                to[j] = (ep_real)(((real)x[in->living[j]] - shift[0]) * scale[0]);  \
            }                                                                       \
        } else if (in->each) {                                                      \
            for (int64_t j = 0; j < n; j++) {                                       \
                to[j] = (ep_real)(((real)x[j] - shift[j]) * scale[j]);              \
            }                                                                       \
        } else {                                                                    \
            const real one_shift = shift[0], one_scale = scale[0];                  \
            for (int64_t j = 0; j < n; j++) {                                       \
                to[j] = (ep_real)(((real)x[j] - one_shift) * one_scale);            \
            }                                                                       \
        }                                                                           \
    }
#define DEFINE_TYPE(tag, type)                                    \
    DEFINE_ROW(near_##tag, type, ep_real, near_shift, near_scale) \
    DEFINE_ROW(wide_##tag, type, double, shift, scale)            \
    static double number_##tag(const void *from, int64_t j) {     \
        return (double)((const type *)from)[j];                   \
    }
EACH_TYPE(DEFINE_TYPE)

typedef void (*row_of)(const void *from, const ep_intake *in, ep_real *restrict to);
typedef double (*number_of)(const void *from, int64_t j);
#define NEAR_ENTRY(tag, type) [tag] = near_##tag,
#define WIDE_ENTRY(tag, type) [tag] = wide_##tag,
#define SIZE_ENTRY(tag, type) [tag] = sizeof(type),
#define NUMBER_ENTRY(tag, type) [tag] = number_##tag,
static const row_of near_rows[EP_NUMBER_TYPES] = {EACH_TYPE(NEAR_ENTRY)};
static const row_of wide_rows[EP_NUMBER_TYPES] = {EACH_TYPE(WIDE_ENTRY)};
static const size_t sizes[EP_NUMBER_TYPES] = {EACH_TYPE(SIZE_ENTRY)};
static const number_of numbers[EP_NUMBER_TYPES] = {EACH_TYPE(NUMBER_ENTRY)};

static const void *row_at(const ep_table *table, int64_t row) {
    return (const char *)table->at + (table->map ? table->map[row] : row) * table->stride;
}

/* True if (x - shift) * scale must be computed in double, because x or the shift may have more
 * digits than fit in an ep_real. */
static bool needs_double(ep_number type, const ep_intake *in) {
    bool small = type == EP_UINT8 || type == EP_INT8;
    bool fits = small || type == EP_UINT16 || type == EP_INT16 || type == EP_FLOAT32;
    return !(small || (fits && in->exact));
}

static row_of row_for(ep_number type, const ep_intake *in) {
    return (needs_double(type, in) ? wide_rows : near_rows)[type];
}

/* Copies one image, moved by (down, right) pixels and optionally mirrored; pads with 0. */
static void moved_row(const ep_table *table, const ep_intake *in, const void *from, int64_t down,
                      int64_t right, bool mirror, bool wide, ep_real *to) {
    number_of number = numbers[table->type];
    for (int64_t j = 0; j < in->width; j++) {
        int64_t f = in->living ? in->living[j] : j, c = f % in->channels;
        int64_t w = f / in->channels % in->breadth, h = f / in->channels / in->breadth - down;
        w = (mirror ? in->breadth - 1 - w : w) - right;
        bool inside = h >= 0 && h < in->height && w >= 0 && w < in->breadth;
        double x = inside ? number(from, (h * in->breadth + w) * in->channels + c) : 0;
        int64_t at = in->each ? f : 0;
        to[j] = wide ? (ep_real)((x - in->shift[at]) * in->scale[at])
                     : ((ep_real)x - in->near_shift[at]) * in->near_scale[at];
    }
}

void ep_gather_inputs(const ep_table *table, const ep_intake *intake, const int64_t *order,
                      int64_t i0, int64_t i1, int64_t number, ep_real *to) {
    bool wide = needs_double(table->type, intake);
    row_of row = row_for(table->type, intake);
    int64_t bytes = ep_min(4096, table->width * (int64_t)sizes[table->type]);
    ep_noise noise = ep_random_fork(intake->noise, (uint64_t)number);
    for (int64_t i = i0; i < i1; i++) {
        const void *from = row_at(table, order ? order[i] : i);
        ep_real *there = to + (i - i0) * intake->width;
        if (intake->move || intake->flip) {
            uint32_t words[4];
            ep_random_words(noise, (uint64_t)i, words);
            uint32_t span = (uint32_t)(2 * intake->move + 1);
            moved_row(table, intake, from, (int64_t)(words[0] % span) - intake->move,
                      (int64_t)(words[1] % span) - intake->move, intake->flip && (words[2] & 1),
                      wide, there);
        } else {
            if (order && i + 1 < i1) { /* rows are scattered: prefetch the next one */
                const char *next = row_at(table, order[i + 1]);
                for (int64_t b = 0; b < bytes; b += EP_ALIGN) {
                    __builtin_prefetch(next + b);
                }
            }
            row(from, intake, there);
        }
    }
}

/* ---- targets --------------------------------------------------------------------------------- */

#define CLASS_CASE(tag, type)                         \
    case tag:                                         \
        for (int64_t j = 0; j < table->width; j++) {  \
            to[j] = (int64_t)((const type *)from)[j]; \
        }                                             \
        break;

void ep_gather_classes(const ep_table *table, const int64_t *order, int64_t i0, int64_t i1,
                       int64_t *to) {
    for (int64_t i = i0; i < i1; i++, to += table->width) {
        const void *from = row_at(table, order ? order[i] : i);
        switch (table->type) {
            EACH_TYPE(CLASS_CASE)
        case EP_NUMBER_TYPES: break;
        }
    }
}

ep_intake ep_intake_plain(int64_t width) {
    static const double shift = 0, scale = 1;
    static const ep_real near_shift = 0, near_scale = 1;
    return (ep_intake){.shift = &shift,
                       .scale = &scale,
                       .near_shift = &near_shift,
                       .near_scale = &near_scale,
                       .exact = true,
                       .width = width};
}

void ep_gather_reals(const ep_table *table, const int64_t *order, int64_t i0, int64_t i1,
                     ep_real *to) {
    ep_intake plain = ep_intake_plain(table->width);
    ep_gather_inputs(table, &plain, order, i0, i1, 0, to);
}

static bool inside(const ep_range *range, ep_real x) {
    double v = (double)x;
    return v >= range->low && v <= range->high && (!range->whole || v == __builtin_trunc(v));
}

bool ep_table_within(const ep_table *table, const ep_intake *intake, int64_t i0, int64_t i1,
                     ep_range range, ep_real *room, ep_misfit *misfit) {
    const ep_real low = (ep_real)range.low, high = (ep_real)range.high;
    row_of row = row_for(table->type, intake);
    for (int64_t i = i0; i < i1; i++) {
        const void *from = row_at(table, i);
        row(from, intake, room);
        int bad = 0; /* NaN counts as bad */
        for (int64_t j = 0; j < intake->width; j++) {
            bad |= !(room[j] >= low) | !(room[j] <= high);
        }
        for (int64_t j = 0; (bad || range.whole) && j < intake->width; j++) {
            if (!inside(&range, room[j])) {
                int64_t f = intake->living ? intake->living[j] : j;
                double value = numbers[table->type](from, f);
                *misfit = (ep_misfit){table->map ? table->map[i] : i, f, value};
                return false;
            }
        }
    }
    return true;
}

#define OUTSIDE_CASE(tag, type)                               \
    case tag:                                                 \
        for (int64_t j = 0; j < table->width; j++) {          \
            int64_t value = (int64_t)((const type *)from)[j]; \
            if (value < low || value > high) {                \
                *found = value;                               \
                return table->map ? table->map[i] : i;        \
            }                                                 \
        }                                                     \
        break;

int64_t ep_table_outside(const ep_table *table, int64_t low, int64_t high, int64_t *found) {
    for (int64_t i = 0; i < table->rows; i++) {
        const void *from = row_at(table, i);
        switch (table->type) {
            EACH_TYPE(OUTSIDE_CASE)
        case EP_NUMBER_TYPES: break;
        }
    }
    return -1;
}

bool ep_living_inputs(const ep_net *net, int32_t *living) {
    const ep_value *in = &net->values[0];
    if (in->width == ep_net_founding_width(net)) {
        return false;
    }
    int64_t n = 1;
    living[0] = 0;
    /* `living` holds n flat indices over the axes before d; extend each by all entries of axis d */
    for (int d = 0; d < in->rank; d++) {
        const ep_axis *axis = &net->axes[in->axis[d]];
        for (int64_t i = n - 1; i >= 0; i--) {
            int32_t base = living[i];
            for (int64_t j = axis->n - 1; j >= 0; j--) {
                living[i * axis->n + j] = base * (int32_t)axis->founded +
                                          (int32_t)ep_birth(axis, j);
            }
        }
        n *= axis->n;
    }
    return true;
}
