/* shape: a shape is a list of axes, not of numbers. An axis is a feature dimension with its living
 * populations and their birth ids; a tensor names axes, and so does every layer that reads or
 * writes along one. That is why extinction needs no code in any layer: shrink the axis, gather
 * every tensor that names it. This room lays tensors out in a slab and gathers; it computes nothing. */
#ifndef EP_SHAPE_H
#define EP_SHAPE_H

#include "base.h"

enum { EP_RANK = 4 };

typedef struct {
    char name[EP_NAME];
    int64_t n;       /* entries now: living populations, and extinct ones not removed yet */
    int64_t founded; /* at birth of the network */
    int64_t next_birth; /* above every birth id so far */
    bool mortal;     /* its entries are populations that may die */
    int32_t *birth;  /* n birth ids, ascending; NULL (not mortal): 0 .. n - 1 */
} ep_axis;

/* How a tensor changes, and where it lies: one role is one range of the slab. */
typedef enum {
    EP_DECAYED, /* weights: optimizer, with weight decay */
    EP_FREE,    /* biases and gains: optimizer, no decay */
    EP_EVOLVED, /* masses: the dynamics */
    EP_TRACKED, /* statistics kept by their owner */
} ep_role;
enum { EP_ROLES = 4 };

typedef struct {
    char name[EP_NAME]; /* "layer.what" */
    ep_role role;
    int rank;
    int axis[EP_RANK];
    int64_t at, n; /* place in the slab and living size, set by ep_layout */
} ep_tensor;

/* Product of the living sizes of `rank` axes; -1 if it does not fit. */
int64_t ep_axes_size(const ep_axis *axes, int rank, const int *axis);
EP_INLINE int64_t ep_birth(const ep_axis *axis, int64_t j) {
    return axis->birth ? axis->birth[j] : j;
}

/* Gives an axis the birth ids 0 .. n - 1, in memory of its own. False: there is none. */
bool ep_axis_found(ep_axis *axis);

/* Sets `at` and `n` of every tensor for the axes as they are, role after role, each tensor on a
 * line of its own, and begin[role] .. begin[role + 1] of every role. Returns the numbers needed, or
 * -1 if they cannot be counted. */
int64_t ep_layout(const ep_axis *axes, ep_tensor *tensors, int n, int64_t begin[EP_ROLES + 1]);

/* to[i, j, ...] = from[keep0[i], keep1[j], ...]: sizes are those of `from`; keep[d] is NULL for
 * "all", else kept[d] ascending indices. Both are contiguous. */
void ep_gather(ep_real *to, const ep_real *from, int rank, const int64_t *size,
               const int32_t *const *keep, const int64_t *kept);

#endif
