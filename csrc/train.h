/* train: one step and many steps: gather > forward > loss > backward > gradient + optimizer >
 * generation. Activations are split among the workers by sample, parameters by share, and nothing
 * is reduced across threads, so the bits do not depend on their number. A schedule is an array and
 * the length of a call is the hook: this room knows no epoch, no callback, no progress bar. */
#ifndef EP_TRAIN_H
#define EP_TRAIN_H

#include "evolve.h"
#include "gather.h"
#include "laws/losses.h"
#include "laws/optimizers.h"

/* What a network is trained by; owned by whoever made it. */
typedef struct {
    const ep_loss *loss;
    void *loss_config;
    const ep_optimizer *optimizer;
    void *optimizer_config;
    double clip;              /* most the global norm of the gradient may be; 0: no limit */
    ep_evolution *evolution;  /* NULL: nobody is selected */
} ep_regime;

/* The targets of one sample at the network's present shape. */
typedef struct {
    int64_t positions, outputs; /* predictions per sample, numbers per prediction */
    size_t bytes;               /* of a sample's targets, as the loss takes them */
} ep_targets;
ep_targets ep_targets_of(const ep_net *net, const ep_loss *loss);

typedef struct {
    ep_table x, y;
    ep_table w; /* weights of samples (rows, 1) or of predictions (rows, positions); at NULL: 1 */
    ep_intake intake;
    int64_t batch;
    int64_t first;       /* number of the first batch since the beginning of the data */
    bool shuffle;
    uint64_t seed;
    int64_t steps;
    const double *rate, *pressure, *strength; /* steps numbers each */
    int threads;
    bool keep; /* every gradient of an activation that the last step makes: see ep_net's lent */
} ep_job;

typedef struct {
    int64_t steps;                /* done */
    /* steps numbers each, given by the caller: mean loss, right predictions, total weight, and
     * predictions that count (weight above 0) */
    double *loss, *hits, *weight, *counted;
    ep_chronicle chronicle;
} ep_record;

/* Runs the job's steps. False: error filled (EP_DIVERGED: record->steps is the step that failed,
 * and the network is as it was before its update). `living` is room for the input's founding width
 * of int32, used when input features are populations. */
bool ep_train(ep_net *net, const ep_regime *regime, const ep_job *job, int32_t *living,
              ep_record *record, ep_error *error);

/* Sums over all rows of the table without touching training state. out: (rows, output width) or
 * NULL; y and tally NULL when there are no targets, w as in ep_job. */
typedef struct {
    double loss, hits, weight, counted; /* sums over rows */
} ep_tally;
bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_table *w, const ep_intake *intake, int threads, ep_real *out,
              ep_tally *tally, ep_error *error);

/* The founding index of every living input feature, into living; false where all live. */
bool ep_living_inputs(const ep_net *net, int32_t *living);

/* ---- the same, piece by piece, on the calling thread ---------------------------------------- */
/* Forward of the rows (net->rows) that the caller has put into the input's activation. */
void ep_step_forward(ep_net *net, bool training);
/* Loss of the last forward against targets, and backward. */
double ep_step_backward(ep_net *net, const ep_regime *regime, const ep_table *y, const ep_table *w,
                        double *hits);
void ep_step_gradient(ep_net *net);
void ep_step_update(ep_net *net, const ep_regime *regime, double rate);

#endif
