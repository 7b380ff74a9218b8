/* compact: removes extinct populations from memory, and adds newborn ones. Every array along a
 * resized axis is gathered into another slab (block of memory): a new one, or one that has room for births and that
 * no NumPy view refers to. Earlier views therefore stay valid and keep their old contents; a slab
 * is freed once no view refers to it. This file does not depend on kinds of layers or
 * laws, because the shape of every array is a list of axes. */
#ifndef EP_COMPACT_H
#define EP_COMPACT_H

#include "census.h"

/* The n places (positions) along an axis of populations after a change. Place j is copied from the
 * old place source[j] and has the id birth[j]; ids ascend. If source[j] is -1, place j is new: its
 * elements are 0, except that initial values of parameters are set, weights only at the new places
 * at the end of an axis. The last `born` places have ids that no population had before; their
 * sources need not ascend. `source` NULL: the axis does not change. */
typedef struct {
    int32_t *source, *birth;
    int64_t n, born;
} ep_places;

/* Resizes the axes to `places` (n_axes). Elements are copied bit for bit. `generation` selects the
 * random numbers of initial values. False: out of memory, the network is unchanged. */
bool ep_resize(ep_net *net, const ep_places *places, int64_t generation, ep_error *error);
/* Returns the places of living populations, with room on each axis for up to `most` newborn ones,
 * which the caller appends. Free with ep_places_free. NULL: out of memory. */
ep_places *ep_places_living(const ep_net *net, int64_t most);
void ep_places_free(ep_places *places, int n_axes);
/* Removes all populations marked extinct. False: out of memory, the network is unchanged. */
bool ep_compact_extinct(ep_net *net, ep_error *error);

#endif
