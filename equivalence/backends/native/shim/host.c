/* Fidelity: CUSTOM
 * The process around the kernel's code: memory, signals, time limits, one child
 * per trace. No C library is linked, so that every name in the image is the
 * kernel's or ours. */
#include "host.h"

#define SYS_read 0
#define SYS_write 1
#define SYS_mmap 9
#define SYS_rt_sigaction 13
#define SYS_rt_sigreturn 15
#define SYS_pause 34
#define SYS_setitimer 38
#define SYS_fork 57
#define SYS_exit 60
#define SYS_wait4 61
#define SYS_kill 62
#define SYS_sigaltstack 131
#define SYS_exit_group 231
#define SYS_prctl 157

#define MAPPED (-1L)
#define SHARED_FD 3

/* The only place from which the process makes system calls. */
__attribute__((__noinline__, __noclone__)) long nh_call(long number, long a, long b, long c, long d, long e,
						long f)
{
	long ret;
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;

	asm volatile("syscall\n.globl nh_after_syscall\nnh_after_syscall:"
		     : "=a"(ret)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return ret;
}

#define call3(n, a, b, c) nh_call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define call4(n, a, b, c, d) nh_call(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

char *nh_direct_map = (char *)NH_DIRECT_MAP;
char *nh_vmemmap = (char *)NH_VMEMMAP;
char *nh_arena = (char *)NH_ARENA;
char *const nh_stack_low = (char *)0x280000000000UL;
nh_u64 nh_arena_bytes = NH_ARENA_BYTES;
struct nh_trace *nh_trace;
char *nh_shared;
nh_u32 nh_current_op;
static unsigned long shared_bytes;
static int filtered;

static void stop(int status)
{
	for (;;)
		call3(SYS_exit_group, status, 0, 0);
}

void nh_log(const char *text)
{
	unsigned long length = 0;

	while (text[length])
		length++;
	call3(SYS_write, 2, text, length);
}

void nh_map_at(void *where, unsigned long bytes, int rights)
{
	/* MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED|MAP_NORESERVE */
	long at = nh_call(SYS_mmap, (long)where, (long)bytes, rights, 0x4032, -1, 0);

	if (at != (long)where) {
		nh_log("native worker: cannot reserve address space\n");
		stop(70);
	}
}

static void copy_text(char *to, const char *from, unsigned long room)
{
	unsigned long i = 0;

	for (; from && from[i] && i + 1 < room; i++)
		to[i] = from[i];
	to[i] = 0;
}

static void walk_frames(struct nh_fatal *fatal, nh_u64 pc, nh_u64 frame)
{
	nh_u64 low = (nh_u64)nh_stack_low, high = low + NH_STACK_BYTES;

	fatal->frames = 0;
	if (pc)
		fatal->frame[fatal->frames++] = pc;
	while (fatal->frames < NH_FRAMES && frame >= low && frame < high - 16 && !(frame & 7)) {
		nh_u64 *words = (nh_u64 *)frame;

		if (!words[1])
			break;
		fatal->frame[fatal->frames++] = words[1];
		if (words[0] <= frame)
			break;
		frame = words[0];
	}
}

static void record_fatal(nh_u32 ending, const char *text, nh_u64 address, nh_u64 pc, nh_u64 frame,
			 nh_u32 signal)
{
	struct nh_fatal *fatal;

	if (!nh_trace) {
		nh_log("native worker: stopped while booting: ");
		nh_log(text);
		nh_log("\n");
		{
			struct nh_fatal local;
			nh_u32 i, shift;
			char word[20];

			walk_frames(&local, pc, frame);
			for (i = 0; i < local.frames; i++) {
				for (shift = 0; shift < 16; shift++)
					word[shift] =
						"0123456789abcdef"[(local.frame[i] >> (60 - 4 * shift)) & 15];
				word[16] = '\n';
				word[17] = 0;
				nh_log(word);
			}
		}
		stop(71);
	}
	fatal = &nh_trace->fatal;
	fatal->op = nh_current_op;
	fatal->ending = ending;
	fatal->signal = signal;
	fatal->pc = pc;
	fatal->address = address;
	copy_text(fatal->text, text, NH_TEXT);
	walk_frames(fatal, pc, frame);
}

void nh_fatal(nh_u32 ending, const char *text, nh_u64 address)
{
	record_fatal(ending, text, address, 0, (nh_u64)__builtin_frame_address(0), 0);
	stop(0);
	__builtin_unreachable();
}

void nh_unmodelled(const char *name)
{
	nh_fatal(NH_UNMODELLED, name, 0);
}

/* The layout of what the host kernel puts on the signal stack. */
struct host_ucontext {
	unsigned long flags;
	void *link;
	void *stack_base;
	int stack_flags;
	unsigned long stack_size;
	unsigned long gregs[23]; /* r8..r15 rdi rsi rbp rbx rdx rax rcx rsp rip */
};

static void on_signal(int signal, int *info, struct host_ucontext *context)
{
	nh_u64 address = signal == 11 || signal == 7 ? *(nh_u64 *)((char *)info + 16) : 0;
	const char *text = signal == 14 || signal == 27 ? "time limit" :
			   signal == 11                 ? "invalid memory access" :
			   signal == 7                  ? "bus error" :
			   signal == 4                  ? "invalid instruction" :
			   signal == 8                  ? "division error" :
			   signal == 24                 ? "time limit of the trace" :
			   signal == 31                 ? "forbidden system call" :
							  "signal";
	int handed_out = signal == 11 && info[2] == 2 ? nh_hand_out(address) : 0;

	if (handed_out == 1)
		return;
	if (handed_out < 0)
		text = "memory limit";
	record_fatal(signal == 14 || signal == 24 || signal == 27 ? NH_HANG : NH_CRASH, text, address,
		     context->gregs[16], context->gregs[10], (nh_u32)signal);
	stop(0);
}

asm(".text\n.globl nh_restorer\nnh_restorer:\n\tmov $15, %eax\n\tsyscall\n");
extern void nh_restorer(void);

static void catch_signals(void)
{
	static char alternate[65536] __attribute__((aligned(16)));
	static const int numbers[] = { 4, 5, 7, 8, 11, 14, 24, 27, 31 };
	struct {
		void *base;
		int flags;
		unsigned long size;
	} stack = { alternate, 0, sizeof(alternate) };
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		unsigned long mask;
	} action = { (void *)on_signal, 0x0c000004UL, (void *)nh_restorer, ~0UL };
	unsigned long i;

	call3(SYS_sigaltstack, &stack, 0, 0);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		call4(SYS_rt_sigaction, numbers[i], &action, 0, 8);
}

