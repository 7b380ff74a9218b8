/* generation: see generation.h. */
#include "generation.h"

#include "cohort.h"
#include "offspring.h"

#include <stdlib.h>
#include <string.h>

/* ---- settings ------------------------------------------------------------------------------- */

static const char *const upkeeps[] = {"soft", "macs", "params", "uniform", "given", NULL};
static const char *const niches[] = {"layer", "network", NULL};
static const char *const removals[] = {"auto", "always", "never", NULL};

const char ep_selection_doc[] = "How populations are selected while a network learns.";

const ep_field ep_selection_fields[] = {
    EP_FIELD_CHOICE(
        ep_selection, upkeep, EP_UPKEEP_MACS, upkeeps,
        "what a population costs: pressure times its share of the founding network's "
        "multiply-adds (macs) or parameters (params), times 1 / the number of founding "
        "populations (uniform), or times its value in `given`; soft: pressure times the mean "
        "fitness of the other founders of its niche, times its multiply-adds over the mean of its "
        "niche"),
    EP_FIELD_CHOICE(
        ep_selection, niche, EP_NICHE_LAYER, niches,
        "the populations that compete and are normalized together: those of a layer, or "
        "of the network"),
    EP_FIELD_CHOICE(
        ep_selection, removal, EP_REMOVE_AUTO, removals,
        "when extinct populations are removed from every array: once the work spent on them "
        "exceeds the cost of copying (auto), at once (always), or never (they stay as zeros)"),
    EP_FIELD_VECTOR(ep_selection, given, 0, 1e30,
                    "upkeep of each founding population at pressure 1, layer by layer"),
    EP_FIELD_REAL(ep_selection, memory, 0.9, 0, 0.9999999,
                  "decay rate of the running mean of fitness, corrected for its start at zero"),
    EP_FIELD_REAL(ep_selection, threshold, 1e-3, 0, 1,
                  "mass below which a population is extinct (1 at birth)"),
    EP_FIELD_INT(
        ep_selection, floor, 1, 0, 1e9,
        "number of populations that every layer keeps; with 0 a residual branch can become empty, "
        "and so can any other layer, after which outputs no longer depend on inputs"),
    EP_FIELD_INT(ep_selection, min_age, 100, 0, 1e15,
                 "number of generations at the start in which no population becomes extinct"),
    EP_FIELD_INT(ep_selection, every, 1, 1, 1e9, "training steps per generation"),
    EP_FIELDS_END,
};

/* ---- create and free ------------------------------------------------------------------------ */

/* True if the law has a setting with a value for each founder, such as a matrix: the law then
 * accepts only one number of founders. */
static bool by_founder(const ep_generation *g, int64_t founded) {
    ep_error ignored;
    return g->dynamics->check && !g->dynamics->check(g->dynamics_config, founded + 1, &ignored);
}

/* Fail if populations are born later but a setting holds a value for each founder. */
static bool check_births(const ep_generation *g, const ep_headcount *counts, ep_error *error) {
    bool later = g->births != NULL;
    for (int i = 0; i < g->n_groups; i++) {
        later = later || counts[i].born > counts[i].founded;
    }
    if (later && g->settings.upkeep == EP_UPKEEP_GIVEN) {
        return ep_fail(error, EP_BAD_VALUE,
                       "selection: upkeep for each founder has no value for populations born "
                       "later; expected soft, macs, params or uniform upkeep with births");
    }
    bool whole = g->settings.niche == EP_NICHE_NETWORK;
    for (int i = 0; later && i < g->n_groups; i++) {
        if (by_founder(g, whole ? g->founded : counts[i].founded)) {
            return ep_fail(error, EP_BAD_VALUE,
                           "dynamics %s: a matrix over founders has no row for populations born "
                           "later; leave it out with births",
                           g->dynamics->name);
        }
    }
    return true;
}

