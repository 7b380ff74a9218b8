/* signals: what a fitness or a dynamics asks to have measured about the populations of an axis:
 * sums over what each owns, its activity, and how much two are alike. Reads a network after its
 * gradients; writes plain vectors; judges nothing. */
#ifndef EP_SIGNALS_H
#define EP_SIGNALS_H

#include "net.h"

/* to[j] = sum of p * q over slice j of every tensor that the optimizer moves and that names the
 * axis; p and q are slabs (values or gradients). */
void ep_signal_owned(const ep_net *net, int axis, const ep_slab *p, const ep_slab *q, ep_real *to);
/* to[j] = mean over the last batch of |output| of the populations' layer. */
void ep_signal_activity(const ep_net *net, const ep_population *population, ep_real *to);
/* to[i * n + j] = cosine of the outputs i and j over the last batch (0 for a silent one). */
void ep_signal_activity_overlap(const ep_net *net, const ep_population *population, ep_real *to,
                                ep_real *scratch);
/* to[i * n + j] = <w_i, w_j> over the weights that lead into populations i and j. */
void ep_signal_weight_overlap(const ep_net *net, const ep_population *population, ep_real *to,
                              ep_real *scratch);
/* to[i] = |w_i|^2 of the same weights. */
void ep_signal_weight_norm(const ep_net *net, const ep_population *population, ep_real *to);

#endif
