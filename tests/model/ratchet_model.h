/*
 * ratchet_model.h - the service of the checked model, as C: service() of tests/model/ratchet.pml, line by line
 *
 * Its names are the model's.  HAS, kok, xok, S1 to S6 in the same order; NOIDX and NOSEC are here a value at run
 * time.  What C1 to C3 refuse (no host's signature, an older nonce) does not come this far.
 *
 * Not here: the model's mutants and injection.
 */
#pragma once

#include <stdbool.h>

enum model_reply { MODEL_REFUSED, MODEL_RESOLVE, MODEL_EXTEND, MODEL_TOKEN };

struct model_msg {
    int k1, k2, x, rn;
    bool fr;
};

struct model_row {
    int cur, nxt, xcur, xnx, prun, done;
    int gk, gn, gx; /* grant: the state that was seen */
};

struct model_mode {
    bool noidx, nosec;
};

struct model_answer {
    enum model_reply ty;
    int a, b;
};

static bool
model_has(const struct model_msg *net, int k)
{
    return k != 0 && (net->k1 == k || net->k2 == k);
}

static bool
model_seen(const struct model_row *y, const struct model_mode *mode, const struct model_msg *net)
{
    return y->gk != 0 && (mode->nosec || (net->k1 == y->gk && net->k2 == y->gn)) &&
           (mode->noidx || net->x == y->gx);
}

/* `xid`: the content that a step begun now would lead to. */
static struct model_answer
model_service(struct model_row *y, const struct model_mode *mode, const struct model_msg *net, int xid)
{
    bool kok = model_has(net, y->cur) || model_has(net, y->nxt);
    bool xok = net->x == y->xcur || (y->xnx != 0 && net->x == y->xnx);
    int rr = net->rn;

    if (mode->noidx)
        xok = true;
    if (mode->nosec)
        kok = true;
    if (!(kok && xok)) {
        if (!model_seen(y, mode, net))
            return (struct model_answer){ MODEL_REFUSED, 0, 0 }; /* C4: an event, no change */
        if (model_has(net, y->nxt)) /* grant: exactly the state that was seen, once */
            y->cur = y->nxt;
        else if (!model_has(net, y->cur))
            y->cur = net->k1;
        y->nxt = 0;
        y->xcur = net->x;
        y->xnx = 0;
        y->prun = rr;
        y->done = 0;
    }
    y->gk = y->gn = y->gx = 0; /* ends with any accepted proof */
    if (rr == y->done)
        return (struct model_answer){ MODEL_TOKEN, y->cur, 0 }; /* S1 */
    if (y->prun != rr || (!mode->nosec && (!net->fr || (y->nxt != 0 && y->nxt != net->k2)))) { /* S2 */
        if (model_has(net, y->nxt))
            y->cur = y->nxt;
        y->nxt = 0;
        if (y->xnx != 0 && net->x == y->xnx)
            y->xcur = y->xnx;
        y->xnx = 0;
        y->prun = rr;
    }
    if (mode->nosec) {
        if (y->xnx == 0) {
            y->xnx = xid;
            return (struct model_answer){ MODEL_EXTEND, y->xcur, y->xnx };
        }
        if (net->x == y->xcur)
            return (struct model_answer){ MODEL_EXTEND, y->xcur, y->xnx };
        y->xcur = y->xnx;
        y->xnx = 0;
        y->done = rr;
        return (struct model_answer){ MODEL_TOKEN, y->cur, 0 };
    }
    if (!net->fr || net->k1 != y->cur || net->k2 == 0)
        return (struct model_answer){ MODEL_RESOLVE, y->cur, 0 }; /* S3 */
    if (mode->noidx) { /* no index: S4 and S6 in one */
        y->cur = net->k2;
        y->done = rr;
        return (struct model_answer){ MODEL_TOKEN, y->cur, 0 };
    }
    if (y->nxt == 0) { /* S4 */
        y->nxt = net->k2;
        y->xnx = xid;
        return (struct model_answer){ MODEL_EXTEND, y->xcur, y->xnx };
    }
    if (net->x == y->xcur) /* S5: same run: same v again */
        return (struct model_answer){ MODEL_EXTEND, y->xcur, y->xnx };
    y->cur = y->nxt; /* S6: shows K(n+1) and x(n+1): complete, forget n */
    y->nxt = 0;
    y->xcur = y->xnx;
    y->xnx = 0;
    y->done = rr;
    return (struct model_answer){ MODEL_TOKEN, y->cur, 0 };
}
