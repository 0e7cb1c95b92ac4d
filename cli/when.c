#include "config.h"

#include "cli/when.h"

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "lib/common/clock.h"

const char *
when_ago(const json_t *ms, char ret[static WHEN_MAX])
{
    int64_t seconds = json_is_integer(ms)
                          ? (clock_realtime_ms() - (int64_t)json_integer_value(ms)) / 1000
                          : 0;
    int64_t n = seconds < 0 ? -seconds : seconds;
    const char *unit = "s";

    if (!json_is_integer(ms) || json_integer_value(ms) <= 0) {
        snprintf(ret, WHEN_MAX, "never");
        return ret;
    }
    if (n >= 2 * 86400)
        n /= 86400, unit = "days";
    else if (n >= 2 * 3600)
        n /= 3600, unit = "h";
    else if (n >= 120)
        n /= 60, unit = "min";
    snprintf(ret, WHEN_MAX, seconds < 0 ? "in %lld %s" : "%lld %s ago", (long long)n, unit);
    return ret;
}

const char *
when_at(const json_t *ms, char ret[static WHEN_MAX])
{
    time_t seconds = (time_t)(json_is_integer(ms) ? json_integer_value(ms) / 1000 : 0);
    struct tm tm;

    if (seconds <= 0 || !localtime_r(&seconds, &tm) || strftime(ret, WHEN_MAX, "%F %T %z", &tm) == 0)
        snprintf(ret, WHEN_MAX, "never");
    return ret;
}
