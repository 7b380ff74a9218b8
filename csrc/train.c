/* train: see train.h. */
#include "train.h"

#include "update.h"
#include "walk.h"
#include "workers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The targets and row numbers of one batch, drawn while the previous batch is processed. */
typedef struct {
    /* number of samples in the whole batch; number and first index of this rank's samples */
    int64_t all, rows, first;
    int64_t *order;
    void *targets;
    ep_real *weights; /* of the samples, or of the predictions; NULL: all 1 */
    double weight, counted; /* sum of the weights of the predictions, and number of weights > 0 */
} draw;

/* The index of the next task in the queue of a worker, on a separate cache line. */
typedef struct {
    _Alignas(EP_ALIGN) atomic_llong next;
} queue;

typedef struct {
    ep_net *net;
    const ep_regime *regime;
    const ep_job *job;
    ep_record *record;
    ep_error *error;
    int32_t *living;
    ep_intake intake;
    ep_targets targets;
    draw draws[2];
    ep_real *loss, *hit; /* per prediction of the batch */
    /* `found` and `tasks` both hold the gradient tasks. `found` is ordered by layer, `tasks` by
     * worker: tasks[owned[w]] to tasks[owned[w + 1] - 1] belong to worker w. */
    ep_task *found, *tasks;
    int64_t *owned;
    int workers;
    int64_t assigned_rows; /* rows for which tasks were assigned; -1: the shape has changed */
    queue *queues; /* (workers) one queue for each worker */
    double *norms; /* sum of squares of each block of the gradient */
    struct {
        int64_t batch, predictions, tasks, norms; /* capacities of the arrays above */
    } room;
    atomic_llong next_norm, next_update;
    int64_t s; /* current step of this job */
    double scale; /* factor on the gradient, from clipping */
    bool stop;
} run;

/* ---- the gradient ---------------------------------------------------------------------------- */

/* Updates the parameters whose gradients have just been finished and are still cached. */
static void ready(const ep_pass *pass, int tensor, int64_t from, int64_t rows, int64_t n,
                  int64_t stride) {
    const run *r = pass->ready_context;
    const ep_tensor *t = &pass->tensor[tensor];
    if (t->role == EP_DECAYED || t->role == EP_FREE) {
        ep_update(r->net, r->regime, t->role, r->job->rate[r->s], 1, t->at + from,
                  (ep_block){rows, n, stride});
    }
}

static double clip_scale(const run *r) {
    double sum = 0;
    for (int64_t i = 0; i < ep_update_blocks(r->net); i++) {
        sum += r->norms[i];
    }
    double norm = sqrt(sum);
    return norm > r->regime->clip ? r->regime->clip / norm
                                  : norm * 0 + 1; /* NaN if the norm is not finite */
}

/* ---- one step -------------------------------------------------------------------------------- */

static void draw_batch(run *r, int64_t s) {
    draw *d = &r->draws[s & 1];
    const ep_job *job = r->job;
    d->all = ep_batch_order(job->x.rows, job->batch, job->first + s, job->shuffle, job->seed,
                            d->order);
    d->rows = d->all;
    if (job->ranks) {
        d->rows = ep_ranks_rows(job->ranks, r->net, d->all, &d->first);
    }
    ep_targets_gather(r->regime, &job->y, d->order, 0, d->all, d->targets);
    if (d->weights) {
        ep_gather_reals(&job->w, d->order, 0, d->all, d->weights);
    }
    d->weight = ep_targets_weight(r->regime, &r->targets, d->all, d->targets, d->weights,
                                  ep_targets_per_weight(&r->targets, &job->w), &d->counted);
}

/* Processes this worker's rows: gather, forward, loss, backward. */
static void do_rows(run *r, ep_pass *pass) {
    ep_net *net = r->net;
    const draw *d = &r->draws[r->s & 1];
    int64_t n = pass->r1 - pass->r0;
    if (n <= 0) {
        return;
    }
    const ep_value *in = &net->values[0], *out = ep_net_output(net);
    const int64_t row = d->first + pass->r0; /* index in the batch of all ranks */
    ep_gather_inputs(&r->job->x, &r->intake, d->order, row, row + n, r->job->first + r->s,
                     pass->x + in->at * pass->capacity + pass->r0 * in->width);
    ep_walk_forward(net, pass);
    int64_t positions = r->targets.positions, at = pass->r0 * positions;
    int64_t place = out->at * pass->capacity + pass->r0 * out->width;
    ep_real scale = d->weight > 0 ? (ep_real)(1 / d->weight) : 0;
    const ep_real *weights = d->weights ? d->weights + row * r->job->w.width : NULL;
    ep_targets_loss(r->regime, &r->targets, n, pass->x + place,
                    (char *)d->targets + (size_t)row * r->targets.bytes, weights,
                    ep_targets_per_weight(&r->targets, &r->job->w), scale, r->loss + at,
                    r->hit + at, pass->dx + place);
    ep_walk_backward(net, pass);
}

