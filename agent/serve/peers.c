/*
 * A ring of numbers. Two threads that note the same one at once may keep it twice, which takes a
 * place and does no harm.
 */
#include "serve/peers.h"

#include <stdatomic.h>
#include <sys/socket.h>

uint32_t peers_process(int fd)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid < 0)
		return 0;
	return (uint32_t)cred.pid;
}

bool peers_has(const struct peers *p, uint32_t pid)
{
	if (pid == 0)
		return false;
	for (unsigned i = 0; i < PEERS_KEPT; i++)
		if (atomic_load_explicit(&p->pids[i], memory_order_relaxed) == pid)
			return true;
	return false;
}

void peers_note(struct peers *p, uint32_t pid)
{
	uint32_t at;

	if (pid == 0 || peers_has(p, pid))
		return;
	at = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed) % PEERS_KEPT;
	atomic_store_explicit(&p->pids[at], pid, memory_order_relaxed);
}
