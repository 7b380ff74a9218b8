/* losses: the loss of a row of outputs and its gradient. Sums use a fixed number of lanes, so that
 * the compiler can vectorize them and a row gives bit-identical results at any position in a batch.
 * Intermediate values are kept in a small tile on the stack; nothing is allocated. Does not depend
 * on batches, means over batches or the source of the outputs. */
#include "losses.h"

#include "elementary.h"

enum {
    CHAINS = 8,  /* number of partial sums, so that a sum is vectorized */
    TILE = 1024, /* elements processed at a time: at most 8 KiB, which stay in the L1 cache */
};

/* Largest magnitude of a real target. The square of a larger error can overflow in the second
 * moment of a gradient, and a weight with an infinite second moment never changes again. */
#ifdef EP_DOUBLE
#define MOST 1e140
#else
#define MOST 1e15
#endif

/* Sum x (n) over CHAINS partial sums; never skips a NaN. */
static ep_real sum(int64_t n, const ep_real *x) {
    ep_real lane[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS) {
        for (int l = 0; l < CHAINS; l++) {
            lane[l] += x[i + l];
        }
    }
    for (int l = 0; i < n; i++, l++) {
        lane[l] += x[i];
    }
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
           ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* Return the largest of x (n >= 1). Skips NaN; the sums that follow propagate it. */
static ep_real largest(int64_t n, const ep_real *x) {
    ep_real lane[CHAINS], most = x[0];
    int64_t i = 0;
    if (n >= CHAINS) {
        for (int l = 0; l < CHAINS; l++) {
            lane[l] = x[l];
        }
        for (i = CHAINS; i + CHAINS <= n; i += CHAINS) {
            for (int l = 0; l < CHAINS; l++) {
                lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
            }
        }
        for (int l = 0; l < CHAINS; l++) {
            most = lane[l] > most ? lane[l] : most;
        }
    }
    for (; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

void ep_loss_weigh(int64_t rows, int64_t n, const ep_real *w, int64_t each, ep_real *loss,
                   ep_real *hit, ep_real *dy) {
    for (int64_t r = 0; r < rows; r++) {
        const ep_real weight = w[r / each];
        if (weight == 1) {
            continue;
        }
        loss[r] = weight > 0 ? weight * loss[r] : 0;
        hit[r] = weight > 0 ? hit[r] : 0;
        for (int64_t k = r * n; k < (r + 1) * n && dy; k++) {
            dy[k] = weight > 0 ? weight * dy[k] : 0;
        }
    }
}

/* ---- cross entropy -------------------------------------------------------------------------- */
typedef struct {
    double label_smoothing;
    ep_vector class_weights;
} cross_entropy_config;

static const ep_field cross_entropy_fields[] = {
    EP_FIELD_REAL(
        cross_entropy_config, label_smoothing, 0, 0, 0.999,
        "share of the target that is spread evenly over all classes (Szegedy et al. 2016)"),
    EP_FIELD_VECTOR(cross_entropy_config, class_weights, 0, 1e9,
                    "weight of each class, one per output; empty: all 1"),
    EP_FIELDS_END,
};

static double class_weight(const cross_entropy_config *c, int64_t class) {
    return class < c->class_weights.n ? c->class_weights.at[class] : 1;
}

static double cross_entropy_weight(const void *config, const void *target) {
    int64_t class = *(const int64_t *)target;
    return class < 0 ? 0 : class_weight(config, class);
}

static bool cross_entropy_check(const void *config, int64_t n, ep_error *error) {
    const ep_vector *weights = &((const cross_entropy_config *)config)->class_weights;
    double total = 0;
    if (weights->n > 0 && weights->n != n) {
        return ep_fail(error, EP_BAD_VALUE,
                       "cross_entropy: class_weights must have one weight for each of the %lld "
                       "outputs, got %lld",
                       (long long)n, (long long)weights->n);
    }
    for (int64_t i = 0; i < weights->n; i++) {
        total += weights->at[i];
    }
    if (weights->n > 0 && !(total > 0)) {
        return ep_fail(error, EP_BAD_VALUE, "cross_entropy: class_weights must not all be 0");
    }
    return true;
}

/* True if y[t] equals `most`, the largest element of y, and no element before it does. */
static bool is_first_largest(const ep_real *y, int64_t t, ep_real most) {
    bool right = y[t] == most;
    for (int64_t k = 0; k < t && right; k++) {
        right = y[k] != most;
    }
    return right;
}

/* e[r][k] = exp(y[r][k0 + k] - most[r]) for `rows` rows and `width` columns starting at k0. */
static void exponentials(int64_t rows, int64_t n, int64_t k0, int64_t width, const ep_real *y,
                         const ep_real *most, ep_real *e) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < width; k++) {
            e[r * width + k] = y[r * n + k0 + k] - most[r];
        }
    }
    /* one flat range, so that vectors are full even for few classes */
    ep_map(ep_exp, rows * width, e, e);
}

