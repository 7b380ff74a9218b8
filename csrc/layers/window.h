/* window: geometry shared by convolution and pooling: windows that step over one or two spatial
 * axes, channels last. An input (length, channels) is an image of height 1. Sizes are read from the
 * axes on every use; nothing is cached. Does not depend on weights or on the operation. */
#ifndef EP_LAYERS_WINDOW_H
#define EP_LAYERS_WINDOW_H

#include "layer.h"

/* One spatial axis: output o covers the inputs o * stride - pad + t * step for t < size, where step
 * is the dilation. */
typedef struct {
    int64_t in, out, size, stride, step, pad;
} ep_span;

typedef struct {
    ep_span h, w;
    int64_t c;
} ep_window;

/* The window settings of a kind of layer. Each vector holds one number for all spatial axes or one
 * number per axis; an empty vector stands for the default. */
typedef struct {
    const char *name; /* name of the setting for the size */
    const ep_vector *size, *stride, *step, *pad;
    bool same;          /* if `pad` is empty, pad so that out = in / stride, rounded up */
    bool size_is_stride; /* if `stride` is empty, it is the size of the window, not 1 */
} ep_windowing;

EP_INLINE int64_t ep_window_setting(const ep_vector *v, int d, int64_t missing) {
    return !v || v->n == 0 ? missing : (int64_t)v->at[v->n == 1 ? 0 : d];
}

EP_INLINE ep_span ep_window_span(const ep_windowing *s, int d, int64_t in) {
    ep_span a = {.in = in, .size = ep_window_setting(s->size, d, 1), .step = 1};
    a.stride = ep_window_setting(s->stride, d, s->size_is_stride ? a.size : 1);
    a.step = ep_window_setting(s->step, d, 1);
    int64_t reach = (a.size - 1) * a.step + 1;
    if (s->same && s->pad->n == 0) {
        a.out = (in + a.stride - 1) / a.stride;
        a.pad = ep_max(0, (a.out - 1) * a.stride + reach - in) / 2;
    } else {
        a.pad = ep_window_setting(s->pad, d, 0);
        int64_t room = in + 2 * a.pad - reach;
        a.out = room < 0 ? 0 : room / a.stride + 1;
    }
    return a;
}

/* Check that a vector setting holds at most `most` whole numbers. */
static inline bool ep_window_check(const ep_layer *layer, const char *name, const ep_vector *v,
                                   int most, ep_error *error) {
    if (v->n > most) {
        return ep_fail(
            error, EP_BAD_VALUE,
            "%s: %s must be one number, or one for each of the %d spatial axes, got %lld",
            layer->name, name, most, (long long)v->n);
    }
    for (int64_t i = 0; i < v->n; i++) {
        if (v->at[i] != (double)(int64_t)v->at[i]) {
            return ep_fail(error, EP_BAD_VALUE, "%s: %s must be whole numbers, got %g", layer->name,
                           name, v->at[i]);
        }
    }
    return true;
}

/* Check the input and settings of a layer and set the spatial axes of its output: those of the
 * input if all positions are kept, else new ones. Return their number, 1 or 2, or 0 (error
 * filled). */
static inline int ep_window_declare(ep_plan *plan, ep_layer *layer, const ep_windowing *s,
                                    int axis[2], ep_error *error) {
    const ep_value x = *ep_plan_value(plan, layer->input[0]); /* a copy: the original may move */
    int spatial = x.rank - 1;
    if (spatial < 1 || spatial > 2) {
        ep_fail(
            error, EP_BAD_VALUE,
            "%s: the input must be (height, width, channels) or (length, channels), got %d axes",
            layer->name, x.rank);
        return 0;
    }
    static const char *const names[] = {"height", "width"};
    if (!ep_window_check(layer, s->name, s->size, spatial, error) ||
        !ep_window_check(layer, "stride", s->stride, spatial, error) ||
        (s->step && !ep_window_check(layer, "dilation", s->step, spatial, error)) ||
        !ep_window_check(layer, "padding", s->pad, spatial, error)) {
        return 0;
    }
    for (int d = 0; d < spatial; d++) {
        int64_t in = ep_plan_axes(plan)[x.axis[d]].n;
        ep_span a = ep_window_span(s, d, in);
        if (a.out < 1) {
            ep_fail(error, EP_BAD_VALUE,
                    "%s: a window of extent %lld must fit in %s %lld with its padding of 2 x %lld",
                    layer->name, (long long)((a.size - 1) * a.step + 1),
                    spatial == 1 ? "length" : names[d], (long long)in, (long long)a.pad);
            return 0;
        }
        bool stays = a.stride == 1 && a.out == in;
        axis[d] = stays
                      ? x.axis[d]
                      : ep_plan_axis(plan, layer, spatial == 1 ? "length" : names[d], a.out, error);
        if (axis[d] < 0) {
            return 0;
        }
    }
    return spatial;
}

/* Return the geometry of the windows, for the current sizes of the axes. */
static inline ep_window ep_window_measure(const ep_windowing *s, const ep_axis *axes,
                                          const ep_value *x) {
    ep_window g = {.c = axes[x->axis[x->rank - 1]].n};
    if (x->rank == 2) {
        g.h = (ep_span){.in = 1, .out = 1, .size = 1, .stride = 1, .step = 1};
        g.w = ep_window_span(s, 0, axes[x->axis[0]].n);
    } else {
        g.h = ep_window_span(s, 0, axes[x->axis[0]].n);
        g.w = ep_window_span(s, 1, axes[x->axis[1]].n);
    }
    return g;
}

#endif
