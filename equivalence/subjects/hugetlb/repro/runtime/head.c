#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif

#define SIZE_2M (2UL << 20)
#define SIZE_1G (1UL << 30)
#define HUGE_2M (21 << 26) /* the size in the flags of mmap, shmget and memfd_create */
#define HUGE_1G (30 << 26)
#define POOL_2M "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define POOL_1G "/sys/kernel/mm/hugepages/hugepages-1048576kB/"
#define NODE "/sys/devices/system/node/node"
#define HUGETLBFS 0x958458f6
#define ABSENT LLONG_MIN /* a counter of something that does not exist */
#define MOST 16		 /* processes, mappings, files and so on: so many of each */
#define INIT (-1)	 /* not a process of the trace, but this program itself does it */
#define PATIENCE_MS 60000

/* What an operation returned: a touch that fails has a signal, one that does not has a value. */
struct seen {
	long ret;
	int err;
	int sig;
	unsigned long long value;
};

/* What equivcheck computed for one side: outcome, and counters in the order of counters[]. */
struct announced {
	long ret;
	int err;
	int sig;
	unsigned long long value;
	const char *ending; /* how it ended if it did not return, or NULL */
	const long long *counters;
};

struct step {
	int number;
	const char *text;
	int who;
	long (*call)(void);
	const char *cannot; /* why user space cannot do it, or NULL */
	struct announced before, after;
};

enum source { NUMBER, BYTES, EVENTS, FREE_BLOCKS, STATUS };

struct counter {
	const char *name;
	enum source source;
	const char *path; /* a file; under a mount or cgroup if it begins without a slash */
	unsigned long unit;
	int who;
};

/* Shared by all processes: one operation runs at a time. */
static struct shared {
	const struct step *step;
	struct seen seen;
	pid_t child;
	int child_slot;
} *shared;

static pid_t tasks[MOST];
static int ask[MOST][2], reply[MOST][2];
static char mounts_at[64], cgroups_at[128];
static int segments[MOST];

/* Each process's own; a fork copies them. */
static unsigned long unit_of[MOST]; /* bytes of a page of a mapping */
static long pages_of[MOST];	    /* its length as it was made, in pages */
static int file[MOST];
static unsigned long file_unit[MOST];
static sigjmp_buf touch_failed;
static volatile sig_atomic_t touching, fault;
static int faults = -1;		   /* a userfaultfd */
static int rings[MOST];		   /* an io_uring for each pin */
static int pinned_at[MOST];	   /* the order in which they were made */

static const struct step *now(void)
{
	return shared->step;
}

/* Every mapping has an address range of its own, so that none ever touches another. */
static inline char *at(int map, long page)
{
	return (char *)(0x100000000000UL + (unsigned long)map * (64UL << 30) +
			(unsigned long)page * unit_of[map]);
}

static inline size_t bytes(int map, long pages)
{
	return (size_t)pages * unit_of[map];
}

static inline long mapped(int map, void *got, long pages)
{
	if (got == MAP_FAILED || got == (void *)-1)
		return -1;
	pages_of[map] = pages;
	return 0;
}

static inline long opened(int slot, long fd, unsigned long unit)
{
	if (fd < 0)
		return -1;
	file[slot] = (int)fd;
	file_unit[slot] = unit;
	return 0;
}

static inline int closed(int slot)
{
	int fd = file[slot];

	file[slot] = -1;
	return fd;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (!touching && number == SIGBUS && info->si_code >= 4)
		return; /* news of poisoned memory, which comes by itself */
	if (!touching)
		_exit(99);
	fault = number;
	siglongjmp(touch_failed, 1);
}

/* In the process that owns the mapping: another one would not own the reservation. */
static inline long load(int map, long page)
{
	volatile unsigned long long *word = (void *)at(map, page);

	if (sigsetjmp(touch_failed, 1)) {
		touching = 0;
		return -1;
	}
	touching = 1;
	shared->seen.value = *word;
	touching = 0;
	return 0;
}

static inline long store(int map, long page, unsigned long long value)
{
	volatile unsigned long long *word = (void *)at(map, page);

	if (sigsetjmp(touch_failed, 1)) {
		touching = 0;
		return -1;
	}
	touching = 1;
	*word = value;
	shared->seen.value = value;
	touching = 0;
	return 0;
}