/* Let p = softmax(y), target class t, class weights w and label smoothing s. The target is spread
 * over the classes k as q_k = (1 - s) w_t [k = t] + s w_k / n, with sum Q, and
 *     loss = -sum_k q_k log p_k,    d loss/dy_k = Q p_k - q_k.
 * A tile holds the exponentials of many short rows, or a piece of one long row. */
static void cross_entropy_measure(const void *config, int64_t rows, int64_t n, const ep_real *y,
                                  const void *targets, ep_real scale, ep_real *loss, ep_real *hit,
                                  ep_real *dy) {
    const cross_entropy_config *c = config;
    const int64_t *target = targets;
    const double smoothing = c->label_smoothing, spread = smoothing / (double)n;
    ep_real e[TILE], most[TILE], total[TILE];
    double weights = 0;
    for (int64_t k = 0; k < n && smoothing > 0; k++) {
        weights += class_weight(c, k);
    }
    const int64_t group = ep_max(1, TILE / ep_max(n, 1)); /* rows per tile */
    for (int64_t r0 = 0; r0 < rows; r0 += group) {
        const int64_t count = ep_min(group, rows - r0);
        const ep_real *at = y + r0 * n;
        for (int64_t r = 0; r < count; r++) {
            most[r] = largest(n, at + r * n);
            total[r] = 0;
        }
        for (int64_t k0 = 0; k0 < n; k0 += TILE) {
            const int64_t width = ep_min(TILE, n - k0);
            exponentials(count, n, k0, width, at, most, e);
            for (int64_t r = 0; r < count; r++) {
                total[r] += sum(width, e + r * width);
            }
        }
        for (int64_t r = 0; r < count; r++) {
            const int64_t t = target[r0 + r];
            const ep_real *row = at + r * n;
            double value = 0;
            if (t >= n) { /* no such class: give NaN, and read nothing */
                value = (double)NAN;
            } else if (t >= 0) {
                const double whole = (double)most[r] + (double)ep_log(total[r]);
                value = (1 - smoothing) * class_weight(c, t) * (whole - (double)row[t]);
                for (int64_t k = 0; k < n && smoothing > 0; k++) {
                    value += spread * class_weight(c, k) * (whole - (double)row[k]);
                }
            }
            loss[r0 + r] = (ep_real)value;
            if (hit) {
                hit[r0 + r] = t >= 0 && t < n && class_weight(c, t) > 0 &&
                              is_first_largest(row, t, most[r]);
            }
        }
        if (!dy) {
            continue;
        }
        for (int64_t k0 = 0; k0 < n; k0 += TILE) {
            const int64_t width = ep_min(TILE, n - k0);
            if (n > TILE) { /* the tile holds the row's last piece */
                exponentials(count, n, k0, width, at, most, e);
            }
            for (int64_t r = 0; r < count; r++) {
                const int64_t t = target[r0 + r];
                ep_real *out = dy + (r0 + r) * n + k0;
                double q = 0;
                if (t >= 0) {
                    q = (1 - smoothing) * class_weight(c, t) + spread * weights;
                }
                /* The gradient of an ignored row (t < 0) is 0, even if its outputs are NaN. */
                const ep_real factor = (ep_real)(q * (double)scale) / total[r];
                for (int64_t k = 0; k < width; k++) {
                    out[k] = t < 0 ? 0 : factor * e[r * width + k];
                }
                for (int64_t k = 0; k < width && t >= 0 && smoothing > 0; k++) {
                    out[k] -= (ep_real)(spread * class_weight(c, k0 + k)) * scale;
                }
                if (t >= k0 && t < k0 + width) {
                    out[t - k0] -= (ep_real)((1 - smoothing) * class_weight(c, t)) * scale;
                }
            }
        }
    }
}

const ep_loss ep_loss_cross_entropy = {
    .name = "cross_entropy",
    .doc = "Cross entropy of the softmax of the outputs (nats) with a class, as PyTorch counts it: "
           "the mean over rows is weighted by the class weights; rows of class -1 are ignored.",
    .fields = cross_entropy_fields,
    .config_size = sizeof(cross_entropy_config),
    .target = EP_TARGET_CLASS,
    .judges = true,
    .weight = cross_entropy_weight,
    .measure = cross_entropy_measure,
    .check = cross_entropy_check,
};

