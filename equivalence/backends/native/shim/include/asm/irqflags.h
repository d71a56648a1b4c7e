/* Fidelity: CUSTOM
 * The interrupt flag is a variable: user space may not execute cli and sti. */
#ifndef NH_ASM_IRQFLAGS_H
#define NH_ASM_IRQFLAGS_H

#include <asm/processor-flags.h>
#include <asm/nospec-branch.h>

#ifndef __ASSEMBLY__
#include <linux/types.h>

extern unsigned long nh_irq_flags;

static __always_inline unsigned long native_save_fl(void)
{
	return nh_irq_flags;
}

static __always_inline void native_irq_disable(void)
{
	nh_irq_flags &= ~(unsigned long)X86_EFLAGS_IF;
	asm volatile("" ::: "memory");
}

static __always_inline void native_irq_enable(void)
{
	asm volatile("" ::: "memory");
	nh_irq_flags |= X86_EFLAGS_IF;
}

static __always_inline void native_safe_halt(void)
{
}

static __always_inline void native_halt(void)
{
}

#define arch_safe_halt native_safe_halt
#define halt native_halt

static __always_inline unsigned long arch_local_save_flags(void)
{
	return native_save_fl();
}

static __always_inline void arch_local_irq_disable(void)
{
	native_irq_disable();
}

static __always_inline void arch_local_irq_enable(void)
{
	native_irq_enable();
}

static __always_inline unsigned long arch_local_irq_save(void)
{
	unsigned long flags = native_save_fl();

	native_irq_disable();
	return flags;
}

static __always_inline int arch_irqs_disabled_flags(unsigned long flags)
{
	return !(flags & X86_EFLAGS_IF);
}

static __always_inline int arch_irqs_disabled(void)
{
	return arch_irqs_disabled_flags(native_save_fl());
}

static __always_inline void arch_local_irq_restore(unsigned long flags)
{
	if (!arch_irqs_disabled_flags(flags))
		native_irq_enable();
}
#endif
#endif
