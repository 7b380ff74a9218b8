/* attention: y = softmax(scale q k') v for every sample and head, where ' is the transpose and q,
 * k, v and y are (positions, dims). The layer has no parameters: with three projections before it
 * and one after it, it is multi-head attention. Masses and extinction of heads are handled
 * elsewhere, as for any other axis.
 *
 * Work is divided by (sample, head, group of queries). Queries are transposed once, and scores are
 * stored as (keys, queries), so that the maximum, sum and exp of a query run down a lane without a
 * reduction within a vector; k and v are read in place. The scores of a group fit in the L1 cache
 * for up to about 80 positions, in L2 for up to about 1000. Only the log of the softmax
 * denominator is saved for backward(), one value per query and head; no (heads, positions,
 * positions) block is ever stored. */
#include "elementary.h"
#include "gemm.h"
#include "layer.h"
#include "vector.h"

#include <math.h>
#include <string.h>

typedef struct {
    int64_t causal;
    double scale;
} attention;

enum { LINE = (int)EP_LINE, GROUP = 4 * LINE }; /* queries per cache line and per group */

static const ep_field fields[] = {
    EP_FIELD_BOOL(attention, causal, false,
                  "a position attends to itself and to those before it only"),
    EP_FIELD_REAL(
        attention, scale, 0, 0, 1e6,
        "factor on the scores; 0: 1 / sqrt(founding head dimensions), also after removals"),
    EP_FIELDS_END,
};

/* Return the room for a group's transposed queries, its scores and their gradient. */
static int64_t scratch(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *q = &values[layer->input[0]];
    return ep_times(axes[q->axis[0]].n + axes[q->axis[2]].n, 2 * GROUP);
}

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    static const char *const names[] = {"queries", "keys", "values"};
    const ep_axis *axes = ep_plan_axes(plan);
    const ep_value *q = ep_plan_value(plan, layer->input[0]);
    for (int i = 0; i < 3; i++) {
        const ep_value *x = ep_plan_value(plan, layer->input[i]);
        if (x->rank != 3) {
            return ep_fail(error, EP_BAD_VALUE,
                           "%s: %s must have the axes (positions, heads, dims), got %d axes",
                           layer->name, names[i], x->rank);
        }
        for (int d = 0; d < 3; d++) {
            if (x->axis[d] != q->axis[d]) {
                return ep_fail(error, EP_BAD_VALUE,
                               "%s: %s (%s) must share axis %s of the queries (%s), got axis %s; "
                               "give the queries as its layer's second input",
                               layer->name, names[i], x->name, axes[q->axis[d]].name, q->name,
                               axes[x->axis[d]].name);
            }
        }
    }
    int axis[3] = {q->axis[0], q->axis[1], q->axis[2]}; /* a copy: the original may move */
    return ep_plan_output(plan, layer, 3, axis, error) &&
           ep_plan_saved(plan, layer, 2, axis, error);
}

/* ---- a head of a sample, and a group of its queries ------------------------------------------ */

typedef struct {
    int64_t positions, heads, dims, row; /* row: elements from one position to the next */
    bool causal;
    ep_real scale;
} extents;

static extents measure(const ep_pass *pass, const ep_layer *layer) {
    const attention *config = layer->config;
    const ep_value *q = ep_input(pass, layer, 0);
    const ep_axis *positions = &pass->axes[q->axis[0]], *heads = &pass->axes[q->axis[1]];
    const ep_axis *dims = &pass->axes[q->axis[2]];
    double scale = config->scale > 0 ? config->scale : 1 / sqrt((double)dims->founded);
    return (extents){positions->n,        heads->n,      dims->n, heads->n * dims->n,
                     config->causal != 0, (ep_real)scale};
}

/* A group of n queries, the first at position i0. `lanes` is n rounded up to whole cache lines;
 * the extra lanes are zero. */
typedef struct {
    int64_t i0, n, lanes;
} group;

static group group_at(const extents *e, int64_t i0) {
    int64_t n = ep_min(GROUP, e->positions - i0);
    return (group){i0, n, (n + LINE - 1) / LINE * LINE};
}

/* Return the width of a stripe, the queries that are multiplied with the same keys: the whole
 * group, or one cache line if causal. */
static int64_t stripe(const extents *e, const group *g) { return e->causal ? LINE : g->lanes; }

/* Return the number of keys that are visible to the stripe of queries starting at lane l. */
static int64_t seen(const extents *e, const group *g, int64_t l) {
    return e->causal ? ep_min(e->positions, g->i0 + l + LINE) : e->positions;
}

