/* regime: the loss, optimizer and selection of a training run. */
#ifndef EP_REGIME_H
#define EP_REGIME_H

#include "evolve.h"
#include "laws/losses.h"
#include "laws/optimizers.h"

/* How a network is trained. The caller owns the configs and the evolution. */
typedef struct {
    const ep_loss *loss;
    void *loss_config;
    const ep_optimizer *optimizer;
    void *optimizer_config;
    double clip;             /* upper limit of the gradient's global norm; 0: no limit */
    ep_evolution *evolution; /* NULL: no selection */
} ep_regime;

#endif
