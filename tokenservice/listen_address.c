#include "config.h"

#include "tokenservice/listen_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int
listen_address_of(int fd, char ret[static 64], struct error *err)
{
    struct sockaddr_in6 any = { .sin6_family = AF_UNSPEC };
    struct sockaddr_in four;
    socklen_t len = sizeof any;
    char text[INET6_ADDRSTRLEN];

    if (getsockname(fd, (struct sockaddr *)&any, &len) < 0)
        return error_sys(err, errno, "getsockname");
    if (any.sin6_family == AF_INET) {
        memcpy(&four, &any, sizeof four);
        inet_ntop(AF_INET, &four.sin_addr, text, sizeof text);
        snprintf(ret, 64, "%s:%u", text, ntohs(four.sin_port));
        return 0;
    }
    inet_ntop(AF_INET6, &any.sin6_addr, text, sizeof text);
    snprintf(ret, 64, "[%s]:%u", text, ntohs(any.sin6_port));
    return 0;
}
