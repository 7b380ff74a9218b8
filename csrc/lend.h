/* lend: who wants, writes and adds to the gradient of each value, and in whose place it may lie. It
 * knows layers by what their kinds say of themselves, and nothing of what they compute. */
#ifndef EP_LEND_H
#define EP_LEND_H

#include "net.h"

/* Fills wants_dx and lender of every value, and adds, leaves and more of every layer. Fails where no
 * layer reads the output of one that is not the last. */
bool ep_net_lend(ep_net *net, ep_error *error);
/* May the gradient of a value have been written over in a pass that lends? */
bool ep_net_shares(const ep_net *net, int value);

#endif