/* Returns the mean loss. Every worker sums the same values in the same order, so all agree whether
 * the loss is finite. */
static double mean_loss(const run *r) {
    const draw *d = &r->draws[r->s & 1];
    double sum = r->job->ranks ? r->job->ranks->loss
                               : ep_targets_sum(r->loss, d->rows * r->targets.positions);
    return d->weight > 0 ? sum / d->weight : 0;
}

/* Computes everything that depends on the network's current shape: at the start of a call and after
 * every removal or birth. Nothing else in this file may store a value that depends on the shape. */
static void derive(run *r) {
    const ep_net *net = r->net;
    r->targets = ep_targets_of(net, r->regime->loss);
    r->intake.living = ep_living_inputs(net, r->living) ? r->living : NULL;
    r->intake.width = net->values[0].width;
    r->assigned_rows = -1;
}

/* True if what derive() computed fits into the memory allocated at the start of the call. Removals
 * and births never change the targets: no axis of the output is under selection (ep_net_build). */
static bool fits(const run *r, const ep_targets *before) {
    const ep_net *net = r->net;
    return r->targets.positions == before->positions && r->targets.outputs == before->outputs &&
           r->targets.bytes == before->bytes && net->capacity >= r->room.batch &&
           r->room.batch * r->targets.positions <= r->room.predictions &&
           ep_update_blocks(net) <= r->room.norms && net->workers >= r->workers &&
           ep_walk_tasks_most(net, r->workers) <= r->room.tasks;
}

/* Assigns the gradient tasks. The owner of a task is the same in every step, so that the optimizer
 * state of its parameters stays in the owner's cache. */
static void assign_tasks(run *r) {
    int workers = r->workers;
    for (int w = 0; w < workers && r->assigned_rows == r->net->rows; w++) {
        atomic_store(&r->queues[w].next, r->owned[w]);
    }
    if (r->assigned_rows == r->net->rows) {
        return;
    }
    r->assigned_rows = r->net->rows;
    EP_ASSERT(ep_walk_tasks(r->net, workers, NULL) <= r->room.tasks);
    int64_t n = ep_walk_tasks(r->net, workers, r->found), at = 0;
    for (int w = 0; w < workers; w++) {
        r->owned[w] = at;
        for (int64_t i = 0; i < n; i++) {
            if (r->found[i].part * workers / r->found[i].parts == w) {
                r->tasks[at++] = r->found[i];
            }
        }
        atomic_store(&r->queues[w].next, r->owned[w]);
    }
    r->owned[workers] = at;
}

/* True if the optimizer needs the whole gradient: its norm, or its sum over the ranks. */
static bool waits_for_all(const run *r) { return r->regime->clip > 0 || r->job->ranks; }

/* Runs the worker's own tasks, then tasks that other workers have not started. The last worker
 * draws the next batch first. */
static void do_gradients(run *r, ep_pass *pass, int part, int parts) {
    pass->ready = waits_for_all(r) ? NULL : ready;
    pass->ready_context = r;
    if (part == parts - 1 && r->s + 1 < r->job->steps) {
        draw_batch(r, r->s + 1);
    }
    for (int turn = 0; turn < r->workers; turn++) {
        int owner = (part + turn) % r->workers;
        for (int64_t i; (i = ep_workers_claim(&r->queues[owner].next)) < r->owned[owner + 1];) {
            ep_walk_gradient(r->net, pass, &r->tasks[i]);
        }
    }
}

/* Finishes a step, on one worker while the others wait: records losses, runs a generation, removes
 * extinct populations and prepares the tasks of the next batch. */
static void finish_step(run *r, const ep_pass *pass) {
    ep_net *net = r->net;
    const ep_job *job = r->job;
    const draw *d = &r->draws[r->s & 1];
    r->record->loss[r->s] = mean_loss(r);
    r->record->weight[r->s] = d->weight;
    r->record->counted[r->s] = d->counted;
    net->terms = d->counted;
    if (job->ranks) {
        r->record->hits[r->s] = job->ranks->hits;
        ep_ranks_track(job->ranks, net);
    } else {
        r->record->hits[r->s] = ep_targets_sum(r->hit, d->rows * r->targets.positions);
        ep_walk_track(net, pass);
    }
    net->step++;
    r->record->steps = r->s + 1;
    ep_evolution *e = r->regime->evolution;
    if (e && net->n_populations && net->step % e->generation->settings.every == 0) {
        ep_chronicle *chronicle = &r->record->chronicle;
        int64_t before = chronicle->compactions;
        net->continues = r->s + 1 < job->steps;
        net->unseen = !job->keep && net->room > 0;
        if (!ep_evolve(net, e, job->pressure[r->s], job->strength[r->s], pass->scratch, chronicle,
                       r->error) ||
            !ep_evolve_compact(net, e, chronicle, r->error)) {
            r->stop = true;
        } else if (chronicle->compactions != before) {
            ep_targets targets = r->targets;
            derive(r);
            EP_ASSERT(fits(r, &targets));
        }
        net->continues = net->unseen = false;
    }
    if (++r->s >= job->steps || r->stop) {
        r->stop = true;
        return;
    }
    net->rows = r->draws[r->s & 1].rows;
    assign_tasks(r);
    atomic_store(&r->next_norm, 0);
    atomic_store(&r->next_update, 0);
}