static void set_time_limit(nh_u64 ms)
{
	/* ITIMER_PROF counts time spent, so that a busy machine is no hang; the
	 * wall clock limit is the caller's. */
	long timer[4] = { 0, 0, (long)(ms / 1000), (long)(ms % 1000) * 1000 };

	call3(SYS_setitimer, 2, timer, 0);
}

static int read_all(void *to, unsigned long bytes)
{
	char *at = to;

	while (bytes) {
		long got = call3(SYS_read, 0, at, bytes);

		if (got <= 0)
			return 0;
		at += got;
		bytes -= (unsigned long)got;
	}
	return 1;
}

struct nh_boundaries *nh_boundaries(void)
{
	return (struct nh_boundaries *)(nh_shared + shared_bytes - NH_COVERAGE_BYTES -
					NH_TOGETHER_BYTES);
}

static void note_killed(struct nh_trace *trace, int status)
{
	if (!(status & 0x7f) || trace->fatal.ending)
		return;
	trace->fatal.ending = NH_CRASH;
	trace->fatal.signal = (nh_u32)(status & 0x7f);
	trace->fatal.op = (nh_u32)trace->done + 1;
	copy_text(trace->fatal.text, "killed", NH_TEXT);
}

#define END 255 /* the status of a process whose session is over */

/* Keeps the present state: this process waits, and a copy of it goes on (and
 * returns). When the copy ends, because it shall go back so many marks (its
 * status) or because of what it ran, another copy goes on from here. */
static void mark(struct nh_trace *trace)
{
	nh_u64 events = trace->event_count, request[2], reply = 3;

	for (;;) {
		long child = call3(SYS_fork, 0, 0, 0);
		int status = 0, levels;

		if (child == 0) {
			call3(SYS_prctl, 1, 9, 0);
			return;
		}
		if (child < 0)
			stop(END);
		while (call4(SYS_wait4, child, &status, 0, 0) == -4)
			;
		levels = status & 0x7f ? 0 : status >> 8 & 0xff;
		if (!levels) {
			note_killed(trace, status);
			call3(SYS_write, 1, &reply, sizeof(reply));
			if (!read_all(request, sizeof(request)) || request[1] == 2)
				stop(END);
			levels = (int)request[0];
		}
		if (levels == END)
			stop(END);
		if (levels > 1)
			stop(levels - 1);
		trace->event_count = events;
		trace->fatal.ending = 0;
	}
}

