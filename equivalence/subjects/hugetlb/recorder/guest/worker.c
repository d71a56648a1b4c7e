// SPDX-License-Identifier: GPL-2.0-only
/*
 * Worker processes: each waits for a request, makes exactly one system call
 * (or one load or store) for it, and on demand tells what it sees of itself.
 *
 * A touch happens in the worker that owns the mapping, under a handler that
 * jumps back, because a helper process would not own the reservation.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define MFD_FLAGS (0x0001U | 0x0004U | (21U << 26)) /* CLOEXEC, HUGETLB, 2 MB */

struct channel *channels;

static int ask_pipe[SLOTS][2];
static int answer_pipe[SLOTS][2];

/* This worker's own tables; a fork copies them, as it copies what they name. */
static int my_slot;
static long map_length[SLOTS];
static int file[SLOTS];

static sigjmp_buf touch_failed;
static volatile sig_atomic_t touching;
static volatile int fault_signal, fault_code;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	fault_signal = number;
	fault_code = info->si_code;
	/* News of poisoned memory comes by itself; the operation's answer carries it. */
	if (!touching && number == SIGBUS &&
	    (info->si_code == BUS_MCEERR_AO || info->si_code == BUS_MCEERR_AR))
		return;
	if (!touching)
		_exit(99);
	siglongjmp(touch_failed, 1);
}

char *page_address(long map, long page)
{
	return (char *)(SLOT_BASE + (unsigned long)map * SLOT_SPAN +
			(unsigned long)page * HUGE_PAGE);
}

static size_t bytes(long pages)
{
	return (size_t)pages * HUGE_PAGE;
}

static void touch(struct result *result, long map, long page, long write, long i)
{
	volatile uint64_t *word = (volatile uint64_t *)page_address(map, page);

	if (sigsetjmp(touch_failed, 1)) {
		touching = 0;
		result->ret = -1;
		result->sig = fault_signal;
		result->si_code = fault_code;
		return;
	}
	touching = 1;
	if (write) {
		*word = (uint64_t)i;
		result->value = (uint64_t)i;
	} else {
		result->value = *word;
	}
	touching = 0;
	result->has_value = 1;
}

static long do_mmap(const long *arg)
{
	long map = arg[0], length = arg[1], prot = arg[2], flags = arg[3], fd = arg[4];
	void *got = mmap(page_address(map, 0), bytes(length), (int)prot,
			 (int)flags | MAP_FIXED_NOREPLACE, fd < 0 ? -1 : file[fd],
			 fd < 0 ? 0 : (off_t)bytes(arg[5]));

	if (got == MAP_FAILED)
		return -1;
	map_length[map] = length;
	return 0;
}

static long do_mremap(const long *arg)
{
	long map = arg[0], start = arg[1], length = arg[2], new_length = arg[3], to = arg[4];
	void *got;

	if (to < 0)
		got = mremap(page_address(map, start), bytes(length), bytes(new_length), 0);
	else
		got = mremap(page_address(map, start), bytes(length), bytes(new_length),
			     MREMAP_MAYMOVE | MREMAP_FIXED, page_address(to, 0));
	if (got == MAP_FAILED)
		return -1;
	if (to >= 0)
		map_length[to] = new_length;
	else if (start + new_length > map_length[map])
		map_length[map] = start + new_length;
	return 0;
}

static long do_shmat(const long *arg)
{
	if (shmat((int)arg[1], page_address(arg[0], 0), 0) == (void *)-1)
		return -1;
	map_length[arg[0]] = arg[2];
	return 0;
}

static long do_open(const struct request *request)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/mnt/h%ld/%s", request->arg[1], request->name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	file[request->arg[0]] = fd;
	return 0;
}

static long do_memfd(const long *arg)
{
	long fd = syscall(SYS_memfd_create, "equivcheck", MFD_FLAGS);

	if (fd < 0)
		return -1;
	file[arg[0]] = (int)fd;
	return 0;
}

static long do_close(const long *arg)
{
	int fd = file[arg[0]];

	file[arg[0]] = -1;
	return close(fd);
}

