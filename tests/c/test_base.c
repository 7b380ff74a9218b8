/* Tests of base.h, settings, random numbers and laws at their limits, without Python, under the
 * sanitizers. Every CHECK that fails is counted and printed; the exit status is nonzero if any
 * failed. */
#include "catalogue.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                                     \
        }                                                                   \
    } while (0)

/* ---- settings -------------------------------------------------------------------------------- */
typedef struct {
    int64_t count;
    double size;
    int64_t on;
    int64_t mode;
    ep_vector weights;
} config;

static const char *const modes[] = {"slow", "fast", NULL};
static const ep_field fields[] = {
    {.name = "count",
     .type = EP_INT,
     .offset = offsetof(config, count),
     .initial = 3,
     .low = -5,
     .high = INFINITY,
     .doc = "a whole number"},
    {.name = "size",
     .type = EP_REAL,
     .offset = offsetof(config, size),
     .initial = 0.5,
     .low = 0,
     .high = 1,
     .doc = "a number"},
    {.name = "on",
     .type = EP_BOOL,
     .offset = offsetof(config, on),
     .initial = 1,
     .high = 1,
     .doc = "a switch"},
    {.name = "mode",
     .type = EP_CHOICE,
     .offset = offsetof(config, mode),
     .initial = 1,
     .choices = modes,
     .doc = "a choice"},
    {.name = "weights",
     .type = EP_VECTOR,
     .offset = offsetof(config, weights),
     .low = -INFINITY,
     .high = 10,
     .doc = "numbers"},
    EP_FIELDS_END,
};

static bool set(config *c, const char *name, double value, ep_error *error) {
    return ep_field_set_number(ep_field_find(fields, name), c, value, "Thing", error);
}

static void test_errors(void) {
    ep_error error = {EP_OK, ""};
    CHECK(!ep_fail(&error, EP_BAD_VALUE, "%s has %d", "it", 3));
    CHECK(error.code == EP_BAD_VALUE && strcmp(error.text, "it has 3") == 0);
    CHECK(!ep_fail(&error, EP_BAD_TYPE, "%01000d", 7)); /* longer than the buffer */
    CHECK(strlen(error.text) == EP_TEXT - 1);
    char name[8];
    ep_format(name, sizeof name, "%s.%s", "hidden", "weights");
    CHECK(strcmp(name, "hidden.") == 0);
}

static void test_numbers(void) {
    config c;
    ep_error error;
    ep_fields_init(fields, &c);
    CHECK(c.count == 3 && c.size == 0.5 && c.on == 1 && c.mode == 1);
    CHECK(c.weights.at == NULL && c.weights.n == 0);
    CHECK(ep_field_find(fields, "nothing") == NULL && ep_field_find(NULL, "size") == NULL);

    CHECK(set(&c, "size", 1, &error) && c.size == 1);
    CHECK(!set(&c, "size", 1.5, &error) && c.size == 1);
    CHECK(strcmp(error.text, "Thing: size must be from 0 to 1, got 1.5") == 0);
    CHECK(!set(&c, "size", (double)NAN, &error) && !set(&c, "size", (double)INFINITY, &error));

    CHECK(set(&c, "count", 9e15, &error) && c.count == INT64_C(9000000000000000));
    CHECK(!set(&c, "count", 1.5, &error) && error.code == EP_BAD_TYPE);
    CHECK(!set(&c, "count", -6, &error));
    CHECK(strcmp(error.text, "Thing: count must be at least -5, got -6") == 0);
    CHECK(!set(&c, "count", 9223372036854775808.0, &error)); /* 2^63: INT64_MAX + 1 */
    CHECK(!set(&c, "count", (double)INFINITY, &error));

    CHECK(set(&c, "on", 0, &error) && c.on == 0);
    CHECK(!set(&c, "on", 2, &error) && c.on == 0);
    CHECK(!set(&c, "mode", 1, &error) && error.code == EP_BAD_TYPE);
    CHECK(!set(&c, "weights", 1, &error) && error.code == EP_BAD_TYPE);

    const ep_field *mode = ep_field_find(fields, "mode");
    CHECK(ep_field_set_choice(mode, &c, "slow", "Thing", &error) && c.mode == 0);
    CHECK(!ep_field_set_choice(mode, &c, "lazy", "Thing", &error) && c.mode == 0);
    CHECK(strcmp(error.text, "Thing: mode must be one of 'slow', 'fast', got 'lazy'") == 0);
    CHECK(!ep_field_set_choice(ep_field_find(fields, "size"), &c, "slow", "Thing", &error));
    ep_fields_init(NULL, NULL);
    ep_fields_free(NULL, NULL);
}

