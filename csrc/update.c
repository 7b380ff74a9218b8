/* update: see update.h. */
#include "update.h"

enum { BLOCK = 4096 }; /* elements per block */

static ep_pace pace_of(const ep_net *net, const ep_regime *regime, ep_role role, double rate,
                       double scale) {
    double decay = role == EP_DECAYED ? regime->optimizer->decay(regime->optimizer_config) : 0;
    return (ep_pace){.rate = rate, .decay = decay, .scale = scale, .step = net->step + 1};
}

void ep_update(const ep_net *net, const ep_regime *regime, ep_role role, double rate, double scale,
               int64_t at, ep_block block) {
    int moments = regime->optimizer->moments;
    regime->optimizer->step(regime->optimizer_config, pace_of(net, regime, role, rate, scale),
                            block, net->numbers->at + at, net->gradients->at + at,
                            moments > 0 ? net->first->at + at : NULL,
                            moments > 1 ? net->second->at + at : NULL);
}

static int64_t trained(const ep_net *net) { return net->begin[EP_EVOLVED]; }

int64_t ep_update_blocks(const ep_net *net) { return (trained(net) + BLOCK - 1) / BLOCK; }

double ep_update_norm2(const ep_net *net, int64_t block) {
    int64_t a = block * BLOCK, n = ep_min(BLOCK, trained(net) - a);
    const ep_real *g = net->gradients->at + a;
    double lane[8] = {0};
    int64_t whole = n / 8 * 8;
    for (int64_t i = 0; i < whole; i += 8) {
        for (int l = 0; l < 8; l++) {
            lane[l] += (double)g[i + l] * (double)g[i + l];
        }
    }
    for (int64_t i = whole; i < n; i++) {
        lane[i - whole] += (double)g[i] * (double)g[i];
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

void ep_update_block(const ep_net *net, const ep_regime *regime, double rate, double scale,
                     int64_t block) {
    int64_t a = block * BLOCK, b = ep_min(a + BLOCK, trained(net));
    for (int role = EP_DECAYED; role <= EP_FREE; role++) {
        int64_t from = ep_max(a, net->begin[role]), to = ep_min(b, net->begin[role + 1]);
        if (from < to) {
            ep_update(net, regime, (ep_role)role, rate, scale, from,
                      (ep_block){1, to - from, to - from});
        }
    }
}
