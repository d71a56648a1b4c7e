/* Fidelity: CUSTOM
 * BUG and WARN become calls that record the function and the condition, so
 * that both are outcomes of an operation instead of trapping instructions. */
#ifndef NH_ASM_BUG_H
#define NH_ASM_BUG_H

#include <linux/stringify.h>
#include <linux/instrumentation.h>
#include <linux/compiler.h>

#define INSN_UD2 0x0b0f
#define LEN_UD2 2

#ifndef __ASSEMBLY__
/* No line numbers: the caller's address names them, and code that only moved
 * stays the same code. */
void nh_bug(const char *function, const char *condition)
	__attribute__((noreturn, cold));
void nh_warn(const char *function, const char *condition) __attribute__((cold));
#endif

#define HAVE_ARCH_BUG
#define BUG() nh_bug(__func__, "")

#define HAVE_ARCH_BUG_ON
#define BUG_ON(condition)                                                     \
	do {                                                                  \
		if (unlikely(condition))                                      \
			nh_bug(__func__, #condition);         \
	} while (0)

#define WARN_ON(condition)                                                    \
	({                                                                    \
		int nh_hit = !!(condition);                                   \
		if (unlikely(nh_hit))                                         \
			nh_warn(__func__, #condition);    \
		unlikely(nh_hit);                                             \
	})

#define WARN_ON_ONCE(condition)                                               \
	({                                                                    \
		static bool nh_seen;                                          \
		int nh_hit_once = !!(condition);                              \
		if (unlikely(nh_hit_once && !nh_seen)) {                      \
			nh_seen = true;                                       \
			nh_warn(__func__, #condition);    \
		}                                                             \
		unlikely(nh_hit_once);                                        \
	})

#define WARN(condition, format...)                                            \
	({                                                                    \
		int nh_hit = !!(condition);                                   \
		if (unlikely(nh_hit))                                         \
			nh_warn(__func__, #condition);    \
		unlikely(nh_hit);                                             \
	})

#include <asm-generic/bug.h>
#endif
