/* evolve: see evolve.h. */
#include "evolve.h"

#include "inherit.h"
#include "signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- construction ---------------------------------------------------------------------------- */

/* Allocates the vectors for all populations, so that a generation without births allocates
 * nothing. */
static bool make_room(const ep_net *net, ep_evolution *e) {
    const unsigned overlaps = EP_NEEDS_ACTIVITY_OVERLAP | EP_NEEDS_WEIGHT_OVERLAP;
    int64_t n = e->most, line = (int64_t)EP_LINE, each = (n + line - 1) / line * line;
    int64_t square = e->generation->dynamics->needs & overlaps ? ep_times(n, n) : 0;
    if (square < 0) {
        return false;
    }
    ep_real **vectors[] = {&e->raw,           &e->norm2,    &e->owned_norm2, &e->owned_gradient2,
                           &e->owned_product, &e->activity, &e->overlap};
    e->room = ep_slab_new(each * EP_COUNT(vectors) + 2 * square);
    e->group = calloc((size_t)ep_max(1, net->n_populations), sizeof *e->group);
    e->barren = calloc((size_t)ep_max(1, net->n_populations), sizeof *e->barren);
    e->returns = calloc((size_t)ep_max(1, net->n_populations), sizeof *e->returns);
    if (!e->room || !e->group || !e->barren || !e->returns || !ep_census_open(&e->census, net)) {
        return false;
    }
    for (int i = 0; e->generation->births && i < net->n_populations; i++) {
        e->barren[i] = ep_barren(net, &net->populations[i]) != NULL;
        e->returns[i] = e->generation->births->returns > 0 &&
                        ep_no_return(net, &net->populations[i]) == NULL;
    }
    for (int i = 0; i < EP_COUNT(vectors); i++) {
        *vectors[i] = e->room->at + each * i;
    }
    e->overlap = square ? e->overlap : NULL;
    return true;
}

void ep_evolve_count(const ep_net *net, ep_headcount *counts) {
    for (int i = 0; i < net->n_populations; i++) {
        const ep_axis *axis = &net->axes[net->populations[i].axis];
        counts[i] = (ep_headcount){axis->founded, axis->next_birth, axis->n};
    }
}

ep_net *ep_evolution_largest(const ep_net *net, const ep_evolution *e) {
    ep_net *most = malloc(sizeof *most);
    if (!most) {
        return NULL;
    }
    *most = *net;
    most->axes = malloc((size_t)net->n_axes * sizeof *net->axes + 1);
    most->values = malloc((size_t)net->n_values * sizeof *net->values + 1);
    most->layers = malloc((size_t)net->n_layers * sizeof *net->layers + 1);
    most->tensors = malloc((size_t)net->n_tensors * sizeof *net->tensors + 1);
    if (!most->axes || !most->values || !most->layers || !most->tensors) {
        ep_evolution_largest_free(most);
        return NULL;
    }
    memcpy(most->axes, net->axes, (size_t)net->n_axes * sizeof *net->axes);
    memcpy(most->values, net->values, (size_t)net->n_values * sizeof *net->values);
    memcpy(most->layers, net->layers, (size_t)net->n_layers * sizeof *net->layers);
    memcpy(most->tensors, net->tensors, (size_t)net->n_tensors * sizeof *net->tensors);
    for (int i = 0; i < net->n_populations; i++) {
        ep_axis *axis = &most->axes[net->populations[i].axis];
        if (e->returns[i]) {
            axis->n = axis->founded;
        } else if (!e->barren[i]) {
            axis->n = ep_max(axis->n, ep_births_capacity(e->generation->births, axis->founded));
        }
    }
    most->begin[EP_ROLES] = ep_net_measure(most); /* number of elements; -1 on overflow */
    return most;
}

void ep_evolution_largest_free(ep_net *most) {
    free(most->axes);
    free(most->values);
    free(most->layers);
    free(most->tensors);
    free(most);
}

