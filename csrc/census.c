/* census: see census.h. */
#include "census.h"

#include <stdlib.h>

int64_t ep_alive(const ep_net *net, const ep_population *population) {
    return ep_group_alive(ep_net_numbers(net, population->alive), net->axes[population->axis].n);
}

bool ep_census_open(ep_census *census, const ep_net *net) {
    *census = (ep_census){.axes = calloc((size_t)ep_max(1, net->n_axes), sizeof(ep_axis)),
                          .cost = calloc((size_t)ep_max(1, net->n_populations), sizeof(double)),
                          .living = -1};
    if (!census->axes || !census->cost) {
        ep_census_close(census);
        return false;
    }
    for (int i = 0; i < net->n_axes; i++) {
        census->axes[i] = net->axes[i];
        census->axes[i].birth = NULL;
    }
    return true;
}

void ep_census_close(ep_census *census) {
    free(census->axes);
    free(census->cost);
    *census = (ep_census){0};
}

bool ep_census_count(ep_census *census, const ep_net *net) {
    bool changed = census->living < 0;
    census->living = 0;
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        int64_t alive = ep_alive(net, p), *n = &census->axes[p->axis].n;
        changed = changed || *n != alive;
        *n = alive;
        census->living += alive;
    }
    return changed;
}

static double parameters_of(const ep_net *net, const ep_axis *axes) {
    double n = 0;
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *tensor = &net->tensors[i];
        if (tensor->role != EP_TRACKED) {
            n += (double)ep_axes_size(axes, tensor->rank, tensor->axis);
        }
    }
    return n;
}

/* Returns the cost of one population of layer i, given the living populations of all layers, as a
 * share of the founding network's cost. */
static double cost_of(ep_census *census, const ep_net *net, int i, ep_upkeep unit) {
    bool macs = unit == EP_UPKEEP_MACS;
    double founding = macs ? net->founding_macs : (double)net->founding_parameters;
    ep_axis *axis = &census->axes[net->populations[i].axis];
    if (axis->n <= 0 || !(founding > 0)) {
        return 0;
    }
    axis->n--;
    double less = macs ? ep_net_macs(net, census->axes) : parameters_of(net, census->axes);
    axis->n++;
    return ((macs ? census->macs : census->parameters) - less) / founding;
}

void ep_census_take(ep_census *census, const ep_net *net, ep_upkeep upkeep) {
    if (!ep_census_count(census, net)) {
        return;
    }
    census->macs = ep_net_macs(net, census->axes);
    census->parameters = parameters_of(net, census->axes);
    int64_t founded = 0;
    for (int i = 0; i < net->n_populations; i++) {
        founded += net->axes[net->populations[i].axis].founded;
    }
    for (int i = 0; i < net->n_populations; i++) {
        census->cost[i] = upkeep == EP_UPKEEP_GIVEN     ? 0
                          : upkeep == EP_UPKEEP_UNIFORM ? 1.0 / (double)ep_max(1, founded)
                          : upkeep == EP_UPKEEP_PARAMS  ? cost_of(census, net, i, EP_UPKEEP_PARAMS)
                                                        : cost_of(census, net, i, EP_UPKEEP_MACS);
    }
}
