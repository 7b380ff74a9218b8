/* embed: two tables of learned vectors. `embedding` looks up rows by id; `positions` adds row t at
 * position t. Both tables are FREE, not DECAYED: a row of `embedding` learns only when its id
 * occurs, while decay at every step would shrink rare rows; a row of `positions` is a bias. */
#include "layer.h"

#include <math.h>
#include <string.h>

/* ---- embedding ------------------------------------------------------------------------------ */

typedef struct {
    int64_t vocabulary, units;
    double deviation;
} embedding;

static const ep_field embedding_fields[] = {
    EP_FIELD_REQUIRED(EP_INT, embedding, vocabulary, 1, 16777216,
                      "rows of the table; ids are 0 to vocabulary - 1"),
    EP_FIELD_INT(embedding, units, 0, 0, 1e9,
                 "elements per row; left out when a second input gives the axis"),
    EP_FIELD_REAL(embedding, deviation, 0.02, 0, 100,
                  "standard deviation of the normally distributed initial values"),
    EP_FIELDS_END,
};

static bool embedding_declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const embedding *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int rank = x->rank, of_y[EP_RANK + 1], of_table[2];
    memcpy(of_y, x->axis, (size_t)rank * sizeof *of_y);
    if (rank >= EP_RANK) {
        return ep_fail(error, EP_BAD_VALUE, "%s: ids may have at most %d axes, got %d", layer->name,
                       EP_RANK - 1, rank);
    }
    layer->reads = 1;
    if (layer->n_inputs == 2) {
        if (config->units) {
            return ep_fail(error, EP_BAD_VALUE,
                           "%s: units must be left out when a second input gives the output axis",
                           layer->name);
        }
        const ep_value *like = ep_plan_value(plan, layer->input[1]);
        of_table[1] = like->axis[like->rank - 1];
    } else if (config->units < 1) {
        return ep_fail(error, EP_BAD_VALUE, "%s: units must be at least 1, got %lld", layer->name,
                       (long long)config->units);
    } else {
        of_table[1] = ep_plan_axis(plan, layer, "", config->units, error);
    }
    of_table[0] = of_table[1] < 0
                      ? -1
                      : ep_plan_axis(plan, layer, "vocabulary", config->vocabulary, error);
    of_y[rank] = of_table[1];
    return of_table[0] >= 0 && ep_plan_tensor(plan, layer, "table", EP_FREE, 2, of_table, error) &&
           ep_plan_output(plan, layer, rank + 1, of_y, error);
}

static void embedding_init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    ep_w_normal(pass, layer, ((const embedding *)layer->config)->deviation, noise);
}

/* Return the row of an id, or -1 if the table has none. */
EP_INLINE int64_t row_of(ep_real id, int64_t vocabulary) {
    if (!(id >= 0 && id < (ep_real)vocabulary)) {
        return -1;
    }
    int64_t row = (int64_t)id;
    return (ep_real)row == id && row < vocabulary ? row : -1;
}

/* Write NaN for an unknown id. The network's own input is checked earlier; ids computed by another
 * layer are not. */
static void embedding_forward(const ep_pass *pass, const ep_layer *layer) {
    const embedding *config = layer->config;
    int64_t ids = ep_input(pass, layer, 0)->width;
    int64_t n = pass->axes[pass->tensor[layer->tensor[0]].axis[1]].n;
    const ep_real *x = ep_x(pass, layer, 0), *w = ep_w(pass, layer, 0);
    ep_real *y = ep_y(pass, layer);
    for (int64_t i = pass->r0 * ids; i < pass->r1 * ids; i++) {
        int64_t row = row_of(x[i], config->vocabulary);
        if (row >= 0) {
            memcpy(y + i * n, w + row * n, (size_t)n * sizeof *y);
            continue;
        }
        for (int64_t j = 0; j < n; j++) {
            y[i * n + j] = NAN;
        }
    }
}

/* Write 0 as the gradient of the ids: the output is not differentiable with respect to them. */
static void embedding_backward(const ep_pass *pass, const ep_layer *layer) {
    int64_t ids = ep_input(pass, layer, 0)->width;
    ep_real *dx = ep_dx(pass, layer, 0);
    if (dx && !ep_adds(layer, 0)) {
        memset(dx + pass->r0 * ids, 0, (size_t)((pass->r1 - pass->r0) * ids) * sizeof *dx);
    }
}

/* Compute the gradient of a part of the table, a range of rows. A row's terms are added in the
 * order of the batch. */
static void embedding_gradient(const ep_pass *pass, const ep_layer *layer, int64_t part,
                               int64_t parts) {
    const embedding *config = layer->config;
    int64_t ids = ep_input(pass, layer, 0)->width;
    int64_t n = pass->axes[pass->tensor[layer->tensor[0]].axis[1]].n;
    int64_t first = ep_split(config->vocabulary, part, parts);
    int64_t last = ep_split(config->vocabulary, part + 1, parts);
    const ep_real *x = ep_x(pass, layer, 0), *dy = ep_dy(pass, layer);
    ep_real *dw = ep_dw(pass, layer, 0);
    memset(dw + first * n, 0, (size_t)((last - first) * n) * sizeof *dw);
    for (int64_t i = 0; i < pass->rows * ids; i++) {
        int64_t row = row_of(x[i], config->vocabulary);
        if (row >= first && row < last) {
            ep_real *restrict to = dw + row * n;
            const ep_real *restrict from = dy + i * n;
            for (int64_t j = 0; j < n; j++) {
                to[j] += from[j];
            }
        }
    }
    ep_ready(pass, layer, 0, first * n, (last - first) * n);
}

