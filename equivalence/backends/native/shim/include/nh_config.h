/* Fidelity: CUSTOM
 * Options that cannot be switched off by Kconfig and that user space cannot
 * have; undefined alike in every file, because some change structure layouts. */
#undef CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP
#undef CONFIG_GENERIC_BUG
#undef CONFIG_GENERIC_BUG_RELATIVE_POINTERS
#undef CONFIG_PER_VMA_LOCK
#undef CONFIG_INLINE_SPIN_UNLOCK
#undef CONFIG_INLINE_SPIN_UNLOCK_IRQ
#undef CONFIG_INLINE_SPIN_UNLOCK_IRQRESTORE
#undef CONFIG_INLINE_READ_UNLOCK
#undef CONFIG_INLINE_READ_UNLOCK_IRQ
#undef CONFIG_INLINE_WRITE_UNLOCK
#undef CONFIG_INLINE_WRITE_UNLOCK_IRQ
#define CONFIG_UNINLINE_SPIN_UNLOCK 1
