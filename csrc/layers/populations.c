/* populations: h = m * phi(z + b) along one axis: what makes neurons, filters and heads of the
 * numbers a projection gives. Bias, activation and mass in one pass over an (outer, n, inner)
 * block. It measures what its populations are worth (dL/dm) like any other gradient and knows
 * nothing of who lives or dies. */
#include "activation.h"
#include "columns.h"

#include <string.h>

typedef struct {
    int64_t activation, axis, bias, mass, shared;
    double slope;
} populations;

static const ep_field fields[] = {
    {.name = "activation",
     .type = EP_CHOICE,
     .offset = offsetof(populations, activation),
     .choices = ep_activations,
     .doc = "phi; gelu is the tanh form (Hendrycks & Gimpel 2016)"},
    {.name = "axis",
     .type = EP_INT,
     .offset = offsetof(populations, axis),
     .initial = -1,
     .low = -EP_RANK,
     .high = EP_RANK - 1,
     .doc = "the axis whose entries are populations, counted without the batch; -1: the last"},
    {.name = "bias",
     .type = EP_BOOL,
     .offset = offsetof(populations, bias),
     .initial = 1,
     .high = 1,
     .doc = "add a bias per population before phi"},
    {.name = "mass",
     .type = EP_BOOL,
     .offset = offsetof(populations, mass),
     .initial = 1,
     .high = 1,
     .doc = "scale by a mass under selection; false: an ordinary bias and activation"},
    {.name = "shared",
     .type = EP_BOOL,
     .offset = offsetof(populations, shared),
     .high = 1,
     .doc = "the axis has masses already, of an earlier layer: these are they, one for all"},
    {.name = "slope",
     .type = EP_REAL,
     .offset = offsetof(populations, slope),
     .initial = 0.01,
     .low = 0,
     .high = 1,
     .doc = "slope of leaky_relu below zero"},
    EP_FIELDS_END,
};

static int axis_of(const populations *config, int rank) {
    return (int)(config->axis < 0 ? config->axis + rank : config->axis);
}

/* The output; and where a sample has many rows of populations, room for its sums of dL/dm and dL/db,
 * which backward makes on its way. */
static bool keep_sums(ep_plan *plan, ep_layer *layer, int d, ep_error *error) {
    const populations *config = layer->config;
    const ep_value x = *ep_plan_value(plan, layer->input[0]); /* the plan's may move */
    int sums = (config->mass ? 1 : 0) + (config->bias ? 1 : 0);
    if (sums && d > 0) {
        int of_saved[2] = {ep_plan_axis(plan, layer, "sums", sums, error), x.axis[d]};
        if (of_saved[0] < 0 || !ep_plan_saved(plan, layer, 2, of_saved, error)) {
            return false;
        }
    }
    return ep_plan_output(plan, layer, x.rank, x.axis, error);
}

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const populations *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int d = axis_of(config, x->rank);
    if (d < 0 || d >= x->rank) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: axis must be in [%d, %d] for an input of %d axes, got %d", layer->name,
                       -x->rank, x->rank - 1, x->rank, (int)config->axis);
    }
    int axis[1] = {x->axis[d]};
    if (config->shared && !config->mass) {
        return ep_fail(error, EP_BAD_VALUE, "%s: shared: expected mass=true beside it, got false",
                       layer->name);
    }
    if (config->mass) {
        ep_plan_mortal(plan, axis[0]);
    }
    return (!config->mass || config->shared ||
            ep_plan_tensor(plan, layer, "mass", EP_EVOLVED, 1, axis, error)) &&
           (!config->shared || ep_plan_share(plan, layer, axis[0], error)) &&
           (!config->bias || ep_plan_tensor(plan, layer, "bias", EP_FREE, 1, axis, error)) &&
           keep_sums(plan, layer, d, error);
}

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    (void)noise;
    const populations *config = layer->config;
    if (config->mass && !layer->shares) {
        ep_real *mass = ep_w(pass, layer, 0);
        for (int64_t j = 0; j < ep_w_size(pass, layer, 0); j++) {
            mass[j] = 1;
        }
    }
    if (config->bias) {
        int i = config->mass ? 1 : 0;
        memset(ep_w(pass, layer, i), 0, (size_t)ep_w_size(pass, layer, i) * sizeof(ep_real));
    }
}

/* ---- one run of n numbers ------------------------------------------------------------------
 * b and m advance with the numbers (features last) or stand still (`each` false: one population
 * owns the run). The flags are constants in every instance, so each is a plain vector loop. */
