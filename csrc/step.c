/* step: see step.h. */
#include "step.h"

#include "targets.h"
#include "update.h"
#include "walk.h"

#include <math.h>
#include <stdlib.h>

void ep_step_forward(ep_net *net, bool training) {
    ep_pass pass = ep_net_training_pass(net, 0, 1);
    pass.training = training;
    ep_walk_forward(net, &pass);
}

double ep_step_backward(ep_net *net, const ep_regime *regime, const ep_table *y, const ep_table *w,
                        double *hits) {
    ep_targets of = ep_targets_of(net, regime->loss);
    int64_t n = net->rows * of.positions;
    char *targets = malloc((size_t)net->rows * of.bytes + 1);
    ep_real *loss = malloc((size_t)ep_max(1, 2 * n) * sizeof *loss);
    ep_real *weights = w->at ? malloc((size_t)(net->rows * w->width) * sizeof *weights) : NULL;
    const int64_t each = ep_targets_per_weight(&of, w);
    double total = NAN;
    if (targets && loss && (weights || !w->at)) {
        ep_targets_gather(regime, y, NULL, 0, net->rows, targets);
        if (weights) {
            ep_gather_reals(w, NULL, 0, net->rows, weights);
        }
        double counted,
            weight = ep_targets_weight(regime, &of, net->rows, targets, weights, each, &counted);
        net->terms = counted;
        ep_pass pass = ep_net_training_pass(net, 0, 1);
        net->aliased = false;
        int64_t place = ep_net_output(net)->at * pass.capacity;
        ep_targets_loss(regime, &of, net->rows, pass.x + place, targets, weights, each,
                        weight > 0 ? (ep_real)(1 / weight) : 0, loss, loss + n, pass.dx + place);
        ep_walk_backward(net, &pass);
        total = weight > 0 ? ep_targets_sum(loss, n) / weight : 0;
        *hits = ep_targets_sum(loss + n, n);
    }
    free(targets);
    free(loss);
    free(weights);
    return total;
}

void ep_step_gradient(ep_net *net) {
    ep_pass pass = ep_net_training_pass(net, 0, 1);
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        if (layer->kind->gradient && layer->n_tensors && !layer->shares_mass) {
            ep_walk_gradient(net, &pass, &(ep_task){i, 0, 1});
        }
    }
}

void ep_step_update(ep_net *net, const ep_regime *regime, double rate) {
    for (int role = EP_DECAYED; role <= EP_FREE; role++) {
        int64_t at = net->begin[role];
        int64_t n = net->begin[role + 1] - at;
        ep_update(net, regime, (ep_role)role, rate, 1, at, (ep_block){1, n, n});
    }
    net->step++;
}
