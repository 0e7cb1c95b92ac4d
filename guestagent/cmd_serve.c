#include "config.h"

#include "guestagent/commands.h"

#include <string.h>

#include "guestagent/serve.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/process.h"

int
cmd_serve(const struct conf *conf, const char *address, int ready_fd)
{
    CLEANUP(server_free) struct server *server = NULL;
    char socket_path[SOCKET_PATH_MAX];
    struct error err = { 0 };
    CLEANUP(fd_close) int stop_fd = stop_signal_fd(&err);

    agent_socket_path(conf, socket_path);
    if (stop_fd < 0 || server_new(address, socket_path, &server, &err) < 0) {
        log_error(&err, "serve");
        return exit_status_of(&err);
    }
    log_notice("event=serving address=%s", server_address(server));
    /* Whoever asked for port 0 learns here which it is. */
    if (ready_fd >= 0)
        (void)fd_write_all(ready_fd, server_address(server), strlen(server_address(server)), &err);
    process_ready(ready_fd);
    if (server_run(server, stop_fd, &err) < 0) {
        log_error(&err, "serve");
        return exit_status_of(&err);
    }
    return 0;
}
