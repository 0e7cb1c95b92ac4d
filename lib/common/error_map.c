#include "config.h"

#include "lib/common/error_map.h"

int
error_http_status(enum error_code code)
{
    switch (code) {
    case ERROR_INPUT:
        return 400;
    case ERROR_DENIED:
        return 403;
    case ERROR_MISSING:
        return 404;
    case ERROR_BUSY:
        return 503;
    case ERROR_NONE:
    case ERROR_SYSTEM:
        break;
    }
    return 500;
}

enum error_code
error_from_http(int status)
{
    switch (status) {
    case 401:
    case 403:
    case 409:
        return ERROR_DENIED;
    case 404:
        return ERROR_MISSING;
    case 429:
    case 502:
    case 503:
    case 504:
        return ERROR_BUSY;
    default:
        return status >= 500 ? ERROR_SYSTEM : ERROR_INPUT;
    }
}

bool
error_may_retry(enum error_code code)
{
    return code == ERROR_BUSY || code == ERROR_SYSTEM;
}
