/* train: one step and many steps: gather > forward > loss > backward > gradient + optimizer >
 * generation. Activations are split among workers by sample, gradients by task, and nothing is
 * reduced across threads, so results are bit-identical for any number of threads. A schedule is an
 * array with one element per step. Epochs, callbacks and progress bars are left to the caller,
 * which acts between calls. */
#ifndef EP_TRAIN_H
#define EP_TRAIN_H

#include "evolve.h"
#include "gather.h"
#include "laws/losses.h"
#include "laws/optimizers.h"

/* The loss, optimizer and selection of a training run. Owned by the caller. */
typedef struct {
    const ep_loss *loss;
    void *loss_config;
    const ep_optimizer *optimizer;
    void *optimizer_config;
    double clip;              /* upper limit of the gradient's global norm; 0: no limit */
    ep_evolution *evolution;  /* NULL: no selection */
} ep_regime;

/* The targets of one sample at the network's current shape. */
typedef struct {
    int64_t positions, outputs; /* predictions per sample, elements per prediction */
    size_t bytes;               /* bytes of one sample's targets, as the loss reads them */
} ep_targets;
ep_targets ep_targets_of(const ep_net *net, const ep_loss *loss);

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
    ep_ranks *ranks; /* processes that share each batch; NULL: this one alone */
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

/* Computes outputs and sums over all rows of the table; does not touch training state. out: (rows,
 * output width) or NULL; y and tally are NULL without targets; w as in ep_job. */
typedef struct {
    double loss, hits, weight, counted; /* sums over rows */
} ep_tally;
bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_table *w, const ep_intake *intake, int threads, ep_real *out,
              ep_tally *tally, ep_error *error);

/* Fills `living` with the founding index of every living input feature; false if all are living. */
bool ep_living_inputs(const ep_net *net, int32_t *living);

/* ---- single phases of a step, on the calling thread ----------------------------------------- */
/* Runs forward on the net->rows rows that the caller has written to the input's activation. */
void ep_step_forward(ep_net *net, bool training);
/* Computes the loss of the last forward pass, then runs backward. Returns the mean loss. */
double ep_step_backward(ep_net *net, const ep_regime *regime, const ep_table *y, const ep_table *w,
                        double *hits);
void ep_step_gradient(ep_net *net);
void ep_step_update(ep_net *net, const ep_regime *regime, double rate);

#endif
