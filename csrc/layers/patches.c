/* patches: cut an image (height, width, channels) into a sequence of patches (patches, rows,
 * columns, channels), row by row. In a vision transformer, a dense layer that sums over the last 3
 * axes then embeds every patch. The layer only copies. Input and output share the axis of channels,
 * so removals apply to both. */
#include "layer.h"

#include <string.h>

typedef struct {
    ep_vector size;
} patches;

static const ep_field fields[] = {
    EP_FIELD_REQUIRED(EP_VECTOR, patches, size, 1, 1e6,
                      "rows and columns of a patch; one number for both"),
    EP_FIELDS_END,
};

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    static const char *const sides[] = {"rows", "columns"};
    const patches *config = layer->config;
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    if (x->rank != 3) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: the input must have the axes (height, width, channels), got %d axes",
                       layer->name, x->rank);
    }
    if (config->size.n < 1 || config->size.n > 2) {
        return ep_fail(error, EP_BAD_VALUE, "%s: size must give 1 or 2 numbers, got %lld",
                       layer->name, (long long)config->size.n);
    }
    int axis[4] = {0, 0, 0, x->axis[2]};
    int64_t count = 1, size[2];
    for (int d = 0; d < 2; d++) {
        const ep_axis *side = &ep_plan_axes(plan)[x->axis[d]];
        size[d] = (int64_t)config->size.at[ep_min(d, config->size.n - 1)];
        if (side->mortal || side->n % size[d]) {
            return ep_fail(error, EP_BAD_VALUE,
                           "%s: size must divide the %lld %s of an image that keeps them, got %lld",
                           layer->name, (long long)side->n, sides[d], (long long)size[d]);
        }
        count = ep_times(count, side->n / size[d]);
    }
    axis[0] = ep_plan_axis(plan, layer, "patches", count, error);
    for (int d = 0; d < 2 && axis[d] >= 0; d++) {
        axis[d + 1] = ep_plan_axis(plan, layer, sides[d], size[d], error);
    }
    return axis[0] >= 0 && axis[1] >= 0 && axis[2] >= 0 &&
           ep_plan_output(plan, layer, 4, axis, error);
}

typedef struct {
    /* patches from top to bottom and from left to right, rows per patch, elements per patch row */
    int64_t down, across, rows, run;
} extents;

static extents measure(const ep_pass *pass, const ep_layer *layer) {
    const ep_value *x = ep_input(pass, layer, 0), *y = &pass->value[layer->out];
    int64_t rows = pass->axes[y->axis[1]].n, columns = pass->axes[y->axis[2]].n;
    return (extents){pass->axes[x->axis[0]].n / rows, pass->axes[x->axis[1]].n / columns, rows,
                     columns * pass->axes[x->axis[2]].n};
}

/* Run the body for every row of every patch of samples r0 .. r1, where `image` and `patch` are the
 * offsets of the row in the input and in the output. A macro, because the body uses variables of
 * its caller. */
#define FOR_RUNS(pass, e, image, patch)                                               \
    for (int64_t r_ = (pass)->r0 * (e).down; r_ < (pass)->r1 * (e).down; r_++)        \
        for (int64_t i_ = 0; i_ < (e).rows; i_++)                                     \
            for (int64_t j_ = 0, image = (r_ * (e).rows + i_) * (e).across * (e).run, \
                         patch = (r_ * (e).across * (e).rows + i_) * (e).run;         \
                 j_ < (e).across; j_++, image += (e).run, patch += (e).rows * (e).run)

static void forward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(pass, layer);
    const ep_real *x = ep_x(pass, layer, 0);
    ep_real *y = ep_y(pass, layer);
    FOR_RUNS(pass, e, image, patch) { memcpy(y + patch, x + image, (size_t)e.run * sizeof *y); }
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    extents e = measure(pass, layer);
    const ep_real *dy = ep_dy(pass, layer);
    ep_real *dx = ep_dx(pass, layer, 0);
    if (!dx) {
        return;
    }
    if (!ep_adds(layer, 0)) {
        FOR_RUNS(pass, e, image, patch) {
            memcpy(dx + image, dy + patch, (size_t)e.run * sizeof *dx);
        }
        return;
    }
    FOR_RUNS(pass, e, image, patch) {
        for (int64_t j = 0; j < e.run; j++) {
            dx[image + j] += dy[patch + j];
        }
    }
}

const ep_kind ep_kind_patches = {
    .name = "patches",
    .doc = "Cuts an image (height, width, channels) into patches without overlap: (patches, rows,\n"
           "columns, channels), row by row.",
    .fields = fields,
    .config_size = sizeof(patches),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_PASS,
    .declare = declare,
    .forward = forward,
    .backward = backward,
};
