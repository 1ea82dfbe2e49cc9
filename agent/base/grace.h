/*
 * Values that one thread replaces while others read them: RCU, by liburcu's memb flavour.
 *
 * A reader enters, reads the pointer, uses what it points to and leaves; it may not keep it. The
 * writer publishes another value, waits until everybody who may have seen the old one has left,
 * and frees it. Reading takes no lock and writes nothing that is shared.
 *
 * liburcu orders by barriers that ThreadSanitizer cannot see. What they guarantee is told to it
 * here, in so many words, instead of being suppressed: so a use outside of grace_enter() and
 * grace_leave() is still found.
 */
#ifndef BASE_GRACE_H
#define BASE_GRACE_H

#include <urcu/urcu-memb.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GRACE_TSAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define GRACE_TSAN 1
#endif

#ifdef GRACE_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
/* What readers release at their end and the writer acquires after its wait; one for all files. */
__attribute__((weak)) char grace_period;
#define GRACE_ACQUIRE(addr) __tsan_acquire((void *)(addr))
#define GRACE_RELEASE(addr) __tsan_release((void *)(addr))
#else
#define GRACE_ACQUIRE(addr) ((void)0)
#define GRACE_RELEASE(addr) ((void)0)
#endif

/* A thread that reads says so once, and again at its end. */
static inline void grace_join(void)
{
	urcu_memb_register_thread();
}

static inline void grace_part(void)
{
	urcu_memb_unregister_thread();
}

static inline void grace_enter(void)
{
	urcu_memb_read_lock();
}

static inline void grace_leave(void)
{
	GRACE_RELEASE(&grace_period);
	urcu_memb_read_unlock();
}

/* The value of the published pointer *@p, good until grace_leave(). */
#ifdef GRACE_TSAN
#define grace_read(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#else
#define grace_read(p) rcu_dereference(*(p))
#endif

/* From now on readers see @value, whole. Writer. */
#ifdef GRACE_TSAN
#define grace_publish(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)
#else
#define grace_publish(p, value) rcu_set_pointer(p, value)
#endif

/* Returns when nobody can hold what grace_publish() replaced. Never from a reader. */
static inline void grace_wait(void)
{
	urcu_memb_synchronize_rcu();
	GRACE_ACQUIRE(&grace_period);
}

#endif
