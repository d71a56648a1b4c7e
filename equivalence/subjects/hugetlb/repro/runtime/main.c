#define COUNTERS (int)(sizeof(counters) / sizeof(counters[0]))
#define STEPS (int)(sizeof(steps) / sizeof(steps[0]))

static int other_nodes; /* counters by node would differ for that alone */
static int agreed_with[2] = { 1, 1 }; /* before, after */
static long long last[sizeof(counters) / sizeof(counters[0])];

static long long number_in(const char *path, const char *behind)
{
	char text[4096], *found = text;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return ABSENT;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length < 0)
		return ABSENT;
	text[length] = '\0';
	if (behind) {
		found = strstr(text, behind);
		if (!found)
			return ABSENT;
		found += strlen(behind);
	}
	/* The kernel's own underflow shows as a negative number. */
	return (long long)strtoull(found, NULL, 10);
}

static long long count(const struct counter *counter)
{
	struct statfs fs;
	char path[64];
	long long value;

	switch (counter->source) {
	case NUMBER:
		return number_in(counter->path, NULL);
	case BYTES:
		value = number_in(in_cgroups(counter->path), NULL);
		return value == ABSENT ? value : value / (long long)counter->unit;
	case EVENTS:
		return number_in(in_cgroups(counter->path), "max ");
	case FREE_BLOCKS:
		if (statfs(in_mount(counter->path), &fs) < 0 || fs.f_type != HUGETLBFS)
			return ABSENT;
		return (long long)fs.f_bfree;
	case STATUS:
		if (tasks[counter->who] <= 0)
			return ABSENT;
		snprintf(path, sizeof(path), "/proc/%d/status", (int)tasks[counter->who]);
		value = number_in(path, "HugetlbPages:");
		return value == ABSENT ? value : value / 2048;
	}
	return ABSENT;
}

static const char *words(const struct announced *it, char *text, size_t size)
{
	if (it->ending)
		snprintf(text, size, "%s", it->ending);
	else if (it->sig)
		snprintf(text, size, "%s", it->sig == SIGBUS ? "SIGBUS" : "SIGSEGV");
	else if (it->err)
		snprintf(text, size, "%ld (%s)", it->ret, strerror(it->err));
	else if (it->value)
		snprintf(text, size, "%ld, value %llu", it->ret, it->value);
	else
		snprintf(text, size, "%ld", it->ret);
	return text;
}

static int same(const struct seen *seen, const struct announced *it)
{
	return !it->ending && seen->ret == it->ret && seen->err == it->err &&
	       seen->sig == it->sig && seen->value == it->value;
}

/* Which announcements this is, and what that means for the whole. */
static const char *judge(int before, int after)
{
	agreed_with[0] &= before;
	agreed_with[1] &= after;
	if (before && after)
		return "";
	return before ? "   <- as before" : after ? "   <- as after" : "   <- as neither";
}

static void say(const char *name, long long seen, long long before, long long after)
{
	const char *mark = judge(seen == before, seen == after);
	char text[3][32];
	long long all[3] = { seen, before, after };

	for (int k = 0; k < 3; k++)
		if (all[k] == ABSENT)
			strcpy(text[k], "none");
		else
			snprintf(text[k], sizeof(text[k]), "%lld", all[k]);
	printf("    %-28s %6s   announced: %s before, %s after%s\n", name, text[0], text[1], text[2],
	       mark);
}

static void report(const struct step *step, const struct seen *seen)
{
	struct announced it = { seen->ret, seen->err, seen->sig, seen->value, NULL, NULL };
	char text[3][96];
	const char *mark = judge(same(seen, &step->before), same(seen, &step->after));

	printf("    result: %s   announced: %s before, %s after%s\n",
	       words(&it, text[0], sizeof(text[0])),
	       words(&step->before, text[1], sizeof(text[1])),
	       words(&step->after, text[2], sizeof(text[2])), mark);
}

static void compare_counters(const long long *before, const long long *after)
{
	for (int k = 0; k < COUNTERS; k++) {
		long long value;

		if (other_nodes && counters[k].path && !strncmp(counters[k].path, NODE, sizeof(NODE) - 1))
			continue;
		value = count(&counters[k]);
		if (value != last[k] || value != before[k] || value != after[k])
			say(counters[k].name, value, before[k], after[k]);
		last[k] = value;
	}
	fflush(stdout);
}

