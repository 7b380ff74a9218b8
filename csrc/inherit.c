/* inherit: see inherit.h. */
#include "inherit.h"

#include <stdlib.h>
#include <string.h>

/* ---- axes that allow births ------------------------------------------------------------------ */

/* What a value holds of the outputs of the populations: nothing (WITHOUT), or the outputs before or
 * after their multiplication by the masses. */
typedef enum { WITHOUT, BEFORE, AFTER } stage;

static int times_in(int axis, int rank, const int *axes) {
    int n = 0;
    for (int d = 0; d < rank; d++) {
        n += axes[d] == axis;
    }
    return n;
}

static bool uses(const ep_layer *layer, int tensor) {
    bool found = false;
    for (int i = 0; i < layer->n_tensors; i++) {
        found = found || layer->tensor[i] == tensor;
    }
    return found;
}

/* If the layer sums over `axis` of its input, returns the dimension of its weights (its first
 * tensor) that is this axis; else -1. */
static int summed_dimension(const ep_net *net, const ep_layer *layer, int axis) {
    const ep_value *out = &net->values[layer->out];
    bool linear = layer->kind->linear == EP_LINEAR_WEIGHT ||
                  layer->kind->linear == EP_LINEAR_WINDOW,
         reads = false;
    for (int i = 0; i < layer->reads; i++) {
        const ep_value *x = &net->values[layer->input[i]];
        reads = reads || times_in(axis, x->rank, x->axis) > 0;
    }
    if (!linear || !reads || layer->n_tensors == 0) {
        return -1;
    }
    const ep_tensor *weight = &net->tensors[layer->tensor[0]];
    int at = 0;
    while (at < weight->rank && weight->axis[at] != axis) {
        at++;
    }
    bool sums = times_in(axis, weight->rank, weight->axis) > times_in(axis, out->rank, out->axis);
    return sums ? at : -1;
}

/* Returns the layer whose weights alone make entry j of a value along `axis`, for every j, and sets
 * *dimension to that of the weights (its first tensor) which is this axis. NULL if there is none. */
static const ep_layer *writer(const ep_net *net, int value, int axis, int *dimension) {
    const ep_layer *layer = NULL;
    for (int i = 0; i < net->n_layers; i++) {
        layer = net->layers[i].out == value ? &net->layers[i] : layer;
    }
    ep_linearity linear = layer ? layer->kind->linear : EP_NOT_LINEAR;
    if ((linear != EP_LINEAR_WEIGHT && linear != EP_LINEAR_WINDOW) || layer->n_tensors == 0) {
        return NULL;
    }
    for (int i = 0; i < layer->reads; i++) {
        const ep_value *x = &net->values[layer->input[i]];
        if (times_in(axis, x->rank, x->axis) > 0) {
            return NULL;
        }
    }
    const ep_tensor *weight = &net->tensors[layer->tensor[0]];
    for (*dimension = 0; *dimension < weight->rank; ++*dimension) {
        if (weight->axis[*dimension] == axis) {
            return layer;
        }
    }
    return NULL;
}

/* True if the layer sums products of entries of its inputs 0 and 1 over `axis`. */
static bool multiplies(const ep_net *net, const ep_layer *layer, int axis) {
    int d = layer->kind->product_axis;
    const ep_value *x = &net->values[layer->input[0]];
    return d > 0 && d <= x->rank && x->axis[d - 1] == axis;
}

/* True if a layer that sums over `axis` has this tensor as its weights. */
static bool is_summed(const ep_net *net, int tensor, int axis) {
    bool found = false;
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        found = found || (layer->n_tensors > 0 && layer->tensor[0] == tensor &&
                          summed_dimension(net, layer, axis) >= 0);
    }
    return found;
}

/* Returns the axis of the layer's input 0 whose founding size affects the output of the layer, or
 * -1 if there is none. */
static int founding_axis(const ep_net *net, const ep_layer *layer) {
    const ep_value *x = &net->values[layer->input[0]];
    int d = layer->kind->founding_axis;
    d = d < 0 ? x->rank : d;
    return d > 0 && d <= x->rank ? x->axis[d - 1] : -1;
}

