/* shape: a shape is a list of axes, not of sizes. An axis is a feature dimension with its
 * populations and their birth ids; tensors and layers refer to axes by index. Therefore
 * extinction needs no code in layers: shrink the axis and gather every tensor that has it. This
 * file lays out tensors in a slab and gathers them. */
#ifndef EP_SHAPE_H
#define EP_SHAPE_H

#include "base.h"

enum { EP_RANK = 4 };

typedef struct {
    char name[EP_NAME];
    int64_t n;       /* current size: living populations and extinct ones not yet removed */
    int64_t founded; /* size when the network was founded; after births, n can be larger */
    int64_t next_birth; /* greater than all birth ids so far */
    bool mortal;     /* its populations may become extinct */
    int32_t *birth;  /* n birth ids, ascending; NULL if not mortal: the ids are 0 .. n - 1 */
} ep_axis;

/* How a tensor is updated. The tensors of a role are contiguous in the slab. */
typedef enum {
    EP_DECAYED, /* weights: updated by the optimizer, with weight decay */
    EP_FREE,    /* biases and gains: updated by the optimizer, without weight decay */
    EP_EVOLVED, /* masses: updated by the dynamics */
    EP_TRACKED, /* statistics: updated by their layer or by selection */
} ep_role;
enum { EP_ROLES = 4 };

typedef struct {
    char name[EP_NAME]; /* "layer.what", such as "dense1.weight" */
    ep_role role;
    int rank;
    int axis[EP_RANK];
    int64_t at, n; /* offset in the slab and number of elements, set by ep_layout */
} ep_tensor;

/* Product of the current sizes of `rank` axes; -1 on overflow. */
int64_t ep_axes_size(const ep_axis *axes, int rank, const int *axis);
EP_INLINE int64_t ep_birth(const ep_axis *axis, int64_t j) {
    return axis->birth ? axis->birth[j] : j;
}

/* Allocates and sets the birth ids 0 .. n - 1 of an axis. False: out of memory. */
bool ep_axis_found(ep_axis *axis);

/* Lays out n tensors in a slab for the current sizes of the axes: sets `at` and `n` of each. The
 * tensors are ordered by role and aligned to cache lines; those of role r lie between the offsets
 * begin[r] and begin[r + 1]. Returns the number of elements of the slab, or -1 on overflow. */
int64_t ep_layout(const ep_axis *axes, ep_tensor *tensors, int n, int64_t begin[EP_ROLES + 1]);

/* A copy of n consecutive entries of an axis: new entry `to` + i is old entry `from` + i, for
 * i = 0 .. n - 1. */
typedef struct {
    int32_t to, from, n;
} ep_run;

/* The entries of an axis after a change: n entries, copied in n_runs runs. Entries that are in no
 * run keep their values. `run` NULL: the axis does not change. */
typedef struct {
    int64_t n, n_runs;
    const ep_run *run;
} ep_choice;

/* Groups n copies of entries into runs: new entry j is old entry source[j], and is not copied if
 * source[j] is -1. Writes the runs to `run` (room for n) and returns their number. */
int64_t ep_runs_of(const int32_t *source, int64_t n, ep_run *run);

/* Copies an array of shape `size` (rank) to an array in which axis d has the entries choice[d].
 * Both arrays are contiguous. */
void ep_gather(ep_real *to, const ep_real *from, int rank, const int64_t *size,
               const ep_choice *choice);

#endif
