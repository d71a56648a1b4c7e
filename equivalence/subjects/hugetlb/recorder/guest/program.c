// SPDX-License-Identifier: GPL-2.0-only
/* Running one program sent by the host, and handing back all that it printed. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "/program"
#define MOST_OUTPUT (256 * 1024)

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int receive(int port, size_t size)
{
	static char piece[65536];
	int file = open(PROGRAM, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700), whole = file >= 0;

	/* Read to the end even when the file fails: the host sends it all. */
	while (size) {
		size_t part = size < sizeof(piece) ? size : sizeof(piece);

		if (read_exactly(port, piece, part) < 0) {
			whole = 0;
			break;
		}
		if (whole && write(file, piece, part) != (ssize_t)part)
			whole = 0;
		size -= part;
	}
	if (file >= 0)
		close(file);
	return whole ? 0 : -1;
}

static pid_t start(int output)
{
	char *argv[] = { (char *)PROGRAM, NULL };
	char *envp[] = { (char *)"PATH=/", (char *)"HOME=/", NULL };
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		setsid();
		dup2(null, 0);
		dup2(output, 1);
		dup2(output, 2);
		execve(PROGRAM, argv, envp);
		_exit(127);
	}
	return pid;
}

/* Collects until the program's last process has closed its output, or time is up. */
static size_t collect(int from, char *output, pid_t pid, long limit_ms, int *timed_out)
{
	long end = now_ms() + limit_ms;
	size_t used = 0;

	for (;;) {
		struct pollfd ready = { .fd = from, .events = POLLIN };
		long left = end - now_ms();
		char rest[4096];
		ssize_t got;

		if (left <= 0) {
			*timed_out = 1;
			kill(-pid, SIGKILL);
			return used;
		}
		if (poll(&ready, 1, (int)left) != 1)
			continue;
		if (used < MOST_OUTPUT)
			got = read(from, output + used, MOST_OUTPUT - used);
		else
			got = read(from, rest, sizeof(rest));
		if (got <= 0)
			return used;
		if (used < MOST_OUTPUT)
			used += (size_t)got;
	}
}

void run_program(struct text *text, int port, size_t size, long limit_ms)
{
	static char output[MOST_OUTPUT];
	int ends[2], status = 0, timed_out = 0;
	size_t used;
	pid_t pid;

	if (receive(port, size) < 0 || pipe2(ends, O_CLOEXEC) < 0) {
		put(text, "\"error\":\"the program could not be stored in the guest\"");
		return;
	}
	pid = start(ends[1]);
	close(ends[1]);
	used = collect(ends[0], output, pid, limit_ms, &timed_out);
	close(ends[0]);
	if (pid > 0 && !timed_out) {
		/* Output is closed, but the program may still run: same limit again. */
		long end = now_ms() + limit_ms;

		while (waitpid(pid, &status, WNOHANG) == 0) {
			if (now_ms() > end) {
				timed_out = 1;
				break;
			}
			usleep(1000);
		}
	}
	if (pid > 0 && timed_out) {
		kill(-pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	unlink(PROGRAM);
	put(text, "\"exit\":%d,\"signal\":%d,\"timed_out\":%d,\"output\":",
	    WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
	    timed_out);
	put_string(text, output, used);
}