static bool is_apart(const ep_net *net, const ep_layer *layer, int axis) {
    const ep_value *x = &net->values[layer->input[0]];
    int d = layer->kind->apart;
    return d == EP_APART_ALL || (d > 0 && d <= x->rank && x->axis[d - 1] == axis) ||
           layer->kind->linear == EP_LINEAR_GAIN;
}

/* Does what follow() does, for a layer that multiplies outputs of the populations. If one factor is
 * after the masses and the other one before them, a sum of their products is proportional to the
 * masses: two halves contribute as much as the whole. The other factor must be made by weights that
 * the populations own, so that a newborn population can start with a factor of 0. */
static const char *multiply(const ep_net *net, const ep_population *p, const ep_layer *layer,
                            stage *of) {
    stage one = of[layer->input[0]], two = of[layer->input[1]];
    for (int i = 0; i < layer->reads; i++) {
        const ep_value *x = &net->values[layer->input[i]];
        if (times_in(p->axis, x->rank, x->axis) != 1) {
            return "a layer combines them other than by a sum";
        }
    }
    if (one == two) {
        return one == AFTER
                   ? "a layer sums the product of two of their outputs, both after their "
                     "masses"
                   : "a layer sums the product of two of their outputs, none of them after "
                     "their masses";
    }
    int dimension;
    if (!writer(net, layer->input[one == AFTER ? 1 : 0], p->axis, &dimension)) {
        return "a layer multiplies them by values that no weights of their own make";
    }
    of[layer->out] = of[layer->input[layer->kind->linear_input]];
    return NULL;
}

/* Derives the stage of a layer's output from the stages of its inputs; of[v] is the stage of value
 * v. Returns NULL, or the reason why births would change the outputs of the network. */
static const char *follow(const ep_net *net, const ep_population *p, const ep_layer *layer,
                          stage *of) {
    const ep_value *out = &net->values[layer->out];
    bool stays = times_in(p->axis, out->rank, out->axis) > 0;
    if (multiplies(net, layer, p->axis)) {
        return multiply(net, p, layer, of);
    }
    stage in = WITHOUT;
    for (int i = 0; i < layer->reads; i++) {
        stage at = of[layer->input[i]];
        if (at != WITHOUT && in != WITHOUT && at != in) {
            return "a layer joins them from before and after their masses";
        }
        in = at != WITHOUT ? at : in;
    }
    of[layer->out] = stays ? BEFORE : WITHOUT;
    if (in == WITHOUT) {
        bool owned = false;
        for (int i = 0; i < layer->n_tensors; i++) {
            const ep_tensor *t = &net->tensors[layer->tensor[i]];
            owned = owned || times_in(p->axis, t->rank, t->axis) > 0;
        }
        return stays && !owned ? "a layer fills them without weights of their own" : NULL;
    }
    if (uses(layer, p->mass)) {
        of[layer->out] = AFTER;
        return in == AFTER ? "they are multiplied by their masses more than once" : NULL;
    }
    if (summed_dimension(net, layer, p->axis) >= 0) {
        return in == BEFORE ? "a layer reads them before their masses" : NULL;
    }
    of[layer->out] = in;
    const ep_tensor *weight = layer->n_tensors ? &net->tensors[layer->tensor[0]] : NULL;
    bool owned = weight && times_in(p->axis, weight->rank, weight->axis) > 0;
    ep_linearity linear = layer->kind->linear;
    bool alone = true; /* linear_input is the only input that holds outputs of the populations */
    for (int i = 0; i < layer->reads; i++) {
        alone = alone && (i == layer->kind->linear_input || of[layer->input[i]] == WITHOUT);
    }
    bool passes = (linear == EP_LINEAR_PASS && alone) || layer->scales ||
                  linear == EP_LINEAR_WEIGHT || (linear == EP_LINEAR_WINDOW && owned);
    if (!stays || founding_axis(net, layer) == p->axis) {
        return "a layer combines them other than by a sum";
    }
    if (in == AFTER) {
        return passes ? NULL : "a layer after their masses is not linear in them";
    }
    return passes || is_apart(net, layer, p->axis) ? NULL
                                                   : "a layer before their masses combines them";
}

