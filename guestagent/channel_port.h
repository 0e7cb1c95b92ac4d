/*
 * channel_port.h - finds and opens the virtio-serial port org.virtid.0
 */
#pragma once

#include <stdbool.h>

#include "lib/common/error.h"

#define CHANNEL_PORT_NAME "org.virtid.0"

struct channel_port {
    int fd;         /* non-blocking, close-on-exec; -1: closed */
    bool is_socket; /* end of file means gone; a virtio port only says that nobody listens now */
};

/*
 * `where`: "auto" (udev's name, else by name in /sys/class/virtio-ports), a device path, or "unix:PATH".
 * ERROR_MISSING: there is no such port; ERROR_BUSY: somebody else in the guest has it open.
 */
int channel_port_open(const char *where, struct channel_port *ret, struct error *err);
void channel_port_close(struct channel_port *port);
