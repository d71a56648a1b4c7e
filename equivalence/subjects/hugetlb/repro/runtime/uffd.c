#include <linux/userfaultfd.h>

/* Newer than some C libraries' headers: as linux/userfaultfd.h of 6.6 and later has them. */
#define FEATURE_PAGEFAULT_FLAG_WP (1UL << 0)
#define FEATURE_WP_HUGETLBFS_SHMEM (1UL << 12)
#define FEATURE_POISON (1UL << 14)
#define CONTINUE_WP (1UL << 1)

struct poison {
	struct uffdio_range range;
	unsigned long long mode;
	long long updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison)

/* A fault in a registered range raises SIGBUS instead of waiting for a handler. */
static int fault_handler(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS |
					      UFFD_FEATURE_MISSING_HUGETLBFS |
					      UFFD_FEATURE_MINOR_HUGETLBFS |
					      (1UL << 0) /* PAGEFAULT_FLAG_WP */ |
					      (1UL << 12) /* WP_HUGETLBFS_SHMEM */ };

	if (faults < 0) {
		faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
		if (faults >= 0)
			ioctl(faults, UFFDIO_API, &api);
	}
	return faults;
}

static inline long watch(int map, long start, long pages, unsigned long long mode)
{
	struct uffdio_register range = { .range = { (unsigned long)at(map, start),
						    bytes(map, pages) },
					 .mode = mode };

	return ioctl(fault_handler(), UFFDIO_REGISTER, &range);
}

static inline long unwatch(int map, long start, long pages)
{
	struct uffdio_range range = { (unsigned long)at(map, start), bytes(map, pages) };

	return ioctl(fault_handler(), UFFDIO_UNREGISTER, &range);
}

/* A source that nobody touched makes the kernel's first, atomic copy fail. */
static inline long fill(int map, long page, long pages, int wp, int cold,
			unsigned long long value)
{
	size_t size = bytes(map, pages);
	struct uffdio_copy copy = { .dst = (unsigned long)at(map, page),
				    .len = size,
				    .mode = wp ? UFFDIO_COPY_MODE_WP : 0 };
	char *source = mmap(NULL, size ? size : SIZE_2M, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long ret;
	int saved;

	if (source == MAP_FAILED)
		return -1;
	if (!cold) {
		memset(source, 0, size);
		for (size_t k = 0; k < size; k += unit_of[map])
			*(unsigned long long *)(void *)(source + k) = value + k;
	}
	copy.src = (unsigned long)source;
	ret = ioctl(fault_handler(), UFFDIO_COPY, &copy);
	saved = errno;
	munmap(source, size ? size : SIZE_2M);
	errno = saved;
	return ret;
}

static inline long resume(int map, long page, long pages, int protect)
{
	struct uffdio_continue range = { .range = { (unsigned long)at(map, page),
						    bytes(map, pages) },
					 .mode = protect ? CONTINUE_WP : 0 };

	return ioctl(fault_handler(), UFFDIO_CONTINUE, &range);
}

static inline long poison(int map, long page, long pages)
{
	struct poison range = { .range = { (unsigned long)at(map, page), bytes(map, pages) } };

	return ioctl(fault_handler(), IOCTL_POISON, &range);
}

static inline long protect(int map, long start, long pages, int resolve)
{
	struct uffdio_writeprotect range = {
		.range = { (unsigned long)at(map, start), bytes(map, pages) },
		.mode = resolve ? 0 : UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl(fault_handler(), UFFDIO_WRITEPROTECT, &range);
}
