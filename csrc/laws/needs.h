/* needs: the signals that a fitness or a dynamics needs besides mass and its gradient. Population
 * j owns slice j of every decayed and free tensor that has its axis. */
#ifndef EP_NEEDS_H
#define EP_NEEDS_H

enum {
    /* Needs of a fitness law: sums over the weights w that a population owns (dw = dL/dw). */
    EP_NEEDS_NORM = 1,     /* owned_norm2: sum w^2 */
    EP_NEEDS_GRADIENT = 2, /* owned_gradient2: sum dw^2 */
    EP_NEEDS_PRODUCT = 4,  /* owned_product: sum w * dw */
    EP_NEEDS_ACTIVITY = 8, /* activity: mean over the batch of |output| */
    /* Needs of a dynamics, over the populations of a niche. */
    EP_NEEDS_ACTIVITY_OVERLAP = 16, /* overlap: max(0, cosine) of two outputs over the batch */
    EP_NEEDS_WEIGHT_OVERLAP = 32,   /* overlap: <w_i, w_j> of the in-weights */
    EP_NEEDS_WEIGHT_NORM = 64,      /* norm2: |w_i|^2 of the in-weights */
};

#endif
