/*
 * kvm_probe.h - does KVM really run a guest here?
 *
 * On some machines /dev/kvm opens and even creates a VM, and the first
 * instruction fails; an appliance then hangs for minutes.  So we run some.
 */
#pragma once

#include <stdbool.h>

/*
 * A VM of two megabytes runs a loop in long mode and says so.  True when both exits came as they
 * should within 2 seconds: also where it only crawls, because every instruction is
 * emulated, the answer is no.
 */
bool kvm_probe(void);
