// SPDX-License-Identifier: GPL-2.0-only
/*
 * Process 1: takes one request at a time from the host over a virtio-serial
 * port, has it done, waits for it, and answers with one line of JSON.
 *
 *	hello                          who is there
 *	begin NR OVERCOMMIT            bring the cursors to node 0, fill the pool
 *	op I NAME [NUMBER...] [TEXT]   one operation; NUMBERs are slots, pages, flags
 *	settle                         the counters again, 10 ms later
 *	end                            tear everything down, empty the pool
 *	run SIZE LIMIT_MS              SIZE bytes of an executable follow
 *
 * When the host goes away the machine is switched off.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_NAME "equivcheck.record"

pid_t workers[SLOTS];
int mounted[SLOTS];
int cgroups[SLOTS];
int nodes;

static int segments[SLOTS];
static int port = -1;
static int spoken; /* the host has sent something: from now on, silence is its end */
static char answer_buffer[1 << 21];

static void switch_off(void) __attribute__((noreturn));

static void switch_off(void)
{
	for (;;) {
		reboot(RB_AUTOBOOT); /* the host runs the machine with -no-reboot */
		sleep(1);
	}
}

static void complain(const char *what)
{
	fprintf(stderr, "equivcheck: %s: %s\n", what, strerror(errno));
}

int read_exactly(int from, char *buffer, size_t size)
{
	size_t used = 0;

	for (int patience = 1000; used < size;) {
		ssize_t got = read(from, buffer + used, size - used);

		if (got > 0) {
			used += (size_t)got;
			spoken = 1;
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		/* Before the host's end is announced, a read returns 0 at once. */
		if (spoken || patience-- == 0)
			return -1;
		usleep(10000);
	}
	return 0;
}

static void read_line(char *line, size_t size)
{
	for (size_t used = 0; used < size - 1; used++) {
		if (read_exactly(port, line + used, 1) < 0)
			switch_off();
		if (line[used] == '\n') {
			line[used] = '\0';
			return;
		}
	}
	line[size - 1] = '\0';
}

static void answer(struct text *text)
{
	size_t sent = 0;

	put(text, "}\n");
	if (text->overflow)
		text->used = (size_t)sprintf(text->at, "{\"error\":\"the answer is too long\"}\n");
	while (sent < text->used) {
		ssize_t done = write(port, text->at + sent, text->used - sent);

		if (done < 0 && errno != EINTR)
			switch_off();
		if (done > 0)
			sent += (size_t)done;
	}
}

int write_pages(const char *path, long pages)
{
	char value[32];

	snprintf(value, sizeof(value), "%ld", pages);
	return write_file(path, value);
}

static int node_write(long node, long pages)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%ld/hugepages/hugepages-2048kB/nr_hugepages", node);
	return write_pages(path, pages);
}

static int weight_write(long node, long weight)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/kernel/mm/mempolicy/weighted_interleave/node%ld", node);
	return write_pages(path, weight);
}

static int reap(long slot)
{
	pid_t pid = workers[slot];

	workers[slot] = 0;
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			break;
	worker_left((int)slot);
	return 0;
}

static int do_kill(long slot)
{
	if (kill(workers[slot], SIGKILL) < 0)
		return -1;
	return reap(slot);
}

static int do_mount(long slot, long size, long min_size)
{
	char path[32], options[96];
	size_t used;

	snprintf(path, sizeof(path), "/mnt/h%ld", slot);
	mkdir(path, 0755);
	used = (size_t)snprintf(options, sizeof(options), "pagesize=2M");
	if (size >= 0)
		used += (size_t)snprintf(options + used, sizeof(options) - used, ",size=%ldM", size * 2);
	if (min_size >= 0)
		snprintf(options + used, sizeof(options) - used, ",min_size=%ldM", min_size * 2);
	if (mount("none", path, "hugetlbfs", 0, options) < 0)
		return -1;
	mounted[slot] = 1;
	return 0;
}

static int do_umount(long slot)
{
	char path[32];

	snprintf(path, sizeof(path), "/mnt/h%ld", slot);
	if (umount2(path, 0) < 0)
		return -1;
	mounted[slot] = 0;
	return 0;
}

static int do_shmget(long slot, long length, long noreserve)
{
	segments[slot] = shmget(IPC_PRIVATE, (size_t)length * HUGE_PAGE,
				SHM_HUGETLB | IPC_CREAT | 0600 | (noreserve ? SHM_NORESERVE : 0));
	return segments[slot] < 0 ? -1 : 0;
}