/* Checks that births are possible, fit into memory and can be combined with the settings. */
static bool check_births(const ep_net *net, const ep_evolution *e, ep_error *error) {
    const char *why = "the network has none with a mass", *why_not = why;
    int bearing = 0, returning = 0;
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const char *barren = ep_barren(net, p), *no_return = ep_no_return(net, p);
        why = barren ? barren : why;
        why_not = no_return ? no_return : why_not;
        bearing += barren == NULL;
        returning += no_return == NULL;
    }
    if (!returning && e->generation->births->returns > 0) {
        return ep_fail(error, EP_BAD_VALUE,
                       "births: returns: expected input features with masses, such as those of "
                       "mlp(inputs=True), got none that can return: %s",
                       why_not);
    }
    if (!bearing && !(e->generation->births->returns > 0)) {
        return ep_fail(error, EP_BAD_VALUE,
                       "births: expected populations that can divide without a change of outputs, "
                       "got none: %s",
                       why);
    }
    if (e->generation->settings.removal == EP_REMOVE_NEVER) {
        return ep_fail(error, EP_BAD_VALUE,
                       "births: expected removal auto or always, since births change the arrays, "
                       "got never");
    }
    ep_net *largest = ep_evolution_largest(net, e);
    if (!largest) {
        return ep_fail(error, EP_NO_MEMORY, "selection: out of memory");
    }
    /* elements of each of four slabs: values, gradients, first and second moments */
    int64_t n = largest->begin[EP_ROLES];
    ep_evolution_largest_free(largest);
    return ep_slab_fits(ep_times(4, n)) ||
           ep_fail(error, EP_NO_MEMORY,
                   "births: no memory for a network at its capacity of births (%.3g elements); "
                   "expected a lower capacity",
                   n < 0 ? 9.2e18 : (double)n);
}

ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_births *births, const ep_fitness *fitness,
                               const void *fitness_config, const ep_dynamics *dynamics,
                               const void *dynamics_config, ep_error *error) {
    ep_evolution *e = calloc(1, sizeof *e);
    ep_headcount *counts = calloc((size_t)ep_max(1, net->n_populations), sizeof *counts);
    if (!e || !counts) {
        free(e);
        free(counts);
        ep_fail(error, EP_NO_MEMORY, "selection: out of memory");
        return NULL;
    }
    e->fitness = fitness;
    ep_evolve_count(net, counts);
    e->generation = ep_generation_new(selection, births, dynamics, dynamics_config,
                                      net->n_populations, counts, error);
    free(counts);
    if (e->generation) {
        e->founded = e->generation->founded;
        e->most = e->generation->room;
        e->generation->inherited = fitness->extensive ? 0.5 : 1;
    }
    bool made = e->generation &&
                ep_config_copy(fitness->fields, fitness->config_size, fitness_config,
                               &e->fitness_config) &&
                make_room(net, e);
    if (made && (!births || check_births(net, e, error))) {
        return e;
    }
    if (e->generation && !made) {
        ep_fail(error, EP_NO_MEMORY, "selection: no memory for %lld populations",
                (long long)e->most);
    }
    ep_evolution_free(e);
    return NULL;
}

void ep_evolution_free(ep_evolution *e) {
    if (!e) {
        return;
    }
    ep_generation_free(e->generation);
    ep_config_free(e->fitness->fields, e->fitness_config);
    ep_census_close(&e->census);
    free(e->group);
    free(e->barren);
    free(e->returns);
    ep_slab_drop(e->room);
    free(e);
}

/* ---- extinction ------------------------------------------------------------------------------ */

/* Sets slice j along dimension d of tensor t to 0: values, gradient and moments. */
static void clear_slice(ep_net *net, const ep_tensor *t, int d, int64_t j) {
    ep_slab *slabs[] = {net->numbers, net->gradients, net->first, net->second};
    int64_t before = 1, n = net->axes[t->axis[d]].n, after = 1;
    for (int i = 0; i < t->rank; i++) {
        before *= i < d ? net->axes[t->axis[i]].n : 1;
        after *= i > d ? net->axes[t->axis[i]].n : 1;
    }
    for (int s = 0; s < EP_COUNT(slabs); s++) {
        ep_real *at = slabs[s]->at + t->at + j * after;
        for (int64_t i = 0; i < before; i++, at += n * after) {
            memset(at, 0, (size_t)after * sizeof *at);
        }
    }
}

