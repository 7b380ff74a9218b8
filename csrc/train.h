/* train: runs many training steps: gather > forward > loss > backward > gradient + optimizer >
 * generation. Activations are split among workers by sample, gradients by task, and nothing is
 * reduced across threads, so results are bit-identical for any number of threads. A schedule is an
 * array with one element per step. Epochs, callbacks and progress bars belong to the caller, which
 * acts between calls. */
#ifndef EP_TRAIN_H
#define EP_TRAIN_H

#include "ranks.h"
#include "targets.h"

typedef struct {
    ep_table x, y;
    ep_table w; /* weights of samples (rows, 1) or predictions (rows, positions); w.at NULL: 1 */
    ep_intake intake;
    int64_t batch;
    int64_t first;       /* index of the first batch, counted over all epochs */
    bool shuffle;
    uint64_t seed;
    int64_t steps;
    const double *rate, *pressure, *strength; /* (steps) each */
    int threads;
    ep_ranks *ranks; /* the processes that share each batch; NULL: only this process */
    bool keep; /* keep all gradients of activations of the last step: see ep_alias */
} ep_job;

typedef struct {
    int64_t steps;                /* steps done */
    /* (steps) each, allocated by the caller: mean loss, correct predictions, total weight, and
     * predictions with weight > 0 */
    double *loss, *hits, *weight, *counted;
    ep_chronicle chronicle;
} ep_record;

/* Runs the job's steps. Returns false and sets error on failure (EP_DIVERGED: record->steps is the
 * step that failed, and its update was not applied). `living` is a buffer of the input's founding
 * width, used when input features are populations. */
bool ep_train(ep_net *net, const ep_regime *regime, const ep_job *job, int32_t *living,
              ep_record *record, ep_error *error);

#endif