/* The products below work on one sample and head; their pointers address position 0. */

/* Write the group's rows of `from` (positions, dims), transposed, to `to` (dims, lanes). */
static void turn(const extents *e, const group *g, const ep_real *from, ep_real *to) {
    ep_transpose(to, e->dims, g->n, g->lanes, from + g->i0 * e->row, e->row);
}

/* Compute `to` (keys, lanes) = `keys_of` (keys, dims) times the transposed queries (dims,
 * lanes). */
static void outer(const extents *e, const group *g, const ep_real *keys_of, const ep_real *turned,
                  ep_real *to) {
    int64_t width = stripe(e, g);
    for (int64_t l = 0; l < g->lanes; l += width) {
        ep_gemm_near(&(ep_product){.m = seen(e, g, l),
                                   .n = width,
                                   .k = e->dims,
                                   .a = keys_of,
                                   .a_row = e->row,
                                   .a_step = 1,
                                   .b = turned + l,
                                   .b_step = g->lanes,
                                   .b_col = 1,
                                   .c = to + l,
                                   .c_row = g->lanes});
    }
}

/* Write the product p' F to `to` (queries, dims), or add it if `add`, where p is (keys, lanes), p'
 * is its transpose, and F is `from` (keys, dims). */
static void to_queries(const extents *e, const group *g, const ep_real *p, const ep_real *from,
                       ep_real *to, bool add) {
    int64_t width = stripe(e, g);
    for (int64_t l = 0; l < g->n; l += width) {
        ep_gemm_near(&(ep_product){.m = ep_min(width, g->n - l),
                                   .n = e->dims,
                                   .k = seen(e, g, l),
                                   .a = p + l,
                                   .a_row = 1,
                                   .a_step = g->lanes,
                                   .b = from,
                                   .b_step = e->row,
                                   .b_col = 1,
                                   .c = to + (g->i0 + l) * e->row,
                                   .c_row = e->row,
                                   .add = add});
    }
}

/* Write rows j0 .. j1 of the product p F to `to` (keys, dims), or add them if `add`, where p is
 * (keys, lanes) and F is `from` (queries, dims). The product skips queries before lane l. */
static void to_some_keys(const extents *e, const group *g, int64_t j0, int64_t j1, int64_t l,
                         const ep_real *p, const ep_real *from, ep_real *to, bool add) {
    ep_gemm_near(&(ep_product){.m = j1 - j0,
                               .n = e->dims,
                               .k = g->n - l,
                               .a = p + j0 * g->lanes + l,
                               .a_row = g->lanes,
                               .a_step = 1,
                               .b = from + (g->i0 + l) * e->row,
                               .b_step = e->row,
                               .b_col = 1,
                               .c = to + j0 * e->row,
                               .c_row = e->row,
                               .add = add});
}

/* Call to_some_keys() for all keys that the group sees. Rows of `to` that no earlier group of
 * queries has written are overwritten, unless `add` is true; all other rows are added to. */
static void to_keys(const extents *e, const group *g, const ep_real *p, const ep_real *from,
                    ep_real *to, bool add) {
    if (!e->causal) {
        to_some_keys(e, g, 0, e->positions, 0, p, from, to, add || g->i0 > 0);
        return;
    }
    to_some_keys(e, g, 0, g->i0, 0, p, from, to, true);
    for (int64_t l = 0; l < g->n; l += LINE) {
        to_some_keys(e, g, g->i0 + l, seen(e, g, l), l, p, from, to, add);
    }
}

/* ---- softmax down the lanes ----------------------------------------------------------------- */

/* Mask the later keys for a cache line of queries: query l of the line sees keys 0 .. j0 + l. */
static void mask(int64_t j0, int64_t keys, int64_t lanes, ep_real *s) {
    for (int64_t j = j0 + 1; j < keys; j++) {
        for (int64_t l = 0; l < j - j0; l++) {
            s[j * lanes + l] = -INFINITY;
        }
    }
}

EP_INLINE ep_vec at(const ep_real *s) { return (ep_vec) * (const ep_vec_loose *)s; }

/* Replace n scores of each lane by e^{scale (score - most)}, where `most` is the lane's largest
 * score, and add the exponentials to `sum` in order. */
EP_INLINE void exponentials(int n, ep_real scale, ep_vec most, int64_t lanes, ep_real *s,
                            ep_vec *sum) {
    ep_vec e[EP_SIDE];
    EP_EACH(n) { e[i] = scale * (at(s + i * lanes) - most); }
    ep_exp(n, e);
    EP_EACH(n) {
        *(ep_vec_loose *)(s + i * lanes) = e[i];
        *sum += e[i];
    }
}