typedef struct {
    int64_t n;
    const ep_real *b, *m;
    ep_real slope;
} run;

EP_INLINE void forward_run(activation kind, bool bias, bool mass, bool each, const run *r,
                           const ep_real *restrict x, ep_real *restrict y) {
    const ep_real *b = r->b, *m = r->m;
    const ep_real slope = r->slope;
    for (int64_t j = 0; j < r->n; j++) {
        ep_real z = bias ? x[j] + b[each ? j : 0] : x[j];
        ep_real f = phi(kind, z, slope);
        y[j] = mass ? m[each ? j : 0] * f : f;
    }
}

EP_INLINE void backward_run(activation kind, bool bias, bool mass, bool each, const run *r,
                            const ep_real *restrict x, const ep_real *dy, ep_real *dx, bool add) {
    const ep_real *b = r->b, *m = r->m;
    const ep_real slope = r->slope;
    if (add) {
        for (int64_t j = 0; j < r->n; j++) {
            ep_real z = bias ? x[j] + b[each ? j : 0] : x[j];
            ep_real d = dy[j] * phi_slope(kind, z, slope);
            dx[j] += mass ? m[each ? j : 0] * d : d;
        }
    } else {
        for (int64_t j = 0; j < r->n; j++) {
            ep_real z = bias ? x[j] + b[each ? j : 0] : x[j];
            ep_real d = dy[j] * phi_slope(kind, z, slope);
            dx[j] = mass ? m[each ? j : 0] * d : d;
        }
    }
}

/* Terms of dL/dm and dL/db: dy phi, and dy m phi', which is what dx is as well. */
EP_INLINE void terms_run(activation kind, bool bias, bool mass, const run *r,
                         const ep_real *restrict x, const ep_real *restrict dy,
                         ep_real *restrict to_m, ep_real *restrict to_b) {
    const ep_real *b = r->b, *m = r->m;
    const ep_real slope = r->slope;
    for (int64_t j = 0; j < r->n; j++) {
        ep_real z = bias ? x[j] + b[j] : x[j];
        ep_real d = dy[j] * phi_slope(kind, z, slope);
        to_m[j] = mass ? dy[j] * phi(kind, z, slope) : 0;
        to_b[j] = mass ? m[j] * d : d;
    }
}

/* The terms of every run of n numbers that one population owns summed, in lanes; rows are `stride`
 * apart. */
EP_INLINE void gradient_lanes(activation kind, bool bias, bool mass, const run *r, int64_t rows,
                              int64_t stride, const ep_real *restrict x, const ep_real *restrict dy,
                              ep_real *restrict dm, ep_real *restrict db) {
    const ep_real b = bias ? *r->b : 0, m = mass ? *r->m : 1, slope = r->slope;
    ep_real to_m[EP_LINE] = {0}, to_b[EP_LINE] = {0};
    for (int64_t row = 0; row < rows; row++, x += stride, dy += stride) {
        for (int64_t i = 0; i < r->n; i += (int64_t)EP_LINE) {
            int lanes = (int)ep_min((int64_t)EP_LINE, r->n - i);
            for (int l = 0; l < lanes; l++) {
                ep_real z = x[i + l] + b;
                if (mass) {
                    to_m[l] += dy[i + l] * phi(kind, z, slope);
                }
                if (bias) {
                    to_b[l] += m * dy[i + l] * phi_slope(kind, z, slope);
                }
            }
        }
    }
    for (int l = 0; l < (int)EP_LINE; l++) {
        if (mass) {
            *dm += to_m[l];
        }
        if (bias) {
            *db += to_b[l];
        }
    }
}

/* Calls CALL(kind, bias, mass, each) with constants. */
#define WITH_FLAGS(CALL, kind, bias, mass, each)    \
    switch ((bias) * 4 + (mass) * 2 + (each)) {     \
    case 0: CALL(kind, false, false, false); break; \
    case 1: CALL(kind, false, false, true); break;  \
    case 2: CALL(kind, false, true, false); break;  \
    case 3: CALL(kind, false, true, true); break;   \
    case 4: CALL(kind, true, false, false); break;  \
    case 5: CALL(kind, true, false, true); break;   \
    case 6: CALL(kind, true, true, false); break;   \
    default: CALL(kind, true, true, true); break;   \
    }