/* Called before every operation: the limit is each operation's own. */
void nh_tick(void)
{
	set_time_limit(nh_trace->time_limit_ms);
}

/* Operation "number" again and again, each time as another one, and from here: what
 * it comes to is noted, and the copy of this process that ran it is gone. */
static void branch(struct nh_trace *trace, nh_u64 number, nh_u64 count)
{
	struct nh_op *ops = (struct nh_op *)(nh_shared + trace->op_offset) + number - 1;
	struct nh_result *result = (struct nh_result *)(nh_shared + trace->result_offset) + number;
	struct nh_branch *at = (struct nh_branch *)((char *)nh_boundaries() + NH_BRANCHES_AT);
	nh_u64 events = trace->event_count, i, word;

	for (i = 0; i < count && i < NH_BRANCHES; i++, at++) {
		long child;
		int status = 0;

		ops[0] = ops[i + 1];
		child = call3(SYS_fork, 0, 0, 0);
		if (child == 0) {
			call3(SYS_prctl, 1, 9, 0);
			nh_step(trace, number, 1);
			nh_key(trace);
			stop(0);
		}
		if (child < 0)
			stop(END);
		while (call4(SYS_wait4, child, &status, 0, 0) == -4)
			;
		at->fatal = trace->fatal.ending || (status & 0x7f);
		at->result = *result;
		for (word = 0; word < NH_SECTIONS; word++)
			at->key[word] = trace->key[word];
		trace->fatal.ending = 0;
		trace->event_count = events;
	}
}

/* A session: operations come a few at a time. A request is a number and what to
 * do: 0 run that operation, 1 write the state down, 2 end, 3 run those of the
 * schedule together, 4 keep the state, 5 go back so many marks, 6 run several:
 * the first is in the lower half of the number, how many in the upper half, 7 write
 * the state's key, 8 run each of several, the first of which is the next one. */
static void run_session(struct nh_trace *trace)
{
	nh_u64 request[2], reply = 0, next = 1, ready = trace->ready;
	_Bool digest = trace->flags & NH_FLAG_DIGEST ? 1 : 0;

	nh_begin(trace);
	nh_step(trace, 0, 1);
	/* those that came with the request */
	for (; ready; ready--)
		nh_step(trace, next++, digest);
	call3(SYS_write, 1, &reply, sizeof(reply));
	while (read_all(request, sizeof(request)) && request[1] != 2) {
		nh_u64 first = request[0] & 0xffffffff, count = request[0] >> 32;

		switch (request[1]) {
		case 0:
			nh_step(trace, first, digest);
			break;
		case 1:
			nh_tick();
			nh_look(trace, first);
			break;
		case 3:
			nh_step_together(trace, 1);
			break;
		case 4:
			mark(trace);
			break;
		case 5:
			stop((int)first);
			break;
		case 6:
			for (; count; count--)
				nh_step(trace, first++, digest);
			break;
		case 7:
			nh_tick();
			nh_key(trace);
			break;
		case 8:
			branch(trace, first, count);
			break;
		}
		call3(SYS_write, 1, &reply, sizeof(reply));
	}
}

static nh_u64 run_child(nh_u64 offset, int session)
{
	struct nh_trace *trace = (struct nh_trace *)(nh_shared + offset);
	long child = call3(SYS_fork, 0, 0, 0);
	int status = 0;

	if (child == 0) {
		call3(SYS_prctl, 1, 9, 0); /* die with the parent */
		nh_trace = trace;
		catch_signals();
		nh_confine();
		set_time_limit(trace->time_limit_ms);
		if (session)
			run_session(trace);
		else
			nh_run(trace);
		stop(session ? END : 0);
	}
	if (child < 0)
		return (nh_u64)child;
	while (call4(SYS_wait4, child, &status, 0, 0) == -4)
		;
	note_killed(trace, status);
	return 0;
}

static void serve(void)
{
	nh_u64 request[2], reply;

	catch_signals();
	nh_boot();
	reply = 0x6e61746976650001UL;
	call3(SYS_write, 1, &reply, sizeof(reply));
	/* A request names where the table of a batch is and how many traces it has;
	 * none at all asks for a session of the trace that is there. The word after a
	 * session's own says whether it ended by itself. */
	while (read_all(request, sizeof(request))) {
		nh_u64 i, *table = (nh_u64 *)(nh_shared + request[0]);

		reply = 0;
		for (i = 0; i < request[1] && !reply; i++)
			reply = run_child(table[i], 0);
		if (!request[1])
			reply = run_child(request[0], 1) ? 1 : 2;
		call3(SYS_write, 1, &reply, sizeof(reply));
	}
	stop(0);
}

