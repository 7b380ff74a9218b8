/* lend: plans the gradients of values: which are needed, which layer writes or adds to each, and
 * which buffers may alias. Depends only on the properties that kinds declare. */
#ifndef EP_LEND_H
#define EP_LEND_H

#include "net.h"

/* Fills wants_dx and lender of every value, and adds, leaves and more of every layer. Fails if the
 * output of a layer other than the last is not read. */
bool ep_net_lend(ep_net *net, ep_error *error);
/* True if a pass with `lends` may have overwritten the gradient of a value. */
bool ep_net_shares(const ep_net *net, int value);

#endif
