/* shape: see shape.h. */
#include "shape.h"

#include <stdlib.h>
#include <string.h>

int64_t ep_axes_size(const ep_axis *axes, int rank, const int *axis) {
    int64_t n = 1;
    for (int d = 0; d < rank; d++) {
        n = ep_times(n, axes[axis[d]].n);
    }
    return n;
}

bool ep_axis_found(ep_axis *axis) {
    axis->birth = malloc((size_t)ep_max(1, axis->n) * sizeof *axis->birth);
    for (int64_t j = 0; axis->birth && j < axis->n; j++) {
        axis->birth[j] = (int32_t)j;
    }
    return axis->birth != NULL;
}

int64_t ep_layout(const ep_axis *axes, ep_tensor *tensors, int n, int64_t begin[EP_ROLES + 1]) {
    const int64_t most = INT64_MAX / 64;
    int64_t at = 0;
    for (int role = 0; role < EP_ROLES; role++) {
        begin[role] = at;
        for (int i = 0; i < n; i++) {
            ep_tensor *tensor = &tensors[i];
            if ((int)tensor->role != role) {
                continue;
            }
            tensor->n = ep_axes_size(axes, tensor->rank, tensor->axis);
            if (tensor->n < 0 || tensor->n > most) {
                return -1;
            }
            tensor->at = at;
            at += (tensor->n + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE * (int64_t)EP_LINE;
            if (at > most) {
                return -1;
            }
        }
    }
    begin[EP_ROLES] = at;
    return at;
}

int64_t ep_runs_of(const int32_t *source, int64_t n, ep_run *run) {
    int64_t runs = 0;
    for (int64_t j = 0; j < n; j++) {
        ep_run *last = runs ? &run[runs - 1] : NULL;
        if (source[j] < 0) {
            continue;
        }
        if (last && last->to + last->n == j && last->from + last->n == source[j]) {
            last->n++;
        } else {
            run[runs++] = (ep_run){(int32_t)j, source[j], 1};
        }
    }
    return runs;
}

void ep_gather(ep_real *to, const ep_real *from, int rank, const int64_t *size,
               const ep_choice *choice) {
    if (rank == 0) {
        *to = *from;
        return;
    }
    int64_t inner_from = 1, inner_to = 1;
    bool whole = true;
    for (int d = 1; d < rank; d++) {
        inner_from *= size[d];
        inner_to *= choice[d].run ? choice[d].n : size[d];
        whole = whole && !choice[d].run;
    }
    const ep_run all = {0, 0, (int32_t)size[0]}, *run = choice[0].run ? choice[0].run : &all;
    int64_t n_runs = choice[0].run ? choice[0].n_runs : 1;
    for (int64_t r = 0; r < n_runs; r++) {
        ep_real *here = to + run[r].to * inner_to;
        const ep_real *source = from + run[r].from * inner_from;
        if (whole) {
            memcpy(here, source, (size_t)(run[r].n * inner_to) * sizeof *to);
            continue;
        }
        for (int32_t k = 0; k < run[r].n; k++) {
            ep_gather(here + k * inner_to, source + k * inner_from, rank - 1, size + 1, choice + 1);
        }
    }
}
