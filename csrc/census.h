/* census: how many populations of each layer live, and what they cost. It reads a network and
 * changes nothing in it: costs at the living shape are counted on a copy of the axes. */
#ifndef EP_CENSUS_H
#define EP_CENSUS_H

#include "laws/generation.h"
#include "net.h"

typedef struct {
    ep_axis *axes; /* (n_axes) the network's, n = living populations; without birth ids */
    int64_t living; /* populations */
    double macs, parameters; /* of the living network: multiply-adds of a sample, and values */
    double *share; /* (n_populations) cost of one population of a layer over the founding cost */
} ep_census;

/* False: out of memory. */
bool ep_census_open(ep_census *census, const ep_net *net);
void ep_census_close(ep_census *census);
/* Counts the living; true if their numbers have changed since the last count. */
bool ep_census_count(ep_census *census, const ep_net *net);
/* Counts the living, and fills what they cost if that can have changed: shares in `upkeep` (macs
 * where it is soft; 0 where it is given). */
void ep_census_take(ep_census *census, const ep_net *net, ep_upkeep upkeep);

/* Number of living populations of a layer. */
int64_t ep_alive(const ep_net *net, const ep_population *population);

#endif