#define WITH_KIND(CALL, kind, bias, mass, each)                            \
    switch ((activation)(kind)) {                                          \
    case IDENTITY: WITH_FLAGS(CALL, IDENTITY, bias, mass, each) break;     \
    case RELU: WITH_FLAGS(CALL, RELU, bias, mass, each) break;             \
    case LEAKY_RELU: WITH_FLAGS(CALL, LEAKY_RELU, bias, mass, each) break; \
    case GELU: WITH_FLAGS(CALL, GELU, bias, mass, each) break;             \
    case SILU: WITH_FLAGS(CALL, SILU, bias, mass, each) break;             \
    case TANH: WITH_FLAGS(CALL, TANH, bias, mass, each) break;             \
    case SIGMOID: WITH_FLAGS(CALL, SIGMOID, bias, mass, each) break;       \
    }

/* ---- the layer ------------------------------------------------------------------------------ */

typedef struct {
    int64_t outer, n, inner;
    const ep_real *b, *m; /* NULL where the layer has none */
} block;

static block measure(const ep_pass *pass, const ep_layer *layer) {
    const populations *config = layer->config;
    const ep_value *x = ep_input(pass, layer, 0);
    int d = axis_of(config, x->rank);
    return (block){
        .outer = ep_extent(pass->axes, x, 0, d),
        .n = pass->axes[x->axis[d]].n,
        .inner = ep_extent(pass->axes, x, d + 1, x->rank),
        .m = config->mass ? ep_w(pass, layer, 0) : NULL,
        .b = config->bias ? ep_w(pass, layer, config->mass ? 1 : 0) : NULL,
    };
}

/* The block with its b and m repeated for rows of few populations; `rows` of them at a time. */
typedef struct {
    int64_t rows;
    ep_real b[EP_TILE], m[EP_TILE];
} tile;

static block tiled(block k, tile *t) {
    t->rows = k.inner == 1 ? ep_tile_rows(k.n) : 1;
    k.b = ep_tile(t->b, k.b, k.n, t->rows);
    k.m = ep_tile(t->m, k.m, k.n, t->rows);
    return k;
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    const populations *config = layer->config;
    tile t;
    block k = tiled(measure(pass, layer), &t);
    bool each = k.inner == 1;
    int64_t runs = each ? 1 : k.n, end = pass->r1 * k.outer;
    const ep_real *x = ep_x(pass, layer, 0);
    ep_real *y = ep_y(pass, layer);
    for (int64_t row = pass->r0 * k.outer; row < end; row += t.rows) {
        int64_t length = each ? ep_min(t.rows, end - row) * k.n : k.inner;
        for (int64_t j = 0; j < runs; j++) {
            run r = {length, k.b ? k.b + j : NULL, k.m ? k.m + j : NULL, (ep_real)config->slope};
            int64_t at = row * k.n * k.inner + j * k.inner;
#define CALL(kind, bias, mass, each) forward_run(kind, bias, mass, each, &r, x + at, y + at)
            WITH_KIND(CALL, config->activation, config->bias, config->mass, each)
#undef CALL
        }
    }
}

/* Terms of a few rows of populations, EP_TILE numbers at most, with a line to read beyond them. */
typedef struct {
    ep_real m[EP_TILE + EP_LINE], b[EP_TILE + EP_LINE];
} terms;

/* Those of `n` numbers whose populations are k's from `at` on. */
static void make_terms(const populations *config, const block *k, int64_t at, int64_t n,
                       const ep_real *x, const ep_real *dy, terms *t) {
    run r = {n, k->b ? k->b + at : NULL, k->m ? k->m + at : NULL, (ep_real)config->slope};
#define CALL(kind, bias, mass, each) terms_run(kind, bias, mass, &r, x, dy, t->m, t->b)
    WITH_KIND(CALL, config->activation, config->bias, config->mass, true)
#undef CALL
}

/* sum (n) += `rows` rows of terms, in their order, so that no bit depends on n or on the tile. */
static void add_rows(int64_t rows, int64_t n, const ep_real *term, ep_real *sum) {
    int64_t at = 0;
    for (; at + (int64_t)EP_LINE <= n; at += (int64_t)EP_LINE) {
        ep_column_line line = EP_FULL(sum + at);
        for (int64_t row = 0; row < rows; row++) {
            line += EP_FULL(term + row * n + at);
        }
        *(ep_column_line *)(sum + at) = line;
    }
    if (at < n) {
        ep_column_line line = ep_line_some(sum + at, n - at);
        for (int64_t row = 0; row < rows; row++) {
            line += EP_FULL(term + row * n + at);
        }
        ep_line_write(sum + at, line, n - at);
    }
}

static void give(int64_t n, const ep_real *restrict from, ep_real *restrict to, bool add) {
    for (int64_t i = 0; to && add && i < n; i++) {
        to[i] += from[i];
    }
    if (to && !add) {
        memcpy(to, from, (size_t)n * sizeof *to);
    }
}

