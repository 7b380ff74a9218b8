/* compact: removes extinct populations from memory. Every array along a shrunken axis is gathered
 * into NEW slabs and the old slabs are released, so earlier views stay valid and keep their old
 * contents. Independent of layers and laws, because shapes are lists of axes. */
#ifndef EP_COMPACT_H
#define EP_COMPACT_H

#include "census.h"

/* Reduces every mortal axis a with keep[a] not NULL to the kept[a] ascending indices keep[a]. Kept
 * elements are copied bit for bit. False: out of memory, the network is unchanged. */
bool ep_compact(ep_net *net, const int32_t *const *keep, const int64_t *kept, ep_error *error);
/* Removes all populations marked extinct. False: out of memory, the network is unchanged. */
bool ep_compact_extinct(ep_net *net, ep_error *error);

#endif
