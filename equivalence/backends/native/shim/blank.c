/* Fidelity: STUB
 * Data that code refers to and that reads right as zero: no such file type,
 * section, queue or counter exists here. */
#define BLANK(name, bytes)                                                                         \
	asm(".section .bss." #name ",\"aw\",@nobits\n.balign 64\n.globl " #name "\n.type " #name          \
	    ", @object\n" #name ":\n.zero " #bytes "\n.size " #name ", " #bytes "\n.text\n");

BLANK(__cpu_dying_mask, 64)
BLANK(__top_init_kernel_stack, 64)
BLANK(bdi_wq, 8)
BLANK(hashdist, 8)
BLANK(init_on_free, 16)
BLANK(mem_section, 8)
BLANK(ns_dentry_operations, 256)
BLANK(perf_swevent_enabled, 1024)
BLANK(shadow_nodes, 256)
BLANK(def_blk_fops, 512)
BLANK(default_pipe_buf_ops, 64)
BLANK(page_cache_pipe_buf_ops, 64)
BLANK(shmem_aops, 512)
BLANK(secretmem_aops, 512)
