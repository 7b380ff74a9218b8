/* catalogue: finds the descriptors of laws and kinds of layers by name. No other file lists them
 * all. To add one, add a line to a .def file. */
#ifndef EP_CATALOGUE_H
#define EP_CATALOGUE_H

#include "laws/dynamics.h"
#include "laws/fitness.h"
#include "laws/losses.h"
#include "laws/optimizers.h"
#include "layer.h"

#define EP_LAYER(name) extern const ep_kind ep_kind_##name;
#include "catalogue.def"
#undef EP_LAYER

/* Look up by name; NULL if there is no such kind or law. */
const ep_kind *ep_catalogue_kind(const char *name);
const ep_loss *ep_catalogue_loss(const char *name);
const ep_optimizer *ep_catalogue_optimizer(const char *name);
const ep_fitness *ep_catalogue_fitness(const char *name);
const ep_dynamics *ep_catalogue_dynamics(const char *name);

/* Look up by index, in the order of the .def file; NULL past the end. */
const ep_kind *ep_catalogue_kinds(int i);
const ep_loss *ep_catalogue_losses(int i);
const ep_optimizer *ep_catalogue_optimizers(int i);
const ep_fitness *ep_catalogue_fitnesses(int i);
const ep_dynamics *ep_catalogue_all_dynamics(int i);

#endif
