/* signals: measurements for fitness and dynamics laws on the populations of an axis: sums over the
 * weights that each population owns, activity, and similarity of pairs. The
 * functions read a network after its gradients are computed, and write arrays. */
#ifndef EP_SIGNALS_H
#define EP_SIGNALS_H

#include "net.h"

/* to[j] = sum of p * q over slice j along `axis` of all tensors that have this axis and are trained
 * by the optimizer. p and q are slabs (values or gradients). */
void ep_signal_owned(const ep_net *net, int axis, const ep_slab *p, const ep_slab *q, ep_real *to);
/* to[j] = mean of |output j| of the populations' layer over the last batch. */
void ep_signal_activity(const ep_net *net, const ep_population *population, ep_real *to);
/* to[i * n + j] = inner product of the outputs of populations i and j over the last batch. */
void ep_signal_activity_gram(const ep_net *net, const ep_population *population, ep_real *to,
                             ep_real *scratch);
/* Replaces the Gram matrix (n, n) of n vectors by their cosines, clamped to [0, 1]. The cosine of a
 * zero vector and another vector is 0. */
void ep_signal_cosines(int64_t n, ep_real *gram);
/* to[i * n + j] = inner product of the incoming weights of populations i and j. */
void ep_signal_weight_overlap(const ep_net *net, const ep_population *population, ep_real *to,
                              ep_real *scratch);
/* to[i] = sum of squares of the incoming weights of population i. */
void ep_signal_weight_norm(const ep_net *net, const ep_population *population, ep_real *to);

#endif
