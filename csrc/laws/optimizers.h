/* optimizers: one step over a flat range of parameters. Elementwise, so a range may be cut anywhere
 * and the pieces updated by any thread in any order with bit-identical results. Decay is decoupled
 * (Loshchilov & Hutter 2019): value -= rate * decay * value. */
#ifndef EP_OPTIMIZERS_H
#define EP_OPTIMIZERS_H

#include "base.h"

/* Values that differ between steps and ranges. */
typedef struct {
    double rate; /* learning rate of this step */
    double decay; /* weight decay of this range: from the config, or 0 outside DECAYED tensors */
    double scale; /* factor on the gradient: below 1 if the gradient is clipped, else 1 */
    int64_t step; /* index of the update, from 1, for bias correction */
} ep_pace;

/* `rows` contiguous ranges of n elements, which start `stride` elements apart: some rows or some
 * columns of a matrix. */
typedef struct {
    int64_t rows, n, stride;
} ep_block;

typedef struct {
    const char *name;
    const char *doc;
    const ep_field *fields;
    size_t config_size;
    int moments; /* values remembered per parameter: 0, 1 or 2 */
    double (*decay)(const void *config);
    /* Update a block of parameters. `first` and `second` are the moments. `first` is NULL if
     * `moments` is 0, and `second` is NULL if `moments` is 0 or 1. */
    void (*step)(const void *config, ep_pace pace, ep_block block, ep_real *restrict value,
                 const ep_real *restrict gradient, ep_real *restrict first,
                 ep_real *restrict second);
} ep_optimizer;

#define EP_OPTIMIZER(name) extern const ep_optimizer ep_optimizer_##name;
#include "optimizers.def"
#undef EP_OPTIMIZER

#endif
