/* random: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
 * 1, 2, 3") and distributions based on it. The key is the seed and the counter is (index, stream),
 * so every draw is a pure function without state. */
#include "random.h"

#include <math.h>

/* ---- bits ---------------------------------------------------------------------------------- */
void ep_random_words(ep_noise noise, uint64_t index, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)noise.stream, c3 = (uint32_t)(noise.stream >> 32);
    uint32_t k0 = (uint32_t)noise.seed, k1 = (uint32_t)(noise.seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0;
        uint64_t b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t joined(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

/* Returns the midpoint of one of 2^52 equal cells of (0, 1): never 0 or 1, and 1 minus the midpoint
 * is exact. */
static double unit(uint64_t bits) { return ((double)(bits >> 12) + 0.5) * 0x1p-52; }

uint64_t ep_random_bits(ep_noise noise, uint64_t index) {
    uint32_t words[4];
    ep_random_words(noise, index, words);
    return joined(words[0], words[1]);
}

ep_noise ep_random_fork(ep_noise noise, uint64_t branch) {
    /* use another key: else the fork would be the bits that `noise` gives at index `branch` */
    uint32_t words[4];
    noise.seed ^= UINT64_C(0x6A09E667F3BCC908);
    ep_random_words(noise, branch, words);
    return (ep_noise){joined(words[0], words[1]), joined(words[2], words[3])};
}

/* ---- real numbers -------------------------------------------------------------------------- */
double ep_random_uniform(ep_noise noise, uint64_t index) {
    return unit(ep_random_bits(noise, index));
}

/* Computes the Box-Muller transform (1958) of two uniform numbers, both from the bits at `index`.
 * The absolute value of the result is below 8.6. */
double ep_random_normal(ep_noise noise, uint64_t index) {
    uint32_t words[4];
    ep_random_words(noise, index, words);
    double radius = sqrt(-2 * log(unit(joined(words[0], words[1]))));
    return radius * cos(6.28318530717958647693 * unit(joined(words[2], words[3])));
}

/* ---- binomial ------------------------------------------------------------------------------ */
/* Draws by inversion: adds up the probabilities of 0, 1, ... until the sum exceeds a uniform number
 * u. Used for n p < 10, where few terms are needed. */
static int64_t binomial_walk(ep_noise noise, uint64_t *index, int64_t n, double p) {
    double odds = p / (1 - p), first = exp((double)n * log1p(-p));
    for (;;) {
        double u = ep_random_uniform(noise, (*index)++), mass = first;
        for (int64_t k = 0; k <= n && mass > 0; k++) {
            if (u <= mass) {
                return k;
            }
            u -= mass;
            mass *= odds * (double)(n - k) / (double)(k + 1);
        }
    } /* u exceeds the rounded sum of all probabilities: draw again */
}

/* Returns log k! - ((k + 1/2) log(k + 1) - (k + 1) + log(2 pi) / 2): the error of Stirling's
 * formula. */
static double stirling_tail(double k) {
    static const double small[] = {0.08106146679532726, 0.04134069595540929, 0.02767792568499834,
                                   0.02079067210376509, 0.01664469118982119, 0.01387612882307075,
                                   0.01189670994589177, 0.01041126526197209, 0.009255462182712733,
                                   0.008330563433362871};
    if (k <= 9) {
        return small[(int)k];
    }
    double s = 1 / ((k + 1) * (k + 1));
    return (1.0 / 12 - (1.0 / 360 - s / 1260) * s) / (k + 1);
}

/* Draws by transformed rejection with squeeze (Hoermann 1993, BTRS). Used for n p >= 10;
 * requires p <= 1/2. */
static int64_t binomial_reject(ep_noise noise, uint64_t *index, int64_t count, double p) {
    double n = (double)count, q = 1 - p, spread = sqrt(n * p * q);
    double b = 1.15 + 2.53 * spread, a = -0.0873 + 0.0248 * b + 0.01 * p;
    double centre = n * p + 0.5, quick = 0.92 - 4.2 / b, alpha = (2.83 + 5.1 / b) * spread;
    double odds = p / q, mode = floor((n + 1) * p);
    for (;;) {
        uint32_t words[4];
        ep_random_words(noise, (*index)++, words);
        double u = unit(joined(words[0], words[1])) - 0.5;
        double v = unit(joined(words[2], words[3]));
        double us = 0.5 - fabs(u);
        double k = floor((2 * a / us + b) * u + centre);
        if (k < 0 || k > n) {
            continue;
        }
        if (us >= 0.07 && v <= quick) {
            return (int64_t)k;
        }
        double ratio = (mode + 0.5) * log((mode + 1) / (odds * (n - mode + 1))) +
                       (n + 1) * log((n - mode + 1) / (n - k + 1)) +
                       (k + 0.5) * log(odds * (n - k + 1) / (k + 1)) + stirling_tail(mode) +
                       stirling_tail(n - mode) - stirling_tail(k) - stirling_tail(n - k);
        if (log(v * alpha / (a / (us * us) + b)) <= ratio) {
            return (int64_t)k;
        }
    }
}

int64_t ep_random_binomial(ep_noise noise, uint64_t *index, int64_t n, double p) {
    if (n <= 0 || !(p > 0)) {
        return 0;
    }
    if (p >= 1) {
        return n;
    }
    double rarer = p <= 0.5 ? p : 1 - p;
    int64_t k = (double)n * rarer < 10 ? binomial_walk(noise, index, n, rarer)
                                       : binomial_reject(noise, index, n, rarer);
    return p <= 0.5 ? k : n - k;
}

/* ---- permutation --------------------------------------------------------------------------- */
ep_permutation ep_random_permutation(ep_noise noise, int64_t n) {
    ep_permutation permutation = {.n = n};
    ep_random_words(noise, 0, permutation.key);
    ep_random_words(noise, 1, permutation.key + 4);
    int bits = 0;
    while (bits < 63 && (UINT64_C(1) << bits) < (uint64_t)n) {
        bits++;
    }
    permutation.low_bits = (bits + 1) / 2;
    permutation.low = (uint32_t)((UINT64_C(1) << permutation.low_bits) - 1);
    permutation.high = (uint32_t)((UINT64_C(1) << (bits / 2)) - 1);
    permutation.rounds = bits < 12 ? 48 : 8; /* small halves mix slowly: 8 rounds are biased */
    return permutation;
}

/* Mixes 32 bits (Wellons 2018, "lowbias32"). */
static uint32_t mixed(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

/* A Feistel network on the smallest power of two >= n: each round changes one half of the bits by a
 * function of the other half, which is a bijection for any function. Positions >= n are mapped
 * again until they are below n (cycle walking), less than two iterations on average. */
int64_t ep_permutation_place(const ep_permutation *permutation, int64_t i) {
    const uint32_t *key = permutation->key;
    uint32_t low = (uint32_t)i & permutation->low;
    uint32_t high = (uint32_t)((uint64_t)i >> permutation->low_bits);
    int64_t place;
    do {
        for (int round = 0; round < permutation->rounds; round += 2) {
            const uint32_t *k = key + round % 8;
            high ^= mixed(low + k[0] + (uint32_t)round) & permutation->high;
            low ^= mixed(high + k[1] + (uint32_t)round) & permutation->low;
        }
        place = (int64_t)((uint64_t)high << permutation->low_bits | low);
    } while (place >= permutation->n);
    return place;
}

int64_t ep_random_permute(ep_noise noise, int64_t i, int64_t n) {
    ep_permutation permutation = ep_random_permutation(noise, n);
    return ep_permutation_place(&permutation, i);
}
