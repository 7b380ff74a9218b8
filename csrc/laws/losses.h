/* losses: the loss of every row and its gradient with respect to the network's output. Stateless
 * functions over plain rows; they depend on no layer, shape or batch beyond those rows. A row is
 * one prediction: a sample, or one position of a sequence. */
#ifndef EP_LOSSES_H
#define EP_LOSSES_H

#include "base.h"

typedef enum { EP_TARGET_CLASS, EP_TARGET_REAL } ep_target;

/* A loss compares the outputs y (n) of a row with its target. EP_TARGET_CLASS: the target is one
 * int64_t, a class from 0 to n - 1, or -1 to ignore the row; EP_TARGET_REAL: n numbers of type
 * ep_real. */
typedef struct {
    const char *name;
    const char *doc;
    const ep_field *fields;
    size_t config_size;
    ep_target target;
    bool judges; /* the loss defines which predictions are correct, so `hit` is meaningful */
    bool interpreted; /* written in Python by the user: measure() runs on the calling thread only */
    double low, high; /* EP_TARGET_REAL: targets lie in [low, high] */
    /* Return the weight of a row in the batch's mean: a class weight, or 0 if the row is ignored.
     * NULL if every weight is 1. */
    double (*weight)(const void *config, const void *target);
    /* Write the losses of `rows` rows to loss[rows] (weighted; not yet divided by the total weight)
     * and hits to hit[rows] (1 if the prediction is right, else 0; 0 for rows of weight 0). If dy
     * is not NULL, write scale * d(sum of losses)/d(y) to dy, with scale = 1 / (total weight of the
     * batch). y and dy are (rows, n), contiguous. `hit` may be NULL. */
    void (*measure)(const void *config, int64_t rows, int64_t n, const ep_real *y,
                    const void *targets, ep_real scale, ep_real *loss, ep_real *hit, ep_real *dy);
    /* Check a config against the number of outputs (one class weight per class). NULL if every
     * config is valid. */
    bool (*check)(const void *config, int64_t n, ep_error *error);
} ep_loss;

EP_INLINE double ep_loss_weight(const ep_loss *loss, const void *config, const void *target) {
    return loss->weight ? loss->weight(config, target) : 1;
}

/* Apply sample weights after ep_loss.measure: multiply loss and dy (rows, n; may be NULL) of row r
 * by w[r / each], where a sample has `each` rows. For weight 0, the row's loss, hit and gradients
 * become 0, even if they are NaN. */
void ep_loss_weigh(int64_t rows, int64_t n, const ep_real *w, int64_t each, ep_real *loss,
                   ep_real *hit, ep_real *dy);

#define EP_LOSS(name) extern const ep_loss ep_loss_##name;
#include "losses.def"
#undef EP_LOSS

#endif
