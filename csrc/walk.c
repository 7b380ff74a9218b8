/* walk: see walk.h. */
#include "walk.h"

void ep_net_forward(const ep_net *net, const ep_pass *pass) {
    if (pass->r0 < pass->r1) {
        for (int i = 0; i < net->n_layers; i++) {
            net->layers[i].kind->forward(pass, &net->layers[i]);
        }
    }
}

void ep_net_backward(const ep_net *net, const ep_pass *pass) {
    if (pass->r0 < pass->r1) {
        for (int i = net->n_layers - 1; i >= 0; i--) {
            if (net->values[net->layers[i].out].wants_dx) {
                net->layers[i].kind->backward(pass, &net->layers[i]);
            }
        }
    }
}

/* A share that keeps a worker busy for some 100 us and whose numbers stay in its second-level cache;
 * at least one a worker, so that no one idles. */
static int64_t parts_of(const ep_net *net, const ep_layer *layer, int workers) {
    const double enough = 1.6e7;
    int64_t n = 0;
    for (int i = 0; i < layer->n_tensors; i++) {
        n += net->tensors[layer->tensor[i]].role == EP_TRACKED ? 0
                                                               : net->tensors[layer->tensor[i]].n;
    }
    double work = layer->work * (double)net->rows;
    int64_t parts = (int64_t)(work / enough) + 1;
    parts = ep_max(parts, n / 32768);
    if (work > enough / 8) {
        parts = ep_max(parts, 2 * workers);
    }
    return ep_max(1, ep_min(parts, 4096));
}

int64_t ep_net_tasks(const ep_net *net, int workers, ep_task *tasks) {
    int64_t n = 0;
    for (int i = net->n_layers - 1; i >= 0; i--) {
        const ep_layer *layer = &net->layers[i];
        if (!layer->kind->gradient || layer->n_tensors == 0 || layer->shares) {
            continue;
        }
        int64_t parts = parts_of(net, layer, workers);
        for (int64_t part = 0; part < parts; part++, n++) {
            if (tasks) {
                tasks[n] = (ep_task){i, part, parts};
            }
        }
    }
    return n;
}

void ep_net_gradient(const ep_net *net, const ep_pass *pass, const ep_task *task) {
    for (int i = task->layer; i >= 0; i = net->layers[i].partner) {
        net->layers[i].kind->gradient(pass, &net->layers[i], task->part, task->parts);
    }
}

void ep_net_track(const ep_net *net, const ep_pass *pass) {
    for (int i = 0; i < net->n_layers; i++) {
        if (net->layers[i].kind->track) {
            net->layers[i].kind->track(pass, &net->layers[i]);
        }
    }
}
