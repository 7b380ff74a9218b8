/* births: see births.h. */
#include "births.h"

#include <math.h>

static const char *const kinds[] = {"division", "immigration", NULL};
static const char *const rates[] = {"upkeep", "vacancies", "number", NULL};

const char ep_births_doc[] =
    "How populations are born while a network learns: the fittest divide, or new ones arrive.";

const ep_field ep_births_fields[] = {
    EP_FIELD_CHOICE(
        ep_births, rate, EP_BIRTHS_UPKEEP, rates,
        "how many are born: as many as upkeep allows (upkeep: a population divides once its mass "
        "has doubled and each half would earn its upkeep; immigrants arrive while the layer's "
        "fitness covers the mean upkeep of one more), as many as founders are extinct "
        "(vacancies), or as many as `number` says (number)"),
    EP_FIELD_CHOICE(
        ep_births, kind, EP_DIVISION, kinds,
        "where they come from: a population whose fitness exceeds its niche's mean divides into "
        "two of half its mass with the same weights (division), or a new one with random weights "
        "arrives, which no layer reads yet (immigration)"),
    EP_FIELD_REAL(ep_births, mutation, 0.1, 0, 1,
                  "deviation of the relative change of each weight at division; one half gets it "
                  "with a plus sign, the other with a minus sign"),
    EP_FIELD_REAL(ep_births, capacity, 1, 1, 1e6,
                  "maximum number of populations of a layer, as a multiple of its founders"),
    EP_FIELD_REAL(ep_births, number, 1e-3, 0, 1e6,
                  "births per founder of a layer and generation, for the rate number"),
    EP_FIELD_REAL(ep_births, mass, 1, 0, 1e9,
                  "mass of an immigrant; with rate upkeep, half of the mass needed to divide"),
    EP_FIELD_INT(ep_births, every, 100, 1, 1e15,
                 "generations between births; a generation in which any population is born costs "
                 "less than half of a training step"),
    EP_FIELD_REAL(ep_births, least_strength, 0, 0, 1,
                  "populations are born only while the strength of selection, which falls with the "
                  "learning rate, is at least this: late ones would have no time to learn"),
    EP_FIELD_REAL(
        ep_births, returns, 0, 0, 1,
        "extinct input features that return per feature of the data and generation, drawn "
        "at random; layers that read them start with weights of 0"),
    EP_FIELDS_END,
};

/* Return the number of births in generation `number` if `each` populations are born in a
 * generation, and those of `every` generations at once. */
static double number_of(const ep_births *births, double each, int64_t number) {
    return floor(each * (double)number) - floor(each * (double)(number - births->every));
}

int64_t ep_births_capacity(const ep_births *births, int64_t founded) {
    double most = births->capacity * (double)founded;
    return most < (double)(INT32_MAX - 1) ? ep_max(founded, (int64_t)most) : INT32_MAX - 1;
}

bool ep_births_due(const ep_births *births, int64_t number, double strength) {
    return number % births->every == 0 && strength > 0 && strength >= births->least_strength;
}

/* Return the layer's total positive fitness divided by the mean upkeep: the number of populations
 * that it can sustain. */
static double fed(const ep_parents *p, int64_t living) {
    double earned = 0, spent = 0;
    for (int64_t k = 0; k < p->n; k++) {
        earned += p->alive[k] && p->fitness[k] > 0 ? (double)p->fitness[k] : 0;
        spent += p->alive[k] ? (double)p->upkeep[k] : 0;
    }
    return spent > 0 ? earned / spent * (double)living : earned > 0 ? (double)INT32_MAX : 0;
}

/* Return the largest number of births that the rate and the capacity of the layer allow in
 * generation `number`, however many populations qualify as parents. */
static int64_t allowed(const ep_births *births, const ep_parents *p, int64_t living,
                       int64_t number) {
    double most = INT32_MAX;
    if (births->rate == EP_BIRTHS_VACANCIES) {
        most = (double)(p->founded - living);
    } else if (births->rate == EP_BIRTHS_NUMBER) {
        most = number_of(births, births->number * (double)p->founded, number);
    } else if (births->kind == EP_IMMIGRATION) {
        most = floor(fed(p, living)) - (double)living;
    }
    double room = (double)(ep_births_capacity(births, p->founded) - living);
    return (int64_t)fmax(0, fmin(most, room));
}

static bool divides(const ep_births *births, const ep_parents *p, int64_t k) {
    bool fit = p->alive[k] && (double)p->fitness[k] > p->mean;
    return fit && (births->rate != EP_BIRTHS_UPKEEP ||
                   ((double)p->mass[k] >= 2 * births->mass && p->fitness[k] > 2 * p->upkeep[k]));
}

/* Insert population k into `chosen`, the n fittest populations found so far, fittest first. Keep
 * at most `most` of them, and return the new n. */
static int64_t insert(const ep_real *fitness, int64_t k, int32_t *chosen, int64_t n, int64_t most) {
    int64_t at = n;
    while (at > 0 && fitness[chosen[at - 1]] < fitness[k]) {
        at--;
    }
    int64_t end = ep_min(n + 1, most);
    for (int64_t i = end - 1; i > at; i--) {
        chosen[i] = chosen[i - 1];
    }
    if (at < most) {
        chosen[at] = (int32_t)k;
    }
    return end;
}

int64_t ep_births_choose(const ep_births *births, const ep_parents *p, int64_t number,
                         int32_t *chosen) {
    int64_t living = 0, n = 0;
    for (int64_t k = 0; k < p->n; k++) {
        living += p->alive[k];
    }
    int64_t most = allowed(births, p, living, number);
    if (births->kind == EP_IMMIGRATION || most == 0) {
        return most;
    }
    for (int64_t k = 0; k < p->n; k++) {
        if (divides(births, p, k)) {
            n = insert(p->fitness, k, chosen, n, most);
        }
    }
    return n;
}

/* Return true if the founder with this id is living. */
static bool lives(int64_t id, int64_t n, const int32_t *birth, const ep_real *alive) {
    int64_t low = 0, high = n;
    while (birth && low < high) {
        int64_t middle = (low + high) / 2;
        if (birth[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    int64_t at = birth ? low : id;
    return at < n && (!birth || birth[at] == id) && alive[at] > 0;
}

int64_t ep_births_returning(const ep_births *births, int64_t founded, int64_t n,
                            const int32_t *birth, const ep_real *alive, int64_t number,
                            ep_noise noise, int32_t *chosen) {
    double most = number_of(births, births->returns * (double)founded, number);
    ep_permutation order = ep_random_permutation(ep_random_fork(noise, (uint64_t)number), founded);
    int64_t found = 0;
    for (int64_t i = 0; i < founded && (double)found < most; i++) {
        int64_t id = ep_permutation_place(&order, i);
        if (lives(id, n, birth, alive)) {
            continue;
        }
        int64_t at = found++;
        for (; at > 0 && chosen[at - 1] > id; at--) {
            chosen[at] = chosen[at - 1];
        }
        chosen[at] = (int32_t)id;
    }
    return found;
}
