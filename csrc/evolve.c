/* evolve: see evolve.h. */
#include "evolve.h"

#include "compact.h"
#include "signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one cohort --------------------------------------------------------------------------------*/

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
        s.activity = e->activity;
    }
    if (e->call_fitness) {
        return e->call_fitness(e->context, &s, raw, error);
    }
    e->fitness->measure(e->fitness_config, &s, raw);
    return true;
}

/* F <- memory F + (1 - memory) raw, for every population of the network. */
static bool remember_fitness(ep_net *net, ep_evolution *e, ep_error *error) {
    const ep_real keep = (ep_real)e->selection.memory, take = 1 - keep;
    for (int i = 0; i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        if (!measure_fitness(net, e, p, e->fit, error)) {
            return false;
        }
        ep_real *fitness = ep_net_numbers(net, p->fitness);
        for (int64_t j = 0; j < net->axes[p->axis].n; j++) {
            fitness[j] = keep * fitness[j] + take * e->fit[j];
        }
    }
    return true;
}

/* Appends the living of population layer i to the cohort; birth ids follow `first_birth`. */
static int64_t enrol(ep_net *net, ep_evolution *e, int i, int64_t n, int64_t first_birth,
                     int64_t first_given, double pressure, double correction) {
    const ep_population *p = &net->populations[i];
    const ep_real *mass = ep_net_numbers(net, p->mass), *alive = ep_net_numbers(net, p->alive);
    const ep_real *fitness = ep_net_numbers(net, p->fitness);
    const ep_axis *axis = &net->axes[p->axis];
    bool given = e->selection.upkeep == EP_UPKEEP_GIVEN;
    for (int64_t j = 0; j < axis->n; j++) {
        if (alive[j] > 0) {
            int64_t birth = ep_birth(axis, j);
            e->mass[n] = mass[j];
            e->fit[n] = (ep_real)((double)fitness[j] * correction);
            e->upkeep[n] = (ep_real)(pressure * (given ? e->selection.given.at[first_given + birth]
                                                       : e->share[i]));
            e->birth[n] = (int32_t)(first_birth + birth);
            e->place[n] = j;
            e->member[n++] = i;
        }
    }
    return n;
}

/* Soft selection (Wallace 1975): who lives is settled within a niche, by what its others earn. Upkeep
 * is pressure times what they earn, by founder (the dead earn nothing, so there is room for about
 * born / pressure, and the last one lives), more for those that cost more multiply-adds than the
 * mean of the living. */
static void soften_upkeep(ep_evolution *e, int64_t n, int64_t born, double pressure) {
    double earned = 0, spent = 0;
    for (int64_t k = 0; k < n; k++) {
        earned += e->fit[k] > 0 ? (double)e->fit[k] : 0;
        spent += (double)e->upkeep[k];
    }
    for (int64_t k = 0; k < n; k++) {
        double own = e->fit[k] > 0 ? (double)e->fit[k] : 0, others = earned - own;
        double cost = spent > 0 ? (double)e->upkeep[k] / spent * (double)n : 1;
        e->upkeep[k] = others > 0 ? (ep_real)(pressure * cost * others / (double)(born - 1)) : 0;
    }
}

/* Copies the laws' memory between the tensors and the (states, n) block of a cohort. */
static void exchange_state(ep_net *net, ep_evolution *e, int64_t n, bool out) {
    for (int64_t k = 0; k < n; k++) {
        const ep_population *p = &net->populations[e->member[k]];
        ep_real *state = ep_net_numbers(net, p->state);
        for (int s = 0; s < e->dynamics->states; s++) {
            ep_real *there = &state[s * net->axes[p->axis].n + e->place[k]];
            ep_real *here = &e->state[s * n + k];
            *(out ? there : here) = *(out ? here : there);
        }
    }
}

