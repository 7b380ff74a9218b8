/* ranks: data-parallel training. Every rank (a process with a copy of the network) computes its
 * rows of each batch. Once per step, gradients, loss and statistics are added up over all ranks in
 * one buffer. Updates and generations then depend on these sums alone, so the networks of all ranks
 * stay equal. The caller supplies the function that adds up the buffer (MPI, shared memory). */
#ifndef EP_RANKS_H
#define EP_RANKS_H

#include "net.h"

/* Adds up `buffer` (n) over all ranks, in place. Returns false if that failed. */
typedef bool (*ep_ranks_call)(void *context, ep_real *buffer, int64_t n, ep_error *error);

typedef struct {
    int rank, ranks;
    ep_ranks_call call;
    void *context;
    ep_real *buffer; /* (room) elements to add up over the ranks; ranks.c has the layout */
    int64_t room;
    bool activity, overlap; /* selection needs mean activities, or cosines of outputs */
    /* Set by the calls below: */
    double loss, hits; /* sums over the whole batch */
    int64_t steps;     /* steps whose sums have been added up */
    bool told;         /* all ranks have received an error and stop */
    bool broken;       /* the last call failed: the other ranks may be waiting for this one */
} ep_ranks;

/* Returns the number of elements of the buffer at the network's current shape. */
int64_t ep_ranks_elements(const ep_ranks *ranks, const ep_net *net);
/* Returns how many of the `rows` rows of a batch this rank takes, and sets *first to the index of
 * its first row. Blocks of net->row_block rows are not split, because a layer may couple the rows
 * of a block. So the ranks together compute the same as one process. */
int64_t ep_ranks_rows(const ep_ranks *ranks, const ep_net *net, int64_t rows, int64_t *first);
/* Returns an upper limit of the rows that this rank takes of batches of up to `batch` rows. */
int64_t ep_ranks_rows_most(const ep_ranks *ranks, const ep_net *net, int64_t batch);

/* Adds up gradients, tracked statistics, activities, loss and hits of one step over all ranks;
 * `rows` is the size of the whole batch. Returns false and sets error if a rank has failed, if the
 * ranks have different living populations, or if a layer has statistics that are not finite. Call
 * after all gradients are computed. */
bool ep_ranks_step(ep_ranks *ranks, const ep_net *net, const ep_pass *pass, int64_t rows,
                   ep_error *error);
/* Updates the tracked statistics of layers with those of the last step. */
void ep_ranks_track(const ep_ranks *ranks, const ep_net *net);
/* Return statistics of the outputs of a layer's n populations over the whole batch of the last
 * step: the mean activities (n), and the Gram matrix (n, n). */
const ep_real *ep_ranks_activity(const ep_ranks *ranks, const ep_net *net, int population);
const ep_real *ep_ranks_gram(const ep_ranks *ranks, const ep_net *net, int population);
/* Compares the living populations of all ranks before a removal, which changes the buffer's size.
 * Returns false and sets error if they differ. */
bool ep_ranks_agree(ep_ranks *ranks, const ep_net *net, ep_error *error);
/* Marks this rank as failed in the buffer, so that the sum gives all ranks an error. The
 * callback that adds up the buffer (ep_ranks_call) may call this before it adds. */
void ep_ranks_mark(ep_ranks *ranks);
/* Takes part in the sum for which the other ranks wait, to tell them that this rank has failed. */
void ep_ranks_fail(ep_ranks *ranks, const ep_net *net);

#endif