void ep_kill(ep_net *net, const ep_population *population, int64_t j) {
    ep_net_numbers(net, population->alive)[j] = 0;
    ep_net_numbers(net, population->mass)[j] = 0;
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *t = &net->tensors[i];
        for (int d = 0; d < t->rank && (t->role == EP_DECAYED || t->role == EP_FREE); d++) {
            if (t->axis[d] == population->axis) {
                clear_slice(net, t, d, j);
            }
        }
    }
}

/* ---- one generation -------------------------------------------------------------------------- */

static bool measure_fitness(ep_net *net, ep_evolution *e, const ep_population *p, ep_real *raw,
                            ep_error *error) {
    unsigned needs = e->call_fitness ? ~0u : e->fitness->needs;
    ep_signals s = {.n = net->axes[p->axis].n,
                    .mass = ep_net_numbers(net, p->mass),
                    .mass_gradient = net->gradients->at + net->tensors[p->mass].at,
                    .terms = net->terms};
    if (needs & EP_NEEDS_NORM) {
        ep_signal_owned(net, p->axis, net->numbers, net->numbers, e->owned_norm2);
        s.owned_norm2 = e->owned_norm2;
    }
    if (needs & EP_NEEDS_GRADIENT) {
        ep_signal_owned(net, p->axis, net->gradients, net->gradients, e->owned_gradient2);
        s.owned_gradient2 = e->owned_gradient2;
    }
    if (needs & EP_NEEDS_PRODUCT) {
        ep_signal_owned(net, p->axis, net->numbers, net->gradients, e->owned_product);
        s.owned_product = e->owned_product;
    }
    if (needs & EP_NEEDS_ACTIVITY) {
        ep_signal_activity(net, p, e->activity);
        s.activity = e->ranks ? ep_ranks_activity(e->ranks, net, (int)(p - net->populations))
                              : e->activity;
    }
    if (e->call_fitness) {
        return e->call_fitness(e->context, &s, raw, error);
    }
    e->fitness->measure(e->fitness_config, &s, raw);
    return true;
}

bool ep_evolution_needs_activity(const ep_evolution *e) {
    return e->call_fitness || (e->fitness->needs & EP_NEEDS_ACTIVITY);
}
bool ep_evolution_needs_overlap(const ep_evolution *e) {
    return e->overlap && (e->generation->dynamics->needs & EP_NEEDS_ACTIVITY_OVERLAP);
}

/* Writes the cosines (n, n) of the outputs of n populations over the last batch. */
static void measure_cosines(const ep_evolution *e, int population, int64_t n, ep_real *to) {
    EP_ASSERT(to);
    if (e->ranks) {
        memcpy(to, ep_ranks_gram(e->ranks, e->net, population), (size_t)(n * n) * sizeof *to);
    } else {
        ep_signal_activity_gram(e->net, &e->net->populations[population], to, e->scratch);
    }
    ep_signal_cosines(n, to);
}

/* Implements `measure` of ep_occasion: measures norms and overlaps of the living populations of a
 * niche. Overlaps between layers are 0. */
