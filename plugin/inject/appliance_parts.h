/*
 * appliance_parts.h - the parts that libguestfs builds its appliance of, with an init of ours
 *
 * libguestfs's init looks for arrays, volumes and networks for as long as its kernel boots.  The
 * appliance of an injection has none of them when it starts: appliance_init does what it needs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Makes `cache_dir`/appliance/supermin.d: links to the parts in `stock`/supermin.d (what
 * guestfs_get_path() names), and to `init` in the place of init.tar.gz.  Links that are right stay
 * untouched.  `ret` is for guestfs_set_path().
 * False: a part is missing or nothing can be written there; `stock` is what to use.
 */
bool appliance_parts_make(const char *stock, const char *init, const char *cache_dir, char *ret,
                          size_t size);

/* appliance_init.tar.gz beside this very program (where nothing is installed), else where it is installed. */
bool appliance_parts_init(char *ret, size_t size);
