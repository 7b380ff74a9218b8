/* populations: h = m * phi(z + b) along one axis, with mass m and bias b of each population,
 * activation phi and input z. Converts the outputs of a projection to neurons, filters or heads.
 * Bias, activation and mass are applied in one pass over an (outer, n, inner) block. The gradient
 * with respect to the masses (dL/dm) is computed like any other; extinction is not handled here. */
#include "activation.h"
#include "layer.h"

#include <string.h>

typedef struct {
    int64_t activation, axis, bias, mass, shared;
    double slope;
} populations;

static const ep_field fields[] = {
    EP_FIELD_CHOICE(populations, activation, 0, ep_activations,
                    "phi; gelu is the tanh form (Hendrycks & Gimpel 2016)"),
    EP_FIELD_INT(populations, axis, -1, -EP_RANK, EP_RANK - 1,
                 "the axis whose entries are populations, counted without the batch; -1: the last"),
    EP_FIELD_BOOL(populations, bias, true, "add a bias per population before phi"),
    EP_FIELD_BOOL(populations, mass, true,
                  "scale by a mass under selection; false: an ordinary bias and activation"),
    EP_FIELD_BOOL(populations, shared, false,
                  "use the masses that an earlier layer declared for the axis, instead of new "
                  "ones"),
    EP_FIELD_REAL(populations, slope, 0.01, 0, 1, "slope of leaky_relu below zero"),
    EP_FIELDS_END,
};

static int axis_of(const populations *config, int rank) {
    return (int)(config->axis < 0 ? config->axis + rank : config->axis);
}

/* Declare the output. If there are axes before the populations' axis (d > 0), also reserve room
 * for each sample's sums of dL/dm and dL/db, which backward() then computes along with dx. */
