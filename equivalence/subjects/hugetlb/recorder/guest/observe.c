// SPDX-License-Identifier: GPL-2.0-only
/* Reading back, after an operation, everything that the format lists. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#define NODE "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s"

static int log_fd = -1;

static long long pool_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), POOL "%s", name);
	return (long long)read_number(path);
}

static long long node_file(int node, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), NODE, node, name);
	return (long long)read_number(path);
}

void pool_counts(struct text *text, int with_overcommit)
{
	put(text, "[%lld,%lld,%lld,%lld", pool_file("nr_hugepages"), pool_file("free_hugepages"),
	    pool_file("resv_hugepages"), pool_file("surplus_hugepages"));
	if (with_overcommit)
		put(text, ",%lld", pool_file("nr_overcommit_hugepages"));
	put(text, "]");
}

static void observe_nodes(struct text *text)
{
	put(text, ",\"nodes\":[");
	for (int node = 0; node < nodes; node++)
		put(text, "%s[%lld,%lld,%lld]", node ? "," : "",
		    node_file(node, "nr_hugepages"), node_file(node, "free_hugepages"),
		    node_file(node, "surplus_hugepages"));
	put(text, "]");
}

static void observe_mounts(struct text *text)
{
	const char *before = "";
	struct statfs found;
	char path[32];

	put(text, ",\"mounts\":{");
	for (int mount = 0; mount < SLOTS; mount++) {
		if (!mounted[mount])
			continue;
		snprintf(path, sizeof(path), "/mnt/h%d", mount);
		if (statfs(path, &found) < 0)
			put(text, "%s\"%d\":null", before, mount);
		else
			put(text, "%s\"%d\":[%lld,%lld,%lld]", before, mount,
			    (long long)found.f_blocks, (long long)found.f_bfree,
			    (long long)found.f_bavail);
		before = ",";
	}
	put(text, "}");
}

static void cgroup_file(struct text *text, int cgroup, const char *name)
{
	char path[96], value[64];

	snprintf(path, sizeof(path), "/cgroup/g%d/hugetlb.2MB.%s", cgroup, name);
	if (read_file(path, value, sizeof(value)) < 0)
		put(text, "null");
	else if (!strncmp(value, "max", 3))
		put(text, "\"max\"");
	else
		put(text, "%lld", (long long)(strtoull(value, NULL, 10) / HUGE_PAGE));
}

static void observe_cgroups(struct text *text)
{
	static const char *const names[] = { "current", "rsvd.current", "max", "rsvd.max" };
	const char *before = "", *line;
	char path[96], events[256];

	put(text, ",\"cgroups\":{");
	for (int cgroup = 0; cgroup < SLOTS; cgroup++) {
		if (!cgroups[cgroup])
			continue;
		put(text, "%s\"%d\":[", before, cgroup);
		before = ",";
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
			cgroup_file(text, cgroup, names[k]);
			put(text, ",");
		}
		snprintf(path, sizeof(path), "/cgroup/g%d/hugetlb.2MB.events", cgroup);
		line = read_file(path, events, sizeof(events)) > 0 ? strstr(events, "max ") : NULL;
		put(text, "%lld]", line ? atoll(line + 4) : -1LL);
	}
	put(text, "}");
}

static void observe_workers(struct text *text)
{
	const char *before = "";

	put(text, ",\"procs\":{");
	for (int slot = 0; slot < SLOTS; slot++) {
		if (!workers[slot])
			continue;
		if (worker_ask(slot, workers[slot], '?') < 0)
			put(text, "%s\"%d\":null", before, slot);
		else
			put(text, "%s\"%d\":%s", before, slot, channels[slot].state);
		before = ",";
	}
	put(text, "}");
}

/* Each read of /dev/kmsg is one record: "level,number,time,flags;message\n". */
static void observe_log(struct text *text)
{
	char record[2048];
	const char *before = "";

	put(text, ",\"klog\":[");
	for (;;) {
		ssize_t got = read(log_fd, record, sizeof(record) - 1);
		char *message, *end;

		if (got < 0 && errno == EPIPE)
			continue;
		if (got <= 0)
			break;
		record[got] = '\0';
		message = strchr(record, ';');
		if (!message)
			continue;
		end = strchr(message, '\n');
		if (end)
			*end = '\0';
		put(text, "%s", before);
		put_string(text, message + 1, strlen(message + 1));
		before = ",";
	}
	put(text, "]");
}

void observe_open(void)
{
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

void observe_log_from_now(void)
{
	lseek(log_fd, 0, SEEK_END);
}

void observe(struct text *text)
{
	put(text, "\"pool\":");
	pool_counts(text, 1);
	observe_nodes(text);
	observe_mounts(text);
	observe_cgroups(text);
	observe_workers(text);
	observe_log(text);
}
