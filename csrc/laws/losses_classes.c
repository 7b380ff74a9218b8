/* losses_classes: class losses other than the cross entropy of losses.c: cross entropy with class
 * probabilities as targets, and the hinge loss. Rows are independent, and nothing is allocated. */
#include "losses.h"

#include "elementary.h"

#include <math.h>

enum { TILE = 1024 }; /* elements of a row processed at a time */

/* Return the index of the largest of x (n >= 1), the first if several are equal; skips NaN. */
static int64_t first_largest(int64_t n, const ep_real *x) {
    int64_t best = 0;
    for (int64_t k = 1; k < n; k++) {
        best = x[k] > x[best] || isnan(x[best]) ? k : best;
    }
    return best;
}

/* ---- soft cross entropy ---------------------------------------------------------------------- */
/* e[k] = exp(y[k] - most), one tile at a time; returns their sum. */
static double exponentials(int64_t n, const ep_real *y, ep_real most, ep_real *e) {
    double sum = 0;
    for (int64_t k0 = 0; k0 < n; k0 += TILE) {
        ep_real tile[TILE];
        const int64_t width = ep_min(TILE, n - k0);
        for (int64_t k = 0; k < width; k++) {
            tile[k] = y[k0 + k] - most;
        }
        ep_map(ep_exp, width, tile, tile);
        for (int64_t k = 0; k < width; k++) {
            sum += (double)tile[k];
        }
        for (int64_t k = 0; k < width && e; k++) {
            e[k0 + k] = tile[k];
        }
    }
    return sum;
}

/* Let p = softmax(y) and targets t with sum T: loss = -sum t log p, d loss/dy = T p - t. */
static void soft_cross_entropy_measure(const void *config, int64_t rows, int64_t n,
                                       const ep_real *y, const void *targets, ep_real scale,
                                       ep_real *loss, ep_real *hit, ep_real *dy) {
    (void)config;
    for (int64_t r = 0; r < rows; r++) {
        const ep_real *row = y + r * n, *t = (const ep_real *)targets + r * n;
        ep_real *out = dy ? dy + r * n : NULL;
        const int64_t top = first_largest(n, row);
        const double sum = exponentials(n, row, row[top], out);
        const double whole = (double)row[top] + log(sum);
        double value = 0, total = 0;
        for (int64_t k = 0; k < n; k++) {
            value += t[k] == 0 ? 0 * (whole - whole) : (double)t[k] * (whole - (double)row[k]);
            total += (double)t[k];
        }
        loss[r] = (ep_real)value;
        if (hit) {
            hit[r] = top == first_largest(n, t) && isfinite(whole);
        }
        const double factor = total / sum;
        for (int64_t k = 0; k < n && out; k++) {
            out[k] = scale * (ep_real)(factor * (double)out[k] - (double)t[k]);
        }
    }
}

const ep_loss ep_loss_soft_cross_entropy = {
    .name = "soft_cross_entropy",
    .doc = "Cross entropy (nats) of the softmax of the outputs with shares of the classes, 0 to 1, "
           "one for each output: soft labels, mixed samples, the outputs of another network. A row "
           "is right if its largest output is where its largest share is.",
    .fields = ep_no_fields,
    .target = EP_TARGET_REAL,
    .judges = true,
    .low = 0,
    .high = 1,
    .measure = soft_cross_entropy_measure,
};

/* ---- hinge ----------------------------------------------------------------------------------- */
typedef struct {
    double margin;
} hinge_config;

static const ep_field hinge_fields[] = {
    EP_FIELD_REAL(hinge_config, margin, 1, 1e-9, 1e9,
                  "margin by which the output of the right class should exceed every other"),
    EP_FIELDS_END,
};

static double hinge_weight(const void *config, const void *target) {
    (void)config;
    return *(const int64_t *)target >= 0;
}

/* For target class t: loss = sum over k != t of max(0, margin - y_t + y_k) / n. */
static void hinge_measure(const void *config, int64_t rows, int64_t n, const ep_real *y,
                          const void *targets, ep_real scale, ep_real *loss, ep_real *hit,
                          ep_real *dy) {
    const ep_real margin = (ep_real)((const hinge_config *)config)->margin;
    const int64_t *target = targets;
    const ep_real step = scale / (ep_real)n;
    for (int64_t r = 0; r < rows; r++) {
        const ep_real *row = y + r * n;
        ep_real *out = dy ? dy + r * n : NULL;
        const int64_t t = target[r];
        double value = t >= n ? (double)NAN : 0; /* no such class: give NaN */
        int64_t over = 0;
        for (int64_t k = 0; k < n; k++) {
            const ep_real gap = t >= 0 && t < n ? margin - row[t] + row[k] : 0;
            const bool counts = k != t && !(gap <= 0); /* true for NaN, to propagate it */
            value += counts ? (double)gap : 0;
            over += counts;
            if (out) {
                out[k] = counts ? step : 0;
            }
        }
        loss[r] = (ep_real)(value / (double)n);
        if (out && t >= 0 && t < n) {
            out[t] = -step * (ep_real)over;
        }
        if (hit) {
            hit[r] = t >= 0 && t < n && isfinite(row[t]) && first_largest(n, row) == t;
        }
    }
}

const ep_loss ep_loss_hinge = {
    .name = "hinge",
    .doc = "Mean over the outputs of max(0, margin - y of the class + y of the output), except "
           "the class itself (Crammer and Singer 2001, summed as PyTorch does); rows of class -1 "
           "are ignored.",
    .fields = hinge_fields,
    .config_size = sizeof(hinge_config),
    .target = EP_TARGET_CLASS,
    .judges = true,
    .weight = hinge_weight,
    .measure = hinge_measure,
};