static int64_t embedding_ids(const ep_layer *layer) {
    return ((const embedding *)layer->config)->vocabulary;
}

const ep_kind ep_kind_embedding = {
    .name = "embedding",
    .doc = "Rows of a learned table (vocabulary, units) by id: (...) whole numbers ->\n"
           "(..., units). An id outside the table gives NaN. A second input, if there is one, is\n"
           "not read; it only gives the last axis.",
    .fields = embedding_fields,
    .config_size = sizeof(embedding),
    .least_inputs = 1,
    .most_inputs = 2,
    .declare = embedding_declare,
    .init = embedding_init,
    .forward = embedding_forward,
    .backward = embedding_backward,
    .gradient = embedding_gradient,
    .ids = embedding_ids,
};

/* ---- positions ------------------------------------------------------------------------------ */

typedef struct {
    double deviation;
} positions;

static const ep_field positions_fields[] = {
    EP_FIELD_REAL(positions, deviation, 0.02, 0, 100,
                  "standard deviation of the normally distributed initial values"),
    EP_FIELDS_END,
};

static bool positions_declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int rank = x->rank, of_y[EP_RANK];
    if (rank < 2) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: the input must have the axes (..., positions, features), got %d axis",
                       layer->name, rank);
    }
    memcpy(of_y, x->axis, (size_t)rank * sizeof *of_y);
    return ep_plan_tensor(plan, layer, "table", EP_FREE, 2, of_y + rank - 2, error) &&
           ep_plan_output(plan, layer, rank, of_y, error);
}

static void positions_init(const ep_pass *pass, const ep_layer *layer, ep_noise noise) {
    ep_w_normal(pass, layer, ((const positions *)layer->config)->deviation, noise);
}

/* Return how many times the table is added in one sample: the product of the sizes of all axes
 * before the last two. */
static int64_t copies(const ep_pass *pass, const ep_layer *layer) {
    const ep_value *x = ep_input(pass, layer, 0);
    return ep_extent(pass->axes, x, 0, x->rank - 2);
}

static void positions_forward(const ep_pass *pass, const ep_layer *layer) {
    int64_t outer = copies(pass, layer), n = ep_w_size(pass, layer, 0);
    const ep_real *restrict w = ep_w(pass, layer, 0);
    for (int64_t i = pass->r0 * outer; i < pass->r1 * outer; i++) {
        const ep_real *restrict x = ep_x(pass, layer, 0) + i * n;
        ep_real *restrict y = ep_y(pass, layer) + i * n;
        for (int64_t j = 0; j < n; j++) {
            y[j] = x[j] + w[j];
        }
    }
}

static void positions_backward(const ep_pass *pass, const ep_layer *layer) {
    int64_t n = ep_input(pass, layer, 0)->width;
    ep_real *restrict dx = ep_dx(pass, layer, 0);
    const ep_real *restrict dy = ep_dy(pass, layer);
    if (dx && ep_adds(layer, 0)) {
        for (int64_t i = pass->r0 * n; i < pass->r1 * n; i++) {
            dx[i] += dy[i];
        }
    } else if (dx) {
        memcpy(dx + pass->r0 * n, dy + pass->r0 * n,
               (size_t)((pass->r1 - pass->r0) * n) * sizeof *dx);
    }
}

static void positions_gradient(const ep_pass *pass, const ep_layer *layer, int64_t part,
                               int64_t parts) {
    int64_t outer = copies(pass, layer), n = ep_w_size(pass, layer, 0);
    int64_t j0 = ep_cut(n, part, parts), j1 = ep_cut(n, part + 1, parts);
    ep_real *restrict dw = ep_dw(pass, layer, 0);
    if (j0 >= j1) {
        return;
    }
    memset(dw + j0, 0, (size_t)(j1 - j0) * sizeof *dw);
    for (int64_t i = 0; i < pass->rows * outer; i++) {
        const ep_real *restrict dy = ep_dy(pass, layer) + i * n;
        for (int64_t j = j0; j < j1; j++) {
            dw[j] += dy[j];
        }
    }
    ep_ready(pass, layer, 0, j0, j1 - j0);
}

const ep_kind ep_kind_positions = {
    .name = "positions",
    .doc = "Adds a learned table (positions, features) to an input (..., positions, features).",
    .fields = positions_fields,
    .config_size = sizeof(positions),
    .least_inputs = 1,
    .most_inputs = 1,
    .declare = positions_declare,
    .init = positions_init,
    .forward = positions_forward,
    .backward = positions_backward,
    .gradient = positions_gradient,
};
