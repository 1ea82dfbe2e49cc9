/*
 * What may be known of another process by its number, without rights over it.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is such a process, be it another user's. */
bool process_there(uint32_t pid);

/* Whether both are children of one parent and all three run a program of the same name, as a
 * HAProxy master and its workers do; init or a supervisor may have begun several that are not.
 * Where /proc does not tell (ProtectProc=, hidepid=), whether they are of one process group that is
 * not ours, as a service's are. False when in doubt. */
bool process_siblings(uint32_t a, uint32_t b);

#endif
