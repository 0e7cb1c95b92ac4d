#include "config.h"

#include "lib/tpm/tpm_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include "lib/common/clock.h"
#include "lib/tpm/tpm_esys.h"
#include "lib/tpm/tpm_socket.h"

enum {
    PATIENCE_MS = 2000,
    PAUSE_MS = 20,
    SILENCE_SECONDS = 30, /* making an RSA key in a loaded vTPM takes seconds */
};

bool
tpm_again(TSS2_RC rc, struct tpm_patience *patience)
{
    static const struct timespec pause = { 0, PAUSE_MS * 1000000L };
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK, code = rc & 0xffff;

    if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER)
        return false;
    if (code != TPM2_RC_RETRY && code != TPM2_RC_YIELDED && code != TPM2_RC_TESTING)
        return false;
    if (patience->tries++ == 0)
        patience->until_ms = clock_monotonic_ms() + PATIENCE_MS;
    else if (clock_monotonic_ms() >= patience->until_ms)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

TSS2_RC
tpm_rc_base(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK, code = rc & 0xffff;

    if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER)
        return rc;
    if (code & TPM2_RC_FMT1)
        return code & (TPM2_RC_FMT1 | 0x3f); /* without parameter, session or handle number */
    return code;
}

int
tpm_failed(TSS2_RC rc, const char *what, struct error *err)
{
    const char *words = Tss2_RC_Decode(rc);

    if ((rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER)
        return error_problem(err, ERROR_SYSTEM, "tpm-gone", "TPM: %s: %s", what, words);
    switch (tpm_rc_base(rc)) {
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_LOCKOUT:
    case TPM2_RC_NV_RATE:
    case TPM2_RC_NV_UNAVAILABLE:
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_OBJECT_HANDLES:
    case TPM2_RC_SESSION_HANDLES:
    case TPM2_RC_MEMORY:
        return error_set(err, ERROR_BUSY, "TPM: %s: %s", what, words);
    case TPM2_RC_BAD_AUTH:
    case TPM2_RC_AUTH_FAIL:
    case TPM2_RC_HIERARCHY:
    case TPM2_RC_INTEGRITY:
    case TPM2_RC_VALUE:
    case TPM2_RC_SIZE:
        return error_set(err, ERROR_DENIED, "TPM: %s: %s", what, words);
    default:
        return error_set(err, ERROR_SYSTEM, "TPM: %s: %s", what, words);
    }
}

bool
tpm_is_auth_failure(TSS2_RC rc)
{
    return tpm_rc_base(rc) == TPM2_RC_BAD_AUTH || tpm_rc_base(rc) == TPM2_RC_AUTH_FAIL;
}

int
tpm_endorsement_failed(TSS2_RC rc, const char *what, struct error *err)
{
    if (tpm_is_auth_failure(rc))
        return error_problem(err, ERROR_DENIED, "tpm-endorsement-auth",
                             "TPM: %s: the endorsement hierarchy has a password, and not the one "
                             "given here: name it to virtid-agent (endorsement_password_file), "
                             "empty it (tpm2_changeauth -c endorsement -p OLD) or clear the TPM "
                             "(tpm2_clear)",
                             what);
    if (tpm_rc_base(rc) == TPM2_RC_HIERARCHY)
        return error_problem(err, ERROR_DENIED, "tpm-endorsement-auth",
                             "TPM: %s: the endorsement hierarchy is switched off until the next "
                             "reset",
                             what);
    return tpm_failed(rc, what, err);
}

int
tpm_endorsement_password(struct tpm_device *tpm, const uint8_t *password, size_t len,
                         struct error *err)
{
    TPM2B_AUTH auth = { .size = (uint16_t)len };
    TSS2_RC rc;

    if (len > TPM_PASSWORD_MAX || len > sizeof auth.buffer)
        return error_set(err, ERROR_INPUT, "a TPM password of more than %d bytes",
                         TPM_PASSWORD_MAX);
    if (len > 0)
        memcpy(auth.buffer, password, len);
    rc = Esys_TR_SetAuth(tpm->esys, ESYS_TR_RH_ENDORSEMENT, &auth);
    explicit_bzero(&auth, sizeof auth);
    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "endorsement password", err);
    tpm->endorsement_password = len > 0;
    return 0;
}

