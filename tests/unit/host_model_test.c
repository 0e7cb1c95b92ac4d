/*
 * The host daemon's own decisions (plugin/) and the service's own rules (tokenservice/lease), driven together: random
 * histories of one VM on three hosts - starts, ends, migrations, hooks doubled and in the wrong order, events that come
 * late or never, daemons, libvirtd and the service that die, requests and answers that are lost or late - and after
 * each step what docs/PROTOCOL-lease.md promises, as tests/model/lease.pml asks for it.
 *
 * VIRTID_SEQUENCES=N: how many histories. VIRTID_SEED=N: the first one's seed; a history that fails names its own,
 * and one alone is told with what the daemons log.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/lease.h"
#include "plugin/vms.h"
#include "tests/unit/host_libvirt.h"
#include "tests/unit/host_service.h"

enum {
    STEPS = 100,
    OPS_MAX = 5,    /* as the model is bounded: what it excuses is what that many can do */
    FAULTS_MAX = 2,
    TRACE_MAX = 16384,
    ROUNDS = 5,     /* of reports, when all is well again */
    START_BUDGET_MS = 500,
    ARRIVAL_BUDGET_MS = 2 * REPORT_MS + HANDOVER_MS, /* a report may be under way when it begins */
};

static struct {
    uint64_t random, seed;
    int ops, faults;
    bool loud;
    char trace[TRACE_MAX];
    size_t trace_len;
    /* of all histories */
    size_t steps, starts, vetoes, ends, migrations, arrived, crashes, outages, lapses, judged, excused, full_disks, leftovers,
        longest_wait;
} run;

static unsigned
any_of(unsigned n)
{
    run.random ^= run.random << 13;
    run.random ^= run.random >> 7;
    run.random ^= run.random << 17;
    return (unsigned)(run.random >> 33) % n;
}

void
host_model_note(const char *what, int host)
{
    int n;

    if (run.loud)
        print_message("%s %c\n", what, host < 0 ? ' ' : 'a' + host);
    n = snprintf(run.trace + run.trace_len, TRACE_MAX - run.trace_len, host < 0 ? " %s" : " %s(%c)", what, 'a' + host);
    if (n > 0 && run.trace_len + (size_t)n < TRACE_MAX)
        run.trace_len += (size_t)n;
}

static bool
may_fail(void)
{
    if (run.faults >= FAULTS_MAX)
        return false;
    run.faults++;
    return true;
}

static bool
is_reachable(int h)
{
    return the_service.up && !the_service.cut[h] && world_hosts[h].up;
}

static void
explain(const char *what)
{
    const struct lease_record *r = &the_service.lease;

    print_error("%s\nVIRTID_SEED=%llu VIRTID_SEQUENCES=1\n%s\n", what, (unsigned long long)run.seed, run.trace);
    print_error("record: %s hol \"%s\" ep %llu nx %llu out %s grace %d; truth %c why %u\n", lease_state_name(r->st), r->hol,
                (unsigned long long)r->ep, (unsigned long long)r->nx, lease_out_name(r->out), the_service.grace,
                the_service.truth < 0 ? '-' : 'a' + the_service.truth, the_service.why);
    for (int h = 0; h < WORLD_HOSTS; h++) {
        const struct vm *vm = world_hosts[h].vm;

        print_error("%c: guest %d copy %d seen %s", 'a' + h, machines[h].guest, machines[h].copy,
                    lease_seen_name(lease_seen_of(r, world_hosts[h].name)));
        if (vm)
            print_error(" | run \"%s\" e %llu kn %llu k %d resumed %d switched %d left %d ends %zu answer %d active %d paused %d "
                        "incoming %d leaving %d", vm->record.run, (unsigned long long)vm->record.e,
                        (unsigned long long)vm->record.kn, vm->record.run_k, vm->record.run_resumed,
                        vm->record.run_switched, vm->record.run_left, vm->record.n_ends, vm->answer, vm->active,
                        vm->paused, vm->incoming, vm->leaving);
        print_error("\n");
    }
}

void
host_model_fails(const char *what)
{
    explain(what);
    fail_msg("%s", what);
}

#define SURE(what, condition)       \
    do {                            \
        if (!(condition))           \
            host_model_fails(what); \
    } while (0)

/* ---- what must hold at each moment ---- */

static void
check_calls(void)
{
    for (size_t i = 0; i < world_n_calls; i++) {
        const struct hook_call *call = &world_calls[i];
        int64_t age = world_now_ms - call->since_ms;

        SURE("a hook is answered once", call->answers <= 1 && (call->answer != CALL_WAITS || call->answers == 0));
        if (call->answer != CALL_WAITS)
            continue;
        if ((size_t)age > run.longest_wait)
            run.longest_wait = (size_t)age;
        SURE("a hook waits no longer than it may",
             age <= (strcmp(call->op, "migrate") == 0 ? ARRIVAL_BUDGET_MS : START_BUDGET_MS));
    }
}

