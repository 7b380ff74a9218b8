/* walk: runs the layers of a network in order: forward, backward and gradient tasks. The caller
 * assigns the work to workers. */
#ifndef EP_WALK_H
#define EP_WALK_H

#include "net.h"

void ep_walk_forward(const ep_net *net, const ep_pass *pass);
/* Runs the layers backward, starting from dy of the output, which the caller has written. */
void ep_walk_backward(const ep_net *net, const ep_pass *pass);

/* A gradient task: part `part` of `parts` of a layer's gradient. */
typedef struct {
    int layer;
    int64_t part, parts;
} ep_task;
/* Returns the number of tasks for `workers`; fills `tasks`, last layer first, unless it is NULL. */
int64_t ep_walk_tasks(const ep_net *net, int workers, ep_task *tasks);
/* Upper bound of ep_walk_tasks() for any number of rows, now or after any removal. */
int64_t ep_walk_tasks_most(const ep_net *net, int workers);
/* Runs a gradient task for its layer. Then every other layer that uses the same mass adds its terms
 * to the gradient of the mass. */
void ep_walk_gradient(const ep_net *net, const ep_pass *pass, const ep_task *task);
/* Returns the first layer with non-finite batch statistics, or NULL. Call before the update. */
const ep_layer *ep_walk_unsound(const ep_net *net, const ep_pass *pass);
void ep_walk_track(const ep_net *net, const ep_pass *pass);

#endif