/* Populations j0 .. j1 of `rows` rows: adds to their sums dm and db, which begin at j0, and writes
 * dx where there is one. */
static void sum_rows(const populations *config, const block *k, int64_t j0, int64_t j1,
                     int64_t rows, const ep_real *x, const ep_real *dy, ep_real *dx, bool add,
                     ep_real *dm, ep_real *db) {
    tile t;
    terms found = {{0}, {0}};
    block some = {.n = j1 - j0, .inner = 1, .b = k->b ? k->b + j0 : NULL};
    some.m = k->m ? k->m + j0 : NULL;
    some = tiled(some, &t);
    int64_t step = some.n == k->n ? t.rows : 1, most = ep_min(some.n, EP_TILE);
    for (int64_t row = 0, n; row < rows; row += n) {
        n = ep_min(step, rows - row);
        for (int64_t j = 0; j < some.n; j += most) {
            int64_t from = row * k->n + j0 + j, each = ep_min(most, some.n - j);
            make_terms(config, &some, j, n * each, x + from, dy + from, &found);
            give(n * each, found.b, dx ? dx + from : NULL, add);
            if (dm) {
                add_rows(n, each, found.m, dm + j);
            }
            if (db) {
                add_rows(n, each, found.b, db + j);
            }
        }
    }
}

/* dL/dm and dL/db of population j that owns runs of `inner` numbers, the first at x and dy. */
static void run_sums(const populations *config, const block *k, int64_t j, int64_t rows,
                     const ep_real *x, const ep_real *dy, ep_real *dm, ep_real *db) {
    run r = {k->inner, k->b ? k->b + j : NULL, k->m ? k->m + j : NULL, (ep_real)config->slope};
    int64_t stride = k->n * k->inner;
    ep_real of_mass = 0, of_bias = 0;
#define CALL(kind, bias, mass, each) \
    gradient_lanes(kind, bias, mass, &r, rows, stride, x, dy, &of_mass, &of_bias)
    WITH_KIND(CALL, config->activation, config->bias, config->mass, false)
#undef CALL
    *dm = of_mass;
    *db = of_bias;
}

/* dx, and every sample's sums. */
static void backward_summing(const ep_pass *pass, const ep_layer *layer, const block *k) {
    const populations *config = layer->config;
    int64_t width = k->outer * k->n, of_bias = config->mass ? k->n : 0;
    int64_t sums = of_bias + (config->bias ? k->n : 0);
    ep_real *dx = ep_dx(pass, layer, 0);
    for (int64_t r = pass->r0; r < pass->r1; r++) {
        ep_real *kept = ep_saved(pass, layer) + r * sums;
        memset(kept, 0, (size_t)sums * sizeof *kept);
        sum_rows(config, k, 0, k->n, k->outer, ep_x(pass, layer, 0) + r * width,
                 ep_dy(pass, layer) + r * width, dx ? dx + r * width : NULL, layer->adds[0],
                 config->mass ? kept : NULL, config->bias ? kept + of_bias : NULL);
    }
}

