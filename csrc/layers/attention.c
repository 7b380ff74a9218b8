/* attention: y = softmax(scale q k') v for every head. No parameters of its own: three projections
 * before it and one behind it make multi-head attention, and its heads axis is an axis like any
 * other, so it knows neither mass nor extinction.
 *
 * Work goes by (sample, head, LANES queries). Scores lie transposed, (keys, LANES), so that the
 * maximum, sum and exp of a query run down a lane: no reduction within a vector, and q, k, v are
 * read where they are. Kept for backward is one number per query and head, the log of its softmax's
 * denominator; a (heads, positions, positions) block exists nowhere. */
#include "elementary.h"
#include "gemm.h"
#include "layer.h"

#include <math.h>
#include <string.h>

typedef struct {
    int64_t causal;
    double scale;
} attention;

enum { LANES = 2 * (int)EP_LINE }; /* queries at a time */

static const ep_field fields[] = {
    {.name = "causal",
     .type = EP_BOOL,
     .offset = offsetof(attention, causal),
     .high = 1,
     .doc = "a position attends to itself and to those before it only"},
    {.name = "scale",
     .type = EP_REAL,
     .offset = offsetof(attention, scale),
     .low = 0,
     .high = 1e6,
     .doc = "factor on the scores; 0: 1 / sqrt(head dimensions at birth), whoever lives"},
    EP_FIELDS_END,
};

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
    int64_t scores = ep_times(axes[q->axis[0]].n, 2 * LANES);
    if (scores < 0 || scores > INT64_MAX / 64) {
        return ep_fail(error, EP_BAD_VALUE, "%s: too many positions, got %lld", layer->name,
                       (long long)axes[q->axis[0]].n);
    }
    layer->scratch = EP_GEMM_SCRATCH + scores;
    int axis[3] = {q->axis[0], q->axis[1], q->axis[2]}; /* a new value may move the others */
    return ep_plan_output(plan, layer, 3, axis, error) &&
           ep_plan_saved(plan, layer, 2, axis, error);
}

/* ---- softmax down the lanes ----------------------------------------------------------------- */

/* One (keys, LANES) block: lane l is query i0 + l, which sees keys 0 .. i0 + l when causal. The
 * last block of a long sequence begins early, so that every lane is a query and the products have
 * no ragged edge; its first `done` lanes belong to the block before and are used no further. */
typedef struct {
    int64_t keys, i0, lanes, done;
    bool causal;
    ep_real scale;
} block;

/* Hides the keys that a query must not see. They are the last LANES of the block at most. */
static void mask(const block *b, ep_real *restrict s) {
    for (int64_t j = b->causal ? b->i0 + 1 : b->keys; j < b->keys; j++) {
        for (int64_t l = 0; l < j - b->i0; l++) {
            s[j * LANES + l] = -INFINITY;
        }
    }
}

/* s: scores -> probabilities; lse: log of the sum of the exponentials of the scaled scores. */
static void softmax(const block *b, ep_real *restrict s, ep_real *restrict lse) {
    const int64_t keys = b->keys;
    const ep_real scale = b->scale;
    ep_real most[LANES], sum[LANES];
    for (int l = 0; l < LANES; l++) {
        most[l] = -INFINITY;
        sum[l] = 0;
    }
    for (int64_t j = 0; j < keys; j++) {
        for (int l = 0; l < LANES; l++) {
            most[l] = s[j * LANES + l] > most[l] ? s[j * LANES + l] : most[l];
        }
    }
    for (int64_t j = 0; j < keys; j++) {
        for (int l = 0; l < LANES; l++) {
            ep_real e = ep_exp(scale * (s[j * LANES + l] - most[l]));
            s[j * LANES + l] = e;
            sum[l] += e;
        }
    }
    for (int l = 0; l < LANES; l++) {
        lse[l] = scale * most[l] + ep_log(sum[l]);
        sum[l] = 1 / sum[l];
    }
    for (int64_t j = 0; j < keys; j++) {
        for (int l = 0; l < LANES; l++) {
            s[j * LANES + l] *= sum[l];
        }
    }
}

