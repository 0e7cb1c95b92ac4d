#include "config.h"

#include "cli/sealing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "lib/common/fdio.h"

void
sealing_clear(struct sealing *s)
{
    buf_clear(&s->secret);
}

/* One line, without its end.  Byte by byte: what follows may be for somebody else. */
static int
read_line(struct buf *into, struct error *err)
{
    char c = '\0';
    ssize_t n;

    while ((n = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
        buf_add(into, &c, 1);
    if (n < 0)
        return error_sys(err, errno, "standard input");
    if (!buf_text(into) || into->len > PASSPHRASE_MAX || strlen(buf_text(into)) != into->len)
        return error_set(err, ERROR_INPUT, "a passphrase is a line of at most %d characters", PASSPHRASE_MAX);
    return 0;
}

static int
ask(const char *question, struct buf *into, struct error *err)
{
    struct termios shown, hidden;
    int failed;

    if (tcgetattr(STDIN_FILENO, &shown) < 0)
        return error_sys(err, errno, "terminal");
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    fputs(question, stderr);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    failed = read_line(into, err);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fputc('\n', stderr);
    return failed;
}

static int
read_passphrase(bool new_one, struct buf *into, struct error *err)
{
    CLEANUP(buf_clear) struct buf again = BUF(SEALING_PEM_MAX);

    if (!isatty(STDIN_FILENO))
        return read_line(into, err);
    if (ask("Passphrase: ", into, err) < 0 || (new_one && ask("The same again: ", &again, err) < 0))
        return -1;
    if (new_one && strcmp(buf_text(into), buf_text(&again)) != 0)
        return error_set(err, ERROR_INPUT, "the two are not the same");
    return 0;
}

int
sealing_read(const char *pem, bool new_one, struct sealing *ret, struct error *err)
{
    if (pem) {
        if ((strcmp(pem, "-") == 0 ? fd_read_to_end(STDIN_FILENO, &ret->secret, err)
                                   : file_read(pem, &ret->secret, err)) < 0)
            return error_wrap(err, "%s", pem);
        ret->who.pem = buf_text(&ret->secret);
        return ret->who.pem ? 0 : error_set(err, ERROR_INPUT, "%s is too long", pem);
    }
    if (read_passphrase(new_one, &ret->secret, err) < 0)
        return -1;
    if (new_one && ret->secret.len < PASSPHRASE_MIN)
        return error_set(err, ERROR_INPUT, "a passphrase of %zu characters is soon found: at least %d", ret->secret.len,
                         PASSPHRASE_MIN);
    ret->who.passphrase = buf_text(&ret->secret);
    return 0;
}