static unsigned long parse_number(const char *text)
{
	unsigned long value = 0;

	while (*text >= '0' && *text <= '9')
		value = value * 10 + (unsigned long)(*text++ - '0');
	return value;
}

/* Called at the start of every block of an image built for coverage: notes from
 * which block of the same activation of a function it was come to (0: none). A
 * set of such steps, and behind it a list of them in their order; the last word
 * of all counts them, so that it is cheap to ask whether any is new. */
#ifndef NH_RECORD
#define NH_STEPS 65536U
#define NH_MOST_STEPS 60000U
void __sanitizer_cov_trace_pc(void)
{
	static struct {
		nh_u64 frame, caller, block;
	} last[4096];
	nh_u64 block = (nh_u64)__builtin_return_address(0) - 0x400000;
	nh_u64 frame = *(nh_u64 *)__builtin_frame_address(0), caller = ((nh_u64 *)frame)[1];
	nh_u64 *set = (nh_u64 *)(nh_shared + shared_bytes - NH_COVERAGE_BYTES), *list = set + NH_STEPS;
	nh_u64 *count = (nh_u64 *)(nh_shared + shared_bytes) - 1;
	unsigned int slot = frame >> 4 & 4095, place;
	nh_u64 step = block;

	if (last[slot].frame == frame && last[slot].caller == caller)
		step |= last[slot].block << 32;
	last[slot].frame = frame;
	last[slot].caller = caller;
	last[slot].block = block;
	place = (unsigned int)(step * 0x9e3779b97f4a7c15ULL >> 48);
	for (; set[place]; place = (place + 1) % NH_STEPS)
		if (set[place] == step)
			return;
	if (*count >= NH_MOST_STEPS)
		return;
	set[place] = step;
	list[(*count)++] = step;
}
#else
/* An image that records calls writes down what runs, in order, where others keep
 * their bits: blocks, and functions that are entered and left. */
enum { NH_BLOCK, NH_ENTER, NH_LEAVE };

static void record(nh_u32 kind, nh_u64 function, nh_u64 at, nh_u64 from)
{
	nh_u64 *count = (nh_u64 *)(nh_shared + shared_bytes - sizeof(nh_u64));
	nh_u32 *entry = (nh_u32 *)(nh_shared + shared_bytes - NH_COVERAGE_BYTES) + 3 * *count;

	if (3 * sizeof(nh_u32) * (*count + 1) > NH_COVERAGE_BYTES - sizeof(nh_u64))
		return;
	entry[0] = (nh_u32)(kind << 30 | (function - 0x400000));
	entry[1] = (nh_u32)(at - 0x400000);
	entry[2] = (nh_u32)(from - 0x400000);
	++*count;
}

void __sanitizer_cov_trace_pc(void)
{
	record(NH_BLOCK, 0x400000, (nh_u64)__builtin_return_address(0), 0x400000);
}

void __cyg_profile_func_enter(void *function, void *from)
{
	record(NH_ENTER, (nh_u64)function, (nh_u64)__builtin_return_address(0), (nh_u64)from);
}

void __cyg_profile_func_exit(void *function, void *from)
{
	record(NH_LEAVE, (nh_u64)function, (nh_u64)__builtin_return_address(0), (nh_u64)from);
}
#endif

void nh_main(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	long at;

	if (argc < 5) {
		nh_log("native worker: expected bytes of shared memory, nodes, 1G pages, filter\n");
		stop(64);
	}
	shared_bytes = parse_number(argv[1]);
	nh_boot_nodes = (nh_u32)parse_number(argv[2]);
	nh_boot_giant = (nh_u32)parse_number(argv[3]);
	filtered = (int)parse_number(argv[4]);
	at = nh_call(SYS_mmap, 0x300000000000L, (long)shared_bytes, 3, 0x11, SHARED_FD, 0);
	if (at != 0x300000000000L) {
		nh_log("native worker: cannot map the shared memory\n");
		stop(65);
	}
	nh_shared = (char *)at;
	nh_reserve();
	nh_map_at(nh_stack_low, NH_STACK_BYTES, 3);
	if (filtered && nh_filter()) {
		nh_log("native worker: cannot limit system calls\n");
		stop(66);
	}
	asm volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1\n\thlt" ::"r"(nh_stack_low + NH_STACK_BYTES - 64),
		     "r"(serve)
		     : "memory");
	__builtin_unreachable();
}

asm(".text\n.globl nh_start\nnh_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall nh_main\n\thlt\n");
