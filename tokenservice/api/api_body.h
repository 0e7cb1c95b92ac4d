/*
 * api_body.h - a request's JSON in, an answer's JSON out
 */
#pragma once

#include "tokenservice/api/route.h"

/* The body as an object with at most these members ("uuid epoch ek"). ERROR_INPUT
 * "bad-request". */
int api_body_read(const struct api_call *call, const char *members, json_t **ret,
                  struct error *err);
int api_body_uuid(const json_t *body, struct vm_uuid *ret, struct error *err);
/* 1 .. 2^63 - 1 */
int api_body_epoch(const json_t *body, uint64_t *ret, struct error *err);
/* Exactly `len` bytes; an absent optional member gives *ret_has = false. */
int api_body_bytes(const json_t *body, const char *name, uint8_t *ret, size_t len,
                   bool optional, bool *ret_has, struct error *err);
/* Takes `answer` (NULL: no memory). */
int api_body_answer(struct api_call *call, int status, json_t *take_answer,
                    struct error *err);
/* In front of an ERROR_INPUT without a problem, "bad-request". */
int api_body_refuse(struct error *err);