static bool are_inputs(const ep_net *net, const ep_population *population) {
    const ep_value *input = &net->values[0];
    return times_in(population->axis, input->rank, input->axis) > 0;
}

/* Returns why outputs would change if a population had another one beside it that did the same, or
 * NULL if they would not. `inputs`: the populations are input features. */
static const char *obstacle(const ep_net *net, const ep_population *population, bool inputs) {
    stage *of = calloc((size_t)net->n_values, sizeof *of);
    const char *why = of ? NULL : "memory ran out while checking";
    if (of && inputs) {
        of[0] = BEFORE;
    }
    for (int i = 0; !why && i < net->n_layers; i++) {
        why = follow(net, population, &net->layers[i], of);
    }
    free(of);
    return why;
}

const char *ep_barren(const ep_net *net, const ep_population *population) {
    return are_inputs(net, population) ? "they are input features, which the data defines"
                                       : obstacle(net, population, false);
}

const char *ep_no_return(const ep_net *net, const ep_population *population) {
    if (!are_inputs(net, population)) {
        return "they are not input features";
    }
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *t = &net->tensors[i];
        if (t->role == EP_DECAYED && times_in(population->axis, t->rank, t->axis) > 0 &&
            !is_summed(net, i, population->axis)) {
            return "a layer has weights for each of them";
        }
    }
    return obstacle(net, population, true);
}

/* ---- initial values of newborn populations --------------------------------------------------- */

/* Slice j along dimension d of a tensor: `before` ranges of `after` elements whose starts are
 * `step` elements apart. */
typedef struct {
    int64_t before, after, step;
} runs;

static runs runs_of(const ep_net *net, const ep_tensor *t, int d) {
    runs r = {1, 1, 0};
    for (int i = 0; i < t->rank; i++) {
        r.before *= i < d ? net->axes[t->axis[i]].n : 1;
        r.after *= i > d ? net->axes[t->axis[i]].n : 1;
    }
    r.step = r.after * net->axes[t->axis[d]].n;
    return r;
}

static void scale_slice(const ep_slab *slab, const ep_tensor *t, runs r, int64_t j, ep_real by) {
    ep_real *at = slab->at + t->at + j * r.after;
    for (int64_t i = 0; i < r.before; i++, at += r.step) {
        for (int64_t k = 0; k < r.after; k++) {
            at[k] *= by;
        }
    }
}

/* Multiplies slice `one` by 1 + s z and slice `other` by 1 - s z, elementwise, z normal noise. */
static void mutate(const ep_net *net, const ep_tensor *t, runs r, int64_t one, int64_t other,
                   double s, ep_noise noise) {
    ep_real *w = net->numbers->at + t->at;
    uint64_t index = 0;
    for (int64_t i = 0; i < r.before; i++, w += r.step) {
        for (int64_t k = 0; k < r.after; k++) {
            double z = s * ep_random_normal(noise, index++);
            ep_real *a = &w[one * r.after + k], *b = &w[other * r.after + k];
            *a = (ep_real)((double)*a * (1 + z));
            *b = (ep_real)((double)*b * (1 - z));
        }
    }
}

/* Divides a parent into two halves: one keeps the parent's place, the other gets the child's. A
 * half with half of the mass has half of the gradient, so half of the first moment and a quarter of
 * the second: training continues as if there had always been two halves. */
static void divide(ep_net *net, const ep_population *p, int64_t parent, int64_t child,
                   int32_t birth, double mutation) {
    for (int i = 0; i < net->n_tensors; i++) {
        const ep_tensor *t = &net->tensors[i];
        for (int d = 0; d < t->rank && t->role <= EP_FREE; d++) {
            if (t->axis[d] != p->axis) {
                continue;
            }
            runs r = runs_of(net, t, d);
            const int64_t both[] = {parent, child};
            for (int h = 0; h < EP_COUNT(both); h++) {
                if (!net->continues) {
                    scale_slice(net->gradients, t, r, both[h], (ep_real)0.5);
                }
                scale_slice(net->first, t, r, both[h], (ep_real)0.5);
                scale_slice(net->second, t, r, both[h], (ep_real)0.25);
            }
            if (t->role == EP_DECAYED && mutation > 0) {
                ep_noise noise = {net->seed, EP_STREAM_BIRTHS + (uint64_t)i};
                noise = ep_random_fork(ep_random_fork(noise, (uint64_t)birth), (uint64_t)d);
                mutate(net, t, r, parent, child, mutation, noise);
            }
        }
    }
}

