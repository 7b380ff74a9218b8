/* dropout: in training, every element is 0 with probability `rate`, else scaled by 1 / (1 - rate)
 * (Srivastava et al. 2014, inverted); outside training, the identity. The mask of an element is a
 * function of (seed, layer, step, sample, index at birth: the element's index in the sample without
 * removals). So nothing is saved for backward(), and results do not depend on how the batch is
 * split. Does not affect masses. */
#include "layer.h"

#include <string.h>

typedef struct {
    double rate;
} dropout;

static const ep_field fields[] = {
    EP_FIELD_REAL(dropout, rate, 0.1, 0, 0.999,
                  "probability that an element is dropped in training"),
    EP_FIELDS_END,
};

static bool declare(ep_plan *plan, ep_layer *layer, ep_error *error) {
    const ep_value *x = ep_plan_value(plan, layer->input[0]);
    int axis[EP_RANK];
    memcpy(axis, x->axis, (size_t)x->rank * sizeof *axis); /* a copy: the original may move */
    return ep_plan_output(plan, layer, x->rank, axis, error);
}

/* Return 32 random bits for one element: j is its index at birth, key0 and key1 are the keys of its
 * sample. Uses two rounds of a 32-bit mixer (Wellons 2018, "lowbias32"), which the compiler
 * vectorizes. Philox takes about 3 ns per value, so it makes only the keys. */
EP_INLINE uint32_t bits_at(uint32_t j, uint32_t key0, uint32_t key1) {
    uint32_t x = j * 0x9E3779B9u + key0;
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    x = (x ^ x >> 16 ^ key1) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

/* Return the number of birth ids of an axis: its founding size, or more after births. Indices at
 * birth use this number as the size of the axis, so that no two elements of a sample have the same
 * index. */
static uint32_t stride_of(const ep_axis *axis) {
    return (uint32_t)ep_max(axis->founded, axis->next_birth);
}

/* Return the index at birth of the element with birth id 0 on the last axis in row `run` of a
 * sample, even if that element has been removed. The rows of a sample lie along its last axis. */
static uint32_t run_at_birth(const ep_axis *axes, const ep_value *x, int64_t run) {
    uint32_t place = 0, stride = stride_of(&axes[x->axis[x->rank - 1]]);
    for (int d = x->rank - 2; d >= 0; d--) {
        const ep_axis *axis = &axes[x->axis[d]];
        place += (uint32_t)ep_birth(axis, run % axis->n) * stride;
        run /= axis->n;
        stride *= stride_of(axis);
    }
    return place;
}

/* Write mask * `from` to `to`, or add it if `add`, for rows r0 .. r1. Elements are identified by
 * their index at birth, so that the removal of other elements does not change their mask. */
static void apply(const ep_pass *pass, const ep_layer *layer, const ep_real *from, ep_real *to,
                  bool add) {
    const dropout *config = layer->config;
    const ep_value *value = ep_input(pass, layer, 0);
    const ep_axis *last = &pass->axes[value->axis[value->rank - 1]];
    const int64_t n = last->n, runs = n ? value->width / n : 0;
    const int32_t *birth = n < last->next_birth ? last->birth : NULL;
    const ep_real scale = (ep_real)(1 / (1 - config->rate));
    const uint32_t below = (uint32_t)(config->rate * 4294967296.0);
    ep_noise noise = ep_random_fork(pass->noise, (uint64_t)layer->index);
    noise = ep_random_fork(noise, (uint64_t)pass->step);
    for (int64_t r = pass->r0; r < pass->r1; r++) {
        uint32_t key[4];
        ep_random_words(noise, (uint64_t)(pass->first + r), key);
        const uint32_t key0 = key[0], key1 = key[1];
        for (int64_t i = 0; i < runs; i++) {
            const uint32_t place = run_at_birth(pass->axes, value, i);
            const ep_real *restrict x = from + (r * runs + i) * n;
            ep_real *restrict y = to + (r * runs + i) * n;
            for (int64_t j = 0; j < n && birth; j++) {
                uint32_t bits = bits_at(place + (uint32_t)birth[j], key0, key1);
                ep_real kept = x[j] * (bits < below ? 0 : scale);
                y[j] = add ? y[j] + kept : kept;
            }
            for (int64_t j = 0; j < n && !birth; j++) {
                ep_real kept = x[j] *
                               (bits_at(place + (uint32_t)j, key0, key1) < below ? 0 : scale);
                y[j] = add ? y[j] + kept : kept;
            }
        }
    }
}

static void forward(const ep_pass *pass, const ep_layer *layer) {
    const dropout *config = layer->config;
    if (pass->training && config->rate > 0) {
        apply(pass, layer, ep_x(pass, layer, 0), ep_y(pass, layer), false);
        return;
    }
    int64_t n = ep_input(pass, layer, 0)->width;
    memcpy(ep_y(pass, layer) + pass->r0 * n, ep_x(pass, layer, 0) + pass->r0 * n,
           (size_t)((pass->r1 - pass->r0) * n) * sizeof(ep_real));
}

static void backward(const ep_pass *pass, const ep_layer *layer) {
    ep_real *dx = ep_dx(pass, layer, 0);
    if (dx) {
        apply(pass, layer, ep_dy(pass, layer), dx, ep_adds(layer, 0));
    }
}

const ep_kind ep_kind_dropout = {
    .name = "dropout",
    .doc = "In training, sets each element to 0 with probability rate and scales the others by\n"
           "1 / (1 - rate); outside training, the identity.",
    .fields = fields,
    .config_size = sizeof(dropout),
    .least_inputs = 1,
    .most_inputs = 1,
    .linear = EP_LINEAR_PASS,
    .declare = declare,
    .forward = forward,
    .backward = backward,
};