/* s: scores -> probabilities p; g: dp -> gradient of the raw scores, scale p (dp - sum_j p dp). */
static void softmax_back(const block *b, const ep_real *restrict lse, ep_real *restrict s,
                         ep_real *restrict g) {
    const int64_t keys = b->keys;
    const ep_real scale = b->scale;
    ep_real mean[LANES] = {0};
    for (int64_t j = 0; j < keys; j++) {
        for (int l = 0; l < LANES; l++) {
            ep_real p = ep_exp(scale * s[j * LANES + l] - lse[l]);
            s[j * LANES + l] = p;
            mean[l] += p * g[j * LANES + l];
        }
    }
    for (int64_t j = 0; j < keys; j++) {
        for (int l = 0; l < LANES; l++) {
            g[j * LANES + l] = scale * s[j * LANES + l] * (g[j * LANES + l] - mean[l]);
        }
    }
}

/* ---- the layer ------------------------------------------------------------------------------ */

typedef struct {
    int64_t positions, heads, dims, row; /* row: numbers from a position to the next */
    bool causal;
    ep_real scale;
} extents;

static extents measure(const ep_pass *pass, const ep_layer *layer) {
    const attention *config = layer->config;
    const ep_value *q = ep_input(pass, layer, 0);
    const ep_axis *positions = &pass->axes[q->axis[0]], *heads = &pass->axes[q->axis[1]];
    const ep_axis *dims = &pass->axes[q->axis[2]];
    double scale = config->scale > 0 ? config->scale : 1 / sqrt((double)dims->born);
    return (extents){positions->n,        heads->n,      dims->n, heads->n * dims->n,
                     config->causal != 0, (ep_real)scale};
}

static block block_at(const extents *e, int64_t first) {
    int64_t i0 = ep_max(0, ep_min(first, e->positions - LANES));
    int64_t keys = e->causal ? ep_min(e->positions, i0 + LANES) : e->positions;
    return (block){keys, i0, ep_min(LANES, e->positions - i0), first - i0, e->causal, e->scale};
}

/* Operands are those of a sample and head, at position 0. to (keys, lanes) = keys_of queries_of' */
static void outer(const extents *e, const block *b, const ep_real *keys_of,
                  const ep_real *queries_of, ep_real *to, ep_real *scratch) {
    ep_gemm(&(ep_product){.m = b->keys,
                          .n = b->lanes,
                          .k = e->dims,
                          .a = keys_of,
                          .a_row = e->row,
                          .a_step = 1,
                          .b = queries_of + b->i0 * e->row,
                          .b_step = 1,
                          .b_col = e->row,
                          .c = to,
                          .c_row = LANES},
            scratch);
}

/* to (queries, dims) [+]= p' (lanes, keys) from (keys, dims) */
static void to_queries(const extents *e, const block *b, const ep_real *p, const ep_real *from,
                       ep_real *to, bool add, ep_real *scratch) {
    ep_gemm(&(ep_product){.m = b->lanes - b->done,
                          .n = e->dims,
                          .k = b->keys,
                          .a = p + b->done,
                          .a_row = 1,
                          .a_step = LANES,
                          .b = from,
                          .b_step = e->row,
                          .b_col = 1,
                          .c = to + (b->i0 + b->done) * e->row,
                          .c_row = e->row,
                          .add = add},
            scratch);
}

