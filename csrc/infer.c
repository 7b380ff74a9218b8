/* infer: the network over rows of data outside training: predictions and losses. Rows go through in
 * blocks that the workers claim; what a block gives does not depend on who takes it, and sums are
 * made block by block in order. See train.h. */
#include "crew.h"
#include "train.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const ep_net *net;
    const ep_regime *regime;
    const ep_table *x, *y;
    ep_intake intake;
    ep_real *out;
    int64_t blocks, positions, outputs;
    size_t target_bytes;
    ep_tally *tallies; /* one a block; NULL without targets */
    char *targets; /* room for one block a worker */
    ep_real *losses;
    atomic_llong next;
} sweep;

static void score(sweep *s, const ep_pass *pass, int part, int64_t row, int64_t n, ep_tally *t) {
    const ep_value *out = ep_net_output(s->net);
    char *targets = s->targets + (size_t)part * EP_INFER_ROWS * s->target_bytes;
    ep_real *loss = s->losses + 2 * part * EP_INFER_ROWS * s->positions;
    int64_t predictions = n * s->positions;
    ep_real *hit = loss + predictions;
    if (s->regime->loss->target == EP_TARGET_CLASS) {
        ep_gather_classes(s->y, NULL, row, row + n, (int64_t *)(void *)targets);
    } else {
        ep_gather_reals(s->y, NULL, row, row + n, (ep_real *)(void *)targets);
    }
    s->regime->loss->measure(s->regime->loss_config, predictions, s->outputs,
                             pass->x + out->at * pass->capacity, targets, 1, loss, hit, NULL);
    size_t each = s->positions ? s->target_bytes / (size_t)s->positions : 0;
    for (int64_t i = 0; i < predictions; i++) {
        t->loss += (double)loss[i];
        t->hits += (double)hit[i];
        double weight = s->regime->loss->weight(s->regime->loss_config, targets + (size_t)i * each);
        t->weight += weight;
        t->counted += weight > 0;
    }
}

static void work(ep_crew *crew, int part, int parts, void *context) {
    (void)crew;
    (void)parts;
    sweep *s = context;
    const ep_value *in = &s->net->values[0], *out = ep_net_output(s->net);
    ep_pass pass = ep_net_inference_pass(s->net, part);
    for (int64_t block; (block = ep_crew_claim(&s->next)) < s->blocks;) {
        int64_t row = block * EP_INFER_ROWS, n = ep_min(EP_INFER_ROWS, s->x->rows - row);
        pass.rows = pass.r1 = n;
        ep_gather_inputs(s->x, &s->intake, NULL, row, row + n, 0, pass.x + in->at * pass.capacity);
        ep_net_forward(s->net, &pass);
        if (s->out) {
            memcpy(s->out + row * out->width, pass.x + out->at * pass.capacity,
                   (size_t)(n * out->width) * sizeof *s->out);
        }
        if (s->tallies) {
            score(s, &pass, part, row, n, &s->tallies[block]);
        }
    }
}

bool ep_infer(ep_net *net, const ep_regime *regime, const ep_table *x, const ep_table *y,
              const ep_intake *intake, int threads, ep_real *out, ep_tally *tally,
              ep_error *error) {
    sweep s = {.net = net, .regime = regime, .x = x, .y = y, .intake = *intake, .out = out};
    s.blocks = (x->rows + EP_INFER_ROWS - 1) / EP_INFER_ROWS;
    int workers = (int)ep_max(1, ep_min(threads, s.blocks));
    if (!ep_net_reserve_workers(net, workers, error)) {
        return false;
    }
    bool ok = true;
    if (y) {
        const ep_value *value = ep_net_output(net);
        s.outputs = net->axes[value->axis[value->rank - 1]].n;
        s.positions = s.outputs ? value->width / s.outputs : 0;
        s.target_bytes = (size_t)s.positions * (regime->loss->target == EP_TARGET_CLASS
                                                    ? sizeof(int64_t)
                                                    : (size_t)s.outputs * sizeof(ep_real));
        size_t rows = (size_t)workers * EP_INFER_ROWS;
        s.tallies = calloc((size_t)ep_max(1, s.blocks), sizeof *s.tallies);
        s.targets = malloc(rows * s.target_bytes + 1);
        s.losses = malloc(2 * rows * (size_t)ep_max(1, s.positions) * sizeof *s.losses);
        ok = s.tallies && s.targets && s.losses;
    }
    if (ok) {
        ep_crew_run(workers, work, &s);
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
    return ok;
}