static void test_vectors(void) {
    const double good[] = {1, -1e300, 10}, bad[] = {1, 11}, endless[] = {-(double)INFINITY};
    const ep_field *weights = ep_field_find(fields, "weights");
    config c, copy;
    ep_error error;
    ep_fields_init(fields, &c);
    CHECK(ep_field_set_vector(weights, &c, good, 3, "Thing", &error));
    CHECK(c.weights.n == 3 && c.weights.at != good && c.weights.at[1] == -1e300);
    CHECK(!ep_field_set_vector(weights, &c, bad, 2, "Thing", &error) && c.weights.n == 3);
    CHECK(strcmp(error.text, "Thing: weights[1] must be at most 10, got 11") == 0);
    CHECK(!ep_field_set_vector(weights, &c, endless, 1, "Thing", &error)); /* infinite */
    CHECK(!ep_field_set_vector(ep_field_find(fields, "size"), &c, good, 3, "Thing", &error));

    CHECK(ep_fields_copy(fields, &copy, &c, sizeof c));
    CHECK(copy.weights.at != c.weights.at && copy.weights.at[2] == 10 && copy.mode == c.mode);
    CHECK(ep_field_set_vector(weights, &c, good, 1, "Thing", &error)); /* frees the old vector */
    CHECK(c.weights.n == 1 && copy.weights.n == 3);
    CHECK(ep_field_set_vector(weights, &c, NULL, 0, "Thing", &error));
    CHECK(c.weights.n == 0 && c.weights.at == NULL);
    ep_fields_free(fields, &copy);
    ep_fields_free(fields, &copy); /* freeing twice is harmless */
    CHECK(ep_fields_copy(fields, &copy, &c, sizeof c) && copy.weights.n == 0);
    ep_fields_free(fields, &copy);
    ep_fields_free(fields, &c);
    CHECK(ep_fields_copy(NULL, NULL, NULL, 0));
}