static int do_shm_rmid(long slot)
{
	if (shmctl(segments[slot], IPC_RMID, NULL) < 0)
		return -1;
	segments[slot] = -1;
	return 0;
}

/* A mask as the kernel reads it, such as "0,1"; an empty one is a line end. */
static void node_list(long mask, char *list)
{
	char *end = list;

	for (int node = 0; node < nodes; node++)
		if (mask >> node & 1)
			end += sprintf(end, "%s%d", end == list ? "" : ",", node);
	sprintf(end, "\n");
}

static int do_cgroup(const char *op, const long *arg)
{
	char path[96], value[32];

	snprintf(path, sizeof(path), "/cgroup/g%ld", arg[0]);
	if (!strcmp(op, "cgroup_create")) {
		if (mkdir(path, 0755) < 0)
			return -1;
		cgroups[arg[0]] = 1;
		return 0;
	}
	if (!strcmp(op, "cgroup_rmdir")) {
		if (rmdir(path) < 0)
			return -1;
		cgroups[arg[0]] = 0;
		return 0;
	}
	if (!strcmp(op, "cgroup_mems")) {
		/* Only now: the controller changes what moving a process does. */
		if (write_file("/cgroup/cgroup.subtree_control", "+cpuset") < 0)
			return -1;
		snprintf(path, sizeof(path), "/cgroup/g%ld/cpuset.mems", arg[0]);
		node_list(arg[1], value);
		return write_file(path, value);
	}
	if (!strcmp(op, "cgroup_set")) {
		snprintf(path, sizeof(path), "/cgroup/g%ld/hugetlb.2MB.%s", arg[0],
			 arg[1] ? "rsvd.max" : "max");
		if (arg[2] < 0)
			return write_file(path, "max");
		snprintf(value, sizeof(value), "%lu", (unsigned long)arg[2] * HUGE_PAGE);
		return write_file(path, value);
	}
	if (arg[0] < 0)
		strcpy(path, "/cgroup/cgroup.procs");
	else
		snprintf(path, sizeof(path), "/cgroup/g%ld/cgroup.procs", arg[0]);
	snprintf(value, sizeof(value), "%d", (int)workers[arg[1]]);
	return write_file(path, value);
}

/* Memory in use, or wanted no more: the file takes a physical address. */
static int do_offline(long hard, unsigned long frame)
{
	char value[32];

	snprintf(value, sizeof(value), "0x%lx", frame * HUGE_PAGE);
	return write_file(hard ? "/sys/devices/system/memory/hard_offline_page" :
				 "/sys/devices/system/memory/soft_offline_page",
			  value);
}

static int do_unlink(const struct request *request)
{
	char path[128];

	snprintf(path, sizeof(path), "/mnt/h%ld/%s", request->arg[0], request->name);
	return unlink(path);
}

/* Operations of process 1 itself. Returns 1 when `op` is none of them. */
static int do_own(const struct request *request, int *ret)
{
	const char *op = request->op;
	const long *arg = request->arg;

	if (!strcmp(op, "spawn"))
		*ret = worker_start((int)arg[0], &workers[arg[0]]);
	else if (!strcmp(op, "exit"))
		*ret = worker_wake((int)arg[0], '!') < 0 ? -1 : reap(arg[0]);
	else if (!strcmp(op, "kill"))
		*ret = do_kill(arg[0]);
	else if (!strcmp(op, "mount"))
		*ret = do_mount(arg[0], arg[1], arg[2]);
	else if (!strcmp(op, "umount"))
		*ret = do_umount(arg[0]);
	else if (!strcmp(op, "unlink"))
		*ret = do_unlink(request);
	else if (!strcmp(op, "shmget"))
		*ret = do_shmget(arg[0], arg[1], arg[2]);
	else if (!strcmp(op, "shm_rmid"))
		*ret = do_shm_rmid(arg[0]);
	else if (!strcmp(op, "set_nr_hugepages"))
		*ret = write_pages(arg[1] ? SYSCTL "nr_hugepages" : POOL "nr_hugepages", arg[0]);
	else if (!strcmp(op, "set_nr_overcommit_hugepages"))
		*ret = write_pages(arg[1] ? SYSCTL "nr_overcommit_hugepages" :
					    POOL "nr_overcommit_hugepages",
				   arg[0]);
	else if (!strcmp(op, "set_interleave_weight"))
		*ret = weight_write(arg[0], arg[1]);
	else if (!strcmp(op, "set_node_nr_hugepages"))
		*ret = node_write(arg[0], arg[1]);
	else if (!strncmp(op, "cgroup_", 7))
		*ret = do_cgroup(op, arg);
	else if (!strcmp(op, "offline"))
		*ret = do_offline(arg[0], (unsigned long)arg[1]);
	else if (!strcmp(op, "nothing"))
		*ret = 0;
	else
		return 1;
	return 0;
}