/* Replace the scores s (keys, lanes) of a cache line of queries by probabilities, and write the log
 * of the sum of the exponentials of the scaled scores to lse (LINE). */
static void softmax(int64_t keys, int64_t lanes, ep_real scale, ep_real *s, ep_real *lse) {
    for (int l = 0; l < LINE; l += EP_LANES, s += EP_LANES) {
        ep_real top[EP_LANES], of[EP_LANES];
        ep_vec m[EP_SIDE], sum = {0};
        int64_t j = 1;
        EP_EACH(EP_SIDE) { m[i] = at(s); }
        for (; j + EP_SIDE <= keys; j += EP_SIDE) {
            EP_EACH(EP_SIDE) { m[i] = ep_vec_max(m[i], at(s + (j + i) * lanes)); }
        }
        for (; j < keys; j++) {
            m[0] = ep_vec_max(m[0], at(s + j * lanes));
        }
        ep_vec most = ep_vec_max(ep_vec_max(m[0], m[1]), ep_vec_max(m[2], m[3]));
        for (j = 0; j + EP_SIDE <= keys; j += EP_SIDE) {
            exponentials(EP_SIDE, scale, most, lanes, s + j * lanes, &sum);
        }
        for (; j < keys; j++) {
            exponentials(1, scale, most, lanes, s + j * lanes, &sum);
        }
        memcpy(top, &most, sizeof top);
        memcpy(of, &sum, sizeof of);
        for (int i = 0; i < EP_LANES; i++) {
            lse[l + i] = scale * top[i] + ep_log(of[i]);
        }
        sum = 1 / sum;
        for (j = 0; j < keys; j++) {
            *(ep_vec_loose *)(s + j * lanes) = at(s + j * lanes) * sum;
        }
    }
}

/* Replace n scores of each lane by probabilities p, and add p dp to `mean`, with dp = dL/dp. */
EP_INLINE void probabilities(int n, ep_real scale, ep_vec lse, int64_t lanes, ep_real *s,
                             const ep_real *dp, ep_vec *mean) {
    ep_vec p[EP_SIDE];
    EP_EACH(n) { p[i] = scale * at(s + i * lanes) - lse; }
    ep_exp(n, p);
    EP_EACH(n) {
        *(ep_vec_loose *)(s + i * lanes) = p[i];
        *mean += p[i] * at(dp + i * lanes);
    }
}

/* Replace the scores s (keys, lanes) by probabilities p, and g = dL/dp by the gradient of the raw
 * scores, scale p (g - sum of p g over the keys). */
static void softmax_back(int64_t keys, int64_t lanes, ep_real scale, const ep_real *lse, ep_real *s,
                         ep_real *g) {
    for (int l = 0; l < LINE; l += EP_LANES, s += EP_LANES, g += EP_LANES) {
        ep_vec of = at(lse + l), mean = {0};
        int64_t j = 0;
        for (; j + EP_SIDE <= keys; j += EP_SIDE) {
            probabilities(EP_SIDE, scale, of, lanes, s + j * lanes, g + j * lanes, &mean);
        }
        for (; j < keys; j++) {
            probabilities(1, scale, of, lanes, s + j * lanes, g + j * lanes, &mean);
        }
        for (j = 0; j < keys; j++) {
            ep_vec p = at(s + j * lanes), d = at(g + j * lanes);
            *(ep_vec_loose *)(g + j * lanes) = scale * p * (d - mean);
        }
    }
}

/* ---- the layer ------------------------------------------------------------------------------ */

static void forward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(pass, layer);
    const ep_real *q = ep_x(pass, layer, 0), *k = ep_x(pass, layer, 1), *v = ep_x(pass, layer, 2);
    ep_real *y = ep_y(pass, layer), *saved = ep_saved(pass, layer);
    ep_real *turned = pass->scratch, *s = turned + e.dims * GROUP, lse[LINE];
    for (int64_t i = pass->r0 * e.heads; i < pass->r1 * e.heads; i++) {
        int64_t r = i / e.heads, h = i % e.heads;
        int64_t base = r * e.positions * e.row + h * e.dims;
        ep_real *kept = saved + r * e.positions * e.heads + h;
        for (int64_t first = 0; first < e.positions; first += GROUP) {
            group g = group_at(&e, first);
            turn(&e, &g, q + base, turned);
            outer(&e, &g, k + base, turned, s);
            for (int64_t l = 0; l < g.lanes; l += LINE) {
                int64_t keys = seen(&e, &g, l);
                mask(e.causal ? first + l : keys, keys, g.lanes, s + l);
                softmax(keys, g.lanes, e.scale, s + l, lse);
                for (int64_t n = l; n < ep_min(l + LINE, g.n); n++) {
                    kept[(first + n) * e.heads] = lse[n - l];
                }
            }
            to_queries(&e, &g, s, v + base, y + base, false);
        }
    }
}

