/* shortcut: the identity branch of a residual sum whose other branch has more channels and fewer
 * positions than the input. Copies every stride-th position, and adds channels of zeros, half of
 * them before those of the input and half after (He et al. 2015, section 4.1, option A). No
 * parameters. Channels are matched by birth id, so an extinction in the input or the output moves
 * no other channel. */
#include "window.h"

#include <string.h>

typedef struct {
    int64_t channels;
    ep_vector stride;
} shortcut;

static const ep_field fields[] = {
    EP_FIELD_REQUIRED(EP_INT, shortcut, channels, 1, 1e9,
                      "channels of the output, at least as many as the input has"),
    EP_FIELD_VECTOR(shortcut, stride, 1, 1e6,
                    "steps between the positions that are kept; left out: 1"),
    EP_FIELDS_END,
};

static const ep_vector one = {.at = (double[]){1}, .n = 1}, zero = {.at = (double[]){0}, .n = 1};

static ep_windowing windowing(const shortcut *config) {
    return (ep_windowing){.name = "size", .size = &one, .stride = &config->stride, .pad = &zero};
}

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const shortcut *config = layer->config;
    ep_windowing s = windowing(config);
    int axis[3], spatial = ep_window_declare(plan, layer, &s, axis, error);
    if (!spatial) {
        return false;
    }
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int64_t channels = ep_plan_axes(plan)[x->axis[spatial]].founded;
    if (config->channels < channels) {
        return ep_fail(error, EP_BAD_VALUE,
                       "%s: channels must be at least the %lld of the input, got %lld", layer->name,
                       (long long)channels, (long long)config->channels);
    }
    axis[spatial] = ep_plan_axis(plan, layer, "", config->channels, error);
    return axis[spatial] >= 0 && ep_plan_output(plan, layer, spatial + 1, axis, error);
}

/* Copy to every output element its input element, or 0 if it has none. The input element is at
 * `stride` times the output position; its channel's birth id is that of the output channel, less
 * the number of channels added before. If `backward`, instead add dy of every output element to dx
 * of its input element. */
EP_INLINE void copy(const ep_pass *pass, const ep_layer *layer, bool backward) {
    ep_windowing s = windowing(layer->config);
    const ep_value *in = ep_input(pass, layer, 0), *out = &pass->value[layer->out];
    const ep_axis *mine = &pass->axes[out->axis[out->rank - 1]];
    const ep_axis *theirs = &pass->axes[in->axis[in->rank - 1]];
    const ep_window g = ep_window_measure(&s, pass->axes, in);
    const int64_t before = (mine->founded - theirs->founded) / 2;
    const ep_real *restrict of_x = backward ? NULL : ep_x(pass, layer, 0);
    const ep_real *restrict dy = backward ? ep_dy(pass, layer) : NULL;
    ep_real *restrict of_y = backward ? NULL : ep_y(pass, layer);
    ep_real *restrict dx = backward ? ep_dx(pass, layer, 0) : NULL;
    int64_t to = pass->r0 * g.h.out * g.w.out * mine->n;
    for (int64_t row = pass->r0; row < pass->r1; row++) {
        for (int64_t y = 0; y < g.h.out; y++) {
            for (int64_t x = 0; x < g.w.out; x++) {
                int64_t at = ((row * g.h.in + y * g.h.stride) * g.w.in + x * g.w.stride) *
                             theirs->n;
                for (int64_t j = 0, i = 0; j < mine->n; j++, to++) {
                    int64_t birth = ep_birth(mine, j) - before;
                    while (i < theirs->n && ep_birth(theirs, i) < birth) {
                        i++;
                    }
                    bool has = i < theirs->n && ep_birth(theirs, i) == birth;
                    if (!backward) {
                        of_y[to] = has ? of_x[at + i] : 0;
                    } else if (has) {
                        dx[at + i] += dy[to];
                    }
                }
            }
        }
    }
}

static void forward(const ep_pass *pass, const ep_layer *layer) { copy(pass, layer, false); }

static void backward(const ep_pass *pass, const ep_layer *layer) {
    ep_real *dx = ep_dx(pass, layer, 0);
    if (!dx) {
        return;
    }
    if (!ep_adds(layer, 0)) {
        int64_t width = ep_input(pass, layer, 0)->width;
        memset(dx + pass->r0 * width, 0, (size_t)((pass->r1 - pass->r0) * width) * sizeof *dx);
    }
    copy(pass, layer, true);
}

const ep_kind ep_kind_shortcut = {
    .name = "shortcut",
    .doc =
        "Every stride-th position of (height, width, channels) or (length, channels), zeros for\n"
        "the channels that the input does not have, as many before as after: a residual shortcut\n"
        "without parameters.",
    .fields = fields,
    .config_size = sizeof(shortcut),
    .least_inputs = 1,
    .most_inputs = 1,
    .founding_axis = -1,
    .declare = declare,
    .forward = forward,
    .backward = backward,
};
