/* alias: plans the buffers of the gradients of activations: which gradients are needed, which layer
 * writes or adds to each, and which share a buffer. ep_alias (layer.h) explains what aliasing is
 * for. Depends only on what layers declare in layer->alias.can. */
#ifndef EP_ALIAS_H
#define EP_ALIAS_H

#include "net.h"

/* Sets wants_dx and dx_of of every value, and the alias of every layer. Fails if a layer before the
 * last has an output that no layer reads. */
bool ep_alias_plan(ep_net *net, ep_error *error);
/* True if a pass with aliasing may have overwritten the gradient of a value. */
bool ep_alias_shared(const ep_net *net, int value);

#endif