/* What each host would sign in, and the service would take. */
static void
check_signers(void)
{
    const struct lease_record *r = &the_service.lease;
    struct lease_now now = host_service_now();
    uint64_t epochs[WORLD_HOSTS] = { 0 };
    const char *reason;
    int good = 0;

    for (int h = 0; h < WORLD_HOSTS; h++) {
        const char *prover;

        epochs[h] = world_hosts[h].up ? vm_may_sign(world_hosts[h].vm, world_now_ms, &reason) : 0;
        prover = lease_prover(r, epochs[h], &now);
        good += prover && strcmp(prover, world_hosts[h].name) == 0;
        for (int k = 0; k < h; k++)
            SURE("no two hosts sign in one epoch", epochs[h] == 0 || epochs[h] != epochs[k]);
    }
    SURE("one host signs, but for a hand-over", good <= 1 || r->st == LEASE_MOVE);
}

static void
check_all(void)
{
    static bool lapsed;
    struct lease_now now = host_service_now();
    bool was = lapsed;

    check_calls();
    check_signers();
    lapsed = lease_lapsed(&the_service.lease, &now);
    run.lapses += lapsed && !was;
    for (int h = 0; h < WORLD_HOSTS; h++)
        SURE("nobody is told to stop a guest", world_hosts[h].stops == 0); /* nothing is fenced */
}

/* ---- steps ---- */

/* All that is on its way arrives. */
static void
serve_one(int h)
{
    if (is_reachable(h)) {
        host_service_pull();
        (void)host_service_take(h, true);
    }
    machine_watch(h, false);
    world_take_seen(&world_hosts[h]);
    machine_go_on(h);
}

static void
serve(void)
{
    for (int h = 0; h < WORLD_HOSTS; h++)
        serve_one(h);
}

static void
pass(int64_t ms, bool all_well)
{
    world_pass(ms, all_well ? serve : NULL);
    host_service_look();
}

static void
start_or_stop(int h)
{
    if (run.ops >= OPS_MAX)
        return;
    if (machine_may_start(h)) {
        run.ops++;
        run.starts++;
        host_model_note("start", h);
        machine_start(h, any_of(6) == 0, any_of(8) == 0);
    } else if (machine_may_stop(h) && any_of(2) == 0) {
        run.ops++;
        run.ends++;
        host_model_note("stop", h);
        machine_stop(h, any_of(2) == 0);
    }
}

static void
migration_step(int h)
{
    int to = (int)any_of(WORLD_HOSTS);

    if (machines[h].guest == GUEST_PAUSED && any_of(5) == 0 && run.ops < OPS_MAX) {
        bool resume = machine_source() != h && any_of(2);

        run.ops++;
        run.leftovers++;
        machine_end_left_over(h, resume);
    } else if (to != h && machine_may_migrate(h, to) && run.ops < OPS_MAX) {
        run.ops++;
        run.migrations++;
        host_model_note("migrate", h);
        host_model_note("to", to);
        machine_migrate(h, to, any_of(10) == 0);
    } else if (machine_source() == h) {
        run.arrived += machine_job_goes_on(any_of(3) != 0, any_of(2));
    }
}

static void
daemon_step(int h)
{
    struct world_host *host = &world_hosts[h];

    if (!host->up) {
        host_model_note("boot", h);
        world_boot(host);
        machine_reconnect(h);
    } else if (any_of(4) == 0 && may_fail()) {
        host_model_note("kill", h);
        run.crashes++;
        world_kill(host);
    } else if (any_of(8) == 0 && may_fail()) {
        host->full = true;
        host->written = any_of(2);
        run.full_disks++;
        host_model_note(host->written ? "full-behind" : "full", h);
    }
}

static void
service_step(int h)
{
    if (!the_service.up) {
        host_model_note("service-back", -1);
        host_service_start();
    } else if (any_of(6) == 0 && may_fail()) {
        host_model_note("service-down", -1);
        the_service.up = false;
        run.outages++;
    } else if (the_service.cut[h]) {
        host_model_note("uncut", h);
        the_service.cut[h] = false;
    } else if (any_of(6) == 0 && may_fail()) {
        host_model_note("cut", h);
        the_service.cut[h] = true;
    }
}

