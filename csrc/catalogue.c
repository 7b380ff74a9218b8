/* catalogue: the tables of catalogue.h, each generated from its .def file. */
#include "catalogue.h"

#include <string.h>

/* Defines both lookups of a table: `item` by name, `items` by index. */
#define EP_CATALOGUE(type, item, items)                                       \
    const type *items(int i) {                                                \
        return i >= 0 && i < EP_COUNT(type##_table) ? type##_table[i] : NULL; \
    }                                                                         \
    const type *item(const char *name) {                                      \
        for (int i = 0; i < EP_COUNT(type##_table); i++) {                    \
            if (strcmp(type##_table[i]->name, name) == 0) {                   \
                return type##_table[i];                                       \
            }                                                                 \
        }                                                                     \
        return NULL;                                                          \
    }

#define EP_LAYER(name) &ep_kind_##name,
static const ep_kind *const ep_kind_table[] = {
#include "catalogue.def"
};
EP_CATALOGUE(ep_kind, ep_catalogue_kind, ep_catalogue_kinds)

#define EP_LOSS(name) &ep_loss_##name,
static const ep_loss *const ep_loss_table[] = {
#include "laws/losses.def"
};
EP_CATALOGUE(ep_loss, ep_catalogue_loss, ep_catalogue_losses)

#define EP_OPTIMIZER(name) &ep_optimizer_##name,
static const ep_optimizer *const ep_optimizer_table[] = {
#include "laws/optimizers.def"
};
EP_CATALOGUE(ep_optimizer, ep_catalogue_optimizer, ep_catalogue_optimizers)

#define EP_FITNESS(name) &ep_fitness_##name,
static const ep_fitness *const ep_fitness_table[] = {
#include "laws/fitness.def"
};
EP_CATALOGUE(ep_fitness, ep_catalogue_fitness, ep_catalogue_fitnesses)

#define EP_DYNAMICS(name) &ep_dynamics_##name,
static const ep_dynamics *const ep_dynamics_table[] = {
#include "laws/dynamics.def"
};
EP_CATALOGUE(ep_dynamics, ep_catalogue_dynamics, ep_catalogue_all_dynamics)
