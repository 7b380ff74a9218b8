/* targets: see targets.h. */
#include "targets.h"

ep_targets ep_targets_of(const ep_net *net, const ep_loss *loss) {
    const ep_value *out = ep_net_output(net);
    ep_targets t = {.outputs = net->axes[out->axis[out->rank - 1]].n};
    t.positions = t.outputs ? out->width / t.outputs : 0;
    t.bytes = (size_t)t.positions * (loss->target == EP_TARGET_CLASS
                                         ? sizeof(int64_t)
                                         : (size_t)t.outputs * sizeof(ep_real));
    return t;
}

void ep_targets_gather(const ep_regime *regime, const ep_table *y, const int64_t *order, int64_t i0,
                       int64_t i1, void *to) {
    if (regime->loss->target == EP_TARGET_CLASS) {
        ep_gather_classes(y, order, i0, i1, to);
    } else {
        ep_gather_reals(y, order, i0, i1, to);
    }
}

int64_t ep_targets_per_weight(const ep_targets *of, const ep_table *w) {
    return ep_max(1, of->positions / ep_max(1, w->width));
}

double ep_targets_weight(const ep_regime *regime, const ep_targets *of, int64_t rows,
                         const void *targets, const ep_real *weights, int64_t each,
                         double *counted) {
    double sum = 0;
    size_t bytes = of->positions ? of->bytes / (size_t)of->positions : 0;
    *counted = 0;
    for (int64_t i = 0; i < rows * of->positions; i++) {
        double weight = ep_loss_weight(regime->loss, regime->loss_config,
                                       (const char *)targets + (size_t)i * bytes);
        weight *= weights ? (double)weights[i / each] : 1;
        sum += weight;
        *counted += weight > 0;
    }
    return sum;
}

void ep_targets_loss(const ep_regime *regime, const ep_targets *of, int64_t rows, const ep_real *y,
                     const void *targets, const ep_real *weights, int64_t each, ep_real scale,
                     ep_real *loss, ep_real *hit, ep_real *dy) {
    int64_t n = rows * of->positions;
    regime->loss->measure(regime->loss_config, n, of->outputs, y, targets, scale, loss, hit, dy);
    if (weights) {
        ep_loss_weigh(n, of->outputs, weights, each, loss, hit, dy);
    }
}

double ep_targets_sum(const ep_real *at, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)at[i];
    }
    return sum;
}