static void
request_step(int h)
{
    if (!is_reachable(h) || !world_job(&world_hosts[h]))
        return;
    if (any_of(12) == 0 && may_fail()) {
        bool late = any_of(2);

        host_model_note(late ? "delay" : "lose", h);
        host_service_lose(h, late);
    } else if (any_of(12) == 0 && may_fail()) {
        host_model_note("answer-lost", h);
        (void)host_service_take(h, false);
    } else {
        host_model_note("request", h);
        (void)host_service_take(h, true);
    }
}

static void
time_step(void)
{
    bool all_well = any_of(3) == 0;
    int64_t ms = all_well ? any_of(70000) : any_of(600);
    char what[40];

    snprintf(what, sizeof what, all_well ? "pass-%d" : "%dms", (int)ms);
    host_model_note(what, -1);
    pass(ms, all_well);
}

/* Hooks that libvirt does not owe us: again, out of order, or of things that say nothing. */
static void
odd_hook(int h)
{
    static const char *const ops[] = { "started", "reconnect", "attach", "stopped", "release" };
    unsigned i = any_of(machines[h].guest == GUEST_OFF && !machine_is_busy(h) ? 5 : 3);

    if (!world_hosts[h].up)
        return;
    host_model_note(ops[i], h);
    (void)world_hook(&world_hosts[h], ops[i]);
}

static void
prove(int h)
{
    if (machines[h].guest != GUEST_RUNS || !the_service.up)
        return;
    host_model_note("prove", h);
    if (host_service_prove(h, machines[h].copy))
        host_model_note("accepted", -1);
}

static void
step(void)
{
    int h = (int)any_of(WORLD_HOSTS), t = the_service.truth;

    run.steps++;
    switch (any_of(24)) {
    case 20:
    case 21:
        migration_step(machine_source() >= 0 ? machine_source() : any_of(3) && t >= 0 ? t : h);
        break;
    case 22:
    case 23:
        host_model_note("serve", h);
        serve_one(h);
        break;
    case 0:
        start_or_stop(any_of(3) && t >= 0 ? t : h);
        break;
    case 1:
    case 2:
        daemon_step(h);
        break;
    case 3:
        service_step(h);
        break;
    case 4:
        time_step();
        break;
    case 5:
        odd_hook(h);
        break;
    case 6:
        prove(h);
        break;
    case 7:
        if (any_of(4) == 0 && may_fail()) {
            host_model_note("libvirtd", h);
            machine_libvirtd_dies(h);
        }
        break;
    case 8:
        host_service_take_late(h);
        host_service_pull();
        break;
    case 9:
    case 10:
    case 11:
        host_model_note("watch", h);
        machine_watch(h, any_of(2));
        break;
    case 12:
    case 13:
    case 14:
        host_model_note("seen", h);
        world_take_seen(&world_hosts[h]);
        break;
    case 15:
    case 16:
        machine_go_on(h);
        break;
    default:
        request_step(h);
        break;
    }
}

/* ---- all is well again ---- */

static size_t
others_in_question(const char *host)
{
    const struct lease_record *r = &the_service.lease;
    size_t n = 0;

    for (size_t i = 0; i < r->n_seen; i++)
        n += r->seen[i].seen >= SEEN_INC && strcmp(r->seen[i].host, host) != 0;
    return n;
}

/* The model's listed(): the cases that wait for an operator. */
static bool
is_listed(int t)
{
    const struct lease_record *r = &the_service.lease;
    const char *host = world_hosts[t].name;
    enum lease_seen seen = lease_seen_of(r, host);
    bool sole = r->n_seen == (size_t)(seen != SEEN_NONE);

    if (the_service.why != 0)
        return true;
    if (r->st != LEASE_MOVE)
        return false;
    return seen == SEEN_PER || (seen == SEEN_ROF && others_in_question(host) > 0) ||            /* K1 */
           (r->out == LEASE_OUT_DBT && (!sole || seen >= SEEN_ROF)) ||                          /* K2 */
           (r->out == LEASE_OUT_MIG && machines[t].guest == GUEST_OFF && others_in_question("") == 0); /* K3 */
}

static void
judge_runner(int t, bool accepted)
{
    const struct lease_record *r = &the_service.lease;

    run.judged++;
    if (r->st == LEASE_RUNS && strcmp(r->hol, world_hosts[t].name) == 0 && world_hosts[t].vm->record.e == r->ep && accepted)
        return;
    SURE("L1: the host where it runs has the lease, and its proof is accepted", is_listed(t));
    run.excused++;
}