/* True if backward() overwrites the gradient of input i instead of adding to it. If two inputs are
 * the same value, both add to its gradient. */
static bool fresh(const ep_layer *layer, int i) {
    const int *in = layer->input;
    return !ep_adds(layer, i) && in[0] != in[1] && in[1] != in[2] && in[0] != in[2];
}

/* Zero sample r (`width` elements) of each gradient that several inputs share, so that all of them
 * can add to it. */
static void clear(const ep_pass *pass, const ep_layer *layer, int64_t r, int64_t width) {
    for (int i = 0; i < 3; i++) {
        ep_real *dx = ep_dx(pass, layer, i);
        if (dx && !ep_adds(layer, i) && !fresh(layer, i)) {
            memset(dx + r * width, 0, (size_t)width * sizeof *dx);
        }
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(pass, layer);
    const ep_real *q = ep_x(pass, layer, 0), *k = ep_x(pass, layer, 1), *v = ep_x(pass, layer, 2);
    ep_real *dq = ep_dx(pass, layer, 0), *dk = ep_dx(pass, layer, 1), *dv = ep_dx(pass, layer, 2);
    const ep_real *dy = ep_dy(pass, layer), *saved = ep_saved(pass, layer);
    ep_real *turned = pass->scratch, *p = turned + e.dims * GROUP;
    ep_real *dp = p + e.positions * GROUP, lse[LINE] = {0};
    for (int64_t i = pass->r0 * e.heads; i < pass->r1 * e.heads; i++) {
        int64_t r = i / e.heads, h = i % e.heads;
        int64_t base = r * e.positions * e.row + h * e.dims;
        const ep_real *kept = saved + r * e.positions * e.heads + h;
        if (h == 0) {
            clear(pass, layer, r, e.positions * e.row);
        }
        for (int64_t first = 0; first < e.positions; first += GROUP) {
            group g = group_at(&e, first);
            turn(&e, &g, q + base, turned);
            outer(&e, &g, k + base, turned, p);
            turn(&e, &g, dy + base, turned);
            outer(&e, &g, v + base, turned, dp);
            for (int64_t l = 0; l < g.lanes; l += LINE) {
                int64_t keys = seen(&e, &g, l);
                for (int64_t n = l; n < ep_min(l + LINE, g.n); n++) {
                    lse[n - l] = kept[(first + n) * e.heads];
                }
                mask(e.causal ? first + l : keys, keys, g.lanes, p + l);
                softmax_back(keys, g.lanes, e.scale, lse, p + l, dp + l);
            }
            if (dv) {
                to_keys(&e, &g, p, dy + base, dv + base, !fresh(layer, 2));
            }
            if (dk) {
                to_keys(&e, &g, dp, q + base, dk + base, !fresh(layer, 1));
            }
            if (dq) {
                to_queries(&e, &g, dp, k + base, dq + base, !fresh(layer, 0));
            }
        }
    }
}

/* Count all pairs of positions, causal or not, as is usual. */
static double macs(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *q = &values[layer->input[0]];
    double positions = (double)axes[q->axis[0]].n;
    return 2 * positions * positions * (double)ep_extent(axes, q, 1, 3);
}

const ep_kind ep_kind_attention = {
    .name = "attention",
    .doc = "softmax(scale q k') v for every head; reads queries, keys and values, each\n"
           "(positions, heads, dims) on the same axes, as dense layers give them: the first with\n"
           "units (heads, dims), the others with the first as their second input. After it,\n"
           "populations along axis -2 make the heads populations.",
    .fields = fields,
    .config_size = sizeof(attention),
    .least_inputs = 3,
    .most_inputs = 3,
    .linear = EP_LINEAR_PASS,
    .linear_input = 2,
    .founding_axis = 3,
    .apart = 2,
    .product_axis = 3,
    .declare = declare,
    .forward = forward,
    .backward = backward,
    .macs = macs,
    .scratch = scratch,
};
