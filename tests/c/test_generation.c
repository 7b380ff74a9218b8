/* One generation on plain vectors, compared with the equations of docs/method.md computed here in
 * double: smoothed fitness, upkeep by cost and soft upkeep, the law, extinction, the floor, birth
 * ids, and failure of a user's law. */
#include "laws/generation.h"

#include "check.h"

#include <math.h>
#include <string.h>

enum { N = 6, GROUPS = 2, ALL = N * GROUPS, STEPS = 24 };

typedef struct {
    ep_real mass[ALL], fitness[ALL], alive[ALL], state[ALL * 16], raw[ALL];
    int32_t birth[N];
    ep_group group[GROUPS];
} world;

static const double costs[GROUPS] = {1, 2};

static void found(world *w) {
    memset(w, 0, sizeof *w);
    for (int j = 0; j < N; j++) {
        w->birth[j] = 2 * j + 1; /* as if those with even birth ids had been removed */
    }
    for (int i = 0; i < ALL; i++) {
        w->mass[i] = w->alive[i] = 1;
    }
    for (int g = 0; g < GROUPS; g++) {
        w->group[g] = (ep_group){.n = N,
                                 .founded = 2 * N,
                                 .born = 2 * N,
                                 .birth = w->birth,
                                 .mass = w->mass + g * N,
                                 .fitness = w->fitness + g * N,
                                 .alive = w->alive + g * N,
                                 .state = w->state + g * N * EP_STATES,
                                 .raw = w->raw + g * N,
                                 .cost = costs[g]};
    }
}

static ep_selection settings_of(ep_upkeep upkeep, ep_niche_scope niche) {
    ep_selection s;
    ep_fields_init(ep_selection_fields, &s);
    s.upkeep = upkeep;
    s.niche = niche;
    s.memory = 0.75;
    s.threshold = 0.25;
    s.floor = 2;
    s.min_age = 3;
    return s;
}

static ep_generation *generation_of(const ep_selection *s, const ep_dynamics *law) {
    const ep_headcount counts[GROUPS] = {{2 * N, 2 * N, N}, {2 * N, 2 * N, N}};
    void *config = calloc(1, law->config_size + 1);
    ep_error error;
    ep_fields_init(law->fields, config);
    ep_generation *g = ep_generation_new(s, NULL, law, config, GROUPS, counts, &error);
    ep_fields_free(law->fields, config);
    free(config);
    CHECK(g != NULL);
    return g;
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-5 * (1 + fabs(b)); }

/* Return the mass after one generation of bounded Malthusian growth, with a lifespan of 700
 * generations and masses capped at 5. */
static double grown(double mass, double fitness, double upkeep, double threshold) {
    double turnover = fabs(fitness) + upkeep;
    double gain = turnover > 0 ? (fitness - upkeep) / turnover : 0;
    return fmin(5, mass * exp(-log(threshold) / 700 * gain));
}

/* Return the upkeep of population `i`. Its niche consists of the populations `first` to `last` - 1
 * and had `founded` founders. */
static double upkeep_of(const world *w, const double *fitness, bool soft, double pressure, int i,
                        int first, int last, int founded) {
    double others = 0, cost = 0, living = 0;
    for (int j = first; j < last; j++) {
        if (w->alive[j] > 0) {
            others += j != i && fitness[j] > 0 ? fitness[j] : 0;
            cost += costs[j / N];
            living++;
        }
    }
    double relative = costs[i / N] / (cost / living);
    return soft ? pressure * relative * others / (founded - 1) : pressure * costs[i / N];
}

/* After every generation, masses and fitness equal those that the equations give for the state
 * before that generation. */
static void test_equations(ep_upkeep upkeep, ep_niche_scope niche) {
    const double pressure = 1.25;
    const bool soft = upkeep == EP_UPKEEP_SOFT, whole = niche == EP_NICHE_NETWORK;
    ep_selection s = settings_of(upkeep, niche);
    ep_generation *g = generation_of(&s, &ep_dynamics_malthusian);
    world w;
    found(&w);
    uint64_t seed = 7;
    for (int number = 1; number <= STEPS; number++) {
        world before = w;
        double fitness[ALL], expected[ALL];
        for (int i = 0; i < ALL; i++) {
            w.raw[i] = (ep_real)fabs((double)any_number(&seed));
            double memory = 0.75 * (double)before.fitness[i] + 0.25 * (double)w.raw[i];
            fitness[i] = memory / (1 - pow(0.75, number));
        }
        for (int i = 0; i < ALL; i++) {
            int first = whole ? 0 : i / N * N, last = whole ? ALL : first + N;
            int founded = whole ? GROUPS * 2 * N : 2 * N;
            double upkeep_i = upkeep_of(&before, fitness, soft, pressure, i, first, last, founded);
            expected[i] = before.alive[i] > 0
                              ? grown((double)before.mass[i], fitness[i], upkeep_i, s.threshold)
                              : 0;
        }
        ep_occasion occasion = {
            .group = w.group, .number = number, .pressure = pressure, .strength = 1};
        ep_outcome outcome;
        ep_error error;
        CHECK(ep_generation_step(g, &occasion, &outcome, &error));
        CHECK(outcome.n_extinct == 0 && outcome.n_born == 0 && outcome.capped == 0);
        for (int i = 0; i < ALL; i++) {
            CHECK(near((double)w.mass[i], expected[i]));
            CHECK(near((double)w.fitness[i], fitness[i] * (1 - pow(0.75, number))));
        }
    }
    ep_generation_free(g);
}

