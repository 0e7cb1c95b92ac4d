#include "config.h"

#include "guestagent/commands.h"

#include <stdio.h>
#include <string.h>

#include "guestagent/agent_socket.h"
#include "guestagent/guest_channel.h"
#include "guestagent/prover.h"
#include "guestagent/refresher.h"
#include "guestagent/slots.h"
#include "guestagent/trust.h"
#include "lib/common/clock.h"
#include "lib/common/fdio.h"
#include "lib/common/log.h"
#include "lib/common/process.h"

/* The parts, in the order in which they are made; undone from the end. */
struct agent {
    struct slots *slots;
    struct trust *trust;
    struct key *cnf;
    uint8_t cnf_point[KEY_POINT_LEN];
    struct guest_channel *channel;
    struct prover *prover;
    struct refresher *refresher;
    struct token_files *files;
    struct rulebook *rules;
    struct agent_socket *socket;
    char socket_path[SOCKET_PATH_MAX];
};

static int
on_hello(void *context, const struct hello *hello, uint64_t *ret_serial, struct error *err)
{
    struct agent *a = context;

    return trust_offer(a->trust, hello, ret_serial, err);
}

static int
prove(void *context, const char *audience, struct proof_token *ret, struct error *err)
{
    struct agent *a = context;

    return prover_token(a->prover, audience, ret, err);
}

static void
tell(void *context, const char *word, const char *text)
{
    struct agent *a = context;

    guest_channel_status(a->channel, word, text);
}

static void
on_greeted(void *context)
{
    struct agent *a = context;
    struct greeting greeting;
    struct error ignored = { 0 };
    char uuid[VM_UUID_TEXT];

    if (guest_channel_wait(a->channel, 0, &greeting, &ignored) < 0)
        return;
    vm_uuid_print(&greeting.uuid, uuid);
    log_notice("event=greeted uuid=%s epoch=%llu", uuid, (unsigned long long)greeting.epoch);
    refresher_greeted(a->refresher, greeting.epoch, greeting.utc_offset_ms);
}

static void
on_stale(void *context)
{
    struct agent *a = context;

    refresher_stale(a->refresher);
}

static int
start_proving(struct agent *a, const struct conf *conf, struct error *err)
{
    const char *transport = conf_text(conf, "agent.transport");
    struct prover_options prover = { .trust = a->trust,
                                     .slots = a->slots,
                                     .tcti = conf_text(conf, "agent.tcti"),
                                     .password_file = conf_text(conf, "agent.endorsement_password_file"),
                                     .direct = strcmp(transport, "direct") == 0,
                                     .cnf = a->cnf_point };
    struct refresher_options refresher = { prove, tell, a };
    struct guest_channel_options channel = { .where = conf_text(conf, "agent.channel"),
                                             .on_hello = on_hello,
                                             .on_greeted = on_greeted,
                                             .on_stale = on_stale,
                                             .context = a };

    if (!prover.direct && strcmp(transport, "channel") != 0)
        return error_set(err, ERROR_INPUT, "transport is channel or direct, not \"%.40s\"", transport);
    if (guest_channel_new(&channel, &a->channel, err) < 0)
        return -1;
    prover.channel = a->channel;
    if (prover_new(&prover, &a->prover, err) < 0 ||
        refresher_new(&refresher, &a->refresher, err) < 0 ||
        guest_channel_start(a->channel, err) < 0)
        return -1;
    return 0;
}

static int
start_serving(struct agent *a, const struct conf *conf, struct error *err)
{
    const char *run_dir = conf_text(conf, "agent.run_dir");
    struct rulebook_options rules = { .path = conf_text(conf, "agent.workloads"),
                                      .conf = conf,
                                      .refresher = a->refresher };
    struct agent_socket_options options = { .path = a->socket_path,
                                            .refresher = a->refresher,
                                            .channel = a->channel,
                                            .cnf = a->cnf };

    if (dir_make(run_dir, 0755, err) < 0 || token_files_new(run_dir, a->refresher, &a->files, err) < 0)
        return -1;
    rules.files = a->files;
    if (rulebook_new(&rules, &a->rules, err) < 0)
        return -1;
    options.rules = a->rules;
    options.files = a->files;
    return agent_socket_new(&options, &a->socket, err);
}

static int
start(struct agent *a, const struct conf *conf, struct error *err)
{
    const char *state_dir = conf_text(conf, "agent.state_dir");

    agent_socket_path(conf, a->socket_path);
    if (slots_open(state_dir, &a->slots, err) < 0 || trust_open(state_dir, &a->trust, err) < 0 ||
        key_generate(&a->cnf, err) < 0)
        return -1;
    key_point(a->cnf, a->cnf_point);
    return start_proving(a, conf, err) < 0 ? -1 : start_serving(a, conf, err);
}

static void
end(struct agent *a)
{
    if (a->refresher)
        refresher_stop(a->refresher);
    if (a->channel)
        guest_channel_stop(a->channel); /* a proof under way ends at once */
    agent_socket_free(a->socket);
    rulebook_free(a->rules);
    token_files_free(a->files);
    refresher_free(a->refresher);
    guest_channel_free(a->channel);
    prover_free(a->prover);
    key_free(a->cnf);
    trust_free(a->trust);
    slots_close(a->slots);
}

int
cmd_run(const struct conf *conf, int ready_fd)
{
    struct agent a = { 0 };
    struct error err = { 0 };
    CLEANUP(fd_close) int stop_fd = stop_signal_fd(&err);
    int status = 0;

    if (stop_fd < 0 || start(&a, conf, &err) < 0) {
        log_error(&err, "virtid-agent can not start");
        status = exit_status_of(&err);
    } else {
        process_ready(ready_fd);
        if (agent_socket_run(a.socket, stop_fd, &err) < 0) {
            log_error(&err, "virtid-agent ends");
            status = exit_status_of(&err);
        }
    }
    end(&a);
    return status;
}
