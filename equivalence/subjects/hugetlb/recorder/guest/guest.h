/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's only program: process 1 of the recorder's kernel, and the
 * workers that it forks. Names live on the host; here everything has a number.
 */
#ifndef EQUIVCHECK_GUEST_H
#define EQUIVCHECK_GUEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HUGE_PAGE (2UL << 20)
#define SLOTS 16
#define SLOT_SPAN (4UL << 30)
#define SLOT_BASE 0x100000000000UL
#define MAX_ARGS 8
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define SYSCTL "/proc/sys/vm/"

/* Everything that a call can answer; a touch fills signal or value. */
struct result {
	long ret;
	int err;
	int sig;
	int si_code;
	int has_value;
	uint64_t value;
};

/* One operation; `i` is what a write stores. */
struct request {
	char op[32];
	long i;
	long arg[MAX_ARGS];
	char name[64];
};

/* Shared between process 1 and the worker in one process slot. */
struct channel {
	struct request request;
	struct result result;
	pid_t child;
	char state[32768];
};

/* text.c: an answer as it grows, and small files of /proc and /sys. */
struct text {
	char *at;
	size_t size, used;
	int overflow;
};

void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void put_string(struct text *text, const char *string, size_t length);
int read_file(const char *path, char *buffer, size_t size);
int write_file(const char *path, const char *value);
uint64_t read_number(const char *path);

/* worker.c */
extern struct channel *channels;
int make_channels(void);
int worker_start(int slot, pid_t *pid);
int worker_wake(int slot, char what);
int worker_ask(int slot, pid_t pid, char what);
void worker_left(int slot);

char *page_address(long map, long page);

/* extra.c */
int extra_call(const struct request *request, long *ret);
void extra_forget(void);
void extra_leave(void);

/* observe.c */
void observe_open(void);
void observe_log_from_now(void);
void observe(struct text *text);
void pool_counts(struct text *text, int with_overcommit);

/* init.c: what observe.c must know of process 1's tables. */
extern pid_t workers[SLOTS];
extern int mounted[SLOTS];
extern int cgroups[SLOTS];
extern int nodes;
int write_pages(const char *path, long pages);

/* program.c */
void run_program(struct text *text, int port, size_t size, long limit_ms);
int read_exactly(int port, char *buffer, size_t size);

#endif
