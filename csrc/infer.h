/* infer: predictions and losses outside training. */
#ifndef EP_INFER_H
#define EP_INFER_H

#include "gather.h"
#include "regime.h"

typedef struct {
    /* sums over predictions: weighted losses, weighted hits, weights, and number of weights > 0 */
    double loss, hits, weight, counted;
} ep_tally;

/* Computes outputs and sums over all rows of the table x; does not touch training state. out:
 * (rows, output width) or NULL; y and tally are NULL without targets; w: weights as in ep_job. */
bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_table *w, const ep_intake *intake, int threads, ep_real *out,
              ep_tally *tally, ep_error *error);

#endif