static bool check(const ep_generation *g, const ep_headcount *counts, ep_error *error) {
    const ep_selection *s = &g->settings;
    const ep_dynamics *law = g->dynamics;
    if (s->upkeep == EP_UPKEEP_GIVEN && s->given.n != g->founded) {
        return ep_fail(
            error, EP_BAD_VALUE,
            "selection: given must hold an upkeep for each of %lld founding populations, got %lld",
            (long long)g->founded, (long long)s->given.n);
    }
    if (law->states > EP_STATES) {
        return ep_fail(error, EP_BAD_VALUE, "dynamics %s: expected at most %d states, got %d",
                       law->name, EP_STATES, law->states);
    }
    for (int i = 0; law->check && i < g->n_groups; i++) {
        bool whole = s->niche == EP_NICHE_NETWORK;
        if (!law->check(g->dynamics_config, whole ? g->founded : counts[i].founded, error)) {
            return false;
        }
    }
    return check_births(g, counts, error);
}

/* Cut a vector of n elements from the block, or only count its bytes while there is no block. */
static void *cut(const ep_generation *g, size_t *used, size_t n, size_t size) {
    size_t at = *used;
    *used += (n * size + EP_ALIGN - 1) / EP_ALIGN * EP_ALIGN;
    return g->block ? (char *)g->block + at : NULL;
}

static size_t lay_out(ep_generation *g) {
    size_t n = (size_t)ep_max(1, g->room), used = 0;
    g->mass = cut(g, &used, n, sizeof *g->mass);
    g->fitness = cut(g, &used, n, sizeof *g->fitness);
    g->upkeep = cut(g, &used, n, sizeof *g->upkeep);
    g->memory = cut(g, &used, n, sizeof *g->memory);
    g->state = cut(g, &used, n * EP_STATES, sizeof *g->state);
    g->work = cut(g, &used, n * EP_WORK, sizeof *g->work);
    g->order = cut(g, &used, n * EP_WORK, sizeof *g->order);
    g->birth = cut(g, &used, n, sizeof *g->birth);
    g->place = cut(g, &used, n, sizeof *g->place);
    g->group = cut(g, &used, n, sizeof *g->group);
    g->niche = cut(g, &used, (size_t)ep_max(1, g->n_groups), sizeof *g->niche);
    g->extinct = cut(g, &used, n, sizeof *g->extinct);
    size_t births = g->births ? n : 1;
    g->newborn = cut(g, &used, births, sizeof *g->newborn);
    g->chosen = cut(g, &used, births, sizeof *g->chosen);
    g->survives = cut(g, &used, births, sizeof *g->survives);
    return used;
}

bool ep_generation_reserve(ep_generation *g, int64_t n) {
    void *before = g->block;
    int64_t room = g->room;
    if (before && n <= room) {
        return true;
    }
    g->block = NULL;
    g->room = n;
    size_t bytes = lay_out(g);
    void *block = aligned_alloc(EP_ALIGN, bytes);
    if (block) {
        memset(block, 0, bytes);
        free(before);
    }
    g->block = block ? block : before;
    g->room = block ? n : room;
    lay_out(g);
    return block != NULL;
}

ep_generation *ep_generation_new(const ep_selection *settings, const ep_births *births,
                                 const ep_dynamics *dynamics, const void *dynamics_config,
                                 int n_groups, const ep_headcount *counts, ep_error *error) {
    ep_generation *g = calloc(1, sizeof *g);
    if (!g) {
        ep_fail(error, EP_NO_MEMORY, "selection: out of memory");
        return NULL;
    }
    g->dynamics = dynamics;
    g->n_groups = n_groups;
    g->inherited = 1;
    int64_t room = 0;
    for (int i = 0; i < n_groups; i++) {
        int64_t most = births ? ep_births_capacity(births, counts[i].founded) : counts[i].founded;
        room += ep_max(most, counts[i].present);
        g->founded += counts[i].founded;
    }
    ep_fields_init(ep_selection_fields, &g->settings);
    void *copy = NULL;
    bool copied = !births || ep_config_copy(ep_births_fields, sizeof *births, births, &copy);
    g->births = copy;
    if (!copied || !ep_fields_copy(ep_selection_fields, &g->settings, settings, sizeof *settings) ||
        !ep_config_copy(dynamics->fields, dynamics->config_size, dynamics_config,
                        &g->dynamics_config) ||
        !ep_generation_reserve(g, room)) {
        ep_fail(error, EP_NO_MEMORY, "selection: no memory for %lld populations", (long long)room);
    } else if (check(g, counts, error)) {
        return g;
    }
    ep_generation_free(g);
    return NULL;
}

