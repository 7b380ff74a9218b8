/* evolve: see evolve.h. */
#include "evolve.h"

#include "compact.h"
#include "gemm.h"
#include "signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const upkeeps[] = {"macs", "params", "uniform", "given", NULL};
static const char *const niches[] = {"layer", "network", NULL};
static const char *const removals[] = {"auto", "never", "always", NULL};

const ep_field ep_selection_fields[] = {
    {.name = "upkeep",
     .type = EP_CHOICE,
     .offset = offsetof(ep_selection, upkeep),
     .choices = upkeeps,
     .doc =
         "what mass costs: the share of the founding network's multiply-adds (macs) or parameters"
         " (params) that one population causes now, one over the founding number of populations"
         " (uniform), or the vector `given`"},
    {.name = "niche",
     .type = EP_CHOICE,
     .offset = offsetof(ep_selection, niche),
     .choices = niches,
     .doc = "who competes and is normalised together: the populations of a layer, or all"},
    {.name = "removal",
     .type = EP_CHOICE,
     .offset = offsetof(ep_selection, removal),
     .choices = removals,
     .doc =
         "when the extinct are removed from every array: once the work they would cause repays the"
         " copying (auto), never (they are only masked), or at once (always); the survivors' numbers"
         " do not depend on it"},
    {.name = "given",
     .type = EP_VECTOR,
     .offset = offsetof(ep_selection, given),
     .low = 0,
     .high = 1e30,
     .doc = "upkeep share per founding population, populations layers in order"},
    {.name = "memory",
     .type = EP_REAL,
     .offset = offsetof(ep_selection, memory),
     .initial = 0.9,
     .low = 0,
     .high = 0.9999999,
     .doc = "exponential memory of fitness from generation to generation, bias-corrected"},
    {.name = "threshold",
     .type = EP_REAL,
     .offset = offsetof(ep_selection, threshold),
     .initial = 1e-3,
     .low = 0,
     .high = 1,
     .doc = "mass under which a population is extinct (1 at birth)"},
    {.name = "floor",
     .type = EP_INT,
     .offset = offsetof(ep_selection, floor),
     .initial = 1,
     .low = 0,
     .high = 1e9,
     .doc = "populations of a layer that stay whatever happens"},
    {.name = "min_age",
     .type = EP_INT,
     .offset = offsetof(ep_selection, min_age),
     .initial = 100,
     .low = 0,
     .high = 1e15,
     .doc = "generations before which no one goes extinct"},
    {.name = "every",
     .type = EP_INT,
     .offset = offsetof(ep_selection, every),
     .initial = 1,
     .low = 1,
     .high = 1e9,
     .doc = "training steps to a generation"},
    EP_FIELDS_END,
};

struct ep_evolution {
    ep_selection selection;
    const ep_fitness *fitness;
    const ep_dynamics *dynamics;
    void *fitness_config, *dynamics_config;
    ep_fitness_call call_fitness;
    ep_dynamics_call call_dynamics;
    void *context;
    int64_t born;         /* founding populations of the network */
    ep_slab *room;        /* the vectors below, and overlap when a law needs it */
    ep_real *mass, *fit, *upkeep, *state, *norm2, *overlap;
    ep_real *owned_norm2, *owned_gradient2, *owned_product, *activity;
    int32_t *birth;
    int64_t *place;       /* index along its axis of every cohort member */
    int *member;          /* and its population */
    double waste;         /* steps' worth of work done for the dead since the last removal */
    double *share;        /* upkeep share per population of every layer, for this census: */
    uint64_t census;      /* 0: none yet */
    int64_t living;
    double living_flops;  /* of the same moment */
};

const ep_selection *ep_evolution_selection(const ep_evolution *e) { return &e->selection; }

void ep_evolution_call(ep_evolution *e, ep_fitness_call fitness, ep_dynamics_call dynamics,
                       void *context) {
    e->call_fitness = fitness;
    e->call_dynamics = dynamics;
    e->context = context;
}

void ep_evolution_free(ep_evolution *e) {
    if (!e) {
        return;
    }
    ep_fields_free(ep_selection_fields, &e->selection);
    if (e->fitness && e->fitness_config) {
        ep_fields_free(e->fitness->fields, e->fitness_config);
    }
    if (e->dynamics && e->dynamics_config) {
        ep_fields_free(e->dynamics->fields, e->dynamics_config);
    }
    free(e->fitness_config);
    free(e->dynamics_config);
    free(e->birth);
    free(e->place);
    free(e->member);
    free(e->share);
    ep_slab_drop(e->room);
    free(e);
}

static bool copy_config(const ep_field *fields, size_t size, const void *from, void **to) {
    *to = calloc(1, size ? size : 1);
    if (*to && !ep_fields_copy(fields, *to, from, size)) {
        free(*to);
        *to = NULL;
    }
    return *to != NULL;
}

