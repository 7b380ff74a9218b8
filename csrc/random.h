/* random: numbers as a function of (seed, stream, index). There is no hidden state: any number of
 * any stream can be had in any order, by any thread, again and again, which is what makes a run
 * repeatable and resumable. Philox4x32-10 (Salmon et al. 2011). */
#ifndef EP_RANDOM_H
#define EP_RANDOM_H

#include "base.h"

/* Where a stream of numbers begins: drawn number i of the stream is a function of this and i. */
typedef struct {
    uint64_t seed;
    uint64_t stream;
} ep_noise;

/* Streams of a network; a layer's own are EP_STREAM_LAYERS + its index. */
enum {
    EP_STREAM_SHUFFLE = 1,
    EP_STREAM_AUGMENT,
    EP_STREAM_PRUNE,
    EP_STREAM_EVOLVE = 1000,
    EP_STREAM_LAYERS = 1000000
};

/* 128 random bits: the four words of counter `index`. */
void ep_random_words(ep_noise noise, uint64_t index, uint32_t out[4]);
uint64_t ep_random_bits(ep_noise noise, uint64_t index);
double ep_random_uniform(ep_noise noise, uint64_t index);  /* (0, 1), 52 bits, never an end */
double ep_random_normal(ep_noise noise, uint64_t index);   /* mean 0, variance 1 */
/* A noise whose streams are apart from `noise`'s own: one per step, per layer, ... */
ep_noise ep_random_fork(ep_noise noise, uint64_t branch);
/* An exact draw of Binomial(n, p), by inversion or by rejection; uses indices from *index on and
 * moves it past them. p outside [0, 1] counts as the nearer end, NaN as 0. */
int64_t ep_random_binomial(ep_noise noise, uint64_t *index, int64_t n, double p);

/* A permutation of n items fixed by the noise, computed item by item with no table: keep one of
 * these when many places are wanted (about 20 ns each). */
typedef struct {
    int64_t n;
    uint32_t key[8], low, high; /* round keys; masks of the two halves of an item's bits */
    int low_bits, rounds;
} ep_permutation;

ep_permutation ep_random_permutation(ep_noise noise, int64_t n);
/* The place of item i, 0 <= i < n. */
int64_t ep_permutation_place(const ep_permutation *permutation, int64_t i);
/* The same for one item. */
int64_t ep_random_permute(ep_noise noise, int64_t i, int64_t n);

#endif
