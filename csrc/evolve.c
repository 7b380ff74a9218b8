/* evolve: see evolve.h. */
#include "evolve.h"

#include "compact.h"
#include "signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- construction ---------------------------------------------------------------------------- */

/* Allocates vectors for all populations, since a generation allocates nothing. */
static bool make_room(const ep_net *net, ep_evolution *e) {
    const unsigned overlaps = EP_NEEDS_ACTIVITY_OVERLAP | EP_NEEDS_WEIGHT_OVERLAP;
    int64_t n = e->founded, line = (int64_t)EP_LINE, each = (n + line - 1) / line * line;
    int64_t square = e->generation->dynamics->needs & overlaps ? ep_times(n, n) : 0;
    if (square < 0) {
        return false;
    }
    ep_real **vectors[] = {&e->raw,           &e->norm2,    &e->owned_norm2, &e->owned_gradient2,
                           &e->owned_product, &e->activity, &e->overlap};
    e->room = ep_slab_new(each * EP_COUNT(vectors) + 2 * square);
    e->group = calloc((size_t)ep_max(1, net->n_populations), sizeof *e->group);
    if (!e->room || !e->group || !ep_census_open(&e->census, net)) {
        return false;
    }
    for (int i = 0; i < EP_COUNT(vectors); i++) {
        *vectors[i] = e->room->at + each * i;
    }
    e->overlap = square ? e->overlap : NULL;
    return true;
}

ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_fitness *fitness, const void *fitness_config,
                               const ep_dynamics *dynamics, const void *dynamics_config,
                               ep_error *error) {
    ep_evolution *e = calloc(1, sizeof *e);
    int64_t *founded = calloc((size_t)ep_max(1, net->n_populations), sizeof *founded);
    if (!e || !founded) {
        free(e);
        free(founded);
        ep_fail(error, EP_NO_MEMORY, "selection: out of memory");
        return NULL;
    }
    e->fitness = fitness;
    for (int i = 0; i < net->n_populations; i++) {
        founded[i] = net->axes[net->populations[i].axis].founded;
        e->founded += founded[i];
    }
    e->generation = ep_generation_new(selection, dynamics, dynamics_config, net->n_populations,
                                      founded, error);
    free(founded);
    if (e->generation &&
        ep_config_copy(fitness->fields, fitness->config_size, fitness_config, &e->fitness_config) &&
        make_room(net, e)) {
        return e;
    }
    if (e->generation) {
        ep_fail(error, EP_NO_MEMORY, "selection: no memory for %lld populations",
                (long long)e->founded);
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

/* Writes the cosines of the outputs of n populations over the batch. */
static void measure_cosines(const ep_evolution *e, int population, int64_t n, ep_real *to) {
    if (e->ranks) {
        memcpy(to, ep_ranks_gram(e->ranks, e->net, population), (size_t)(n * n) * sizeof *to);
    } else {
        ep_signal_activity_gram(e->net, &e->net->populations[population], to, e->scratch);
    }
    ep_signal_cosines(n, to);
}

/* Measures norms and overlaps of the living populations of a niche: see ep_occasion. Overlaps
 * between layers are 0. */
static void measure_overlap(void *context, const ep_generation *g, int64_t first,
                            ep_cohort *cohort) {
    ep_evolution *e = context;
    const ep_net *net = e->net;
    unsigned needs = g->dynamics->needs;
    int64_t n = cohort->n;
    if (e->overlap) {
        memset(e->overlap, 0, (size_t)(n * n) * sizeof *e->overlap);
    }
    ep_real *whole = e->overlap ? e->overlap + e->founded * e->founded : NULL;
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

/* The `mark_extinct` callback of ep_occasion: records and zeroes the extinct populations of a niche. */
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
                               .birth = axis->birth,
                               .mass = ep_net_numbers(net, p->mass),
                               .fitness = ep_net_numbers(net, p->fitness),
                               .alive = ep_net_numbers(net, p->alive),
                               .state = ep_net_numbers(net, p->state),
                               .cost = census->cost[i]};
    }
}

/* True if every living population has a finite fitness. A NaN would make its mass NaN for good. */
static bool all_finite(const ep_group *group) {
    for (int64_t k = 0; k < group->n; k++) {
        if (group->alive[k] > 0 && !isfinite(group->raw[k])) {
            return false;
        }
    }
    return true;
}

bool ep_evolve(ep_net *net, ep_evolution *e, double pressure, double strength, ep_real *scratch,
               ep_chronicle *chronicle, ep_error *error) {
    ep_generation *g = e->generation;
    ep_census_take(&e->census, net, (ep_upkeep)g->settings.upkeep);
    ep_evolve_groups(net, &e->census, e->group);
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
    return true;
}

/* ---- removal --------------------------------------------------------------------------------- */

bool ep_evolve_compact(ep_net *net, ep_evolution *e, ep_chronicle *chronicle, ep_error *error) {
    /* A removal copies about as much as one step reads and writes. As in the ski rental problem,
     * remove once the rent (work done for extinct populations) reaches half a step: at most twice
     * the cost of the best moment in hindsight. */
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
    net->waste += macs > 0 ? 1 - e->census.macs / macs : 1;
    if (settings->removal == EP_REMOVE_AUTO && net->waste < purchase) {
        return true;
    }
    if ((e->ranks && !ep_ranks_agree(e->ranks, net, error)) || !ep_compact_extinct(net, error)) {
        return false;
    }
    chronicle->compactions++;
    return true;
}