static int put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), saved;
	ssize_t done;

	if (fd < 0)
		return -1;
	done = write(fd, value, strlen(value));
	saved = errno;
	close(fd);
	errno = saved;
	return done < 0 ? -1 : 0;
}

static int put_number(const char *path, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	return put(path, text);
}

static inline const char *in_mount(const char *name)
{
	static char path[192];

	snprintf(path, sizeof(path), "%s/%s", mounts_at, name);
	return path;
}

static inline const char *in_cgroups(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", cgroups_at, name);
	return path;
}

static inline long new_cgroup(const char *name)
{
	put(in_cgroups("cgroup.subtree_control"), "+hugetlb");
	put(in_cgroups("cgroup.subtree_control"), "+cpuset");
	return mkdir(in_cgroups(name), 0755);
}

static inline long move_to_cgroup(const char *procs, int slot)
{
	return put_number(in_cgroups(procs), tasks[slot]);
}

static inline long new_mount(const char *name, const char *options)
{
	mkdir(in_mount(name), 0755);
	return mount("none", in_mount(name), "hugetlbfs", 0, options);
}

static inline long pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static inline long policy(int map, long start, long pages, long mode, unsigned long nodes)
{
	return syscall(SYS_mbind, at(map, start), bytes(map, pages), mode, nodes ? &nodes : NULL,
		       nodes ? 64UL : 0UL, 0U);
}

static inline long own_policy(long mode, unsigned long nodes)
{
	return syscall(SYS_set_mempolicy, mode, nodes ? &nodes : NULL, nodes ? 64UL : 0UL);
}

static inline long move_pages_between(unsigned long from, unsigned long to)
{
	return syscall(SYS_migrate_pages, 0, 64UL, &from, &to);
}

/* Closing a ring alone would give its pages back at some later time; the oldest pin goes first. */
static void let_go_of_pins(void)
{
	for (;;) {
		int oldest = -1;

		for (int k = 0; k < MOST; k++)
			if (rings[k] > 0 && (oldest < 0 || pinned_at[k] < pinned_at[oldest]))
				oldest = k;
		if (oldest < 0)
			return;
		syscall(SYS_io_uring_register, rings[oldest], 1 /* unregister */, NULL, 0);
		close(rings[oldest]);
		rings[oldest] = 0;
	}
}

/* In a new child: what is inherited still speaks of the parent. */
static void forget(void)
{
	close(faults);
	faults = -1;
	for (int k = 0; k < MOST; k++) {
		if (rings[k] > 0)
			close(rings[k]);
		rings[k] = 0;
	}
}

/* A process of the trace: does one operation for each byte that arrives. */
static void serve(int slot) __attribute__((noreturn));

static void serve(int slot)
{
	char byte;

	for (;;) {
		if (read(ask[slot][0], &byte, 1) != 1)
			_exit(97);
		if (byte == 'x') {
			let_go_of_pins();
			_exit(0);
		}
		memset(&shared->seen, 0, sizeof(shared->seen));
		fault = 0;
		errno = 0;
		shared->seen.ret = now()->call();
		shared->seen.err = shared->seen.ret < 0 && !fault ? errno : 0;
		shared->seen.sig = fault;
		if (write(reply[slot][1], "", 1) != 1)
			_exit(98);
	}
}

static inline long start(int slot)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO };
	pid_t pid = fork();

	if (pid == 0) {
		action.sa_sigaction = on_fault;
		sigaction(SIGBUS, &action, NULL);
		sigaction(SIGSEGV, &action, NULL);
		pin_to_cpu(0);
		for (int k = 0; k < MOST; k++)
			file[k] = -1;
		serve(slot);
	}
	tasks[slot] = pid;
	return pid < 0 ? -1 : 0;
}

/* The child becomes this program's own child, so that its end can be waited for. */
static inline long fork_into(int slot)
{
	long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		forget();
		serve(slot);
	}
	if (child < 0)
		return -1;
	shared->child = (pid_t)child;
	shared->child_slot = slot;
	return 0;
}

static long reap(int slot)
{
	pid_t pid = tasks[slot];

	tasks[slot] = 0;
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

static inline long leave(int slot)
{
	return write(ask[slot][1], "x", 1) == 1 ? reap(slot) : -1;
}

static inline long end(int slot)
{
	return kill(tasks[slot], SIGKILL) < 0 ? -1 : reap(slot);
}
