/*
 * sim_record.h - what the host of a simulated VM knows of it, from one run to the next:
 * vm.json
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/names.h"
#include "lib/wire/vm_uuid.h"

enum { SIM_RECORD_EK_MAX = 512 };

struct sim_record {
    struct vm_uuid uuid;
    char name[NAME_DOMAIN_MAX + 1];
    uint8_t ek[SIM_RECORD_EK_MAX]; /* TPMT_PUBLIC */
    size_t ek_len;                 /* 0: not made by us, or none */
    uint8_t x0[32];                /* with ek_len */
    uint8_t secret[65];            /* public point of what was injected */
    bool has_secret;
    bool renewed;  /* its TPM was made anew: what was injected has stepped on, or was never there */
    bool enrolled; /* the account was opened with the above */
};

/* ERROR_MISSING: there is none yet. */
int sim_record_read(const char *path, struct sim_record *ret, struct error *err);
int sim_record_write(const char *path, const struct sim_record *record,
                     struct error *err);