/* ---- losses of real targets ------------------------------------------------------------------ */
/* term[k] = (y - t)^2 */
static void squares(int64_t n, const ep_real *restrict y, const ep_real *restrict t, ep_real p,
                    ep_real factor, ep_real *restrict term, ep_real *restrict dy) {
    (void)p;
    for (int64_t k = 0; k < n; k++) {
        ep_real gap = y[k] - t[k];
        term[k] = gap * gap;
    }
    for (int64_t k = 0; k < n && dy; k++) {
        dy[k] = 2 * factor * (y[k] - t[k]);
    }
}

/* term[k] = -t log s(y) - (1 - t) log(1 - s(y)) = max(y, 0) - y t + log(1 + e^-|y|), with s the
 * logistic function. The last form neither overflows nor loses digits by cancellation. */
static void logistic_terms(int64_t n, const ep_real *restrict y, const ep_real *restrict t,
                           ep_real p, ep_real factor, ep_real *restrict term,
                           ep_real *restrict dy) {
    (void)p;
    for (int64_t k = 0; k < n; k++) {
        term[k] = y[k] < 0 ? y[k] : -y[k];
    }
    ep_map(ep_exp, n, term, term);
    for (int64_t k = 0; k < n; k++) {
        ep_real above = y[k] < 0 ? 0 : y[k];
        term[k] = above - y[k] * t[k] + ep_log1p_unit(term[k]);
    }
    if (dy) {
        ep_map(ep_sigmoid, n, y, dy);
    }
    for (int64_t k = 0; k < n && dy; k++) {
        dy[k] = factor * (dy[k] - t[k]);
    }
}

/* Function for a loss that is a mean of one term per output. It writes the terms of outputs y (n)
 * and targets t (n) to term (n) and, if dy is not NULL, `factor` times their derivatives to dy (n).
 * `p` is the parameter of the loss, if it has one. */
typedef void terms_of(int64_t n, const ep_real *y, const ep_real *t, ep_real p, ep_real factor,
                      ep_real *term, ep_real *dy);

/* Compute the mean over outputs of `terms`, row by row, one tile at a time. Hits are 0. */
EP_INLINE void mean_over_outputs(int64_t rows, int64_t n, const ep_real *y, const ep_real *target,
                                 ep_real p, ep_real scale, ep_real *loss, ep_real *hit, ep_real *dy,
                                 terms_of *terms) {
    ep_real tile[TILE];
    const ep_real factor = scale / (ep_real)n;
    for (int64_t r = 0; r < rows; r++) {
        double total = 0;
        for (int64_t k0 = 0; k0 < n; k0 += TILE) {
            const int64_t width = ep_min(TILE, n - k0), at = r * n + k0;
            terms(width, y + at, target + at, p, factor, tile, dy ? dy + at : NULL);
            total += (double)sum(width, tile);
        }
        loss[r] = (ep_real)(total / (double)n);
        if (hit) {
            hit[r] = 0;
        }
    }
}

static void mean_squared_error_measure(const void *config, int64_t rows, int64_t n,
                                       const ep_real *y, const void *targets, ep_real scale,
                                       ep_real *loss, ep_real *hit, ep_real *dy) {
    (void)config;
    mean_over_outputs(rows, n, y, targets, 0, scale, loss, hit, dy, squares);
}

const ep_loss ep_loss_mean_squared_error = {
    .name = "mean_squared_error",
    .doc = "Mean over the outputs of (y - target)^2, with no factor 1/2. No prediction is right or "
           "wrong: hits are 0.",
    .fields = ep_no_fields,
    .target = EP_TARGET_REAL,
    .low = -MOST,
    .high = MOST,
    .measure = mean_squared_error_measure,
};

static void binary_cross_entropy_measure(const void *config, int64_t rows, int64_t n,
                                         const ep_real *y, const void *targets, ep_real scale,
                                         ep_real *loss, ep_real *hit, ep_real *dy) {
    const ep_real *t = targets, half = (ep_real)0.5;
    (void)config;
    mean_over_outputs(rows, n, y, t, 0, scale, loss, hit, dy, logistic_terms);
    for (int64_t r = 0; r < rows && hit; r++) {
        int64_t wrong = 0;
        for (int64_t i = r * n; i < (r + 1) * n; i++) { /* NaN counts as wrong */
            wrong += t[i] > half ? !(y[i] > 0) : !(y[i] <= 0);
        }
        hit[r] = wrong == 0;
    }
}

const ep_loss ep_loss_binary_cross_entropy = {
    .name = "binary_cross_entropy",
    .doc = "Mean over the outputs, which are logits, of the cross entropy (nats) of their logistic "
           "with targets in [0, 1]. A row is right if every output is on its target's side of 1/2.",
    .fields = ep_no_fields,
    .target = EP_TARGET_REAL,
    .judges = true,
    .low = 0,
    .high = 1,
    .measure = binary_cross_entropy_measure,
};