void ep_generation_free(ep_generation *g) {
    if (!g) {
        return;
    }
    ep_fields_free(ep_selection_fields, &g->settings);
    ep_config_free(g->dynamics->fields, g->dynamics_config);
    ep_config_free(ep_births_fields, (void *)g->births);
    free(g->block);
    free(g);
}

/* ---- one generation ------------------------------------------------------------------------- */

/* Write memory * fitness + (1 - memory) * raw of all populations present to g->memory. */
static void remember_fitness(ep_generation *g, const ep_group *groups) {
    const ep_real keep = (ep_real)g->settings.memory, take = 1 - keep;
    ep_real *memory = g->memory;
    for (int i = 0; i < g->n_groups; memory += groups[i++].n) {
        const ep_real *fitness = groups[i].fitness, *raw = groups[i].raw;
        for (int64_t j = 0; j < groups[i].n; j++) {
            memory[j] = keep * fitness[j] + take * raw[j];
        }
    }
}

static double cost_of(const ep_generation *g, const ep_group *group, int64_t before,
                      int64_t birth) {
    if (g->settings.upkeep == EP_UPKEEP_GIVEN) {
        return g->settings.given.at[before + birth];
    }
    return group->costs ? group->costs[birth] : group->cost;
}

/* Soft selection (Wallace 1975): survival is decided relative to the others in the niche. Upkeep
 * is pressure times the mean fitness of the other founders, extinct ones counting 0, so that about
 * founded / pressure survive; the last living population has upkeep 0 and always survives. Upkeep
 * is also multiplied by the population's cost divided by the mean cost of living populations. */
static void soften_upkeep(ep_generation *g, int64_t first, int64_t last, int64_t founded,
                          double pressure) {
    const ep_real *fitness = g->fitness;
    double earned = 0, spent = 0, n = (double)(last - first);
    for (int64_t k = first; k < last; k++) {
        earned += fitness[k] > 0 ? (double)fitness[k] : 0;
        spent += (double)g->upkeep[k];
    }
    for (int64_t k = first; k < last; k++) {
        double own = fitness[k] > 0 ? (double)fitness[k] : 0, others = earned - own;
        double cost = spent > 0 ? (double)g->upkeep[k] / spent * n : 1;
        g->upkeep[k] = others > 0 ? (ep_real)(pressure * cost * others / (double)(founded - 1)) : 0;
    }
}

/* Append the living populations of the niche that starts at first_group to the vectors of g.
 * `before` counts the founders of earlier groups; `memory` points to smoothed fitness, or NULL to
 * read that of the groups. `before` and `memory` advance past the niche. `correction` is the bias
 * correction, a factor on fitness. */
