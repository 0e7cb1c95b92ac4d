/*
 * api.h - the endpoints, one file per group (docs/PROTOCOL-service.md); called by
 * route.c only
 */
#pragma once

#include "tokenservice/api/route.h"

/* api_keys.c: what everybody may see */
api_handler api_discovery, api_ca /* api_admin_ca.c */, api_jwks, api_bound_discovery, api_bound_jwks, api_health, api_ready;
/* api_challenge.c, api_token.c: guests */
api_handler api_challenge, api_token;
/* api_join.c: how a host comes in and stays */
api_handler api_join, api_renew;
/* api_receipts.c, api_certificates.c: what a restored database lacks */
api_handler api_receipts, api_certificates;
/* api_report.c, api_account.c, api_ek_cert.c, api_bundle.c, api_vm.c: joined hosts */
api_handler api_report, api_pull, api_account, api_ek_cert, api_bundle, api_vm;
/* api_metrics.c: whoever reaches the listener that an operator has opened for it */
api_handler api_metrics;
/* api_admin_*.c: administrators */
api_handler api_admin_status, api_admin_audit, api_admin_audit_head, api_admin_top;
api_handler api_admin_hosts_add, api_admin_hosts, api_admin_host_approve,
    api_admin_host_remove, api_admin_host_fence;
api_handler api_admin_vms, api_admin_vm, api_admin_vm_place, api_admin_vm_set, api_admin_vm_accept,
    api_admin_vm_retire, /* retire.c */
    api_admin_vm_lock, api_admin_vm_unlock; /* lock.c */
api_handler api_admin_pools, api_admin_pool_set, api_admin_pool_remove;
api_handler api_admin_recovery, api_admin_recovery_finish;
api_handler api_admin_keys, api_admin_keys_rotate, api_admin_keys_revoke;
api_handler api_admin_ca, api_admin_ca_rotate;
api_handler api_admin_audiences, api_admin_audience_put, api_admin_audience_remove;