static void
judge_starts(int t)
{
    struct lease_record after = the_service.lease;
    struct lease_now now = host_service_now();
    struct lease_word word = { 0 };

    if (machines[t].guest == GUEST_OFF) {
        run.judged++;
        lease_acquire(&after, world_hosts[t].name, &now, &word);
        if (word.answer != LEASE_OK && word.answer != LEASE_CANDIDATE) {
            SURE("L3: where it is off its start is granted", is_listed(t));
            run.excused++;
        }
    }
    for (int h = 0; h < WORLD_HOSTS; h++) {
        if (h == t || machines[h].guest != GUEST_OFF || the_service.why != 0)
            continue;
        lease_acquire(&after, world_hosts[h].name, &now, &word);
        SURE("S4: a start elsewhere is not granted", word.answer != LEASE_OK && word.answer != LEASE_CANDIDATE);
    }
}

static void
heal(void)
{
    if (!the_service.up)
        host_service_start();
    for (int h = 0; h < WORLD_HOSTS; h++) {
        the_service.cut[h] = false;
        host_service_take_late(h);
        world_hosts[h].full = false;
        if (!world_hosts[h].up) {
            world_boot(&world_hosts[h]);
            machine_reconnect(h);
        }
    }
    (void)machine_job_goes_on(any_of(2), any_of(2));
}

static void
grow_calm(void)
{
    bool accepted = false;
    int t;

    host_model_note("| calm:", -1);
    heal();
    for (int i = 0; i < 4; i++) { /* what was begun ends, also a migration that was waiting for its hooks */
        pass(3000, true);
        (void)machine_job_goes_on(true, false);
    }
    for (int i = 0; i < ROUNDS; i++) {
        pass(16000 + any_of(4000), true);
        t = the_service.truth;
        accepted = t >= 0 && machines[t].guest == GUEST_RUNS && host_service_prove(t, machines[t].copy);
        check_all();
    }
    for (size_t i = 0; i < world_n_calls; i++)
        SURE("each hook that waits is answered", world_calls[i].answer != CALL_WAITS);
    if (the_service.truth < 0)
        return;
    if (machines[the_service.truth].guest == GUEST_RUNS)
        judge_runner(the_service.truth, accepted);
    judge_starts(the_service.truth);
}

void
host_model_started(int h, bool granted)
{
    SURE("S4: the start of another than the true one is not granted",
         !granted || the_service.truth == h || the_service.truth == NOBODY || the_service.why != 0);
}

static void
one_history(uint64_t seed)
{
    run.seed = run.random = seed;
    run.ops = run.faults = 0;
    run.trace_len = 0;
    world_begin(any_of(4) == 0 ? MODE_STRICT : MODE_LOOSE);
    host_service_begin();
    machines_begin();
    if (any_of(5) != 0) { /* it runs; else nobody has seen it yet */
        machine_start(0, false, false);
        pass(3000, true);
    }
    for (int i = 0; i < STEPS; i++) {
        step();
        check_all();
    }
    grow_calm();
    for (size_t i = 0; i < world_n_calls; i++)
        run.vetoes += world_calls[i].answer == CALL_NO;
    world_end();
}

static void
hosts_and_service_keep_what_is_promised(void **state)
{
    const char *wanted = getenv("VIRTID_SEQUENCES"), *from = getenv("VIRTID_SEED");
    long n = wanted ? atol(wanted) : 300;
    uint64_t seed = from ? strtoull(from, NULL, 10) : 88172645463325252u;

    (void)state;
    run.loud = n == 1;
    world_open(run.loud);
    for (long i = 0; i < n; i++)
        one_history(seed + (uint64_t)i * 7919);
    world_close();
    print_message("# %ld histories from seed %llu, %zu steps: %zu starts, %zu vetoes, %zu ends, %zu migrations (%zu arrived, %zu left-overs), %zu daemons and %zu services died, "
                  "%zu full disks, %zu lapses, longest wait of a hook %zu ms; %zu judged, %zu of them waited for an operator\n",
                  n, (unsigned long long)seed, run.steps, run.starts, run.vetoes, run.ends, run.migrations, run.arrived, run.leftovers, run.crashes, run.outages,
                  run.full_disks, run.lapses, run.longest_wait, run.judged, run.excused);
    if (n < 100)
        return;
    assert_true(run.starts > (size_t)n && run.vetoes > (size_t)n / 10 && run.ends > (size_t)n / 10);
    assert_true(run.migrations > (size_t)n / 3 && run.arrived > (size_t)n / 10 && run.crashes > (size_t)n / 10);
    assert_true(run.outages > (size_t)n / 10 && run.full_disks > (size_t)n / 50 && run.lapses > 0);
    assert_true(run.judged > (size_t)n / 2 && run.excused < run.judged / 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_and_service_keep_what_is_promised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
