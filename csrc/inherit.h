/* inherit: births in a network. A newborn population is one half of a divided parent, or an
 * immigrant, which has no parent. This file finds the axes that allow births, computes the initial
 * values of newborn populations and adds them to every array. Uses layers only through their
 * interface. */
#ifndef EP_INHERIT_H
#define EP_INHERIT_H

#include "compact.h"

/* Returns NULL if populations of this layer can be born without changing the network's outputs.
 * This requires that the layers before the multiplication by the masses treat each population
 * separately, and that the layers after it are linear in the populations, or in sums of products of
 * their outputs of which one factor is after the masses and one before. Otherwise returns the reason
 * why births would change the outputs. */
const char *ep_barren(const ep_net *net, const ep_population *population);

/* Returns NULL if populations of this layer are input features that can return after extinction
 * without changing outputs: if layers only pass them on, one by one, and read them in proportion to
 * their mass. Otherwise returns the reason. */
const char *ep_no_return(const ep_net *net, const ep_population *population);

/* Adds the n newborn populations of a generation and removes the extinct ones. `newborn` is ordered
 * by group (index in net->populations). A parent with weights w becomes two halves with weights w
 * (1 + mutation z) and w (1 - mutation z), z normal; their optimizer moments are those of half the
 * gradient. An immigrant gets initial weights. A founder that returns (id < next_birth of its axis)
 * keeps its id. The weights of later layers that read immigrants or returned founders are 0, and so
 * are the weights of immigrants that make the other factor of a product.
 * Returns false if out of memory; the network is then as it was before this call. */
bool ep_bear(ep_net *net, const ep_newborn *newborn, int64_t n, double mutation, ep_error *error);

#endif
