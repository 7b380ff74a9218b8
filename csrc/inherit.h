/* inherit: births in a network: which axes can have them, what a half or an immigrant is made of,
 * and adding them to every array. Knows layers only by their interface. */
#ifndef EP_INHERIT_H
#define EP_INHERIT_H

#include "compact.h"

/* NULL if populations of this layer can be born without a change of outputs: the layers on their
 * axis treat each apart, and read it in proportion to its mass. Else the reason why not. */
const char *ep_barren(const ep_net *net, const ep_population *population);

/* Adds the n newborn of a generation, by group (index in net->populations), and removes extinct
 * populations. A half has the weights of its parent, w (1 + mutation z) in the one and
 * w (1 - mutation z) in the other; its moments are those of half the gradient. An immigrant has
 * initial weights, and weights of 0 where it is read. False: out of memory; nothing changed but
 * what the generation wrote. */
bool ep_bear(ep_net *net, const ep_newborn *newborn, int64_t n, double mutation, ep_error *error);

#endif
