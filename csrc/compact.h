/* compact: the physical removal of the extinct. Every array that names a shrunken axis is gathered
 * along it into NEW slabs; the old ones are dropped, so a view taken earlier stays valid memory,
 * frozen at that moment. No layer and no law takes part: shapes are lists of axes. */
#ifndef EP_COMPACT_H
#define EP_COMPACT_H

#include "census.h"

/* Keeps, of every mortal axis a with keep[a] not NULL, the kept[a] ascending indices keep[a]. What
 * survives is bit for bit what it was. False: out of memory, the network unchanged. */
bool ep_compact(ep_net *net, const int32_t *const *keep, const int64_t *kept, ep_error *error);
/* Removes all populations that are marked extinct. False: out of memory, the network unchanged. */
bool ep_compact_extinct(ep_net *net, ep_error *error);

#endif
