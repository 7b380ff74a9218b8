/* populations: h = m * phi(z + b) along one axis: what makes neurons, filters and heads of the
 * numbers a projection gives. Bias, activation and mass in one pass over an (outer, n, inner)
 * block. It measures what its populations are worth (dL/dm) like any other gradient and knows
 * nothing of who lives or dies. */
#include "columns.h"
#include "elementary.h"

#include <string.h>

typedef enum { IDENTITY, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID } activation;

typedef struct {
    int64_t activation, axis, bias, mass, shared;
    double slope;
} populations;

static const char *const activations[] = {"identity", "relu", "leaky_relu", "gelu",
                                          "silu",     "tanh", "sigmoid",    NULL};
static const ep_field fields[] = {
    {.name = "activation",
     .type = EP_CHOICE,
     .offset = offsetof(populations, activation),
     .choices = activations,
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
           ep_plan_output(plan, layer, x->rank, x->axis, error);
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

/* ---- phi and its slope ---------------------------------------------------------------------- */

#define GELU_A ((ep_real)0.7978845608028654) /* sqrt(2 / pi) */
#define GELU_B ((ep_real)0.044715)

EP_INLINE ep_real phi(activation kind, ep_real z, ep_real slope) {
    switch (kind) {
    case RELU: return z > 0 ? z : z != z ? z : 0;
    case LEAKY_RELU: return z > 0 ? z : slope * z;
    case GELU: return z * ep_sigmoid(2 * GELU_A * (z + GELU_B * z * z * z));
    case SILU: return z * ep_sigmoid(z);
    case TANH: return ep_tanh(z);
    case SIGMOID: return ep_sigmoid(z);
    case IDENTITY: break;
    }
    return z;
}

EP_INLINE ep_real phi_slope(activation kind, ep_real z, ep_real slope) {
    ep_real s, u;
    switch (kind) {
    case RELU: return z > 0 ? 1 : 0;
    case LEAKY_RELU: return z > 0 ? 1 : slope;
    case GELU:
        s = ep_sigmoid(2 * GELU_A * (z + GELU_B * z * z * z));
        return s + z * s * (1 - s) * 2 * GELU_A * (1 + 3 * GELU_B * z * z);
    case SILU: s = ep_sigmoid(z); return s + z * s * (1 - s);
    case TANH: u = ep_tanh(z); return 1 - u * u;
    case SIGMOID: s = ep_sigmoid(z); return s * (1 - s);
    case IDENTITY: break;
    }
    return 1;
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
                            const ep_real *restrict x, const ep_real *restrict dy,
                            ep_real *restrict dx, bool add) {
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

/* Adds dy * phi to dm and dy * m * phi' to db, number by number. */
EP_INLINE void gradient_run(activation kind, bool bias, bool mass, const run *r,
                            const ep_real *restrict x, const ep_real *restrict dy,
                            ep_real *restrict dm, ep_real *restrict db) {
    const ep_real *b = r->b, *m = r->m;
    const ep_real slope = r->slope;
    for (int64_t j = 0; j < r->n; j++) {
        ep_real z = bias ? x[j] + b[j] : x[j];
        if (mass) {
            dm[j] += dy[j] * phi(kind, z, slope);
        }
        if (bias) {
            ep_real d = dy[j] * phi_slope(kind, z, slope);
            db[j] += mass ? m[j] * d : d;
        }
    }
}

/* The same summed over runs of n numbers that one population owns, in lanes; rows are `stride`
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

static void backward(const ep_pass *pass, const ep_layer *layer) {
    const populations *config = layer->config;
    tile t;
    block k = tiled(measure(pass, layer), &t);
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

/* Populations j0 .. j1, features last: whole rows of the share at a time. dm and db begin at j0. */
static void gradient_rows(const ep_pass *pass, const ep_layer *layer, const block *k, int64_t j0,
                          int64_t j1, ep_real *dm, ep_real *db) {
    const populations *config = layer->config;
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    run r = {j1 - j0, k->b ? k->b + j0 : NULL, k->m ? k->m + j0 : NULL, (ep_real)config->slope};
    for (int64_t row = 0; row < pass->rows * k->outer; row++) {
        int64_t at = row * k->n + j0;
#define CALL(kind, bias, mass, each) gradient_run(kind, bias, mass, &r, x + at, dy + at, dm, db)
        WITH_KIND(CALL, config->activation, config->bias, config->mass, true)
#undef CALL
    }
}

/* Population j that owns runs of `inner` numbers. */
static void gradient_one(const ep_pass *pass, const ep_layer *layer, const block *k, int64_t j,
                         ep_real *dm, ep_real *db) {
    const populations *config = layer->config;
    int64_t at = j * k->inner, stride = k->n * k->inner, rows = pass->rows * k->outer;
    const ep_real *x = ep_x(pass, layer, 0) + at, *dy = ep_dy(pass, layer) + at;
    run r = {k->inner, k->b ? k->b + j : NULL, k->m ? k->m + j : NULL, (ep_real)config->slope};
    ep_real of_mass = 0, of_bias = 0;
#define CALL(kind, bias, mass, each) \
    gradient_lanes(kind, bias, mass, &r, rows, stride, x, dy, &of_mass, &of_bias)
    WITH_KIND(CALL, config->activation, config->bias, config->mass, false)
#undef CALL
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
    if (k.inner == 1) {
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
    .gradient = gradient,
    .flops = flops,
};
