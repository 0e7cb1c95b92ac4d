#include "config.h"

#include "guestagent/stepper.h"

#include <string.h>

#include "lib/crypto/hash.h"

int
stepper_begin(struct stepper *s, struct slots *slots, uint64_t epoch, struct error *err)
{
    /* Epoch 0 is a host that still asks for the lease: no run. */
    if (epoch == 0 || s->epoch == epoch)
        return 0;
    if (slots_sync(slots, err) < 0)
        return -1;
    *s = (struct stepper){ .epoch = epoch };
    return 0;
}

int
stepper_make(struct stepper *s, struct slots *slots, const struct greeting *greeting,
             struct tpm_device *tpm, struct secret **ret_new, struct error *err)
{
    /* Before the key is made: a TPM2_Clear in between makes it one of another run. */
    if (tpm && tpm_counters(tpm, &s->reset_count, &s->restart_count, err) < 0)
        return -1;
    if (slots_make(slots, SLOT_NEW, tpm ? SLOT_UNIQUE : SLOT_PRIVATE, &greeting->uuid,
                   greeting->session, err) < 0)
        return -1;
    return slots_read(slots, SLOT_NEW, ret_new, err);
}

void
stepper_made(struct stepper *s, const uint8_t point[static 65])
{
    s->has_fresh = true;
    memcpy(s->fresh, point, sizeof s->fresh);
}

bool
stepper_is_fresh(const struct stepper *s, const uint8_t point[static 65])
{
    return s->has_fresh && memcmp(s->fresh, point, sizeof s->fresh) == 0; /* public keys */
}

bool
stepper_same_run(struct stepper *s, uint32_t reset_count, uint32_t restart_count)
{
    if (!s->has_fresh || (s->reset_count == reset_count && s->restart_count == restart_count))
        return true;
    s->has_fresh = false;
    return false;
}

void
stepper_resolved(struct stepper *s)
{
    s->has_fresh = s->done = false;
}

void
stepper_finished(struct stepper *s)
{
    s->has_fresh = false;
    s->done = true;
}

/* A v that leads elsewhere would end this VM's identity: a service that is wrong must not do that. */
static int
check_extend(const struct answer *a, struct error *err)
{
    uint8_t both[64], to[32];
    int rc;

    memcpy(both, a->from, 32);
    memcpy(both + 32, a->v, 32);
    rc = hash_sha256(both, sizeof both, to, err);
    explicit_bzero(both, sizeof both);
    if (rc == 0 && memcmp(to, a->to, sizeof to) != 0) /* no secrets */
        return error_set(err, ERROR_INPUT, "the service's step does not lead where it says");
    return rc;
}

int
stepper_extend(struct stepper *s, struct tpm_device *tpm, const struct answer *a,
               struct error *err)
{
    uint8_t x[32];

    if (!tpm)
        return error_set(err, ERROR_INPUT, "the service asks for a step of a TPM, and there is none");
    if (check_extend(a, err) < 0 || tpm_nv_read(tpm, x, err) < 0)
        return -1;
    s->synced = false;
    /* Another content is left alone: the same step was made already, or the service judges it. */
    return memcmp(x, a->from, sizeof x) == 0 ? tpm_nv_extend(tpm, a->v, err) : 0;
}
