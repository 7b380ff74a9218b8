/* targets: lays out, gathers and weights the targets of samples, and computes the loss. A network
 * makes one prediction for each sample, or for each position of a sequence. */
#ifndef EP_TARGETS_H
#define EP_TARGETS_H

#include "gather.h"
#include "regime.h"

/* The targets of one sample at the network's current shape. */
typedef struct {
    int64_t positions, outputs; /* predictions per sample, elements per prediction */
    size_t bytes;               /* bytes of one sample's targets, as the loss reads them */
} ep_targets;
ep_targets ep_targets_of(const ep_net *net, const ep_loss *loss);

/* Gathers the targets of rows i0 .. i1 - 1 of y, or of rows order[i0] .. order[i1 - 1] if `order`
 * is not NULL. */
void ep_targets_gather(const ep_regime *regime, const ep_table *y, const int64_t *order, int64_t i0,
                       int64_t i1, void *to);
/* Returns the number of predictions that share a weight of the table `w`. */
int64_t ep_targets_per_weight(const ep_targets *of, const ep_table *w);
/* Returns the total weight of the predictions of `rows` samples, and sets *counted to the number of
 * predictions with weight > 0. `weights` has one element for every `each` predictions; NULL: all
 * sample weights are 1. */
double ep_targets_weight(const ep_regime *regime, const ep_targets *of, int64_t rows,
                         const void *targets, const ep_real *weights, int64_t each,
                         double *counted);
/* Writes the weighted losses and hits of all predictions of `rows` samples and, unless dy is NULL,
 * `scale` times the gradient of the loss with respect to the output. `weights` and `each`: as in
 * ep_targets_weight(). */
void ep_targets_loss(const ep_regime *regime, const ep_targets *of, int64_t rows, const ep_real *y,
                     const void *targets, const ep_real *weights, int64_t each, ep_real scale,
                     ep_real *loss, ep_real *hit, ep_real *dy);
/* Returns the sum of n elements, accumulated in double, in order. */
double ep_targets_sum(const ep_real *at, int64_t n);

#endif
