#include "config.h"

#include "tests/faults/service_work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/faults/fault.h"
#include "tests/faults/fault_run.h"

static void
end_as_tokend_does(const struct error *err)
{
    (void)err;
    _exit(WORK_ENDED);
}

int
service_work_open(const char *folder, uint64_t *seq, struct error *err)
{
    if (!the_mint.client && mint_fixture_connect() < 0)
        fail_msg("signer: %s", the_mint.err.text);
    snprintf(the_api.folder, sizeof the_api.folder, "%s", folder);
    the_api.broken = end_as_tokend_does;
    the_api.host_header = NULL;
    if (*seq < the_api.seq)
        *seq = the_api.seq;
    the_api.seq = *seq;
    return api_fixture_open(err);
}

void
service_work_close(uint64_t *seq)
{
    *seq = the_api.seq;
    fault_disarm();
    api_fixture_close();
}

void
service_work_end_prepare(void)
{
    uint64_t ignored = 0;

    service_work_close(&ignored);
    mint_fixture_disconnect();
}

int
service_work_set_up(void **state)
{
    if (mint_fixture_start(state) < 0)
        return -1;
    mint_fixture_disconnect();
    fault_folder_make();
    return 0;
}

int
service_work_tear_down(void **state)
{
    buf_clear(&the_api.body);
    fault_folder_remove();
    return mint_fixture_connect() < 0 ? -1 : mint_fixture_stop(state);
}
