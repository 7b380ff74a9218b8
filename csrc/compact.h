/* compact: removes extinct populations from memory, and adds newborn ones. Every array along a
 * resized axis is gathered into NEW slabs and the old slabs are released, so earlier views stay
 * valid and keep their old contents. Independent of layers and laws, because shapes are lists of
 * axes. */
#ifndef EP_COMPACT_H
#define EP_COMPACT_H

#include "census.h"

/* The new places of a mortal axis: n sources, of which the first n - born ascend and keep their
 * birth ids, and the others get new ones. A source is a place of the old axis, or -1: then the
 * layers' initial values fill parameters, and zeros all other arrays. source NULL: all stay. */
typedef struct {
    int32_t *source;
    int64_t n, born;
} ep_places;

/* Resizes the axes: `places` (n_axes). Elements are copied bit for bit. `generation` numbers the
 * noise of initial values. False: out of memory, the network is unchanged. */
bool ep_resize(ep_net *net, const ep_places *places, int64_t generation, ep_error *error);
/* Finds the places of living populations, followed by up to `most` free ones of each axis, whose
 * source is not set yet. Free with ep_places_free. NULL: out of memory. */
ep_places *ep_places_living(const ep_net *net, int64_t most);
void ep_places_free(ep_places *places, int n_axes);
/* Removes all populations marked extinct. False: out of memory, the network is unchanged. */
bool ep_compact_extinct(ep_net *net, ep_error *error);

#endif