static int parse(struct request *request)
{
	char *word = strtok(NULL, " ");
	int used = 0;

	if (!word)
		return -1;
	request->i = strtol(word, NULL, 10);
	word = strtok(NULL, " ");
	if (!word)
		return -1;
	snprintf(request->op, sizeof(request->op), "%s", word);
	while ((word = strtok(NULL, " "))) {
		if (*word == '=')
			snprintf(request->name, sizeof(request->name), "%s", word + 1);
		else if (used < MAX_ARGS)
			request->arg[used++] = strtol(word, NULL, 10);
	}
	return 0;
}

/* The first argument of a worker's operation is the worker; it gets the rest. */
static int ask_worker(const struct request *request, struct result *result)
{
	long slot = request->arg[0];
	struct channel *channel;

	if (slot < 0 || slot >= SLOTS || !workers[slot])
		return -1;
	channel = &channels[slot];
	channel->request = *request;
	memmove(channel->request.arg, request->arg + 1, sizeof(request->arg) - sizeof(long));
	if (!strcmp(request->op, "shmat"))
		channel->request.arg[1] = segments[channel->request.arg[1]];
	if (worker_ask((int)slot, workers[slot], '!') < 0) {
		reap(slot);
		return -1;
	}
	*result = channel->result;
	if (!strcmp(request->op, "fork") && result->ret == 0)
		workers[request->arg[1]] = channel->child;
	return 0;
}

static void serve_op(struct text *text)
{
	struct request request = { .op = "" };
	struct result result = { 0 };
	int ret = 0;

	if (parse(&request) < 0) {
		put(text, "\"error\":\"the request is incomplete\"");
		return;
	}
	if (!strcmp(request.op, "exit") && workers[request.arg[0]])
		channels[request.arg[0]].request = request;
	errno = 0;
	if (do_own(&request, &ret) == 0) {
		result.err = errno;
		result.ret = ret;
	} else if (ask_worker(&request, &result) < 0) {
		put(text, "\"error\":\"the worker died of this request\"");
		return;
	}
	put(text, "\"result\":[%ld,%d,%d,%d,", result.ret, result.err, result.sig, result.si_code);
	if (result.has_value)
		put(text, "%llu],", (unsigned long long)result.value);
	else
		put(text, "null],");
	observe(text);
}

static int pool_is_empty(void)
{
	return read_number(POOL "nr_hugepages") == 0;
}

/* Both cursors stand at node 0 once a page came from, and left, the last node. */
static int cursors_to_node_0(void)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 nodes - 1);
	for (int turn = 0; turn < 2 * nodes + 2; turn++) {
		int from_last;

		if (write_pages(POOL "nr_hugepages", 1) < 0)
			return -1;
		from_last = read_number(path) == 1;
		if (write_pages(POOL "nr_hugepages", 0) < 0 || !pool_is_empty())
			return -1;
		if (from_last)
			return 0;
	}
	return -1;
}

static void serve_begin(struct text *text)
{
	const char *first = strtok(NULL, " "), *second = strtok(NULL, " ");

	if (!first || !second || !pool_is_empty() || cursors_to_node_0() < 0) {
		put(text, "\"error\":\"the pool is not empty, or its cursors do not move\"");
		return;
	}
	observe_log_from_now();
	write_pages(POOL "nr_overcommit_hugepages", strtol(second, NULL, 10));
	write_pages(POOL "nr_hugepages", strtol(first, NULL, 10));
	observe(text);
}

