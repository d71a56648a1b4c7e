/* Fidelity: CUSTOM
 * The kernel calls a helper with a calling convention of its own here, which a
 * patched-in instruction normally replaces; nothing is patched in user space. */
#ifndef NH_ASM_HWEIGHT_H
#define NH_ASM_HWEIGHT_H

#include <linux/types.h>

static __always_inline unsigned int __arch_hweight32(unsigned int word)
{
	word -= (word >> 1) & 0x55555555u;
	word = (word & 0x33333333u) + ((word >> 2) & 0x33333333u);
	word = (word + (word >> 4)) & 0x0f0f0f0fu;
	return (word * 0x01010101u) >> 24;
}

static __always_inline unsigned int __arch_hweight16(unsigned int word)
{
	return __arch_hweight32(word & 0xffff);
}

static __always_inline unsigned int __arch_hweight8(unsigned int word)
{
	return __arch_hweight32(word & 0xff);
}

static __always_inline unsigned long __arch_hweight64(__u64 word)
{
	return __arch_hweight32((unsigned int)word) +
	       __arch_hweight32((unsigned int)(word >> 32));
}
#endif
