/* ranks: see ranks.h.
 *
 * The buffer consists of a header of FIELDS elements for each rank; the gradients; the tracked
 * statistics of layers; and mean activities and Gram matrices if selection needs them. Each rank
 * writes zeros to the headers of the others, so the sum holds an exact header of every rank. The
 * size of the buffer changes only at removals. Before a removal, the ranks compare their
 * populations by the headers, so ranks that differ get an error instead of waiting for a message of
 * another size. */
#include "ranks.h"

#include "signals.h"
#include "walk.h"

#include <math.h>
#include <string.h>

/* PART elements hold the leading, middle and last digits of one double or one hash. */
enum { PART = 3 };
enum { STATUS, EVENT, LIVING, LOSS = LIVING + PART, HITS = LOSS + PART, FIELDS = HITS + PART };
enum { STEP = 1, REMOVAL };
/* STATUS is FAILED if the rank has failed, 1 + i if the statistics of layer i are not finite, and
 * otherwise 0. */
enum { FAILED = -1 };

/* ---- the parts of the buffer ----------------------------------------------------------------- */

static int64_t header(const ep_ranks *k) { return (int64_t)k->ranks * FIELDS; }
static int64_t gradients(const ep_net *net) { return net->begin[EP_TRACKED]; }

static bool is_tracked(const ep_net *net, const ep_layer *layer, int i) {
    return layer->kind->coupling && net->tensors[layer->tensor[i]].role == EP_TRACKED;
}

static int64_t tracked(const ep_net *net) {
    int64_t n = 0;
    for (int l = 0; l < net->n_layers; l++) {
        const ep_layer *layer = &net->layers[l];
        for (int i = 0; i < layer->n_tensors; i++) {
            n += is_tracked(net, layer, i) ? net->tensors[layer->tensor[i]].n : 0;
        }
    }
    return n;
}

static int64_t size_of(const ep_net *net, int population) {
    return net->axes[net->populations[population].axis].n;
}

/* activity_at() returns where the activities of a layer's populations start in the buffer,
 * gram_at() where the Gram matrix of their outputs starts. */
static int64_t activity_at(const ep_ranks *k, const ep_net *net, int population) {
    int64_t at = header(k) + gradients(net) + tracked(net);
    for (int i = 0; i < population && k->activity; i++) {
        at += size_of(net, i);
    }
    return at;
}
static int64_t gram_at(const ep_ranks *k, const ep_net *net, int population) {
    int64_t at = activity_at(k, net, net->n_populations);
    for (int i = 0; i < population && k->overlap; i++) {
        at += size_of(net, i) * size_of(net, i);
    }
    return at;
}

int64_t ep_ranks_elements(const ep_ranks *k, const ep_net *net) {
    return gram_at(k, net, net->n_populations);
}

const ep_real *ep_ranks_activity(const ep_ranks *k, const ep_net *net, int population) {
    return k->buffer + activity_at(k, net, population);
}
const ep_real *ep_ranks_gram(const ep_ranks *k, const ep_net *net, int population) {
    return k->buffer + gram_at(k, net, population);
}

/* ---- rows ------------------------------------------------------------------------------------ */

int64_t ep_ranks_rows(const ep_ranks *k, const ep_net *net, int64_t rows, int64_t *first) {
    int64_t blocks = ep_max(1, rows / net->row_block);
    int64_t begin = ep_split(blocks, k->rank, k->ranks) * net->row_block;
    int64_t end = ep_split(blocks, k->rank + 1, k->ranks) * net->row_block;
    *first = ep_min(begin, rows);
    return (k->rank + 1 == k->ranks ? rows : ep_min(end, rows)) - *first;
}

int64_t ep_ranks_rows_most(const ep_ranks *k, const ep_net *net, int64_t batch) {
    int64_t blocks = ep_max(1, batch / net->row_block);
    int64_t most = (blocks + k->ranks - 1) / k->ranks;
    return ep_min(batch, (most + 1) * net->row_block - 1); /* the last block takes the remainder */
}

/* ---- the header ------------------------------------------------------------------------------ */

