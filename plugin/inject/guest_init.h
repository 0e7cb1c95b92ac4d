/*
 * guest_init.h - which init system starts the agent in this guest, or why none does
 *
 * Pure: decided on what guest_signs.h saw, every byte of which the guest chose.  A payload has sections (entries
 * of kind 's'); what a section holds goes into guests of its init system alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/common/error.h"
#include "lib/wire/priv_msg.h"

enum guest_init { GUEST_INIT_NONE, GUEST_INIT_SYSTEMD, GUEST_INIT_OPENRC, GUEST_INIT_SYSVINIT };

enum { GUEST_ELF_LEN = 20 }; /* up to e_machine */

struct guest_signs {
    bool init;              /* there is a /sbin/init */
    char init_target[4096]; /* where it links to; "": it is no link */
    bool systemd;           /* systemd's own program is there */
    bool glibc;             /* /lib64/ld-linux-x86-64.so.2 is there: what our program asks for */
    bool openrc;            /* openrc-run and the folder of the default runlevel */
    bool sysvinit;          /* the folders of scripts and of runlevel 2 */
    uint8_t shell[GUEST_ELF_LEN];
    size_t shell_len;       /* the head of /bin/sh; 0: none */
};

/*
 * ERROR_DENIED with one problem: agent-init (none of the three), agent-libc (systemd without glibc), agent-arch (its
 * programs are not for x86-64).
 */
int guest_init_choose(const struct guest_signs *signs, enum guest_init *ret, struct error *err);

/* Do the entries behind this one of kind 's' go into such a guest? */
bool guest_init_takes(enum guest_init init, const struct payload_entry *section);
