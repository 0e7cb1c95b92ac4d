/*
 * agent_unit.h - what starts the agent in a guest: systemd's unit, or scripts for OpenRC and sysvinit
 *
 * The texts are made by plugin/module.am: the unit of guestagent/virtid-agent.service.in with a guest's paths, so that a
 * machine with the package and one with an injected agent have the same; the scripts from plugin/agent_*.
 */
#pragma once

extern const char agent_unit[];
extern const char agent_run[];      /* the agent by its own loader */
extern const char agent_prepare[];  /* drivers, log */
extern const char agent_keep[];     /* start it again, where nothing else does */
extern const char agent_openrc[];
extern const char agent_sysvinit[];