static ep_niche enrol(ep_generation *g, const ep_group *groups, int first_group, int64_t *before,
                      const ep_real **memory, double pressure, double correction) {
    bool whole = g->settings.niche == EP_NICHE_NETWORK, soft = g->settings.upkeep == EP_UPKEEP_SOFT;
    ep_niche here = {first_group, whole ? g->n_groups : first_group + 1, g->n, g->n, 0};
    int64_t k = g->n, born = 0;
    for (int i = first_group; i < here.last_group; i++) {
        const ep_group *group = &groups[i];
        for (int64_t j = 0; j < group->n; j++) {
            if (!(group->alive[j] > 0)) {
                continue;
            }
            int64_t birth = group->birth ? group->birth[j] : j;
            double cost = cost_of(g, group, *before, birth);
            const ep_real *fitness = *memory ? *memory : group->fitness;
            g->mass[k] = group->mass[j];
            g->fitness[k] = (ep_real)((double)fitness[j] * correction);
            g->upkeep[k] = (ep_real)(soft ? cost : pressure * cost);
            g->birth[k] = (int32_t)(born + birth);
            g->place[k] = j;
            g->group[k++] = i;
        }
        *memory = *memory ? *memory + group->n : NULL;
        *before += group->founded;
        here.founded += group->founded;
        born += group->born;
    }
    here.last = g->n = k;
    if (soft) {
        soften_upkeep(g, here.first, here.last, here.founded, pressure);
    }
    return here;
}

static double correction_of(const ep_generation *g, int64_t number) {
    return number > 0 ? 1 / (1 - pow(g->settings.memory, (double)number)) : 1;
}

void ep_generation_price(ep_generation *g, const ep_group *groups, int64_t number,
                         double pressure) {
    const ep_real *as_it_is = NULL;
    int64_t before = 0;
    g->n = 0;
    for (int i = 0; i < g->n_groups;) {
        i = enrol(g, groups, i, &before, &as_it_is, pressure, correction_of(g, number)).last_group;
    }
}

/* Copy the dynamics' state from the groups to a niche's (states, n) block, or back if `out`. */
static void exchange_state(ep_generation *g, const ep_group *groups, ep_niche here, bool out) {
    int64_t n = here.last - here.first;
    ep_real *block = g->state + g->dynamics->states * here.first;
    for (int64_t k = 0; k < n && g->dynamics->states; k++) {
        const ep_group *group = &groups[g->group[here.first + k]];
        for (int s = 0; s < g->dynamics->states; s++) {
            ep_real *there = &group->state[s * group->n + g->place[here.first + k]];
            ep_real *own = &block[s * n + k];
            *(out ? there : own) = *(out ? own : there);
        }
    }
}

static bool apply_dynamics(ep_generation *g, const ep_occasion *occasion, ep_niche here,
                           ep_error *error) {
    ep_noise stream = {occasion->seed, EP_STREAM_EVOLVE + (uint64_t)here.first_group};
    exchange_state(g, occasion->group, here, false);
    ep_cohort cohort = {
        .n = here.last - here.first,
        .mass = g->mass + here.first,
        .fitness = g->fitness + here.first,
        .upkeep = g->upkeep + here.first,
        .state = g->state + g->dynamics->states * here.first,
        .birth = g->birth + here.first,
        .founded = here.founded,
        .generation = occasion->number,
        .work = g->work,
        .order = g->order,
        .threshold = g->settings.threshold,
        .strength = occasion->strength,
        .noise = ep_random_fork(stream, (uint64_t)occasion->number),
    };
    if (occasion->measure) {
        occasion->measure(occasion->context, g, here.first, &cohort);
    }
    if (g->call) {
        return g->call(g->context, &cohort, error);
    }
    g->dynamics->step(g->dynamics_config, &cohort);
    return true;
}

/* Order by group, then by mass, lightest first; equal masses by place. */
static int lighter(const void *a, const void *b) {
    const ep_extinct *p = a, *q = b;
    if (p->group != q->group) {
        return p->group < q->group ? -1 : 1;
    }
    if (p->mass != q->mass) {
        return p->mass < q->mass ? -1 : 1;
    }
    return p->place < q->place ? -1 : p->place > q->place;
}

/* Mark populations below the threshold extinct, lightest first, and append them to g->extinct. The
 * floor keeps the heaviest of them alive with mass = threshold, so that they can recover. */