/* to (keys, dims) += p (keys, lanes) from (queries, dims) */
static void to_keys(const extents *e, const block *b, const ep_real *p, const ep_real *from,
                    ep_real *to, ep_real *scratch) {
    ep_gemm(&(ep_product){.m = b->keys,
                          .n = e->dims,
                          .k = b->lanes - b->done,
                          .a = p + b->done,
                          .a_row = LANES,
                          .a_step = 1,
                          .b = from + (b->i0 + b->done) * e->row,
                          .b_step = e->row,
                          .b_col = 1,
                          .c = to,
                          .c_row = e->row,
                          .add = true},
            scratch);
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(pass, layer);
    const ep_real *q = ep_x(pass, layer, 0), *k = ep_x(pass, layer, 1), *v = ep_x(pass, layer, 2);
    ep_real *y = ep_y(pass, layer), *saved = ep_saved(pass, layer);
    ep_real *scratch = pass->scratch, *s = scratch + EP_GEMM_SCRATCH, lse[LANES];
    for (int64_t at = pass->r0 * e.heads; at < pass->r1 * e.heads; at++) {
        int64_t r = at / e.heads, h = at % e.heads;
        int64_t base = r * e.positions * e.row + h * e.dims;
        ep_real *kept = saved + r * e.positions * e.heads + h;
        for (int64_t first = 0; first < e.positions; first += LANES) {
            block b = block_at(&e, first);
            outer(&e, &b, k + base, q + base, s, scratch);
            mask(&b, s);
            softmax(&b, s, lse);
            to_queries(&e, &b, s, v + base, y + base, false, scratch);
            for (int64_t l = b.done; l < b.lanes; l++) {
                kept[(b.i0 + l) * e.heads] = lse[l];
            }
        }
    }
}

/* Every dx is a sum over blocks: it starts from zero where nobody has written before. */
static void clear(const ep_pass *pass, const ep_layer *layer, int64_t r, int64_t width) {
    for (int i = 0; i < 3; i++) {
        ep_real *dx = ep_dx(pass, layer, i);
        if (dx && !layer->adds[i]) {
            memset(dx + r * width, 0, (size_t)width * sizeof *dx);
        }
    }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(pass, layer);
    const ep_real *q = ep_x(pass, layer, 0), *k = ep_x(pass, layer, 1), *v = ep_x(pass, layer, 2);
    ep_real *dq = ep_dx(pass, layer, 0), *dk = ep_dx(pass, layer, 1), *dv = ep_dx(pass, layer, 2);
    const ep_real *dy = ep_dy(pass, layer), *saved = ep_saved(pass, layer);
    ep_real *scratch = pass->scratch, *p = scratch + EP_GEMM_SCRATCH, lse[LANES] = {0};
    ep_real *g = p + e.positions * LANES;
    for (int64_t at = pass->r0 * e.heads; at < pass->r1 * e.heads; at++) {
        int64_t r = at / e.heads, h = at % e.heads;
        int64_t base = r * e.positions * e.row + h * e.dims;
        const ep_real *kept = saved + r * e.positions * e.heads + h;
        if (h == 0) {
            clear(pass, layer, r, e.positions * e.row);
        }
        for (int64_t first = 0; first < e.positions; first += LANES) {
            block b = block_at(&e, first);
            for (int64_t l = 0; l < b.lanes; l++) {
                lse[l] = kept[(b.i0 + l) * e.heads];
            }
            outer(&e, &b, k + base, q + base, p, scratch);
            outer(&e, &b, v + base, dy + base, g, scratch);
            mask(&b, p);
            softmax_back(&b, lse, p, g);
            if (dv) {
                to_keys(&e, &b, p, dy + base, dv + base, scratch);
            }
            if (dk) {
                to_keys(&e, &b, g, q + base, dk + base, scratch);
            }
            if (dq) {
                to_queries(&e, &b, g, k + base, dq + base, true, scratch);
            }
        }
    }
}

/* Counted in full, causal or not, as is usual. */
static double flops(const ep_layer *layer, const ep_axis *axes, const ep_value *values) {
    const ep_value *q = &values[layer->input[0]];
    double positions = (double)axes[q->axis[0]].n;
    return 2 * positions * positions * (double)ep_extent(axes, q, 1, 3);
}

const ep_kind ep_kind_attention = {
    .name = "attention",
    .doc = "softmax(scale q k') v for every head; reads queries, keys and values, each\n"
           "(positions, heads, dims) on the same axes, as dense layers give them: the first with\n"
           "units (heads, dims), the others with the first as their second input. Behind it,\n"
           "populations along axis -2 make the heads populations.",
    .fields = fields,
    .config_size = sizeof(attention),
    .least_inputs = 3,
    .most_inputs = 3,
    .declare = declare,
    .forward = forward,
    .backward = backward,
    .flops = flops,
};