/* Splits a double into PART elements that sum to it. If the double is not finite, the first element
 * holds it and the other elements are 0. */
static void split_digits(double x, ep_real part[PART]) {
    for (int i = 0; i < PART; i++) {
        part[i] = (ep_real)x;
        x = isfinite(part[i]) ? x - (double)part[i] : 0;
    }
}
static double joined(const ep_real part[PART]) {
    double x = 0;
    for (int i = PART; i-- > 0;) {
        x += (double)part[i];
    }
    return x;
}

/* A hash (FNV-1a) of the birth ids of all living populations. */
static uint64_t hash_living(const ep_net *net) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_real *alive = ep_net_numbers(net, p->alive);
        for (int64_t j = 0; j < size_of(net, i); j++) {
            if (alive[j] > 0) {
                uint64_t name = (uint64_t)i << 32 ^ (uint64_t)ep_birth(&net->axes[p->axis], j);
                hash = (hash ^ name) * UINT64_C(0x100000001b3);
            }
        }
    }
    return hash ^ hash >> 32;
}

/* Writes this rank's header. The hash of its living populations fills PART elements of 20 bits
 * each, which a float holds exactly. */
static void write_header(const ep_ranks *k, const ep_net *net, int status, int event) {
    memset(k->buffer, 0, (size_t)header(k) * sizeof *k->buffer);
    ep_real *mine = k->buffer + (int64_t)k->rank * FIELDS;
    const uint64_t hash = hash_living(net);
    mine[STATUS] = (ep_real)status;
    mine[EVENT] = (ep_real)event;
    for (int i = 0; i < PART; i++) {
        mine[LIVING + i] = (ep_real)(hash >> 20 * i & 0xFFFFF);
    }
    split_digits(k->loss, mine + LOSS);
    split_digits(k->hits, mine + HITS);
}

static bool same(const ep_real *a, const ep_real *b) {
    bool equal = a[EVENT] == b[EVENT];
    for (int i = 0; i < PART; i++) {
        equal = equal && a[LIVING + i] == b[LIVING + i];
    }
    return equal;
}

/* Checks the headers of all ranks: fails if a rank has failed or if ranks differ. All ranks get the
 * same error. */
static bool read_header(ep_ranks *k, const ep_net *net, ep_error *error) {
    for (int i = 0; i < k->ranks; i++) {
        const ep_real *of = k->buffer + (int64_t)i * FIELDS;
        k->told = true;
        if (of[STATUS] < 0) {
            return ep_fail(error, EP_APART,
                           "rank %d has failed at step %lld; its own error says "
                           "why",
                           i, (long long)net->step);
        }
        if (!same(of, k->buffer)) {
            return ep_fail(error, EP_APART,
                           "the living populations of rank %d are not those of rank 0 at step "
                           "%lld: all ranks must begin with equal networks and settings, and use "
                           "equal processors",
                           i, (long long)net->step);
        }
        if (of[STATUS] > 0) {
            return ep_fail(error, EP_DIVERGED,
                           "%s: the variance of the batch overflows at step %lld; the update was "
                           "not applied; scale the input down",
                           net->layers[(int)of[STATUS] - 1].name, (long long)net->step);
        }
        k->told = false;
    }
    k->loss = k->hits = 0;
    for (int i = 0; i < k->ranks; i++) {
        const ep_real *of = k->buffer + (int64_t)i * FIELDS;
        k->loss += joined(of + LOSS);
        k->hits += joined(of + HITS);
    }
    if (!isfinite(k->loss)) {
        k->told = true;
        return ep_fail(error, EP_DIVERGED,
                       "the loss is not finite at step %lld; the update was not applied",
                       (long long)net->step);
    }
    return true;
}

static bool add_up(ep_ranks *k, const ep_net *net, ep_error *error) {
    const int64_t n = ep_ranks_elements(k, net);
    EP_ASSERT(n <= k->room);
    k->broken = !k->call(k->context, k->buffer, n, error);
    return !k->broken;
}

void ep_ranks_mark(ep_ranks *k) { k->buffer[(int64_t)k->rank * FIELDS + STATUS] = FAILED; }

/* ---- the sums -------------------------------------------------------------------------------- */