static void test_small_functions(void) {
    CHECK(ep_min(1, 2) == 1 && ep_max(1, 2) == 2);
    CHECK(ep_times(3, 4) == 12 && ep_times(-1, 4) == -1 && ep_times(4, -1) == -1);
    CHECK(ep_times(INT64_MAX, 2) == -1 && ep_times(INT64_MAX, 1) == INT64_MAX);
    for (int64_t n = 0; n < 20; n++) {
        CHECK(ep_split(n, 0, 7) == 0 && ep_split(n, 7, 7) == n);
        for (int64_t part = 0; part < 7; part++) {
            int64_t size = ep_split(n, part + 1, 7) - ep_split(n, part, 7);
            CHECK(size == n / 7 || size == n / 7 + 1);
        }
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */
static void test_random_edges(void) {
    const ep_noise last = {UINT64_MAX, UINT64_MAX};
    uint64_t index = UINT64_MAX - 2; /* overflows to 0 in the loop */
    for (int i = 0; i < 100; i++) {
        int64_t k = ep_random_binomial(last, &index, INT64_C(1) << 52, 0.3);
        CHECK(k > 0 && k < INT64_C(1) << 52);
    }
    CHECK(index < 1000);
    CHECK(ep_random_binomial(last, &index, 10, (double)NAN) == 0);
    CHECK(ep_random_binomial(last, &index, -1, 0.5) == 0);
    CHECK(ep_random_binomial(last, &index, 10, 2) == 10);
    CHECK(ep_random_binomial(last, &index, 5, DBL_MIN) == 0);
    const int64_t sizes[] = {1, 2, 3, 1000, INT64_C(1) << 32, (INT64_C(1) << 32) + 1, INT64_MAX};
    for (int s = 0; s < EP_COUNT(sizes); s++) {
        const int64_t n = sizes[s], some[] = {0, n / 2, n - 1};
        ep_permutation permutation = ep_random_permutation(last, n);
        for (int i = 0; i < EP_COUNT(some); i++) {
            int64_t place = ep_permutation_place(&permutation, some[i]);
            CHECK(place >= 0 && place < n && place == ep_random_permute(last, some[i], n));
        }
    }
}

/* ---- laws ------------------------------------------------------------------------------------ */
/* Return an array of exactly n elements, so that the sanitizer detects an access past the end. */
static ep_real *filled(int64_t n, ep_real value) {
    ep_real *x = malloc((size_t)n * sizeof *x + (n == 0));
    for (int64_t i = 0; i < n; i++) {
        x[i] = value;
    }
    return x;
}

static void *defaults(const ep_field *law_fields, size_t size) {
    void *at = calloc(1, size ? size : 1);
    ep_fields_init(law_fields, at);
    return at;
}

static void test_losses(void) {
    const int64_t widths[] = {1, 7, 8, 1023, 1025};
    const ep_loss *law;
    for (int i = 0; (law = ep_catalogue_losses(i)) != NULL; i++) {
        CHECK(law == ep_catalogue_loss(law->name));
        void *c = defaults(law->fields, law->config_size);
        for (int w = 0; w < EP_COUNT(widths); w++) {
            const int64_t rows = 3, n = widths[w];
            ep_error error;
            ep_real *y = filled(rows * n, 0), *dy = filled(rows * n, 9), *t = filled(rows * n, 1);
            ep_real *loss = filled(rows, 9), *hit = filled(rows, 9);
            int64_t class[] = {0, n - 1, -1};
            const void *targets = law->target == EP_TARGET_CLASS ? (void *)class : (void *)t;
            CHECK(law->check == NULL || law->check(c, n, &error));
            CHECK(ep_loss_weight(law, c, targets) == 1);
            law->measure(c, rows, n, y, targets, 1, loss, hit, dy);
            law->measure(c, rows, n, y, targets, 1, loss, NULL, NULL);
            law->measure(c, 0, n, y, targets, 1, loss, hit, dy);
            for (int64_t r = 0; r < rows; r++) {
                CHECK(loss[r] >= 0 && (hit[r] == 0 || hit[r] == 1));
            }
            free(y), free(dy), free(t), free(loss), free(hit);
        }
        free(c);
    }
    CHECK(ep_catalogue_losses(-1) == NULL && ep_catalogue_loss("no such law") == NULL);
}

static void test_optimizers(void) {
    const ep_optimizer *law;
    for (int i = 0; (law = ep_catalogue_optimizers(i)) != NULL; i++) {
        CHECK(law == ep_catalogue_optimizer(law->name));
        void *c = defaults(law->fields, law->config_size);
        for (int64_t n = 0; n < 40; n++) {
            ep_real *value = filled(n, 1), *g = filled(n, 1), *first = filled(n, 0);
            ep_real *second = filled(n, 0);
            ep_pace pace = {.rate = 0.1, .decay = law->decay(c), .scale = 1, .step = 1};
            law->step(c, pace, (ep_block){1, n, n}, value, g, law->moments > 0 ? first : NULL,
                      law->moments > 1 ? second : NULL);
            for (int64_t k = 0; k < n; k++) {
                CHECK(value[k] < 1 && value[k] == value[0]);
            }
            free(value), free(g), free(first), free(second);
        }
        free(c);
    }
    CHECK(ep_catalogue_optimizer("") == NULL);
}

static void test_fitness(void) {
    const ep_fitness *law;
    for (int i = 0; (law = ep_catalogue_fitnesses(i)) != NULL; i++) {
        CHECK(law == ep_catalogue_fitness(law->name));
        void *c = defaults(law->fields, law->config_size);
        for (int64_t n = 0; n < 40; n++) {
            ep_real *mass = filled(n, 1), *signal = filled(n, 4), *fitness = filled(n, 9);
            ep_signals s = {.n = n, .mass = mass, .mass_gradient = signal};
            s.owned_norm2 = law->needs & EP_NEEDS_NORM ? signal : NULL;
            s.owned_gradient2 = law->needs & EP_NEEDS_GRADIENT ? signal : NULL;
            s.owned_product = law->needs & EP_NEEDS_PRODUCT ? signal : NULL;
            s.activity = law->needs & EP_NEEDS_ACTIVITY ? signal : NULL;
            law->measure(c, &s, fitness);
            for (int64_t k = 0; k < n; k++) {
                CHECK(fitness[k] == 4 || fitness[k] == -4 || fitness[k] == 2);
            }
            free(mass), free(signal), free(fitness);
        }
        free(c);
    }
    CHECK(ep_catalogue_fitness("magic") == NULL);
}

int main(void) {
    test_errors();
    test_numbers();
    test_vectors();
    test_small_functions();
    test_random_edges();
    test_losses();
    test_optimizers();
    test_fitness();
    return failures != 0;
}
