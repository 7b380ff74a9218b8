/* offspring: see offspring.h. */
#include "offspring.h"

/* Return the mean fitness of the living populations of a niche, and fill g->survives. */
static double mean_of(const ep_generation *g, const ep_group *groups, ep_niche here) {
    double sum = 0, n = 0;
    for (int64_t k = here.first; k < here.last; k++) {
        g->survives[k] = groups[g->group[k]].alive[g->place[k]] > 0;
        sum += g->survives[k] ? (double)g->fitness[k] : 0;
        n += g->survives[k];
    }
    return n > 0 ? sum / n : 0;
}

/* Halve the mass of parent k in its group, and write the other half to *newborn. */
static void divide(ep_generation *g, const ep_group *group, int64_t k, ep_newborn *newborn) {
    int64_t j = g->place[k];
    group->mass[j] /= 2;
    group->fitness[j] = (ep_real)((double)group->fitness[j] * g->inherited);
    newborn->parent = group->birth ? group->birth[j] : (int32_t)j;
    newborn->place = j;
    newborn->mass = group->mass[j];
    newborn->fitness = (ep_real)((double)g->fitness[k] * g->inherited);
}

/* Decide the births of group i, with members k0 .. k1, in a niche of mean fitness `mean`. */
static void bear_group(ep_generation *g, const ep_occasion *occasion, int i, int64_t k0, int64_t k1,
                       double mean, int64_t *n_born) {
    const ep_group *group = &occasion->group[i];
    ep_parents parents = {.n = k1 - k0,
                          .founded = group->founded,
                          .mass = g->mass + k0,
                          .fitness = g->fitness + k0,
                          .upkeep = g->upkeep + k0,
                          .alive = g->survives + k0,
                          .mean = mean};
    int64_t n = ep_births_choose(g->births, &parents, occasion->number, g->chosen);
    n = ep_min(n, INT32_MAX - group->born);
    for (int64_t b = 0; b < n; b++) {
        ep_newborn *newborn = &g->newborn[(*n_born)++];
        *newborn = (ep_newborn){.group = i,
                                .birth = (int32_t)(group->born + b),
                                .parent = -1,
                                .place = -1,
                                .mass = (ep_real)g->births->mass};
        if (g->births->kind == EP_DIVISION) {
            divide(g, group, k0 + g->chosen[b], newborn);
        }
    }
}

/* Decide which founders of group i return. */
static void recall(ep_generation *g, const ep_occasion *occasion, int i, int64_t *n_born) {
    const ep_group *group = &occasion->group[i];
    ep_noise noise = {occasion->seed, EP_STREAM_RETURNS + (uint64_t)i};
    int64_t n = ep_births_returning(g->births, group->founded, group->n, group->birth, group->alive,
                                    occasion->number, noise, g->chosen);
    for (int64_t b = 0; b < n; b++) {
        g->newborn[(*n_born)++] = (ep_newborn){.group = i,
                                               .birth = g->chosen[b],
                                               .parent = -1,
                                               .place = -1,
                                               .mass = (ep_real)g->births->mass};
    }
}

int64_t ep_generation_bear(ep_generation *g, const ep_occasion *occasion, int n_niches) {
    int64_t n_born = 0;
    for (int i = 0; i < n_niches; i++) {
        ep_niche here = g->niche[i];
        double mean = mean_of(g, occasion->group, here);
        for (int64_t k0 = here.first, k1 = k0, group = here.first_group; group < here.last_group;
             group++, k0 = k1) {
            for (; k1 < here.last && g->group[k1] == group; k1++) {
            }
            if (occasion->group[group].returns) {
                recall(g, occasion, (int)group, &n_born);
            } else if (!occasion->group[group].barren) {
                bear_group(g, occasion, (int)group, k0, k1, mean, &n_born);
            }
        }
    }
    return n_born;
}