/* Computes the new tracked statistics, which are means over this rank's samples, and writes them,
 * times this rank's share of the batch, to `to`. The network keeps the old statistics. */
static void write_tracked(const ep_net *net, const ep_pass *pass, double share, ep_real *to) {
    /* turn 0 copies the old statistics to `to`, then the network computes the new ones; turn 1
     * swaps `to` and the network's statistics */
    for (int turn = 0; turn < 2; turn++) {
        ep_real *at = to;
        for (int l = 0; l < net->n_layers; l++) {
            const ep_layer *layer = &net->layers[l];
            for (int i = 0; i < layer->n_tensors; i++) {
                const ep_tensor *t = &net->tensors[layer->tensor[i]];
                ep_real *own = net->numbers->at + t->at;
                for (int64_t j = 0; is_tracked(net, layer, i) && j < t->n; j++, at++) {
                    ep_real now = own[j];
                    own[j] = turn ? *at : now;
                    *at = turn ? (ep_real)(share * (double)now) : now;
                }
            }
        }
        if (!turn) {
            ep_walk_track(net, pass);
        }
    }
}

void ep_ranks_track(const ep_ranks *k, const ep_net *net) {
    const ep_real *from = k->buffer + header(k) + gradients(net);
    for (int l = 0; l < net->n_layers; l++) {
        const ep_layer *layer = &net->layers[l];
        for (int i = 0; i < layer->n_tensors; i++) {
            const ep_tensor *t = &net->tensors[layer->tensor[i]];
            if (is_tracked(net, layer, i)) {
                memcpy(net->numbers->at + t->at, from, (size_t)t->n * sizeof *from);
                from += t->n;
            }
        }
    }
}

/* Writes the activities and Gram matrices that selection needs into the buffer, computed from the
 * rows of this rank. `share`: this rank's fraction of the rows of the batch. */
static void write_outputs(const ep_ranks *k, const ep_net *net, const ep_pass *pass, double share) {
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        ep_real *activity = k->buffer + activity_at(k, net, i);
        if (k->activity) {
            ep_signal_activity(net, p, activity);
        }
        for (int64_t j = 0; k->activity && j < size_of(net, i); j++) {
            activity[j] = (ep_real)(share * (double)activity[j]);
        }
        if (k->overlap) {
            ep_signal_activity_gram(net, p, k->buffer + gram_at(k, net, i), pass->scratch);
        }
    }
}

bool ep_ranks_step(ep_ranks *k, const ep_net *net, const ep_pass *pass, int64_t rows,
                   ep_error *error) {
    const ep_layer *unsound = ep_walk_unsound(net, pass);
    const double share = (double)net->rows / (double)ep_max(1, rows);
    const int64_t n = gradients(net);
    ep_real *own = k->buffer + header(k);
    write_header(k, net, unsound ? unsound->index + 1 : 0, STEP);
    memcpy(own, net->gradients->at, (size_t)n * sizeof *own);
    write_tracked(net, pass, share, own + n);
    write_outputs(k, net, pass, share);
    if (!add_up(k, net, error)) {
        return false;
    }
    k->steps++;
    if (!read_header(k, net, error)) {
        return false;
    }
    memcpy(net->gradients->at, own, (size_t)n * sizeof *own);
    return true;
}

/* Adds up the buffer over the ranks with only the header filled; all other elements are 0. */
static bool send_header(ep_ranks *k, const ep_net *net, int status, int event, ep_error *error) {
    const int64_t n = ep_ranks_elements(k, net) - header(k);
    k->loss = k->hits = 0;
    write_header(k, net, status, event);
    memset(k->buffer + header(k), 0, (size_t)n * sizeof *k->buffer);
    return add_up(k, net, error);
}

bool ep_ranks_agree(ep_ranks *k, const ep_net *net, ep_error *error) {
    return send_header(k, net, 0, REMOVAL, error) && read_header(k, net, error);
}

void ep_ranks_fail(ep_ranks *k, const ep_net *net) {
    ep_error unused = {EP_OK, ""};
    k->told = send_header(k, net, FAILED, STEP, &unused);
}