/* Has a process do the operation; -1: it died, -2: it does not answer. */
static int ask_process(int slot)
{
	struct pollfd ready = { .fd = reply[slot][0], .events = POLLIN };
	char byte;

	if (write(ask[slot][1], "o", 1) != 1)
		return -1;
	for (int waited = 0; poll(&ready, 1, 100) != 1; waited += 100) {
		siginfo_t left = { 0 };

		if (waitid(P_PID, (id_t)tasks[slot], &left, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		    left.si_pid == tasks[slot])
			return -1;
		if (waited > PATIENCE_MS)
			return -2;
	}
	return read(reply[slot][0], &byte, 1) == 1 ? 0 : -1;
}

static int run(const struct step *step)
{
	int how = 0;

	printf("op %d: %s\n", step->number, step->text);
	if (step->cannot) {
		printf("    left out: %s\n", step->cannot);
		return 0;
	}
	shared->step = step;
	shared->child = 0;
	memset(&shared->seen, 0, sizeof(shared->seen));
	fflush(stdout);
	if (step->who == INIT) {
		errno = 0;
		shared->seen.ret = step->call();
		shared->seen.err = shared->seen.ret < 0 ? errno : 0;
	} else if (tasks[step->who] <= 0) {
		printf("    left out: the process does not exist\n");
		return 0;
	} else {
		how = ask_process(step->who);
	}
	if (shared->child)
		tasks[shared->child_slot] = shared->child;
	if (how < 0) {
		printf("    %s\n", how == -1 ? "the process died" : "no answer: it hangs");
		judge(step->before.ending != NULL, step->after.ending != NULL);
		return how;
	}
	report(step, &shared->seen);
	compare_counters(step->before.counters, step->after.counters);
	return 0;
}

static void refuse(const char *why)
{
	printf("not run: %s\n", why);
	exit(2);
}

static long long nodes_here(void)
{
	long long nodes = 0;
	char path[96];

	do
		snprintf(path, sizeof(path), NODE "%lld/hugepages/hugepages-2048kB", nodes);
	while (access(path, F_OK) == 0 && ++nodes);
	return nodes;
}

/* Both round-robin cursors of the pool to node 0, while it is empty. */
static void turn_cursors(long long nodes)
{
	char path[128];
	long long last_node;

	snprintf(path, sizeof(path), NODE "%lld/hugepages/hugepages-2048kB/nr_hugepages", nodes - 1);
	for (int tries = 0; tries < 2 * MOST; tries++) {
		put_number(POOL_2M "nr_hugepages", 1);
		last_node = number_in(path, NULL);
		put_number(POOL_2M "nr_hugepages", 0);
		if (last_node == 1)
			return;
	}
}

static void find_cgroups(void)
{
	char line[512], at_path[128], type[32];
	FILE *table = fopen("/proc/mounts", "r");

	while (table && fgets(line, sizeof(line), table))
		if (sscanf(line, "%*s %127s %31s", at_path, type) == 2 && !strcmp(type, "cgroup2"))
			strcpy(cgroups_at, at_path);
	if (table)
		fclose(table);
}

static void make_room(void)
{
	if (geteuid() != 0)
		refuse("changing the pool of huge pages needs root");
	if (number_in(POOL_2M "nr_hugepages", NULL) == ABSENT)
		refuse("this kernel has no huge pages of 2 MiB");
	if (number_in(POOL_2M "free_hugepages", NULL) != number_in(POOL_2M "nr_hugepages", NULL) ||
	    number_in(POOL_2M "resv_hugepages", NULL) != 0)
		refuse("huge pages are in use or reserved; stop what uses them first");
	strcpy(mounts_at, "/tmp/equivcheck-XXXXXX");
	if (!mkdtemp(mounts_at)) {
		strcpy(mounts_at, "/equivcheck-XXXXXX");
		if (!mkdtemp(mounts_at))
			refuse("no folder could be made for the mounts");
	}
	find_cgroups();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		refuse("out of memory");
	for (int slot = 0; slot < MOST; slot++)
		if (pipe2(ask[slot], O_CLOEXEC) < 0 || pipe2(reply[slot], O_CLOEXEC) < 0)
			refuse("no pipe could be made");
}

static void fill_pool(void)
{
	long long nodes = nodes_here();

	other_nodes = nodes != WORLD_NODES;
	if (other_nodes)
		printf("note: this machine has %lld NUMA nodes, the trace was found with %d: counters by "
		       "node are not compared\n",
		       nodes, WORLD_NODES);
	put_number(POOL_2M "nr_overcommit_hugepages", 0);
	put_number(POOL_2M "nr_hugepages", 0);
	turn_cursors(nodes);
	put_number(POOL_2M "nr_overcommit_hugepages", WORLD_OVERCOMMIT);
	put_number(POOL_2M "nr_hugepages", WORLD_PAGES);
	if (number_in(POOL_2M "nr_hugepages", NULL) != WORLD_PAGES)
		refuse("the pool could not be filled: not enough free memory in one piece");
	if (WORLD_PAGES_1G >= 0) {
		put_number(POOL_1G "nr_hugepages", WORLD_PAGES_1G);
		if (number_in(POOL_1G "nr_hugepages", NULL) != WORLD_PAGES_1G)
			refuse("the pool of 1 GiB pages could not be filled");
	}
}

static void clean_up(long long pages, long long overcommit)
{
	for (int slot = 0; slot < MOST; slot++)
		if (tasks[slot] > 0)
			end(slot);
	for (int slot = 0; slot < MOST; slot++)
		if (segments[slot] >= 0)
			shmctl(segments[slot], IPC_RMID, NULL);
	for (int k = 0; k < MOST && mount_names[k]; k++) {
		while (umount2(in_mount(mount_names[k]), 0) == 0)
			;
		rmdir(in_mount(mount_names[k]));
	}
	for (int k = 0; k < MOST && cgroup_names[k]; k++)
		rmdir(in_cgroups(cgroup_names[k]));
	rmdir(mounts_at);
	put_number(POOL_2M "nr_hugepages", pages);
	put_number(POOL_2M "nr_overcommit_hugepages", overcommit);
}

int main(void)
{
	long long pages = number_in(POOL_2M "nr_hugepages", NULL);
	long long overcommit = number_in(POOL_2M "nr_overcommit_hugepages", NULL);

	make_room();
	for (int slot = 0; slot < MOST; slot++)
		segments[slot] = -1;
	fill_pool();
	printf("start: %s\n", WORLD);
	compare_counters(initial_before, initial_after);
	for (int k = 0; k < STEPS; k++)
		if (run(&steps[k]) < 0)
			break;
	clean_up(pages, overcommit);
	if (agreed_with[0] && agreed_with[1])
		printf("This kernel does all that was announced; both sides announce the same.\n");
	else if (agreed_with[0])
		printf("This kernel does what was announced for BEFORE: %s\n", BEFORE);
	else if (agreed_with[1])
		printf("This kernel does what was announced for AFTER: %s\n", AFTER);
	else
		printf("This kernel does neither what was announced for %s nor for %s.\n", BEFORE, AFTER);
	return agreed_with[0] || agreed_with[1] ? 0 : 1;
}