static void mark_extinct(ep_generation *g, const ep_occasion *occasion, ep_niche here,
                         ep_outcome *outcome) {
    const ep_real threshold = (ep_real)g->settings.threshold;
    ep_extinct *extinct = g->extinct + outcome->n_extinct;
    int64_t n = 0, spare = 0, gone = 0;
    for (int64_t k = here.first; k < here.last; k++) {
        if (g->mass[k] < threshold) {
            const ep_group *group = &occasion->group[g->group[k]];
            int64_t j = g->place[k];
            extinct[n++] = (ep_extinct){.group = g->group[k],
                                        .birth = group->birth ? group->birth[j] : (int32_t)j,
                                        .place = j,
                                        .mass = g->mass[k],
                                        .fitness = g->fitness[k]};
        }
    }
    if (n) {
        qsort(extinct, (size_t)n, sizeof *extinct, lighter);
    }
    for (int64_t e = 0, last = -1; e < n; e++) {
        ep_extinct this = extinct[e];
        const ep_group *group = &occasion->group[this.group];
        if (this.group != last) {
            spare = ep_group_alive(group->alive, group->n) - g->settings.floor;
            last = this.group;
        }
        if (spare-- > 0) {
            group->alive[this.place] = 0;
            group->mass[this.place] = 0;
            extinct[gone++] = this;
        } else {
            group->mass[this.place] = threshold;
            outcome->floor_reached++;
        }
    }
    outcome->n_extinct += gone;
    if (gone && occasion->mark_extinct) {
        occasion->mark_extinct(occasion->context, extinct, gone);
    }
}

static void write_memory(const ep_generation *g, const ep_group *groups) {
    const ep_real *memory = g->memory;
    for (int i = 0; i < g->n_groups; memory += groups[i++].n) {
        memcpy(groups[i].fitness, memory, (size_t)groups[i].n * sizeof *memory);
    }
}

/* Write a niche back to its groups, and mark its extinct populations. */
static void finish(ep_generation *g, const ep_occasion *occasion, ep_niche here,
                   ep_outcome *outcome) {
    exchange_state(g, occasion->group, here, true);
    for (int64_t k = here.first; k < here.last; k++) {
        occasion->group[g->group[k]].mass[g->place[k]] = g->mass[k];
        outcome->capped += g->mass[k] >= (ep_real)EP_MASS_MOST;
    }
    if (occasion->number >= g->settings.min_age) {
        mark_extinct(g, occasion, here, outcome);
    }
}

bool ep_generation_step(ep_generation *g, const ep_occasion *occasion, ep_outcome *outcome,
                        ep_error *error) {
    const ep_group *groups = occasion->group;
    const ep_real *memory = g->memory;
    double correction = correction_of(g, occasion->number);
    int64_t before = 0;
    int niches_done = 0;
    *outcome = (ep_outcome){0};
    g->n = 0;
    remember_fitness(g, groups);
    /* A user's law may fail in any niche, so no niche is written until all have succeeded. A law
     * of the core may measure the network, which must show the extinctions of the previous niches,
     * so each niche is written before the next is measured. */
    for (int i = 0; i < g->n_groups; i = g->niche[niches_done++].last_group) {
        ep_niche here = enrol(g, groups, i, &before, &memory, occasion->pressure, correction);
        g->niche[niches_done] = here;
        if (!apply_dynamics(g, occasion, here, error)) {
            return false;
        }
        if (!g->call) {
            finish(g, occasion, here, outcome);
        }
    }
    for (int i = 0; g->call && i < niches_done; i++) {
        finish(g, occasion, g->niche[i], outcome);
    }
    write_memory(g, groups);
    if (g->births && ep_births_due(g->births, occasion->number, occasion->strength)) {
        outcome->n_born = ep_generation_bear(g, occasion, niches_done);
    }
    return true;
}