void
tpm_held_drop(struct tpm_held *held)
{
    if (held->tr == ESYS_TR_NONE)
        return;
    if (held->stays)
        (void)Esys_TR_Close(held->tpm->esys, &held->tr);
    else
        (void)TPM_CALL(Esys_FlushContext(held->tpm->esys, held->tr));
    held->tr = ESYS_TR_NONE;
}

int
tpm_hold_handle(struct tpm_device *tpm, uint32_t handle, const char *what,
                struct tpm_held *ret, struct error *err)
{
    TSS2_RC rc = TPM_CALL(Esys_TR_FromTPMPublic(tpm->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE,
                                                ESYS_TR_NONE, &ret->tr));

    if (rc == TSS2_RC_SUCCESS) {
        ret->stays = true;
        return 0;
    }
    ret->tr = ESYS_TR_NONE;
    if (tpm_rc_base(rc) == TPM2_RC_HANDLE || tpm_rc_base(rc) == TPM2_RC_REFERENCE_H0)
        return error_set(err, ERROR_MISSING, "TPM: no %s at 0x%08x", what, (unsigned)handle);
    return tpm_failed(rc, what, err);
}

static const char *
tcti_of(const char *tcti)
{
    if (tcti && strcmp(tcti, "auto") != 0)
        return tcti;
    return access("/dev/tpmrm0", F_OK) == 0 ? "device:/dev/tpmrm0" : "device:/dev/tpm0";
}

void
tpm_limit_silence(struct tpm_device *tpm, int seconds)
{
    (void)tpm_socket_limit(tpm->tcti, seconds);
}

/* "swtpm:path=..." we speak ourselves; everything else is tss2's. */
static int
open_tcti(const char *which, TSS2_TCTI_CONTEXT **ret, struct error *err)
{
    static const char ours[] = "swtpm:path=";
    TSS2_RC rc;

    if (strncmp(which, ours, strlen(ours)) == 0)
        return tpm_socket_open(which + strlen(ours), SILENCE_SECONDS, ret, err);
    rc = Tss2_TctiLdr_Initialize(which, ret);
    if (rc != TSS2_RC_SUCCESS)
        return error_set(err, ERROR_SYSTEM, "TPM %s: %s", which, Tss2_RC_Decode(rc));
    return 0;
}

int
tpm_open(const char *tcti, struct tpm_device **ret, struct error *err)
{
    CLEANUP(tpm_close) struct tpm_device *tpm = calloc(1, sizeof *tpm);
    const char *which = tcti_of(tcti);
    TSS2_RC rc;

    if (!tpm)
        return error_sys(err, ENOMEM, "TPM");
    if (open_tcti(which, &tpm->tcti, err) < 0)
        return -1;
    rc = Esys_Initialize(&tpm->esys, tpm->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return error_set(err, ERROR_SYSTEM, "TPM %s: %s", which, Tss2_RC_Decode(rc));
    *ret = STEAL(tpm);
    return 0;
}

void
tpm_close(struct tpm_device *tpm)
{
    if (!tpm)
        return;
    Esys_Finalize(&tpm->esys);
    if (!tpm_socket_close(tpm->tcti))
        Tss2_TctiLdr_Finalize(&tpm->tcti);
    free(tpm);
}

static int
count_handles(struct tpm_device *tpm, uint32_t first, unsigned *ret, struct error *err)
{
    CLEANUP(esys_free) TPMS_CAPABILITY_DATA *data = NULL;
    TSS2_RC rc = TPM_CALL(Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE,
                                             ESYS_TR_NONE, TPM2_CAP_HANDLES, first,
                                             TPM2_MAX_CAP_HANDLES, NULL, &data));

    if (rc != TSS2_RC_SUCCESS)
        return tpm_failed(rc, "list handles", err);
    *ret += data->data.handles.count;
    return 0;
}

int
tpm_loaded_count(struct tpm_device *tpm, unsigned *ret, struct error *err)
{
    /* Transient objects, loaded sessions, saved sessions (TPM 2.0 Part 2, 7.2). */
    static const uint32_t first[] = { 0x80000000, 0x02000000, 0x03000000 };
    unsigned n = 0;

    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        if (count_handles(tpm, first[i], &n, err) < 0)
            return -1;
    }
    *ret = n;
    return 0;
}
