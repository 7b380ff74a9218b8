/* infer: predictions and losses outside training. Workers claim blocks of rows; the result of a
 * block does not depend on the worker, and sums are added block by block in order. See infer.h. */
#include "infer.h"

#include "targets.h"
#include "walk.h"
#include "workers.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const ep_net *net;
    const ep_regime *regime;
    const ep_table *x, *y, *w;
    ep_intake intake;
    ep_real *out;
    const ep_real *input; /* the rows of x if they can be read in place, or NULL */
    int64_t blocks, rows; /* number of blocks, rows per block */
    ep_targets of;
    ep_tally *tallies; /* (blocks); NULL without targets */
    /* buffers for one block per worker; `losses` holds losses, then hits; `weights` is NULL if all
     * weights are 1 */
    char *targets;
    ep_real *losses, *weights;
    atomic_llong next;
} sweep;

static void score(sweep *s, const ep_pass *pass, int part, int64_t row, int64_t n, ep_tally *t) {
    const ep_regime *regime = s->regime;
    char *targets = s->targets + (size_t)(part * s->rows) * s->of.bytes;
    ep_real *loss = s->losses + 2 * part * s->rows * s->of.positions;
    int64_t predictions = n * s->of.positions, each = 1;
    ep_real *w = s->weights ? s->weights + part * s->rows * s->w->width : NULL;
    ep_targets_gather(regime, s->y, NULL, row, row + n, targets);
    if (w) {
        each = ep_targets_per_weight(&s->of, s->w);
        ep_gather_reals(s->w, NULL, row, row + n, w);
    }
    ep_targets_loss(regime, &s->of, n, pass->x + ep_net_output(s->net)->at * pass->capacity,
                    targets, w, each, 1, loss, loss + predictions, NULL);
    t->loss = ep_targets_sum(loss, predictions);
    t->hits = ep_targets_sum(loss + predictions, predictions);
    t->weight = ep_targets_weight(regime, &s->of, n, targets, w, each, &t->counted);
}

static void work(ep_workers *workers, int part, int parts, void *context) {
    (void)workers;
    (void)parts;
    sweep *s = context;
    const ep_value *in = &s->net->values[0], *out = ep_net_output(s->net);
    ep_pass pass = ep_net_inference_pass(s->net, part);
    for (int64_t block; (block = ep_workers_claim(&s->next)) < s->blocks;) {
        int64_t row = block * s->rows, n = ep_min(s->rows, s->x->rows - row);
        pass.rows = pass.r1 = n;
        if (s->input) {
            pass.input = s->input + row * in->width;
        } else {
            ep_gather_inputs(s->x, &s->intake, NULL, row, row + n, 0,
                             pass.x + in->at * pass.capacity);
        }
        ep_walk_forward(s->net, &pass);
        if (s->out) {
            memcpy(s->out + row * out->width, pass.x + out->at * pass.capacity,
                   (size_t)(n * out->width) * sizeof *s->out);
        }
        if (s->tallies) {
            score(s, &pass, part, row, n, &s->tallies[block]);
        }
    }
}

/* Returns the elements of the table if they need no transformation and no layer reads past their
 * end; else NULL. */
static const ep_real *readable(const ep_net *net, const ep_table *x, const ep_intake *in) {
    bool same = x->type == (sizeof(ep_real) == sizeof(double) ? EP_FLOAT64 : EP_FLOAT32);
    bool plain = !in->each && in->shift[0] == 0 && in->scale[0] == 1 && !in->living;
    bool dense = !x->map && x->stride == x->width * (int64_t)sizeof(ep_real);
    for (int i = 0; i < net->n_layers; i++) {
        for (int j = 0; j < net->layers[i].n_inputs; j++) {
            same = same && (net->layers[i].input[j] != 0 || net->layers[i].kind->exact);
        }
    }
    return same && plain && dense ? x->at : NULL;
}

/* Returns the number of workers for `rows` rows. Creating and joining a thread takes about 20 us,
 * so each worker must have several times as much work. */
static int workers_for(const ep_net *net, int64_t rows, int64_t block, int threads) {
    const double enough = 1e7; /* multiply-adds: about 80 us */
    double work = ep_net_macs(net, net->axes) * (double)rows;
    int64_t most = ep_min((int64_t)(work / enough), (rows + block - 1) / block);
    return (int)ep_max(1, ep_min(threads, most));
}

bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_table *w, const ep_intake *intake, int threads, ep_real *out,
              ep_tally *tally, ep_error *error) {
    sweep s = {.net = net, .regime = regime, .x = x, .y = y, .w = w, .intake = *intake, .out = out};
    /* With targets, the number of rows per block stays as it is, so that the sums of the losses do
     * not depend on the number of workers. */
    s.rows = ep_net_infer_rows(net);
    int workers = workers_for(net, x->rows, y ? s.rows : EP_INFER_LEAST, threads);
    if (!y) {
        int64_t share = (x->rows + workers - 1) / workers;
        share = (share + EP_INFER_LEAST - 1) / EP_INFER_LEAST * EP_INFER_LEAST;
        s.rows = ep_max(EP_INFER_LEAST, ep_min(s.rows, share));
    }
    s.blocks = (x->rows + s.rows - 1) / s.rows;
    s.input = readable(net, x, intake);
    if (!ep_net_reserve_workers(net, workers, error)) {
        return false;
    }
    bool ok = true;
    if (y) {
        s.of = ep_targets_of(net, regime->loss);
        size_t rows = (size_t)(workers * s.rows);
        s.tallies = calloc((size_t)ep_max(1, s.blocks), sizeof *s.tallies);
        s.targets = malloc(rows * s.of.bytes + 1);
        s.losses = malloc(2 * rows * (size_t)ep_max(1, s.of.positions) * sizeof *s.losses);
        ok = s.tallies && s.targets && s.losses;
        if (w && w->at) {
            s.weights = malloc(rows * (size_t)w->width * sizeof *s.weights);
            ok = ok && s.weights;
        }
    }
    if (ok) {
        ep_workers_run(workers, work, &s);
    } else {
        ep_fail(error, EP_NO_MEMORY, "evaluate: out of memory");
    }
    ep_tally sum = {0};
    for (int64_t i = 0; ok && y && i < s.blocks; i++) {
        sum.loss += s.tallies[i].loss;
        sum.hits += s.tallies[i].hits;
        sum.weight += s.tallies[i].weight;
        sum.counted += s.tallies[i].counted;
    }
    if (ok && y) {
        *tally = sum;
    }
    free(s.tallies);
    free(s.targets);
    free(s.losses);
    free(s.weights);
    return ok;
}