static bool check(const ep_net *net, const ep_evolution *e, ep_error *error) {
    const ep_selection *s = &e->selection;
    if (s->upkeep == EP_UPKEEP_GIVEN && s->given.n != e->born) {
        return ep_fail(
            error, EP_BAD_VALUE,
            "selection: given must hold an upkeep for each of %lld founding populations, got %lld",
            (long long)e->born, (long long)s->given.n);
    }
    if (e->dynamics->states > EP_STATES) {
        return ep_fail(error, EP_BAD_VALUE, "dynamics %s: wants %d states, there are %d",
                       e->dynamics->name, e->dynamics->states, EP_STATES);
    }
    for (int i = 0; e->dynamics->check && i < net->n_populations; i++) {
        bool whole = s->niche == EP_NICHE_NETWORK;
        int64_t born = whole ? e->born : net->axes[net->populations[i].axis].born;
        if (!e->dynamics->check(e->dynamics_config, born, error)) {
            return false;
        }
    }
    return true;
}

/* Vectors for the largest cohort there can be; nothing is allocated in a generation. */
static bool make_room(const ep_net *net, ep_evolution *e) {
    const unsigned overlaps = EP_NEEDS_ACTIVITY_OVERLAP | EP_NEEDS_WEIGHT_OVERLAP;
    int64_t n = e->born, line = (int64_t)EP_LINE, each = (n + line - 1) / line * line;
    int64_t square = e->dynamics->needs & overlaps ? ep_times(n, n) : 0;
    if (square < 0) {
        return false;
    }
    e->room = ep_slab_new(each * (8 + EP_STATES) + 2 * square);
    e->birth = malloc((size_t)ep_max(1, n) * sizeof *e->birth);
    e->place = malloc((size_t)ep_max(1, n) * sizeof *e->place);
    e->member = malloc((size_t)ep_max(1, n) * sizeof *e->member);
    e->share = calloc((size_t)ep_max(1, net->n_populations), sizeof *e->share);
    if (!e->room || !e->birth || !e->place || !e->member || !e->share) {
        return false;
    }
    ep_real **vectors[] = {&e->mass,          &e->fit,         &e->upkeep,
                           &e->norm2,         &e->owned_norm2, &e->owned_gradient2,
                           &e->owned_product, &e->activity,    &e->state};
    for (int i = 0; i < EP_COUNT(vectors); i++) {
        *vectors[i] = e->room->at + each * i;
    }
    e->overlap = square ? e->state + each * EP_STATES : NULL;
    return true;
}

ep_evolution *ep_evolution_new(const ep_net *net, const ep_selection *selection,
                               const ep_fitness *fitness, const void *fitness_config,
                               const ep_dynamics *dynamics, const void *dynamics_config,
                               ep_error *error) {
    ep_evolution *e = calloc(1, sizeof *e);
    if (!e) {
        ep_fail(error, EP_NO_MEMORY, "selection: out of memory");
        return NULL;
    }
    e->fitness = fitness;
    e->dynamics = dynamics;
    for (int i = 0; i < net->n_populations; i++) {
        e->born += net->axes[net->populations[i].axis].born;
    }
    ep_fields_init(ep_selection_fields, &e->selection);
    if (!ep_fields_copy(ep_selection_fields, &e->selection, selection, sizeof *selection) ||
        !copy_config(fitness->fields, fitness->config_size, fitness_config, &e->fitness_config) ||
        !copy_config(dynamics->fields, dynamics->config_size, dynamics_config,
                     &e->dynamics_config) ||
        !make_room(net, e)) {
        ep_fail(error, EP_NO_MEMORY, "selection: no memory for %lld populations",
                (long long)e->born);
    } else if (check(net, e, error)) {
        return e;
    }
    ep_evolution_free(e);
    return NULL;
}

/* ---- who is alive, and what they cost --------------------------------------------------------- */

int64_t ep_alive(const ep_net *net, const ep_population *population) {
    const ep_real *alive = ep_net_numbers(net, population->alive);
    int64_t n = 0;
    for (int64_t j = 0; j < net->axes[population->axis].n; j++) {
        n += alive[j] > 0;
    }
    return n;
}

void ep_kill(ep_net *net, const ep_population *population, int64_t j) {
    ep_net_numbers(net, population->alive)[j] = 0;
    ep_net_numbers(net, population->mass)[j] = 0;
}

static double cost(const ep_net *net, const ep_axis *axes, ep_upkeep unit) {
    if (unit == EP_UPKEEP_MACS) {
        return ep_net_flops(net, axes);
    }
    double n = 0;
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *tensor = &net->tensors[i];
        if (tensor->role != EP_TRACKED) {
            n += (double)ep_axes_size(axes, tensor->rank, tensor->axis);
        }
    }
    return n;
}

/* Axes at the number of the living: the dead not yet removed cost nothing that is theirs to pay. */
static void set_living(const ep_net *net, ep_axis *axes, bool living) {
    for (int i = 0; i < net->n_populations; i++) {
        ep_axis *axis = &axes[net->populations[i].axis];
        axis->n = living ? ep_alive(net, &net->populations[i])
                         : net->tensors[net->populations[i].mass].n;
    }
}