/* True if loss and statistics are finite; otherwise sets the error. All workers get the same
 * result. */
static bool is_sound(const run *r, const ep_pass *pass, int part) {
    ep_error unused, *error = part == 0 ? r->error : &unused;
    if (!isfinite(mean_loss(r))) {
        return ep_fail(error, EP_DIVERGED,
                       "the loss is not finite at step %lld; the update was not applied",
                       (long long)r->net->step);
    }
    const ep_layer *unsound = ep_walk_unsound(r->net, pass);
    return !unsound ||
           ep_fail(error, EP_DIVERGED,
                   "%s: the variance of the batch overflows at step %lld; the update was not "
                   "applied; scale the input down",
                   unsound->name, (long long)r->net->step);
}

/* Adds up the sums of the step over all ranks; runs on one worker while the others wait. */
static void add_up(run *r, const ep_pass *pass) {
    const draw *d = &r->draws[r->s & 1];
    ep_ranks *ranks = r->job->ranks;
    ranks->loss = ep_targets_sum(r->loss, d->rows * r->targets.positions);
    ranks->hits = ep_targets_sum(r->hit, d->rows * r->targets.positions);
    r->stop = !ep_ranks_step(ranks, r->net, pass, d->all, r->error);
}

/* Sets the factor that limits the gradient's norm. False if the norm is not finite. */
static bool clip(run *r, ep_workers *workers, int part) {
    int64_t blocks = ep_update_blocks(r->net);
    for (int64_t i; (i = ep_workers_claim(&r->next_norm)) < blocks;) {
        r->norms[i] = ep_update_norm2(r->net, i);
    }
    ep_workers_wait(workers);
    double scale = clip_scale(r);
    if (!isfinite(scale)) {
        if (part == 0) {
            ep_fail(r->error, EP_DIVERGED,
                    "the gradient is not finite at step %lld; the update was not applied",
                    (long long)r->net->step);
        }
        return false;
    }
    if (part == 0) {
        r->scale = scale;
    }
    ep_workers_wait(workers);
    return true;
}

/* Updates the parameters once the whole gradient is computed. False: an error stops the run. */
static bool update_all(run *r, const ep_pass *pass, ep_workers *workers, int part) {
    ep_workers_wait(workers);
    if (r->job->ranks) {
        if (part == 0) {
            add_up(r, pass);
        }
        ep_workers_wait(workers);
        if (r->stop) {
            return false;
        }
    }
    if (r->regime->clip > 0 && !clip(r, workers, part)) {
        return false;
    }
    for (int64_t i; (i = ep_workers_claim(&r->next_update)) < ep_update_blocks(r->net);) {
        ep_update_block(r->net, r->regime, r->job->rate[r->s], r->scale, i);
    }
    return true;
}

static void work(ep_workers *workers, int part, int parts, void *context) {
    run *r = context;
    while (!r->stop) {
        ep_pass pass = ep_net_training_pass(r->net, part, parts);
        pass.alias = !r->job->keep || r->s + 1 < r->job->steps;
        pass.first = r->draws[r->s & 1].first;
        if (part == 0) {
            r->net->aliased = pass.alias;
        }
        do_rows(r, &pass);
        ep_workers_wait(workers);
        if (!r->job->ranks && !is_sound(r, &pass, part)) {
            return;
        }
        do_gradients(r, &pass, part, parts);
        if (waits_for_all(r) && !update_all(r, &pass, workers, part)) {
            return;
        }
        ep_workers_wait(workers);
        if (part == 0) {
            finish_step(r, &pass);
        }
        ep_workers_wait(workers);
    }
}

/* ---- many steps ------------------------------------------------------------------------------ */

/* Allocates memory for the largest network that births can produce, and sets the capacities of
 * `norms` and of the arrays of tasks for it. */