/* A sample's sums where populations own runs of `inner` numbers. */
static void sum_runs(const ep_pass *pass, const ep_layer *layer, const block *k, int64_t sample) {
    const populations *config = layer->config;
    int64_t width = k->outer * k->n * k->inner, of_bias = config->mass ? k->n : 0;
    ep_real *kept = ep_saved(pass, layer) + sample * (of_bias + (config->bias ? k->n : 0));
    ep_real unused;
    for (int64_t j = 0; j < k->n; j++) {
        int64_t at = sample * width + j * k->inner;
        run_sums(config, k, j, k->outer, ep_x(pass, layer, 0) + at, ep_dy(pass, layer) + at,
                 config->mass ? kept + j : &unused, config->bias ? kept + of_bias + j : &unused);
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    const populations *config = layer->config;
    tile t;
    block k = measure(pass, layer);
    if (layer->saved >= 0 && k.inner == 1) {
        backward_summing(pass, layer, &k);
        return;
    }
    for (int64_t r = pass->r0; layer->saved >= 0 && r < pass->r1; r++) {
        sum_runs(pass, layer, &k, r); /* before dx, which may take the place of dy */
    }
    k = tiled(k, &t);
    bool each = k.inner == 1;
    int64_t runs = each ? 1 : k.n, end = pass->r1 * k.outer;
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    ep_real *dx = ep_dx(pass, layer, 0);
    bool add = layer->adds[0];
    for (int64_t row = pass->r0 * k.outer; dx && row < end; row += t.rows) {
        int64_t length = each ? ep_min(t.rows, end - row) * k.n : k.inner;
        for (int64_t j = 0; j < runs; j++) {
            run r = {length, k.b ? k.b + j : NULL, k.m ? k.m + j : NULL, (ep_real)config->slope};
            int64_t at = row * k.n * k.inner + j * k.inner;
#define CALL(kind, bias, mass, each) \
    backward_run(kind, bias, mass, each, &r, x + at, dy + at, dx + at, add)
            WITH_KIND(CALL, config->activation, config->bias, config->mass, each)
#undef CALL
        }
    }
}

/* Where the sums are there, or there is nothing to sum, gradient does not read dy. */
static bool lends(const ep_layer *layer) { return layer->saved >= 0 || layer->n_tensors == 0; }

/* Populations j0 .. j1, features last: what samples have summed, or else every row's terms. dm and
 * db begin at j0. */
static void gradient_rows(const ep_pass *pass, const ep_layer *layer, const block *k, int64_t j0,
                          int64_t j1, ep_real *dm, ep_real *db) {
    const populations *config = layer->config;
    if (layer->saved < 0) {
        sum_rows(config, k, j0, j1, pass->rows * k->outer, ep_x(pass, layer, 0), ep_dy(pass, layer),
                 NULL, false, dm, db);
        return;
    }
    int64_t of_bias = config->mass ? k->n : 0, sums = of_bias + (config->bias ? k->n : 0);
    for (int64_t r = 0; r < pass->rows; r++) {
        const ep_real *kept = ep_saved(pass, layer) + r * sums + j0;
        for (int64_t j = 0; j < j1 - j0; j++) {
            if (dm) {
                dm[j] += kept[j];
            }
            if (db) {
                db[j] += kept[of_bias + j];
            }
        }
    }
}

/* Population j that owns runs of `inner` numbers, where samples have not summed. */
static void gradient_one(const ep_pass *pass, const ep_layer *layer, const block *k, int64_t j,
                         ep_real *dm, ep_real *db) {
    int64_t at = j * k->inner;
    ep_real of_mass, of_bias;
    run_sums(layer->config, k, j, pass->rows * k->outer, ep_x(pass, layer, 0) + at,
             ep_dy(pass, layer) + at, &of_mass, &of_bias);
    if (dm) {
        dm[j] = layer->shares ? dm[j] + of_mass : of_mass;
    }
    if (db) {
        db[j] = of_bias;
    }
}

static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    const populations *config = layer->config;
    block k = measure(pass, layer);
    int64_t j0 = ep_cut(k.n, part, parts), j1 = ep_cut(k.n, part + 1, parts);
    if (j0 >= j1 || !(config->mass || config->bias)) {
        return;
    }
    int of_bias = config->mass ? 1 : 0;
    ep_real *dm = config->mass ? ep_dw(pass, layer, 0) : NULL;
    ep_real *db = config->bias ? ep_dw(pass, layer, of_bias) : NULL;
    if (k.inner == 1 || layer->saved >= 0) {
        size_t bytes = (size_t)(j1 - j0) * sizeof(ep_real);
        if (dm && !layer->shares) {
            memset(dm + j0, 0, bytes);
        }
        if (db) {
            memset(db + j0, 0, bytes);
        }
        gradient_rows(pass, layer, &k, j0, j1, dm ? dm + j0 : NULL, db ? db + j0 : NULL);
    } else {
        for (int64_t j = j0; j < j1; j++) {
            gradient_one(pass, layer, &k, j, dm, db);
        }
    }
    if (config->mass) {
        ep_ready(pass, layer, 0, j0, j1 - j0);
    }
    if (config->bias) {
        ep_ready(pass, layer, of_bias, j0, j1 - j0);
    }
}

static double flops(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    (void)layer;
    (void)axes;
    (void)values;
    return 0; /* elementwise: folded into the neighbouring product when the net is exported */
}

const ep_kind ep_kind_populations = {
    .name = "populations",
    .doc =
        "h = m * phi(z + b) along one axis: every entry of the axis is a population with a mass\n"
        "m >= 0 (1 at birth), an optional bias b and the activation phi. Right after the input it\n"
        "makes populations of the input features.",
    .fields = fields,
    .config_size = sizeof(populations),
    .least_inputs = 1,
    .most_inputs = 1,
    .exact = true,
    .declare = declare,
    .init = init,
    .forward = forward,
    .backward = backward,
    .lends = lends,
    .gradient = gradient,
    .flops = flops,
};
