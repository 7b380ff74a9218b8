/* step: the phases of a training step one by one, on the calling thread, for inspection. */
#ifndef EP_STEP_H
#define EP_STEP_H

#include "gather.h"
#include "regime.h"

/* Runs forward on the net->rows rows that the caller has written to the input's activation. */
void ep_step_forward(ep_net *net, bool training);
/* Computes the loss of the last forward pass, then runs backward. Returns the mean loss, NaN if
 * memory ran out, and sets *hits to the number of correct predictions. y, w: targets and weights as
 * in ep_job. */
double ep_step_backward(ep_net *net, const ep_regime *regime, const ep_table *y, const ep_table *w,
                        double *hits);
void ep_step_gradient(ep_net *net);
void ep_step_update(ep_net *net, const ep_regime *regime, double rate);

#endif