static bool plan_births(run *r) {
    ep_net *largest = ep_evolution_largest(r->net, r->regime->evolution);
    if (!largest) {
        return ep_fail(r->error, EP_NO_MEMORY, "train: out of memory");
    }
    r->room.norms = ep_update_blocks(largest) + 1;
    r->room.tasks = ep_walk_tasks_most(largest, r->workers) + 1;
    bool ok = ep_net_make_room(r->net, largest, r->error);
    ep_evolution_largest_free(largest);
    return ok;
}

static bool reserve(run *r) {
    ep_net *net = r->net;
    const ep_job *job = r->job;
    int64_t batch = ep_min(job->batch, job->x.rows); /* samples of all ranks */
    int64_t rows = job->ranks ? ep_ranks_rows_most(job->ranks, net, batch) : batch;
    r->room.norms = ep_update_blocks(net) + 1;
    r->room.tasks = ep_walk_tasks_most(net, r->workers) + 1;
    bool births = r->regime->evolution && r->regime->evolution->generation->births;
    if (!(births ? plan_births(r) : ep_net_make_room(net, NULL, r->error)) ||
        !ep_net_reserve(net, rows, r->error) ||
        !ep_net_reserve_workers(net, r->workers, r->error)) {
        return false;
    }
    net->rows = rows;
    r->room.batch = rows;
    r->room.predictions = ep_max(1, rows * r->targets.positions);
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        r->draws[i].order = malloc((size_t)batch * sizeof(int64_t));
        r->draws[i].targets = malloc((size_t)batch * r->targets.bytes + 1);
        ok = ok && r->draws[i].order && r->draws[i].targets;
        if (job->w.at) {
            r->draws[i].weights = malloc((size_t)(batch * job->w.width) * sizeof(ep_real));
            ok = ok && r->draws[i].weights;
        }
    }
    r->loss = malloc((size_t)r->room.predictions * sizeof *r->loss);
    r->hit = malloc((size_t)r->room.predictions * sizeof *r->hit);
    r->found = calloc((size_t)r->room.tasks, sizeof *r->found);
    r->tasks = calloc((size_t)r->room.tasks, sizeof *r->tasks);
    r->owned = calloc((size_t)r->workers + 1, sizeof *r->owned);
    r->queues = aligned_alloc(EP_ALIGN, (size_t)r->workers * sizeof *r->queues);
    r->norms = malloc((size_t)r->room.norms * sizeof *r->norms);
    return (ok && r->loss && r->hit && r->found && r->tasks && r->owned && r->queues && r->norms) ||
           ep_fail(r->error, EP_NO_MEMORY, "train: no memory for a batch of %lld",
                   (long long)batch);
}

static void release(run *r) {
    for (int i = 0; i < 2; i++) {
        free(r->draws[i].order);
        free(r->draws[i].targets);
        free(r->draws[i].weights);
    }
    free(r->loss);
    free(r->hit);
    free(r->found);
    free(r->tasks);
    free(r->owned);
    free(r->queues);
    free(r->norms);
}

/* Tells the other ranks about an error that only this rank has. Not possible if memory ran out: the
 * buffers of the ranks may then differ in size. */
static void leave_ranks(const ep_job *job, const ep_net *net, const ep_error *error) {
    ep_ranks *ranks = job->ranks;
    if (!ranks->told && !ranks->broken && error->code != EP_NO_MEMORY &&
        ranks->steps < job->steps) {
        ep_ranks_fail(ranks, net);
    }
}

bool ep_train(ep_net *net, const ep_regime *regime, const ep_job *job, int32_t *living,
              ep_record *record, ep_error *error) {
    run r = {.net = net,
             .regime = regime,
             .job = job,
             .record = record,
             .error = error,
             .living = living,
             .intake = job->intake,
             .workers = (int)ep_max(1, ep_min(job->threads, EP_WORKERS_MOST)),
             .assigned_rows = -1};
    record->steps = 0;
    if (job->steps <= 0) {
        return true;
    }
    if (job->ranks && regime->evolution && regime->evolution->generation->births) {
        return ep_fail(error, EP_BAD_VALUE,
                       "births: expected training in one process; the buffer that processes add "
                       "up has the size of the founders");
    }
    derive(&r);
    r.scale = 1;
    if (job->ranks && regime->evolution) {
        regime->evolution->ranks = job->ranks;
    }
    bool ok = reserve(&r);
    if (ok) {
        draw_batch(&r, 0);
        net->rows = r.draws[0].rows;
        assign_tasks(&r);
        error->code = EP_OK;
        ep_workers_run(r.workers, work, &r);
        ok = error->code == EP_OK;
    }
    if (regime->evolution) {
        regime->evolution->ranks = NULL;
    }
    if (!ok && job->ranks) {
        leave_ranks(job, net, error);
    }
    release(&r);
    return ok;
}
