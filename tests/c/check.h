/* check: helpers that the test programs share. CHECK counts and prints failures; numbers()
 * returns an array of exactly n elements, so that a sanitizer sees any access past their end. */
#ifndef EP_TEST_CHECK_H
#define EP_TEST_CHECK_H

#include "base.h"

#include <stdio.h>
#include <stdlib.h>

static int failures;

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition) && failures++ < 20) {                              \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                   \
    } while (0)

/* Return a pseudorandom odd multiple of 1/190 between -11 and 11. It is never zero, and most values
 * are not exact in binary, so that sums depend on the order of additions. */
static inline ep_real any_number(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (ep_real)((int64_t)(*state >> 40) % 2000 * 2 - 1999) / (ep_real)190;
}

/* Return an array of exactly n random elements, so that the address sanitizer detects an access
 * past the end. */
static inline ep_real *numbers(int64_t n, uint64_t seed) {
    ep_real *at = malloc((size_t)n * sizeof *at + (n == 0));
    for (int64_t i = 0; i < n; i++) {
        at[i] = any_number(&seed);
    }
    return at;
}

#endif