/* A node mask of one word; maxnode counts one bit more than the kernel reads. */
static long do_policy(const struct request *request)
{
	const long *arg = request->arg;
	unsigned long mask;

	if (!strcmp(request->op, "mbind")) {
		mask = (unsigned long)arg[4];
		return syscall(SYS_mbind, page_address(arg[0], arg[1]), bytes(arg[2]), arg[3],
			       mask ? &mask : NULL, mask ? 64UL : 0UL, 0U);
	}
	if (!strcmp(request->op, "set_mempolicy")) {
		mask = (unsigned long)arg[1];
		return syscall(SYS_set_mempolicy, arg[0], mask ? &mask : NULL,
			       mask ? 64UL : 0UL);
	}
	mask = (unsigned long)arg[0];
	unsigned long to = (unsigned long)arg[1];

	return syscall(SYS_migrate_pages, 0, 64UL, &mask, &to);
}

static long do_affinity(const long *arg)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)arg[0], &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static void serve(int slot) __attribute__((noreturn));

/* CLONE_PARENT makes the child process 1's own, so its exit can be waited for. */
static long do_fork(const long *arg)
{
	long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		extra_forget();
		serve((int)arg[0]);
	}
	if (child < 0)
		return -1;
	channels[my_slot].child = (pid_t)child;
	return 0;
}

static long call(struct request *request, struct result *result)
{
	const char *op = request->op;
	const long *arg = request->arg;
	long ret;

	if (!strcmp(op, "mmap"))
		return do_mmap(arg);
	if (!strcmp(op, "munmap"))
		return munmap(page_address(arg[0], arg[1]), bytes(arg[2]));
	if (!strcmp(op, "mremap"))
		return do_mremap(arg);
	if (!strcmp(op, "mprotect"))
		return mprotect(page_address(arg[0], arg[1]), bytes(arg[2]), (int)arg[3]);
	if (!strcmp(op, "madvise"))
		return madvise(page_address(arg[0], arg[1]), bytes(arg[2]), (int)arg[3]);
	if (!strcmp(op, "touch")) {
		touch(result, arg[0], arg[1], arg[2], request->i);
		return result->ret;
	}
	if (!strcmp(op, "mbind") || !strcmp(op, "set_mempolicy") ||
	    !strcmp(op, "migrate_pages"))
		return do_policy(request);
	if (!strcmp(op, "sched_setaffinity"))
		return do_affinity(arg);
	if (!strcmp(op, "open"))
		return do_open(request);
	if (!strcmp(op, "memfd_create"))
		return do_memfd(arg);
	if (!strcmp(op, "close"))
		return do_close(arg);
	if (!strcmp(op, "ftruncate"))
		return ftruncate(file[arg[0]], (off_t)bytes(arg[1]));
	if (!strcmp(op, "fallocate"))
		return fallocate(file[arg[0]], (int)arg[1], (off_t)bytes(arg[2]),
				 (off_t)bytes(arg[3]));
	if (!strcmp(op, "shmat"))
		return do_shmat(arg);
	if (!strcmp(op, "fork"))
		return do_fork(arg);
	if (!strcmp(op, "set_nr_hugepages_mempolicy"))
		return write_pages(arg[1] ? SYSCTL "nr_hugepages_mempolicy" :
					    POOL "nr_hugepages_mempolicy",
				   arg[0]);
	if (extra_call(request, &ret) == 0)
		return ret;
	errno = ENOSYS;
	return -1;
}

static void tell_maps(struct text *text)
{
	/* Opened anew each time: after a fork an old one would show the parent. */
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	const char *before = "";

	put(text, "\"maps\":{");
	for (int map = 0; map < SLOTS; map++) {
		if (!map_length[map])
			continue;
		put(text, "%s\"%d\":[", before, map);
		before = ",";
		for (long page = 0; page < map_length[map]; page++) {
			uint64_t entry = ~0UL;
			off_t at = (off_t)((unsigned long)page_address(map, page) / 4096 * 8);

			if (pread(pagemap, &entry, sizeof(entry), at) != sizeof(entry))
				entry = ~0UL;
			put(text, "%s%llu", page ? "," : "", (unsigned long long)entry);
		}
		put(text, "]");
	}
	put(text, "}");
	close(pagemap);
}

