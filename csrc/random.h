/* random: random numbers as a function of (seed, stream, index), without hidden state. Any element
 * of any stream can be computed in any order, by any thread, repeatedly, which makes runs
 * repeatable and resumable. Philox4x32-10 (Salmon et al. 2011). */
#ifndef EP_RANDOM_H
#define EP_RANDOM_H

#include "base.h"

/* Identifies a stream of random numbers: its i-th number is a function of seed, stream and i. */
typedef struct {
    uint64_t seed;
    uint64_t stream;
} ep_noise;

/* Streams of a network; the stream of layer i is EP_STREAM_LAYERS + i. */
enum {
    EP_STREAM_SHUFFLE = 1,
    EP_STREAM_AUGMENT,
    EP_STREAM_PRUNE,
    EP_STREAM_EVOLVE = 1000,
    EP_STREAM_LAYERS = 1000000,
    EP_STREAM_BIRTHS = 2000000, /* births in tensor i: EP_STREAM_BIRTHS + i */
    EP_STREAM_RETURNS = 3000000, /* founders that return in group i: EP_STREAM_RETURNS + i */
};

/* 128 random bits: the four words of counter `index`. */
void ep_random_words(ep_noise noise, uint64_t index, uint32_t out[4]);
uint64_t ep_random_bits(ep_noise noise, uint64_t index);
double ep_random_uniform(ep_noise noise, uint64_t index);  /* open interval (0, 1), 52 bits */
double ep_random_normal(ep_noise noise, uint64_t index);   /* mean 0, variance 1 */
/* Returns the noise of one branch (a step, a layer), which is independent of `noise` and of the
 * noises of all other branches. */
ep_noise ep_random_fork(ep_noise noise, uint64_t branch);
/* Draws exactly from Binomial(n, p), by inversion or rejection. Uses the numbers of the stream from
 * *index on and advances *index. p is clamped to [0, 1]; NaN counts as 0. */
int64_t ep_random_binomial(ep_noise noise, uint64_t *index, int64_t n, double p);

/* A permutation of n items that depends on the noise alone and is computed item by item, without a
 * table. For many items, create it once (about 20 ns per item). */
typedef struct {
    int64_t n;
    uint32_t key[8], low, high; /* round keys; masks of the two halves of an item's bits */
    int low_bits, rounds;
} ep_permutation;

ep_permutation ep_random_permutation(ep_noise noise, int64_t n);
/* Returns the position of item i, 0 <= i < n. */
int64_t ep_permutation_place(const ep_permutation *permutation, int64_t i);
/* Creates a permutation of n items and returns the position of item i. Meant for a single item. */
int64_t ep_random_permute(ep_noise noise, int64_t i, int64_t n);

#endif
