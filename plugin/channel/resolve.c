/*
 * Where the guest listener is.
 */
#include "config.h"

#include <netdb.h>
#include <string.h>

#include "plugin/channel/host_channel.h"

int
host_channel_resolve(const char *host_port, struct sockaddr_storage *ret, socklen_t *ret_len,
                     struct error *err)
{
    struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    const char *colon = strrchr(host_port, ':');
    char host[NAME_ISSUER_MAX + 1];
    size_t len = colon ? (size_t)(colon - host_port) : 0;
    const char *start = host_port;
    int failed;

    if (len >= 2 && host_port[0] == '[' && host_port[len - 1] == ']') { /* [IPv6]:PORT */
        start++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof host)
        return error_set(err, ERROR_INPUT, "\"%s\" is no HOST:PORT", host_port);
    memcpy(host, start, len);
    host[len] = '\0';
    failed = getaddrinfo(host, colon + 1, &want, &found);
    if (failed)
        return error_set(err, ERROR_BUSY, "%s: %s", host_port, gai_strerror(failed));
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    *ret_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}