/* Overlaps of the living of layers first .. last, 0 between layers; norms beside them. */
static void measure_likeness(ep_net *net, ep_evolution *e, int64_t n, ep_real *scratch) {
    unsigned needs = e->dynamics->needs;
    if (!(needs & (EP_NEEDS_ACTIVITY_OVERLAP | EP_NEEDS_WEIGHT_OVERLAP | EP_NEEDS_WEIGHT_NORM))) {
        return;
    }
    if (e->overlap) {
        memset(e->overlap, 0, (size_t)(n * n) * sizeof *e->overlap);
    }
    ep_real *whole = e->overlap ? e->overlap + e->born * e->born : NULL;
    for (int64_t k0 = 0, k1; k0 < n; k0 = k1) {
        const ep_population *p = &net->populations[e->member[k0]];
        int64_t size = net->axes[p->axis].n;
        for (k1 = k0; k1 < n && e->member[k1] == e->member[k0]; k1++) {
        }
        if (needs & EP_NEEDS_ACTIVITY_OVERLAP) {
            ep_signal_activity_overlap(net, p, whole, scratch);
        } else if (needs & EP_NEEDS_WEIGHT_OVERLAP) {
            ep_signal_weight_overlap(net, p, whole, scratch);
        }
        for (int64_t k = k0; whole && k < k1; k++) {
            for (int64_t l = k0; l < k1; l++) {
                e->overlap[k * n + l] = whole[e->place[k] * size + e->place[l]];
            }
        }
        if (needs & EP_NEEDS_WEIGHT_NORM) {
            ep_signal_weight_norm(net, p, e->activity);
            for (int64_t k = k0; k < k1; k++) {
                e->norm2[k] = e->activity[e->place[k]];
            }
        }
    }
}

/* The extinct of layer i among the cohort's members: the lightest first, never below the floor. */
static void bury_extinct(ep_net *net, ep_evolution *e, int i, int64_t n, ep_chronicle *chronicle) {
    const ep_population *p = &net->populations[i];
    int64_t spare = ep_alive(net, p) - e->selection.floor;
    const ep_real threshold = (ep_real)e->selection.threshold;
    for (;;) {
        int64_t lightest = -1;
        for (int64_t k = 0; k < n; k++) {
            if (e->member[k] == i && e->place[k] >= 0 && e->mass[k] < threshold &&
                (lightest < 0 || e->mass[k] < e->mass[lightest])) {
                lightest = k;
            }
        }
        if (lightest < 0) {
            return;
        }
        int64_t j = e->place[lightest];
        e->place[lightest] = -1;
        if (spare-- > 0) {
            if (chronicle->n_deaths < chronicle->room) {
                chronicle->deaths[chronicle->n_deaths++] = (ep_death){
                    net->step, i, (int32_t)ep_birth(&net->axes[p->axis], j),
                    (double)e->mass[lightest], (double)e->fit[lightest]};
            }
            ep_kill(net, p, j);
        } else { /* the floor holds: it stays at the edge, ready to recover */
            ep_net_numbers(net, p->mass)[j] = threshold;
            chronicle->bound++;
        }
    }
}

static bool step_cohort(ep_net *net, ep_evolution *e, int first, int last, double pressure,
                        double strength, ep_real *scratch, ep_chronicle *chronicle,
                        ep_error *error) {
    double memory = e->selection.memory;
    double correction = 1 / (1 - pow(memory, (double)net->generation));
    int64_t n = 0, births = 0, before = 0;
    for (int i = 0; i < first; i++) {
        before += net->axes[net->populations[i].axis].born;
    }
    for (int i = first; i < last; i++) {
        n = enrol(net, e, i, n, births, before + births, pressure, correction);
        births += net->axes[net->populations[i].axis].born;
    }
    if (e->selection.upkeep == EP_UPKEEP_SOFT) {
        soften_upkeep(e, n, births, pressure);
    }
    exchange_state(net, e, n, false);
    measure_likeness(net, e, n, scratch);
    ep_noise stream = {net->seed, EP_STREAM_EVOLVE + (uint64_t)first};
    ep_cohort cohort = {
        .n = n,
        .mass = e->mass,
        .fitness = e->fit,
        .upkeep = e->upkeep,
        .state = e->state,
        .birth = e->birth,
        .born = births,
        .overlap = e->overlap,
        .norm2 = e->norm2,
        .threshold = e->selection.threshold,
        .strength = strength,
        .noise = ep_random_fork(stream, (uint64_t)net->generation),
    };
    if (e->call_dynamics) {
        if (!e->call_dynamics(e->context, &cohort, error)) {
            return false;
        }
    } else {
        e->dynamics->step(e->dynamics_config, &cohort);
    }
    exchange_state(net, e, n, true);
    for (int64_t k = 0; k < n; k++) {
        ep_net_numbers(net, net->populations[e->member[k]].mass)[e->place[k]] = e->mass[k];
    }
    for (int i = first; i < last && net->generation >= e->selection.min_age; i++) {
        bury_extinct(net, e, i, n, chronicle);
    }
    return true;
}

