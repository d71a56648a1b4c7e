// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations beyond hugetlb-trace/1: userfaultfd and long-term pins.
 *
 * A fault in a registered range raises SIGBUS instead of waiting for a handler,
 * so that a touch returns. A pin is a buffer registered with an io_uring, one
 * ring a pin; it is unregistered before the ring is closed, because closing
 * alone gives the pages back at some later time.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than the C library's headers: as linux/userfaultfd.h of 6.6 and later numbers them. */
#define FEATURE_PAGEFAULT_FLAG_WP (1UL << 0)
#define FEATURE_WP_HUGETLBFS_SHMEM (1UL << 12)
#define FEATURE_POISON (1UL << 14)
#define CONTINUE_MODE_WP (1UL << 1)

struct poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison)

static int faults = -1;
static int rings[SLOTS] = { [0 ... SLOTS - 1] = -1 };
static long pinned_at[SLOTS]; /* the number of the operation */

static int open_faults(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS |
					      UFFD_FEATURE_MISSING_HUGETLBFS |
					      UFFD_FEATURE_MINOR_HUGETLBFS |
					      FEATURE_PAGEFAULT_FLAG_WP |
					      FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_POISON };

	if (faults >= 0)
		return 0;
	faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (faults < 0)
		return -1;
	if (ioctl(faults, UFFDIO_API, &api) == 0)
		return 0;
	close(faults);
	faults = -1;
	return -1;
}

static int do_register(char *start, size_t length, long mode)
{
	struct uffdio_register range = {
		.range = { (unsigned long)start, length },
		.mode = (uint64_t)mode,
	};

	return ioctl(faults, UFFDIO_REGISTER, &range);
}

static int do_unregister(char *start, size_t length)
{
	struct uffdio_range range = { (unsigned long)start, length };

	return ioctl(faults, UFFDIO_UNREGISTER, &range);
}

/* A cold source has no pages yet, so the kernel's first, atomic copy fails. */
static int do_copy(char *target, size_t length, long protect, long cold, long i)
{
	struct uffdio_copy copy = { .dst = (unsigned long)target,
				    .len = length,
				    .mode = protect ? UFFDIO_COPY_MODE_WP : 0 };
	char *source = mmap(NULL, length ? length : HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret, saved;

	if (source == MAP_FAILED)
		return -1;
	if (!cold) {
		memset(source, 0, length);
		for (size_t at = 0; at < length; at += HUGE_PAGE)
			*(uint64_t *)(void *)(source + at) = (uint64_t)i + at;
	}
	copy.src = (unsigned long)source;
	ret = ioctl(faults, UFFDIO_COPY, &copy);
	saved = errno;
	munmap(source, length ? length : HUGE_PAGE);
	errno = saved;
	return ret;
}

static int do_continue(char *target, size_t length, long protect)
{
	struct uffdio_continue pages = { .range = { (unsigned long)target, length },
					 .mode = protect ? CONTINUE_MODE_WP : 0 };

	return ioctl(faults, UFFDIO_CONTINUE, &pages);
}

static int do_writeprotect(char *start, size_t length, long protect)
{
	struct uffdio_writeprotect pages = {
		.range = { (unsigned long)start, length },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(faults, UFFDIO_WRITEPROTECT, &pages);
}

static int do_poison(char *start, size_t length)
{
	struct poison pages = { .range = { (unsigned long)start, length } };

	return ioctl(faults, IOCTL_POISON, &pages);
}

static int do_pin(long pin, char *start, size_t length, long i)
{
	struct io_uring_params params = { 0 };
	struct iovec buffer = { start, length };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params), saved;

	if (ring < 0)
		return -1;
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) < 0) {
		saved = errno;
		close(ring);
		errno = saved;
		return -1;
	}
	rings[pin] = ring;
	pinned_at[pin] = i;
	return 0;
}

static int do_unpin(long pin)
{
	int ring = rings[pin];

	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0)
		return -1;
	rings[pin] = -1;
	return close(ring);
}

/* Returns 1 when `op` is none of these. */
int extra_call(const struct request *request, long *ret)
{
	const char *op = request->op;
	const long *arg = request->arg;
	char *at = page_address(arg[0], arg[1]);
	size_t length = (size_t)arg[2] * HUGE_PAGE;

	if (!strcmp(op, "pin")) {
		*ret = do_pin(arg[3], at, length, request->i);
		return 0;
	}
	if (!strcmp(op, "unpin")) {
		*ret = do_unpin(arg[0]);
		return 0;
	}
	if (strncmp(op, "uffd_", 5))
		return 1;
	*ret = open_faults();
	if (*ret < 0)
		return 0;
	if (!strcmp(op, "uffd_register"))
		*ret = do_register(at, length, arg[3]);
	else if (!strcmp(op, "uffd_unregister"))
		*ret = do_unregister(at, length);
	else if (!strcmp(op, "uffd_copy"))
		*ret = do_copy(at, length, arg[3], arg[4], request->i);
	else if (!strcmp(op, "uffd_continue"))
		*ret = do_continue(at, length, arg[3]);
	else if (!strcmp(op, "uffd_writeprotect"))
		*ret = do_writeprotect(at, length, arg[3]);
	else if (!strcmp(op, "uffd_poison"))
		*ret = do_poison(at, length);
	else
		return 1;
	return 0;
}

/* In a new child: what is inherited still speaks of the parent. */
void extra_forget(void)
{
	if (faults >= 0)
		close(faults);
	faults = -1;
	for (int pin = 0; pin < SLOTS; pin++) {
		if (rings[pin] >= 0)
			close(rings[pin]);
		rings[pin] = -1;
	}
}

/* Before an orderly exit, so that the pages are back when it returns; the oldest pin first. */
void extra_leave(void)
{
	for (;;) {
		int oldest = -1;

		for (int pin = 0; pin < SLOTS; pin++)
			if (rings[pin] >= 0 && (oldest < 0 || pinned_at[pin] < pinned_at[oldest]))
				oldest = pin;
		if (oldest < 0)
			return;
		do_unpin(oldest);
		rings[oldest] = -1;
	}
}