static void tell_files(struct text *text)
{
	const char *before = "";
	struct stat found;

	put(text, ",\"fds\":{");
	for (int fd = 0; fd < SLOTS; fd++) {
		if (file[fd] < 0 || fstat(file[fd], &found) < 0)
			continue;
		put(text, "%s\"%d\":[%ld,%ld,%lu]", before, fd,
		    (long)(found.st_size / (off_t)HUGE_PAGE),
		    (long)(found.st_blocks / (blkcnt_t)(HUGE_PAGE / 512)),
		    (unsigned long)found.st_nlink);
		before = ",";
	}
	put(text, "}");
}

static void tell(struct channel *channel)
{
	static char status[8192];
	struct text text = { channel->state, sizeof(channel->state), 0, 0 };
	const char *line;

	put(&text, "{");
	tell_maps(&text);
	tell_files(&text);
	line = read_file("/proc/self/status", status, sizeof(status)) > 0 ?
		       strstr(status, "HugetlbPages:") : NULL;
	put(&text, ",\"hugetlb_pages\":%ld}",
	    line ? strtol(line + sizeof("HugetlbPages:") - 1, NULL, 10) / 2048 : -1);
	if (text.overflow)
		strcpy(channel->state, "null");
}

static void serve(int slot)
{
	struct channel *channel = &channels[slot];
	char byte;

	my_slot = slot;
	for (;;) {
		if (read(ask_pipe[slot][0], &byte, 1) != 1)
			_exit(98);
		if (byte == '?') {
			tell(channel);
		} else {
			struct result result = { 0 };

			errno = 0;
			if (!strcmp(channel->request.op, "exit")) {
				extra_leave();
				_exit(0);
			}
			fault_signal = 0;
			result.ret = call(&channel->request, &result);
			result.err = errno;
			if (fault_signal) {
				result.sig = fault_signal;
				result.si_code = fault_code;
			}
			channel->result = result;
		}
		if (write(answer_pipe[slot][1], "", 1) != 1)
			_exit(97);
	}
}

int make_channels(void)
{
	channels = mmap(NULL, SLOTS * sizeof(*channels), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (channels == MAP_FAILED)
		return -1;
	for (int slot = 0; slot < SLOTS; slot++)
		if (pipe(ask_pipe[slot]) < 0 || pipe(answer_pipe[slot]) < 0)
			return -1;
	return 0;
}

/* A new worker without mappings and files; process 1 forks it. */
int worker_start(int slot, pid_t *pid)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO };

	*pid = fork();
	if (*pid < 0)
		return -1;
	if (*pid == 0) {
		action.sa_sigaction = on_fault;
		sigaction(SIGBUS, &action, NULL);
		sigaction(SIGSEGV, &action, NULL);
		for (int k = 0; k < SLOTS; k++)
			file[k] = -1;
		serve(slot);
	}
	return 0;
}

/* Wakes the worker: it obeys its request ('!') or tells its state ('?'). */
int worker_wake(int slot, char what)
{
	return write(ask_pipe[slot][1], &what, 1) == 1 ? 0 : -1;
}

/* Wakes the worker and waits for its answer; -1 when it died instead. */
int worker_ask(int slot, pid_t pid, char what)
{
	struct pollfd ready = { .fd = answer_pipe[slot][0], .events = POLLIN };
	char byte;

	if (worker_wake(slot, what) < 0)
		return -1;
	while (poll(&ready, 1, 100) != 1) {
		siginfo_t left = { 0 };

		if (waitid(P_PID, (id_t)pid, &left, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		    left.si_pid == pid)
			return -1;
	}
	return read(answer_pipe[slot][0], &byte, 1) == 1 ? 0 : -1;
}

/* Nothing unread may wait for the next worker in this slot. */
void worker_left(int slot)
{
	struct pollfd pending = { .fd = ask_pipe[slot][0], .events = POLLIN };
	char byte;

	while (poll(&pending, 1, 0) == 1 && read(ask_pipe[slot][0], &byte, 1) == 1)
		;
	pending.fd = answer_pipe[slot][0];
	while (poll(&pending, 1, 0) == 1 && read(answer_pipe[slot][0], &byte, 1) == 1)
		;
}
