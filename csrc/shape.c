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

void ep_gather(ep_real *to, const ep_real *from, int rank, const int64_t *size,
               const int32_t *const *keep, const int64_t *kept) {
    if (rank == 0) {
        *to = *from;
        return;
    }
    int64_t inner_from = 1, inner_to = 1;
    bool whole = true;
    for (int d = 1; d < rank; d++) {
        inner_from *= size[d];
        inner_to *= keep[d] ? kept[d] : size[d];
        whole = whole && !keep[d];
    }
    int64_t n = keep[0] ? kept[0] : size[0];
    for (int64_t i = 0, run; i < n; i += run) {
        int64_t at = keep[0] ? keep[0][i] : i;
        const ep_real *source = from + at * inner_from;
        run = 1;
        if (at < 0) {
            continue;
        }
        if (whole) { /* copy runs of consecutive indices at once */
            while (i + run < n && (!keep[0] || keep[0][i + run] == at + run)) {
                run++;
            }
            memcpy(to + i * inner_to, source, (size_t)(run * inner_to) * sizeof *to);
        } else {
            ep_gather(to + i * inner_to, source, rank - 1, size + 1, keep + 1, kept + 1);
        }
    }
}