/* From generation `min_age` on, populations below the threshold become extinct, lightest first. If
 * fewer than `floor` would remain, the heaviest are kept, and their masses set to the threshold.
 * Populations that are extinct already are skipped. */
static void test_extinction(void) {
    static const double masses[ALL] = {0.2, 0.1, 0.24, 3,   0.15, 1, /* group 1: all but two die */
                                       0.2, 0.1, 0.05, 0.2, 0.22, 0.24}; /* all are below 0.25 */
    ep_selection s = settings_of(EP_UPKEEP_MACS, EP_NICHE_LAYER);
    ep_generation *g = generation_of(&s, &ep_dynamics_none);
    world w;
    found(&w);
    for (int i = 0; i < ALL; i++) {
        w.mass[i] = (ep_real)masses[i];
    }
    ep_occasion occasion = {.group = w.group, .number = 2, .pressure = 1, .strength = 1};
    ep_outcome outcome;
    ep_error error;
    CHECK(ep_generation_step(g, &occasion, &outcome, &error));
    CHECK(outcome.n_extinct == 0); /* all are too young to die */
    occasion.number = 3;
    CHECK(ep_generation_step(g, &occasion, &outcome, &error));
    static const int places[8] = {1, 4, 0, 2, 2, 1, 0, 3}; /* by mass, then place */
    CHECK(outcome.n_extinct == 8 && outcome.floor_reached == 2);
    for (int e = 0; e < 8; e++) {
        const ep_extinct *x = &g->extinct[e];
        CHECK(x->group == e / 4 && x->place == places[e] && x->birth == 2 * places[e] + 1);
        CHECK(near((double)x->mass, masses[x->group * N + places[e]]));
        CHECK(w.mass[x->group * N + places[e]] == 0 && w.alive[x->group * N + places[e]] == 0);
    }
    CHECK(w.mass[3] == 3 && w.mass[5] == 1);
    CHECK(w.mass[N + 4] == (ep_real)0.25 && w.mass[N + 5] == (ep_real)0.25);
    occasion.number = 4;
    CHECK(ep_generation_step(g, &occasion, &outcome, &error));
    CHECK(outcome.n_extinct == 0 && g->n == 4); /* a mass equal to the threshold survives */
    ep_generation_free(g);
}

static bool fails(void *context, const ep_cohort *cohort, ep_error *error) {
    int *calls = context;
    cohort->mass[0] = 9;
    return ++*calls < 2 || ep_fail(error, EP_RAISED, "no");
}

/* If a user's law fails in the second niche, no group changes. */
static void test_failure_changes_nothing(void) {
    ep_selection s = settings_of(EP_UPKEEP_SOFT, EP_NICHE_LAYER);
    ep_generation *g = generation_of(&s, &ep_dynamics_none);
    int calls = 0;
    g->call = fails;
    g->context = &calls;
    world w;
    found(&w);
    for (int i = 0; i < ALL; i++) {
        w.raw[i] = 1;
    }
    world before = w;
    ep_occasion occasion = {.group = w.group, .number = 5, .pressure = 1, .strength = 1};
    ep_outcome outcome;
    ep_error error;
    CHECK(!ep_generation_step(g, &occasion, &outcome, &error) && error.code == EP_RAISED);
    CHECK(calls == 2 && memcmp(&w, &before, sizeof w) == 0);
    ep_generation_price(g, w.group, 5, 1);
    CHECK(memcmp(&w, &before, sizeof w) == 0 && g->n == ALL);
    ep_generation_free(g);
}

int main(void) {
    for (int whole = 0; whole < 2; whole++) {
        test_equations(EP_UPKEEP_SOFT, whole ? EP_NICHE_NETWORK : EP_NICHE_LAYER);
        test_equations(EP_UPKEEP_MACS, whole ? EP_NICHE_NETWORK : EP_NICHE_LAYER);
    }
    test_extinction();
    test_failure_changes_nothing();
    return failures != 0;
}
