/* offspring: the births of one generation, decided from its vectors after masses have changed and
 * populations have become extinct. */
#ifndef EP_OFFSPRING_H
#define EP_OFFSPRING_H

#include "generation.h"

/* Write the newborn populations of a generation to generation->newborn and halve the masses of
 * parents. Return the number of newborn populations. */
int64_t ep_generation_bear(ep_generation *generation, const ep_occasion *occasion, int n_niches);

#endif
