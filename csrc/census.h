/* census: counts the living populations of each layer and computes their costs. It does not modify
 * the network: costs are computed on a copy of the axes that has only living populations. */
#ifndef EP_CENSUS_H
#define EP_CENSUS_H

#include "laws/generation.h"
#include "net.h"

typedef struct {
    /* (n_axes) copies of the network's axes, without birth ids; n counts living populations only */
    ep_axis *axes;
    int64_t living; /* number of living populations of all layers */
    double macs, parameters; /* without extinct populations: multiply-adds per sample, parameters */
    /* (n_populations) cost of one population of each layer, as a share of the cost of the founding
     * network */
    double *cost;
} ep_census;

/* Opens a census of `net`. Returns false if out of memory. */
bool ep_census_open(ep_census *census, const ep_net *net);
void ep_census_close(ep_census *census);
/* Counts living populations; true if any count has changed since the last call. */
bool ep_census_count(ep_census *census, const ep_net *net);
/* Counts living populations and, if a count has changed, recomputes macs, parameters and cost.
 * `upkeep` selects the unit of `cost`; with EP_UPKEEP_GIVEN, every `cost` is 0. */
void ep_census_take(ep_census *census, const ep_net *net, ep_upkeep upkeep);

/* Number of living populations of a layer, which one ep_population describes. */
int64_t ep_alive(const ep_net *net, const ep_population *population);

#endif