static void measure_overlap(void *context, const ep_generation *g, int64_t first,
                            ep_cohort *cohort) {
    ep_evolution *e = context;
    const ep_net *net = e->net;
    unsigned needs = g->dynamics->needs;
    int64_t n = cohort->n;
    if (e->overlap) {
        memset(e->overlap, 0, (size_t)(n * n) * sizeof *e->overlap);
    }
    ep_real *whole = e->overlap ? e->overlap + e->most * e->most : NULL;
    const int *group = g->group + first;
    const int64_t *place = g->place + first;
    for (int64_t k0 = 0, k1; k0 < n; k0 = k1) {
        const ep_population *p = &net->populations[group[k0]];
        int64_t size = net->axes[p->axis].n;
        for (k1 = k0; k1 < n && group[k1] == group[k0]; k1++) {
        }
        if (needs & EP_NEEDS_ACTIVITY_OVERLAP) {
            measure_cosines(e, group[k0], size, whole);
        } else if (needs & EP_NEEDS_WEIGHT_OVERLAP) {
            ep_signal_weight_overlap(net, p, whole, e->scratch);
        }
        for (int64_t k = k0; whole && k < k1; k++) {
            for (int64_t l = k0; l < k1; l++) {
                e->overlap[k * n + l] = whole[place[k] * size + place[l]];
            }
        }
        if (needs & EP_NEEDS_WEIGHT_NORM) {
            ep_signal_weight_norm(net, p, e->activity);
            for (int64_t k = k0; k < k1; k++) {
                e->norm2[k] = e->activity[place[k]];
            }
        }
    }
    cohort->overlap = e->overlap;
    cohort->norm2 = needs & EP_NEEDS_WEIGHT_NORM ? e->norm2 : NULL;
}

/* Implements `mark_extinct` of ep_occasion: records the extinct populations of a niche and sets
 * their masses and weights to 0. */
static void mark_extinct(void *context, const ep_extinct *extinct, int64_t n) {
    ep_evolution *e = context;
    ep_chronicle *chronicle = e->chronicle;
    for (int64_t k = 0; k < n; k++) {
        const ep_extinct *gone = &extinct[k];
        if (chronicle->n_deaths < chronicle->room) {
            chronicle->deaths[chronicle->n_deaths++] = (ep_death){
                e->net->step, gone->group, gone->birth, (double)gone->mass, (double)gone->fitness};
        }
        ep_kill(e->net, &e->net->populations[gone->group], gone->place);
    }
}

void ep_evolve_groups(const ep_net *net, const ep_census *census, ep_group *groups) {
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_axis *axis = &net->axes[p->axis];
        groups[i] = (ep_group){.n = axis->n,
                               .founded = axis->founded,
                               .born = axis->next_birth,
                               .birth = axis->birth,
                               .mass = ep_net_numbers(net, p->mass),
                               .fitness = ep_net_numbers(net, p->fitness),
                               .alive = ep_net_numbers(net, p->alive),
                               .state = ep_net_numbers(net, p->state),
                               .cost = census->cost[i]};
    }
}

/* True if every living population has a finite fitness. A NaN would make its mass NaN forever. */
static bool all_finite(const ep_group *group) {
    for (int64_t k = 0; k < group->n; k++) {
        if (group->alive[k] > 0 && !isfinite(group->raw[k])) {
            return false;
        }
    }
    return true;
}

bool ep_chronicle_open(ep_chronicle *chronicle, const ep_net *net) {
    *chronicle = (ep_chronicle){0};
    for (int i = 0; i < net->n_populations; i++) {
        chronicle->room += net->axes[net->populations[i].axis].n;
    }
    chronicle->deaths = calloc((size_t)chronicle->room + 1, sizeof *chronicle->deaths);
    return chronicle->deaths != NULL;
}

void ep_chronicle_close(ep_chronicle *chronicle) {
    free(chronicle->deaths);
    free(chronicle->births);
    chronicle->deaths = NULL;
    chronicle->births = NULL;
}

/* Makes room for the records of n births, and of the later deaths of the n newborn populations. */
static bool extend(ep_chronicle *chronicle, int64_t n) {
    int64_t room = chronicle->room + n, births = chronicle->n_births + n;
    if (births > chronicle->births_room) {
        births = ep_max(births, 2 * chronicle->births_room);
        void *more = realloc(chronicle->births, (size_t)births * sizeof *chronicle->births);
        if (!more) {
            return false;
        }
        chronicle->births = more;
        chronicle->births_room = births;
    }
    void *more = realloc(chronicle->deaths, (size_t)(room + 1) * sizeof *chronicle->deaths);
    if (!more) {
        return false;
    }
    chronicle->deaths = more;
    chronicle->room = room;
    return true;
}

/* Adds the newborn of a generation to the network and to the record. On failure, gives the parents
 * their mass and fitness back. */