/* term[k] = |y - t|; the derivative at 0 is taken as 0. */
static void distances(int64_t n, const ep_real *restrict y, const ep_real *restrict t, ep_real p,
                      ep_real factor, ep_real *restrict term, ep_real *restrict dy) {
    (void)p;
    for (int64_t k = 0; k < n; k++) {
        ep_real gap = y[k] - t[k];
        term[k] = gap < 0 ? -gap : gap;
    }
    for (int64_t k = 0; k < n && dy; k++) {
        ep_real gap = y[k] - t[k];
        dy[k] = gap > 0 ? factor : gap < 0 ? -factor : 0 * gap; /* NaN stays NaN */
    }
}

static void mean_absolute_error_measure(const void *config, int64_t rows, int64_t n,
                                        const ep_real *y, const void *targets, ep_real scale,
                                        ep_real *loss, ep_real *hit, ep_real *dy) {
    (void)config;
    mean_over_outputs(rows, n, y, targets, 0, scale, loss, hit, dy, distances);
}

const ep_loss ep_loss_mean_absolute_error = {
    .name = "mean_absolute_error",
    .doc = "Mean over the outputs of |y - target|. It estimates medians, and large errors count "
           "less than in the squared error.",
    .fields = ep_no_fields,
    .target = EP_TARGET_REAL,
    .low = -MOST,
    .high = MOST,
    .measure = mean_absolute_error_measure,
};

typedef struct {
    double delta;
} huber_config;

static const ep_field huber_fields[] = {
    EP_FIELD_REAL(huber_config, delta, 1, 1e-9, 1e9,
                  "size of the error above which the loss grows linearly, not quadratically"),
    EP_FIELDS_END,
};

/* Let r = y - t: term[k] = r^2 / 2 if |r| <= delta, else delta (|r| - delta / 2). */
static void huber_terms(int64_t n, const ep_real *restrict y, const ep_real *restrict t,
                        ep_real delta, ep_real factor, ep_real *restrict term,
                        ep_real *restrict dy) {
    for (int64_t k = 0; k < n; k++) {
        ep_real gap = y[k] - t[k], size = gap < 0 ? -gap : gap;
        term[k] = size > delta ? delta * (size - delta / 2) : gap * gap / 2;
    }
    for (int64_t k = 0; k < n && dy; k++) {
        ep_real gap = y[k] - t[k];
        gap = gap > delta ? delta : gap;
        dy[k] = factor * (gap < -delta ? -delta : gap);
    }
}

static void huber_measure(const void *config, int64_t rows, int64_t n, const ep_real *y,
                          const void *targets, ep_real scale, ep_real *loss, ep_real *hit,
                          ep_real *dy) {
    const huber_config *c = config;
    mean_over_outputs(rows, n, y, targets, (ep_real)c->delta, scale, loss, hit, dy, huber_terms);
}

const ep_loss ep_loss_huber = {
    .name = "huber",
    .doc = "Mean over the outputs of half the squared error where it is at most delta, and of "
           "delta (|y - target| - delta / 2) beyond (Huber 1964).",
    .fields = huber_fields,
    .config_size = sizeof(huber_config),
    .target = EP_TARGET_REAL,
    .low = -MOST,
    .high = MOST,
    .measure = huber_measure,
};

/* term[k] = e^y - t y: minus the log-likelihood of t under a Poisson distribution of mean e^y,
 * without log t!, which depends on no output. */
static void poisson_terms(int64_t n, const ep_real *restrict y, const ep_real *restrict t,
                          ep_real p, ep_real factor, ep_real *restrict term, ep_real *restrict dy) {
    (void)p;
    ep_map(ep_exp, n, y, term);
    for (int64_t k = 0; k < n && dy; k++) {
        dy[k] = factor * (term[k] - t[k]);
    }
    for (int64_t k = 0; k < n; k++) {
        term[k] -= t[k] * y[k];
    }
}

static void poisson_measure(const void *config, int64_t rows, int64_t n, const ep_real *y,
                            const void *targets, ep_real scale, ep_real *loss, ep_real *hit,
                            ep_real *dy) {
    (void)config;
    mean_over_outputs(rows, n, y, targets, 0, scale, loss, hit, dy, poisson_terms);
}

const ep_loss ep_loss_poisson = {
    .name = "poisson",
    .doc = "Mean over the outputs, which are logarithms of expected counts, of e^y - target y: "
           "the negative log-likelihood (nats) of a Poisson distribution, without the term log "
           "target!.",
    .fields = ep_no_fields,
    .target = EP_TARGET_REAL,
    .low = 0,
    .high = MOST,
    .measure = poisson_measure,
};
