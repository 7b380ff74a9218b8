/* update: runs the optimizer on ranges of the parameters, and computes the norm of the gradient.
 * The blocks of the norm are fixed, so results are bit-identical for any number of workers. */
#ifndef EP_UPDATE_H
#define EP_UPDATE_H

#include "regime.h"

/* Updates a block of parameters of one role. The block (ep_block in laws/optimizers.h) starts at
 * element `at` of the slab. `scale`: factor on the gradient. */
void ep_update(const ep_net *net, const ep_regime *regime, ep_role role, double rate, double scale,
               int64_t at, ep_block block);
/* Number of blocks of the trained parameters. */
int64_t ep_update_blocks(const ep_net *net);
/* Returns the sum of squares of a block of the gradient. */
double ep_update_norm2(const ep_net *net, int64_t block);
void ep_update_block(const ep_net *net, const ep_regime *regime, double rate, double scale,
                     int64_t block);

#endif