double ep_upkeep_share(const ep_net *net, int i, ep_upkeep unit) {
    if (unit == EP_UPKEEP_UNIFORM) {
        int64_t born = 0;
        for (int k = 0; k < net->n_populations; k++) {
            born += net->axes[net->populations[k].axis].born;
        }
        return 1.0 / (double)ep_max(1, born);
    }
    double founding = unit == EP_UPKEEP_MACS ? net->founding_flops
                                             : (double)net->founding_parameters;
    ep_axis *axes = net->axes; /* counts are lent for the time of the call */
    set_living(net, axes, true);
    ep_axis *axis = &axes[net->populations[i].axis];
    double share = 0;
    if (axis->n > 0 && founding > 0) {
        double now = cost(net, axes, unit);
        axis->n--;
        share = (now - cost(net, axes, unit)) / founding;
    }
    set_living(net, axes, false);
    return share;
}

/* ---- one cohort --------------------------------------------------------------------------------*/

static bool measure_fitness(ep_net *net, ep_evolution *e, const ep_population *p, ep_real *raw,
                            ep_error *error) {
    unsigned needs = e->call_fitness ? ~0u : e->fitness->needs;
    ep_signals s = {.n = net->axes[p->axis].n,
                    .mass = ep_net_numbers(net, p->mass),
                    .mass_gradient = net->gradients->at + net->tensors[p->mass].at};
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

/* A number that tells one census of the living (how many on each axis) from another. */
static uint64_t census_of(const ep_net *net, int64_t *living) {
    uint64_t census = 1;
    *living = 0;
    for (int i = 0; i < net->n_populations; i++) {
        int64_t alive = ep_alive(net, &net->populations[i]);
        census = census * 0x9E3779B97F4A7C15u + (uint64_t)alive;
        *living += alive;
    }
    return census;
}

/* Shares change when someone dies, and only then. */
static void refresh_shares(const ep_net *net, ep_evolution *e) {
    uint64_t census = census_of(net, &e->living);
    if (census == e->census) {
        return;
    }
    for (int i = 0; i < net->n_populations && e->selection.upkeep != EP_UPKEEP_GIVEN; i++) {
        e->share[i] = ep_upkeep_share(net, i, (ep_upkeep)e->selection.upkeep);
    }
    set_living(net, net->axes, true);
    e->living_flops = ep_net_flops(net, net->axes);
    set_living(net, net->axes, false);
    e->census = census;
}

/* Appends the living of population layer i to the cohort; birth ids follow `first_birth`. */
static int64_t enrol(ep_net *net, ep_evolution *e, int i, int64_t n, int64_t first_birth,
                     int64_t first_given, double pressure, double correction) {
    const ep_population *p = &net->populations[i];
    const ep_real *mass = ep_net_numbers(net, p->mass), *alive = ep_net_numbers(net, p->alive);
    const ep_real *fitness = ep_net_numbers(net, p->fitness);
    const ep_axis *axis = &net->axes[p->axis];
    bool given = e->selection.upkeep == EP_UPKEEP_GIVEN;
    double share = pressure == 0 || given ? 0
                                          : ep_upkeep_share(net, i, (ep_upkeep)e->selection.upkeep);
    for (int64_t j = 0; j < axis->n; j++) {
        if (alive[j] > 0) {
            int64_t birth = ep_birth(axis, j);
            e->mass[n] = mass[j];
            e->fit[n] = (ep_real)((double)fitness[j] * correction);
            e->upkeep[n] = (ep_real)(pressure *
                                     (given ? e->selection.given.at[first_given + birth] : share));
            e->birth[n] = (int32_t)(first_birth + birth);
            e->place[n] = j;
            e->member[n++] = i;
        }
    }
    return n;
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
    refresh_shares(net, e);
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
    const int32_t **keep = calloc((size_t)net->n_axes, sizeof *keep);
    int64_t *kept = calloc((size_t)net->n_axes, sizeof *kept);
    bool ok = keep && kept, some = false;
    for (int i = 0; ok && i < net->n_populations; i++) {
        const ep_population *p = &net->populations[i];
        const ep_real *alive = ep_net_numbers(net, p->alive);
        int64_t n = net->axes[p->axis].n, left = 0;
        if (ep_alive(net, p) == n) {
            continue;
        }
        int32_t *index = malloc((size_t)n * sizeof *index);
        ok = index != NULL;
        for (int64_t j = 0; ok && j < n; j++) {
            if (alive[j] > 0) {
                index[left++] = (int32_t)j;
            }
        }
        keep[p->axis] = index;
        kept[p->axis] = left;
        some = true;
    }
    if (!ok) {
        ep_fail(error, EP_NO_MEMORY, "network: no memory to remove the extinct; nothing changed");
    } else if (some) {
        ok = ep_compact(net, keep, kept, error);
    }
    for (int i = 0; keep && i < net->n_axes; i++) {
        free((void *)keep[i]);
    }
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
    refresh_shares(net, e);
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