bool ep_evolve(ep_net *net, ep_evolution *e, double pressure, double strength, ep_real *scratch,
               ep_chronicle *chronicle, ep_error *error) {
    net->generation++;
    if (!remember_fitness(net, e, error)) {
        return false;
    }
    ep_refresh_shares(net, e);
    bool whole = e->selection.niche == EP_NICHE_NETWORK;
    int n = net->n_populations;
    for (int i = 0; i < n; i = whole ? n : i + 1) {
        if (!step_cohort(net, e, i, whole ? n : i + 1, pressure, strength, scratch, chronicle,
                         error)) {
            return false;
        }
    }
    return true;
}

/* ---- removal ---------------------------------------------------------------------------------- */

bool ep_bury(ep_net *net, ep_error *error) {
    int64_t present = 0;
    for (int i = 0; i < net->n_populations; i++) {
        present += net->axes[net->populations[i].axis].n;
    }
    const int32_t **keep = calloc((size_t)net->n_axes, sizeof *keep);
    int64_t *kept = calloc((size_t)net->n_axes, sizeof *kept);
    int32_t *places = malloc((size_t)present * sizeof *places + 1), *next = places;
    bool ok = keep && kept && places, some = false;
    for (int i = 0; ok && i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_real *alive = ep_net_numbers(net, p->alive);
        int64_t n = net->axes[p->axis].n, left = 0;
        if (ep_alive(net, p) == n) {
            continue;
        }
        for (int64_t j = 0; j < n; j++) {
            if (alive[j] > 0) {
                next[left++] = (int32_t)j;
            }
        }
        keep[p->axis] = next;
        kept[p->axis] = left;
        next += left;
        some = true;
    }
    if (!ok) {
        ep_fail(error, EP_NO_MEMORY, "network: no memory to remove the extinct; nothing changed");
    } else if (some) {
        ok = ep_compact(net, keep, kept, error);
    }
    free(places);
    free(keep);
    free(kept);
    return ok;
}

bool ep_evolve_compact(ep_net *net, ep_evolution *e, bool now, ep_chronicle *chronicle,
                       ep_error *error) {
    /* Removing copies about what one step reads and writes, so it is rent against purchase: pay
     * (remove) once the rent (work done for the dead) has come to half a step. At most twice the
     * cost of the best moment, known only afterwards. */
    const double purchase = 0.5;
    ep_refresh_shares(net, e);
    int64_t present = 0;
    for (int i = 0; i < net->n_populations; i++) {
        present += net->axes[net->populations[i].axis].n;
    }
    if (present == e->living || (e->selection.removal == EP_REMOVE_NEVER && !now)) {
        return true;
    }
    double flops = ep_net_flops(net, net->axes);
    e->waste += flops > 0 ? 1 - e->living_flops / flops : 1;
    if (!now && e->selection.removal == EP_REMOVE_AUTO && e->waste < purchase) {
        return true;
    }
    if (!ep_bury(net, error)) {
        return false;
    }
    e->waste = 0;
    chronicle->compactions++;
    return true;
}