static bool bear(ep_net *net, ep_evolution *e, int64_t n, ep_error *error) {
    const ep_generation *g = e->generation;
    ep_chronicle *chronicle = e->chronicle;
    bool ok = extend(chronicle, n) ? ep_bear(net, g->newborn, n, g->births->mutation, error)
                                   : ep_fail(error, EP_NO_MEMORY, "selection: out of memory");
    for (int64_t b = 0; b < n; b++) {
        const ep_newborn *one = &g->newborn[b];
        if (ok) {
            chronicle->births[chronicle->n_births++] = (ep_birth_record){
                net->step,   one->group,        one->birth,
                one->parent, (double)one->mass, (double)one->fitness};
        } else if (one->place >= 0) {
            e->group[one->group].mass[one->place] *= 2;
            e->group[one->group].fitness[one->place] /= (ep_real)g->inherited;
        }
    }
    chronicle->compactions += ok;
    return ok;
}

bool ep_evolve(ep_net *net, ep_evolution *e, double pressure, double strength, ep_real *scratch,
               ep_chronicle *chronicle, ep_error *error) {
    ep_generation *g = e->generation;
    ep_census_take(&e->census, net, (ep_upkeep)g->settings.upkeep);
    ep_evolve_groups(net, &e->census, e->group);
    for (int i = 0; i < net->n_populations; i++) {
        e->group[i].barren = e->barren[i];
        e->group[i].returns = e->returns[i];
    }
    ep_real *raw = e->raw;
    for (int i = 0; i < net->n_populations; raw += e->group[i++].n) {
        if (!measure_fitness(net, e, &net->populations[i], raw, error)) {
            return false;
        }
        e->group[i].raw = raw;
        if (!all_finite(&e->group[i])) {
            return ep_fail(error, EP_DIVERGED, "the fitness of '%s' is not finite; no mass changed",
                           net->layers[net->populations[i].layer].name);
        }
    }
    e->net = net;
    e->scratch = scratch;
    e->chronicle = chronicle;
    const unsigned measured = EP_NEEDS_ACTIVITY_OVERLAP | EP_NEEDS_WEIGHT_OVERLAP |
                              EP_NEEDS_WEIGHT_NORM;
    ep_occasion occasion = {.group = e->group,
                            .number = net->generation + 1,
                            .seed = net->seed,
                            .pressure = pressure,
                            .strength = strength,
                            .measure = g->dynamics->needs & measured ? measure_overlap : NULL,
                            .mark_extinct = mark_extinct,
                            .context = e};
    ep_outcome outcome;
    if (!ep_generation_step(g, &occasion, &outcome, error)) {
        return false;
    }
    net->generation++;
    chronicle->floor_reached += outcome.floor_reached;
    return outcome.n_born == 0 || bear(net, e, outcome.n_born, error);
}

/* ---- removal --------------------------------------------------------------------------------- */

bool ep_evolve_compact(ep_net *net, ep_evolution *e, ep_chronicle *chronicle, ep_error *error) {
    /* `purchase` estimates the cost of a removal in steps. A removal copies about as much memory as
     * one step reads and writes, but computes nothing. This is the ski rental problem: if extinct
     * populations are removed once the work done for them (net->waste, in steps) reaches this cost,
     * the total cost is at most twice that of the best moment in hindsight. */
    const double purchase = 0.5;
    const ep_selection *settings = &e->generation->settings;
    ep_census_take(&e->census, net, (ep_upkeep)settings->upkeep);
    int64_t present = 0;
    for (int i = 0; i < net->n_populations; i++) {
        present += net->axes[net->populations[i].axis].n;
    }
    if (present == e->census.living || settings->removal == EP_REMOVE_NEVER) {
        return true;
    }
    double macs = ep_net_macs(net, net->axes);
    net->waste += settings->every * (macs > 0 ? 1 - e->census.macs / macs : 1);
    if (settings->removal == EP_REMOVE_AUTO && net->waste < purchase) {
        return true;
    }
    if ((e->ranks && !ep_ranks_agree(e->ranks, net, error)) || !ep_compact_extinct(net, error)) {
        return false;
    }
    chronicle->compactions++;
    return true;
}
