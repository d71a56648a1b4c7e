/* Fidelity: CUSTOM
 * Operations beyond those of recordings: userfaultfd, folios of a file for a device, and copies
 * that fail. A context has UFFD_FEATURE_SIGBUS, so that a fault never waits for a handler. */
#include "driver.h"
#include <linux/fs.h>
#include <linux/fdtable.h>
#include <linux/hugetlb.h>
#include <linux/userfaultfd_k.h>
#include <linux/version.h>
#include <linux/memfd.h>
#include <uapi/linux/userfaultfd.h>
#include <asm/ptrace.h>

extern long __x64_sys_userfaultfd(const struct pt_regs *regs);
extern long __x64_sys_close(const struct pt_regs *regs);

/* Where the source of a copy is said to be. Nobody reads it: the word there is its distance from
 * here plus the operation's number, and 0 where nobody ever touched it. */
#define SOURCE 0x10000UL

enum copies { COPY_USER, COPY_USER_ATOMIC, COPY_PAGE, COPIES };
static s64 copies_that_fail[COPIES];
static bool cold;
static u64 first_word;

static bool fails(enum copies what)
{
	return copies_that_fail[what] > 0 && copies_that_fail[what]--;
}

long nh_fail_copy(s64 what, s64 count)
{
	if (what < 0 || what >= COPIES || count < 1)
		return NH_NO_OP;
	copies_that_fail[what] = count;
	return 0;
}

/* Whether copying a huge page fails, as it does on a memory error that the processor reports. */
bool nh_page_copy_fails(void)
{
	return fails(COPY_PAGE);
}

static unsigned long copy_in(void *to, unsigned long from, unsigned long size, bool may_fault)
{
	might_fault();
	if (!may_fault && (cold || fails(COPY_USER_ATOMIC)))
		return size;
	if (may_fault && fails(COPY_USER))
		return size;
	*(u64 *)to = cold ? 0 : first_word + (from - SOURCE);
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
long copy_folio_from_user(struct folio *to, const void __user *from, bool may_fault)
{
	return copy_in(page_address(&to->page), (unsigned long)from, folio_size(to), may_fault);
}
#else
long copy_huge_page_from_user(struct page *to, const void __user *from, unsigned int pages,
			      bool may_fault)
{
	return copy_in(page_address(to), (unsigned long)from, (unsigned long)pages << PAGE_SHIFT,
		       may_fault);
}
#endif

/* The file of the process's context, made before its first request. */
static struct file *context(struct nh_proc *proc)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_HUGETLBFS |
			    UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			    UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
#ifdef UFFD_FEATURE_POISON
	api.features |= UFFD_FEATURE_POISON;
#endif
	struct pt_regs regs = { .di = O_CLOEXEC };
	struct file *file;
	long fd;

	if (proc->faults >= 0)
		return files_lookup_fd_raw(proc->task->files, proc->faults);
	fd = __x64_sys_userfaultfd(&regs);
	if (fd < 0)
		return ERR_PTR(fd);
	file = files_lookup_fd_raw(proc->task->files, fd);
	BUG_ON(file->f_op->unlocked_ioctl(file, UFFDIO_API, (unsigned long)&api));
	proc->faults = fd;
	return file;
}

/* A child of fork inherits the file, which still speaks of its parent: it lets go of it. */
void nh_forget_context(struct nh_proc *child)
{
	struct pt_regs regs = { .di = child->faults };

	if (child->faults >= 0)
		__x64_sys_close(&regs);
	child->faults = -1;
}

static long ask(struct nh_proc *proc, unsigned int request, void *about)
{
	struct file *file = context(proc);
	long got;

	if (IS_ERR(file))
		return PTR_ERR(file);
	got = file->f_op->unlocked_ioctl(file, request, (unsigned long)about);
	return got > 0 ? 0 : got;
}

static long watch(struct nh_proc *proc, struct uffdio_range range, s64 modes)
{
	struct uffdio_register about = { .range = range };

	if (modes & 1)
		about.mode |= UFFDIO_REGISTER_MODE_MISSING;
	if (modes & 2)
		about.mode |= UFFDIO_REGISTER_MODE_WP;
	if (modes & 4)
		about.mode |= UFFDIO_REGISTER_MODE_MINOR;
	return ask(proc, UFFDIO_REGISTER, &about);
}

static long copy(struct nh_proc *proc, struct uffdio_range range, u64 serial, bool untouched,
		 bool protect)
{
	struct uffdio_copy about = {
		.dst = range.start,
		.src = SOURCE,
		.len = range.len,
		.mode = protect ? UFFDIO_COPY_MODE_WP : 0,
	};

	cold = untouched;
	first_word = serial;
	return ask(proc, UFFDIO_COPY, &about);
}

static long fill_from_cache(struct nh_proc *proc, struct uffdio_range range, bool protect)
{
	struct uffdio_continue about = { .range = range };

#ifdef UFFDIO_CONTINUE_MODE_WP
	about.mode = protect ? UFFDIO_CONTINUE_MODE_WP : 0;
#else
	if (protect)
		return NH_NO_OP;
#endif
	return ask(proc, UFFDIO_CONTINUE, &about);
}

static long poison(struct nh_proc *proc, struct uffdio_range range)
{
#ifdef UFFDIO_POISON
	struct uffdio_poison about = { .range = range };

	return ask(proc, UFFDIO_POISON, &about);
#else
	return NH_NO_OP;
#endif
}

static long protect(struct nh_proc *proc, struct uffdio_range range, bool resolve)
{
	struct uffdio_writeprotect about = {
		.range = range,
		.mode = resolve ? 0 : UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ask(proc, UFFDIO_WRITEPROTECT, &about);
}

/* `page` and `length` in pages of the mapping at `base`, which are of `unit` bytes. */
long nh_extra_op(const struct nh_op *op, struct nh_proc *proc, unsigned long base,
		 unsigned long unit, s64 page, s64 length)
{
	struct uffdio_range range = { base + page * unit, length * unit };
	const s64 *a = op->arg;

	switch (op->kind) {
	case OP_UFFD_REGISTER:
		return watch(proc, range, a[4]);
	case OP_UFFD_UNREGISTER:
		return ask(proc, UFFDIO_UNREGISTER, &range);
	case OP_UFFD_COPY:
		return copy(proc, range, op->serial, a[4], a[5]);
	case OP_UFFD_CONTINUE:
		return fill_from_cache(proc, range, a[4]);
	case OP_UFFD_POISON:
		return poison(proc, range);
	case OP_UFFD_WRITEPROTECT:
		return protect(proc, range, a[4]);
	}
	return NH_NO_OP;
}

/* Folios of a file, allocated where missing, pinned for a device under a name. */
long nh_pin_file(struct nh_proc *proc, int fd, unsigned long start, unsigned long length, s64 name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	struct file *file = files_lookup_fd_raw(proc->task->files, fd);
	unsigned long most = length >> PAGE_SHIFT;
	struct nh_pin *made;
	pgoff_t offset;
	long got;

	made = kvzalloc(sizeof(*made) + most * sizeof(struct folio *), GFP_KERNEL | __GFP_NOFAIL);
	got = memfd_pin_folios(file, start, start + length - 1, (struct folio **)made->page, most,
			       &offset);
	if (got < 0) {
		kvfree(made);
		return got;
	}
	made->name = name;
	made->count = got;
	made->folios = true;
	*nh_find_pin(proc, name) = made;
	return 0;
#else
	return NH_NO_OP;
#endif
}
