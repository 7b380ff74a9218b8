/* walk: a network's layers one after the other: forward, backward, and over the shares of the
 * gradient. Which worker does what, and with how many others, is decided by who calls. */
#ifndef EP_WALK_H
#define EP_WALK_H

#include "net.h"

void ep_net_forward(const ep_net *net, const ep_pass *pass);
/* From dy of the output, which the caller has written. */
void ep_net_backward(const ep_net *net, const ep_pass *pass);

/* The gradient's tasks: (layer, part of parts), fixed once per run for `workers`. */
typedef struct {
    int layer;
    int64_t part, parts;
} ep_task;
/* Number of tasks; fills `tasks` when it is not NULL. Largest layers first. */
int64_t ep_net_tasks(const ep_net *net, int workers, ep_task *tasks);
/* No fewer than ep_net_tasks() gives for any number of rows, now or after any removal. */
int64_t ep_net_tasks_most(const ep_net *net, int workers);
/* The layer's, and of those that share its mass: one after the other, for they add up. */
void ep_net_gradient(const ep_net *net, const ep_pass *pass, const ep_task *task);
/* The first layer whose statistics of this batch are not finite, or NULL; call before the update. */
const ep_layer *ep_net_unsound(const ep_net *net, const ep_pass *pass);
void ep_net_track(const ep_net *net, const ep_pass *pass);

#endif
