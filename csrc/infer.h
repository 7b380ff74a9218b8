/* infer: predictions and losses outside training. */
#ifndef EP_INFER_H
#define EP_INFER_H

#include "gather.h"
#include "regime.h"

typedef struct {
    /* over all predictions: the sum of weighted losses, the number of correct predictions of weight
     * > 0, the sum of weights, and the number of weights > 0 */
    double loss, hits, weight, counted;
} ep_tally;

/* Computes the outputs of all rows of the table x and, if the targets y are not NULL, sums over the
 * predictions (*tally). Changes no state of training. `out` is (rows, output width), or NULL if
 * outputs are not needed; `tally` may be NULL if y is NULL; `w` holds weights as in ep_job. */
bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_table *w, const ep_intake *intake, int threads, ep_real *out,
              ep_tally *tally, ep_error *error);

#endif
