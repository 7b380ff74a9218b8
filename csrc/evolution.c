/* evolution: see evolution.h. */
#include "evolution.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const upkeeps[] = {"macs", "params", "uniform", "given", "soft", NULL};
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
         " (uniform), the vector `given`, or what the others of the niche earn, by founder, times"
         " the population's multiply-adds over the mean (soft)"},
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

/* Zeros where tensor t names the axis at its place d with entry j: values, gradient, moments. */
static void clear_slice(ep_net *net, const ep_tensor *t, int d, int64_t j) {
    ep_slab *slabs[] = {net->numbers, net->gradients, net->first, net->second};
    int64_t before = 1, n = net->axes[t->axis[d]].n, behind = 1;
    for (int i = 0; i < t->rank; i++) {
        before *= i < d ? net->axes[t->axis[i]].n : 1;
        behind *= i > d ? net->axes[t->axis[i]].n : 1;
    }
    for (int s = 0; s < EP_COUNT(slabs); s++) {
        ep_real *at = slabs[s]->at + t->at + j * behind;
        for (int64_t i = 0; i < before; i++, at += n * behind) {
            memset(at, 0, (size_t)behind * sizeof *at);
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
void ep_set_living(const ep_net *net, ep_axis *axes, bool living) {
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
    ep_set_living(net, axes, true);
    ep_axis *axis = &axes[net->populations[i].axis];
    double share = 0;
    if (axis->n > 0 && founding > 0) {
        double now = cost(net, axes, unit);
        axis->n--;
        share = (now - cost(net, axes, unit)) / founding;
    }
    ep_set_living(net, axes, false);
    return share;
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
void ep_refresh_shares(const ep_net *net, ep_evolution *e) {
    uint64_t census = census_of(net, &e->living);
    if (census == e->census) {
        return;
    }
    ep_upkeep unit = (ep_upkeep)e->selection.upkeep;
    unit = unit == EP_UPKEEP_SOFT ? EP_UPKEEP_MACS : unit; /* who costs more than the others */
    for (int i = 0; i < net->n_populations && unit != EP_UPKEEP_GIVEN; i++) {
        e->share[i] = ep_upkeep_share(net, i, unit);
    }
    ep_set_living(net, net->axes, true);
    e->living_flops = ep_net_flops(net, net->axes);
    ep_set_living(net, net->axes, false);
    e->census = census;
}