/* Sets to 0 the slice of a population in the weights of a layer. */
static void zero(ep_net *net, const ep_layer *layer, int dimension, int64_t place) {
    const ep_tensor *t = &net->tensors[layer->tensor[0]];
    scale_slice(net->numbers, t, runs_of(net, t, dimension), place, 0);
}

/* Sets the mass of an immigrant or of a feature that returns, and sets to 0 the weights with which
 * later layers read it. If its outputs are a factor of a product, the weights that make the other
 * factor are set to 0, not those of both: the gradient of both would be 0. */
static void settle(ep_net *net, const ep_population *p, int64_t place, ep_real mass) {
    ep_net_numbers(net, p->mass)[place] = mass;
    ep_net_numbers(net, p->alive)[place] = 1;
    for (int i = 0; i < net->n_layers; i++) {
        const ep_layer *layer = &net->layers[i];
        int d = summed_dimension(net, layer, p->axis);
        if (d >= 0) {
            zero(net, layer, d, place);
        }
        for (int factor = 0; factor < 2 && multiplies(net, layer, p->axis); factor++) {
            /* The factor after the masses has no writer: a layer with the masses made it. */
            const ep_layer *other = writer(net, layer->input[factor], p->axis, &d);
            if (other) {
                zero(net, other, d, place);
            }
        }
    }
}

/* Returns the new place of the surviving population that was at place `from` before the resize. The
 * search is binary, because the sources of the surviving populations ascend. */
static int64_t place_of(const ep_places *p, int64_t from) {
    int64_t low = 0, high = p->n - p->born;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (p->source[middle] < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Inserts the place of a feature that returns, so that ids stay ascending. */
static void reinsert(ep_places *p, int32_t birth) {
    int64_t at = p->n++;
    for (; at > 0 && p->birth[at - 1] > birth; at--) {
        p->source[at] = p->source[at - 1];
        p->birth[at] = p->birth[at - 1];
    }
    p->source[at] = -1;
    p->birth[at] = birth;
}

/* Returns the place of the population with this id on the axis, by binary search. */
static int64_t place_of_birth(const ep_axis *axis, int32_t birth) {
    int64_t low = 0, high = axis->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (axis->birth[middle] < birth) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    EP_ASSERT(low < axis->n && axis->birth[low] == birth);
    return low;
}

bool ep_bear(ep_net *net, const ep_newborn *newborn, int64_t n, double mutation, ep_error *error) {
    ep_places *places = ep_places_living(net, n);
    if (!places) {
        return ep_fail(error, EP_NO_MEMORY, "network: no memory to add the newborn");
    }
    for (int64_t b = 0; b < n; b++) {
        int axis = net->populations[newborn[b].group].axis;
        ep_places *p = &places[axis];
        if (newborn[b].birth < net->axes[axis].next_birth) {
            reinsert(p, newborn[b].birth);
        } else {
            p->birth[p->n] = newborn[b].birth;
            p->source[p->n++] = (int32_t)newborn[b].place;
            p->born++;
        }
    }
    bool ok = ep_resize(net, places, net->generation, error);
    for (int64_t b = 0; ok && b < n; b++) {
        const ep_newborn *one = &newborn[b];
        const ep_population *of = &net->populations[one->group];
        int64_t place = place_of_birth(&net->axes[of->axis], one->birth);
        if (one->parent >= 0) {
            int64_t parent = place_of(&places[of->axis], one->place);
            divide(net, of, parent, place, one->birth, mutation);
        } else {
            settle(net, of, place, one->mass);
        }
    }
    net->waste = ok ? 0 : net->waste;
    ep_places_free(places, net->n_axes);
    return ok;
}