static void serve_end(struct text *text)
{
	int busy = 0;

	for (long slot = 0; slot < SLOTS; slot++)
		if (workers[slot])
			do_kill(slot);
	for (long slot = 0; slot < SLOTS; slot++)
		if (segments[slot] >= 0)
			do_shm_rmid(slot);
	for (long slot = 0; slot < SLOTS; slot++)
		if (mounted[slot] && do_umount(slot) < 0)
			busy++;
	for (long slot = 0; slot < SLOTS; slot++)
		if (cgroups[slot] && do_cgroup("cgroup_rmdir", &slot) < 0)
			busy++;
	write_file("/cgroup/cgroup.subtree_control", "-cpuset");
	for (long node = 0; node < nodes; node++)
		weight_write(node, 0); /* the default */
	put(text, "\"busy\":%d,\"idle\":", busy);
	pool_counts(text, 0);
	write_pages(POOL "nr_overcommit_hugepages", 0);
	write_pages(POOL "nr_hugepages", 0);
	put(text, ",\"empty\":");
	pool_counts(text, 0);
}

static void serve_hello(struct text *text)
{
	struct utsname name;

	uname(&name);
	put(text, "\"release\":");
	put_string(text, name.release, strlen(name.release));
	put(text, ",\"version\":");
	put_string(text, name.version, strlen(name.version));
	put(text, ",\"nodes\":%d,\"cpu0_node\":%d", nodes,
	    access("/sys/devices/system/cpu/cpu0/node0", F_OK) == 0 ? 0 : -1);
}

static void serve(void)
{
	static char line[512];
	struct text text = { answer_buffer, sizeof(answer_buffer), 0, 0 };
	const char *verb;

	read_line(line, sizeof(line));
	put(&text, "{");
	verb = strtok(line, " ");
	if (!verb) {
		put(&text, "\"error\":\"the request is empty\"");
	} else if (!strcmp(verb, "hello")) {
		serve_hello(&text);
	} else if (!strcmp(verb, "begin")) {
		serve_begin(&text);
	} else if (!strcmp(verb, "op")) {
		serve_op(&text);
	} else if (!strcmp(verb, "settle")) {
		usleep(10000);
		observe(&text);
	} else if (!strcmp(verb, "end")) {
		serve_end(&text);
	} else if (!strcmp(verb, "run")) {
		const char *size = strtok(NULL, " "), *limit = strtok(NULL, " ");

		if (size && limit)
			run_program(&text, port, strtoul(size, NULL, 10), strtol(limit, NULL, 10));
	} else {
		put(&text, "\"error\":\"the request is unknown\"");
	}
	answer(&text);
}

static void mount_all(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/mnt", 0755);
	mkdir("/cgroup", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) < 0)
		complain("mount /proc");
	if (mount("sysfs", "/sys", "sysfs", 0, NULL) < 0)
		complain("mount /sys");
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) < 0)
		complain("mount /dev");
	if (mount("cgroup2", "/cgroup", "cgroup2", 0, NULL) < 0 ||
	    write_file("/cgroup/cgroup.subtree_control", "+hugetlb") < 0)
		complain("mount /cgroup with the hugetlb controller");
}

/* The port appears when its driver has asked the host; that takes a moment. */
static void open_port(void)
{
	char path[96], name[64];

	for (int turn = 0; turn < 1000; turn++, usleep(10000))
		for (int k = 0; k < 4; k++) {
			snprintf(path, sizeof(path), "/sys/class/virtio-ports/vport0p%d/name", k);
			if (read_file(path, name, sizeof(name)) < 0 ||
			    strncmp(name, PORT_NAME, sizeof(PORT_NAME) - 1))
				continue;
			snprintf(path, sizeof(path), "/dev/vport0p%d", k);
			port = open(path, O_RDWR | O_CLOEXEC);
			if (port >= 0)
				return;
		}
	complain("no virtio-serial port " PORT_NAME);
	switch_off();
}

static void count_nodes(void)
{
	char path[64];

	for (nodes = 0; nodes < 8; nodes++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", nodes);
		if (access(path, F_OK) < 0)
			break;
	}
}

int main(void)
{
	cpu_set_t cpu_0;

	signal(SIGPIPE, SIG_IGN);
	umask(0);
	mount_all();
	CPU_ZERO(&cpu_0);
	CPU_SET(0, &cpu_0);
	if (sched_setaffinity(0, sizeof(cpu_0), &cpu_0) < 0)
		complain("pin to CPU 0");
	for (int slot = 0; slot < SLOTS; slot++)
		segments[slot] = -1;
	count_nodes();
	observe_open();
	if (make_channels() < 0) {
		complain("pipes for the workers");
		switch_off();
	}
	open_port();
	for (;;)
		serve();
}
