/* infer: predictions and losses outside training. */
#ifndef EP_INFER_H
#define EP_INFER_H

#include "gather.h"
#include "regime.h"

typedef struct {
    double loss, hits, weight, counted; /* sums over rows */
} ep_tally;

/* Computes outputs and sums over all rows of the table; does not touch training state. out: (rows,
 * output width) or NULL; y and tally are NULL without targets; w as in ep_job. */
bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_table *w, const ep_intake *intake, int threads, ep_real *out,
              ep_tally *tally, ep_error *error);

#endif