static bool keep_sums(ep_plan *plan, ep_layer *layer, int d, ep_error *error) {
    const populations *config = layer->config;
    const ep_value x = *ep_plan_value(plan, layer->input[0]); /* a copy: the original may move */
    int sums = (config->mass ? 1 : 0) + (config->bias ? 1 : 0);
    if (sums && d > 0 && !ep_plan_sums(plan, layer, sums, x.axis[d], error)) {
        return false;
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
    if ((config->mass && !config->shared &&
         !ep_plan_tensor(plan, layer, "mass", EP_EVOLVED, 1, axis, error)) ||
        (config->shared && !ep_plan_shared_mass(plan, layer, axis[0], error)) ||
        (config->bias && !ep_plan_tensor(plan, layer, "bias", EP_FREE, 1, axis, error)) ||
        !keep_sums(plan, layer, d, error)) {
        return false;
    }
    layer->scales = config->activation == IDENTITY && !config->bias;
    /* gradient() reads dy only if there are parameters whose gradients backward() has not
     * summed. */
    layer->alias.can = layer->sums >= 0 || layer->n_tensors == 0 ? EP_OVERWRITE_DY : 0;
    return true;
}

static void init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    (void)noise;
    const populations *config = layer->config;
    if (config->mass && !layer->shares_mass) {
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

/* ---- a piece of the matrix -------------------------------------------------------------------
 * The matrix has rows of n * inner columns. Process it in pieces of a few columns, row by row, so
 * that the values that belong to the columns stay in the L1 cache; prefetch a few rows ahead. */
enum { PIECE = 256, FURTHER = 2048 };

typedef struct {
    int64_t rows, columns, stride; /* stride: elements from one row to the next */
    const ep_real *b, *m;          /* bias and mass of each column */
    ep_real slope;
    ep_real spread_b[PIECE], spread_m[PIECE];
} piece;

/* Load or store n consecutive vectors; if n is 1, only the first `some` elements of one vector. */
EP_INLINE void read(int n, int64_t some, const ep_real *from, ep_vec *to) {
    EP_EACH(n) {
        to[i] = n == 1 ? ep_vec_get(from, some)
                       : (ep_vec) * (const ep_vec_loose *)(from + i * EP_LANES);
    }
}
EP_INLINE void write(int n, int64_t some, const ep_vec *from, ep_real *to) {
    EP_EACH(n) {
        if (n == 1) {
            ep_vec_put(to, from[0], some);
        } else {
            *(ep_vec_loose *)(to + i * EP_LANES) = from[i];
        }
    }
}

/* Prefetch EP_SIDE vectors. */
EP_INLINE void ask(const ep_real *at) {
    for (int i = 0; i < EP_SIDE * EP_LANES; i += (int)EP_LINE) {
        __builtin_prefetch(at + i);
    }
}
static int64_t further(const piece *p) { return ep_max(1, FURTHER / p->stride) * p->stride; }

EP_INLINE void forward_some(activation kind, int n, int64_t some, const piece *p, int64_t j,
                            const ep_real *x, ep_real *y) {
    ep_vec z[EP_SIDE], b[EP_SIDE], m[EP_SIDE], f[EP_SIDE], unused[EP_SIDE];
    read(n, some, x + j, z);
    read(n, some, p->b + j, b);
    EP_EACH(n) { z[i] += b[i]; }
    ep_phi(kind, n, p->slope, z, f, unused);
    read(n, some, p->m + j, m);
    EP_EACH(n) { f[i] = m[i] * f[i]; }
    write(n, some, f, y + j);
}

EP_INLINE void forward_rows(activation kind, const piece *p, const ep_real *x, ep_real *y) {
    const int64_t ahead = further(p);
    for (int64_t row = 0; row < p->rows; row++, x += p->stride, y += p->stride) {
        int64_t j = 0;
        for (; j + EP_SIDE * EP_LANES <= p->columns; j += EP_SIDE * EP_LANES) {
            ask(x + ahead + j);
            ask(y + ahead + j);
            forward_some(kind, EP_SIDE, EP_LANES, p, j, x, y);
        }
        for (; j < p->columns; j += EP_LANES) {
            forward_some(kind, 1, ep_min(EP_LANES, p->columns - j), p, j, x, y);
        }
    }
}

/* Per-column sums of the terms of dL/dm and dL/db. */
typedef struct {
    ep_real m[PIECE], b[PIECE];
} sums;

/* Compute dx = dy m phi', or add it to dx if `add`; dx may alias dy or be NULL. If `to` is not
 * NULL, add the terms of this row: dy phi to the sums of dL/dm, dy m phi' to those of dL/db. */
EP_INLINE void backward_some(activation kind, int n, int64_t some, const piece *p, int64_t j,
                             const ep_real *x, const ep_real *dy, ep_real *dx, bool add, sums *to) {
    ep_vec z[EP_SIDE], b[EP_SIDE], m[EP_SIDE], f[EP_SIDE], d[EP_SIDE], g[EP_SIDE], sum[EP_SIDE];
    read(n, some, x + j, z);
    read(n, some, p->b + j, b);
    EP_EACH(n) { z[i] += b[i]; }
    ep_phi(kind, n, p->slope, z, f, d);
    read(n, some, dy + j, g);
    read(n, some, p->m + j, m);
    if (to) {
        read(n, some, to->m + j, sum);
        EP_EACH(n) { sum[i] += g[i] * f[i]; }
        write(n, some, sum, to->m + j);
    }
    EP_EACH(n) { g[i] = ep_vec_rounded(m[i] * (g[i] * d[i])); }
    if (to) {
        read(n, some, to->b + j, sum);
        EP_EACH(n) { sum[i] += g[i]; }
        write(n, some, sum, to->b + j);
    }
    if (dx && add) {
        read(n, some, dx + j, sum);
        EP_EACH(n) { g[i] += sum[i]; }
    }
    if (dx) {
        write(n, some, g, dx + j);
    }
}

EP_INLINE void backward_rows(activation kind, const piece *p, const ep_real *x, const ep_real *dy,
                             ep_real *dx, bool add, sums *to) {
    const int64_t ahead = further(p);
    for (int64_t row = 0; row < p->rows; row++) {
        int64_t at = row * p->stride, j = 0;
        ep_real *here = dx ? dx + at : NULL;
        for (; j + EP_SIDE * EP_LANES <= p->columns; j += EP_SIDE * EP_LANES) {
            ask(x + at + ahead + j);
            ask(dy + at + ahead + j);
            if (dx && dx != dy) {
                ask(dx + at + ahead + j);
            }
            backward_some(kind, EP_SIDE, EP_LANES, p, j, x + at, dy + at, here, add, to);
        }
        for (; j < p->columns; j += EP_LANES) {
            int64_t some = ep_min(EP_LANES, p->columns - j);
            backward_some(kind, 1, some, p, j, x + at, dy + at, here, add, to);
        }
    }
}

/* Expand CALL(kind) with `kind` as a compile-time constant. A macro, because a function would take
 * CALL as a pointer, and the compiler could not inline it. */
#define WITH_KIND(CALL, kind)                 \
    switch ((activation)(kind)) {             \
    case IDENTITY: CALL(IDENTITY); break;     \
    case RELU: CALL(RELU); break;             \
    case LEAKY_RELU: CALL(LEAKY_RELU); break; \
    case GELU: CALL(GELU); break;             \
    case SILU: CALL(SILU); break;             \
    case TANH: CALL(TANH); break;             \
    case SIGMOID: CALL(SIGMOID); break;       \
    }

static void forward_piece(const populations *config, const piece *p, const ep_real *x, ep_real *y) {
#define CALL(kind) forward_rows(kind, p, x, y)
    WITH_KIND(CALL, config->activation)
#undef CALL
}

static void backward_piece(const populations *config, const piece *p, const ep_real *x,
                           const ep_real *dy, ep_real *dx, bool add) {
#define CALL(kind) backward_rows(kind, p, x, dy, dx, add, NULL)
    WITH_KIND(CALL, config->activation)
#undef CALL
}

static void summing_piece(const populations *config, const piece *p, const ep_real *x,
                          const ep_real *dy, ep_real *dx, bool add, sums *to) {
#define CALL(kind) backward_rows(kind, p, x, dy, dx, add, to)
    WITH_KIND(CALL, config->activation)
#undef CALL
}

/* ---- the layer ------------------------------------------------------------------------------ */

typedef struct {
    int64_t outer, n, inner, width; /* a sample is (outer, n, inner); width: n * inner */
    const ep_real *b, *m; /* biases (n,) and masses (n,); NULL if the layer has none */
} block;

static block measure(const ep_pass *pass, const ep_layer *layer) {
    const populations *config = layer->config;
    const ep_value *x = ep_input(pass, layer, 0);
    int d = axis_of(config, x->rank);
    int64_t n = pass->axes[x->axis[d]].n, inner = ep_extent(pass->axes, x, d + 1, x->rank);
    return (block){
        .outer = ep_extent(pass->axes, x, 0, d),
        .n = n,
        .inner = inner,
        .width = n * inner,
        .m = config->mass ? ep_w(pass, layer, 0) : NULL,
        .b = config->bias ? ep_w(pass, layer, config->mass ? 1 : 0) : NULL,
    };
}

/* Return n values, for the columns from c on: for each column the value of its population in `from`
 * (one value per population), or `none` if `from` is NULL. The column after the last is the first.
 * `to` has room for the n values; it is not used if they can be read in place. */
static const ep_real *spread(const block *k, const ep_real *from, ep_real none, int64_t c,
                             int64_t n, ep_real *to) {
    if (from && k->inner == 1 && c + n <= k->n) {
        return from + c;
    }
    int64_t j = c / k->inner, left = (j + 1) * k->inner - c;
    for (int64_t i = 0; i < n; left = k->inner, j = j + 1 < k->n ? j + 1 : 0) {
        ep_real value = from ? from[j] : none;
        for (int64_t end = ep_min(n, i + left); i < end; i++) {
            to[i] = value;
        }
    }
    return to;
}

/* Set *p to a piece that starts at column c and ends at column `end` or before. It consists of
 * whole populations if at least one fits. */
static void cut(const populations *config, const block *k, int64_t rows, int64_t c, int64_t end,
                piece *p) {
    int64_t most = k->inner <= PIECE ? PIECE / k->inner * k->inner
                                     : ep_min(PIECE, k->inner - c % k->inner);
    p->rows = rows;
    p->columns = ep_min(most, end - c);
    p->stride = k->width;
    p->slope = (ep_real)config->slope;
    p->b = spread(k, k->b, 0, c, p->columns, p->spread_b);
    p->m = spread(k, k->m, 1, c, p->columns, p->spread_m);
}

/* Process a piece: compute dx into `to` if dy is given, else y. */
static void pass_piece(const populations *config, const piece *p, const ep_real *x,
                       const ep_real *dy, ep_real *to, bool add) {
    if (dy) {
        backward_piece(config, p, x, dy, to, add);
    } else {
        forward_piece(config, p, x, to);
    }
}

/* Process `rows` rows and all columns. Several short rows are processed together as one. */
static void pass_rows(const populations *config, const block *k, int64_t rows, const ep_real *x,
                      const ep_real *dy, ep_real *to, bool add) {
    int64_t together = k->width > 0 ? ep_max(1, ep_min(rows, PIECE / k->width)) : 1;
    piece p;
    for (int64_t c = 0; c < k->width; c += p.columns) {
        cut(config, k, rows / together, c, k->width * together, &p);
        p.stride *= together;
        pass_piece(config, &p, x + c, dy ? dy + c : NULL, to + c, add);
        if (rows % together > 0) {
            int64_t at = p.rows * p.stride;
            p.rows = 1;
            p.columns = rows % together * k->width;
            pass_piece(config, &p, x + at, dy ? dy + at : NULL, to + at, add);
            return;
        }
    }
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    block k = measure(pass, layer);
    int64_t from = pass->r0 * k.outer * k.width;
    pass_rows(layer->config, &k, (pass->r1 - pass->r0) * k.outer, ep_x(pass, layer, 0) + from, NULL,
              ep_y(pass, layer) + from, false);
}

/* Add the sums `column` of columns c .. c + n to their populations: those of the columns of
 * population j are added to to[j], in order. */
static void gather(const block *k, int64_t c, int64_t n, const ep_real *column, ep_real *to) {
    int64_t j = c / k->inner, left = (j + 1) * k->inner - c;
    for (; n > 0; column += left, n -= left, left = k->inner, j++) {
        ep_real sum = 0;
        for (int64_t i = 0; i < ep_min(left, n); i++) {
            sum += column[i];
        }
        to[j] += sum;
    }
}

/* Add the sums of columns c .. c + n to dm and db (one value per population; may be NULL). */
static void keep(const block *k, int64_t c, int64_t n, const sums *of, ep_real *dm, ep_real *db) {
    const ep_real *from[2] = {of->m, of->b};
    ep_real *to[2] = {dm, db};
    for (int s = 0; s < 2; s++) {
        if (to[s] && k->inner == 1) {
            for (int64_t i = 0; i < n; i++) {
                to[s][c + i] += from[s][i];
            }
        } else if (to[s]) {
            gather(k, c, n, from[s], to[s]);
        }
    }
}

/* Compute dx (may be NULL) of columns c0 .. c1 for `samples` samples of `rows` rows. Add each
 * sample's sums per population to dm and db, where the sums of successive samples are `apart`
 * elements apart. */
static void sum_rows(const populations *config, const block *k, int64_t samples, int64_t rows,
                     int64_t c0, int64_t c1, const ep_real *x, const ep_real *dy, ep_real *dx,
                     bool add, ep_real *dm, ep_real *db, int64_t apart) {
    piece p;
    sums of;
    for (int64_t c = c0; c < c1; c += p.columns) {
        cut(config, k, rows, c, c1, &p);
        for (int64_t r = 0; r < samples; r++) {
            int64_t at = r * rows * k->width + c;
            memset(of.m, 0, (size_t)p.columns * sizeof *of.m);
            memset(of.b, 0, (size_t)p.columns * sizeof *of.b);
            summing_piece(config, &p, x + at, dy + at, dx ? dx + at : NULL, add, &of);
            keep(k, c, p.columns, &of, dm ? dm + r * apart : NULL, db ? db + r * apart : NULL);
        }
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    const populations *config = layer->config;
    block k = measure(pass, layer);
    int64_t samples = pass->r1 - pass->r0, from = pass->r0 * k.outer * k.width;
    const ep_real *x = ep_x(pass, layer, 0) + from, *dy = ep_dy(pass, layer) + from;
    ep_real *dx = ep_dx(pass, layer, 0), *to = dx ? dx + from : NULL;
    if (layer->sums < 0) {
        if (dx) {
            pass_rows(config, &k, samples * k.outer, x, dy, to, ep_adds(layer, 0));
        }
        return;
    }
    int64_t of_bias = config->mass ? k.n : 0, kept = of_bias + (config->bias ? k.n : 0);
    ep_real *of = ep_sums(pass, layer) + pass->r0 * kept;
    memset(of, 0, (size_t)(samples * kept) * sizeof *of);
    sum_rows(config, &k, samples, k.outer, 0, k.width, x, dy, to, ep_adds(layer, 0),
             config->mass ? of : NULL, config->bias ? of + of_bias : NULL, kept);
}

static void gradient(const ep_pass *pass, const ep_layer *layer, int64_t part, int64_t parts) {
    const populations *config = layer->config;
    block k = measure(pass, layer);
    int64_t j0 = ep_cut(k.n, part, parts), j1 = ep_cut(k.n, part + 1, parts);
    if (j0 >= j1 || !(config->mass || config->bias)) {
        return;
    }
    int of_bias = config->mass ? 1 : 0;
    size_t bytes = (size_t)(j1 - j0) * sizeof(ep_real);
    ep_real *dm = config->mass ? ep_dw(pass, layer, 0) : NULL;
    ep_real *db = config->bias ? ep_dw(pass, layer, of_bias) : NULL;
    if (dm && !layer->shares_mass) {
        memset(dm + j0, 0, bytes);
    }
    if (db) {
        memset(db + j0, 0, bytes);
    }
    if (layer->sums >= 0 && dm) {
        ep_add_sums(pass, layer, 0, j0, j1, dm);
    }
    if (layer->sums >= 0 && db) {
        ep_add_sums(pass, layer, of_bias * k.n, j0, j1, db);
    }
    if (layer->sums < 0) {
        sum_rows(config, &k, 1, pass->rows * k.outer, j0 * k.inner, j1 * k.inner,
                 ep_x(pass, layer, 0), ep_dy(pass, layer), NULL, false, dm, db, 0);
    }
    if (config->mass) {
        ep_ready(pass, layer, 0, j0, j1 - j0);
    }
    if (config->bias) {
        ep_ready(pass, layer, of_bias, j0, j1 - j0);
    }
}

const ep_kind ep_kind_populations = {
    .name = "populations",
    .doc =
        "h = m * phi(z + b) along one axis: every entry of the axis is a population with a mass\n"
        "m >= 0 (1 at birth), an optional bias b and the activation phi. Directly after the\n"
        "input it makes the input features populations.",
    .fields = fields,
    .config_size = sizeof(populations),
    .least_inputs = 1,
    .most_inputs = 1,
    .apart = EP_APART_ALL,
    .exact = true,
    .declare = declare,
    .init = init,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
};
