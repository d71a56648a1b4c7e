/* Fidelity: CUSTOM
 * What the shim's files share. Plain C types only: the host side includes this
 * without any kernel header. */
#ifndef NH_H
#define NH_H

typedef unsigned long long nh_u64;
typedef long long nh_s64;
typedef unsigned int nh_u32;

/* How an operation ended; the Python side knows the same numbers. */
enum nh_ending {
	NH_RETURNED = 0,
	NH_REFUSED = 1,
	NH_BUG = 2,
	NH_CRASH = 3,
	NH_HANG = 4,
	NH_DEADLOCK = 5,
	NH_UNMODELLED = 6,
	NH_CORRUPTION = 7,
	NH_NOT_RUN = 8,
};

#define NH_OP_ARGS 10
#define NH_SECTIONS 12
#define NH_FRAMES 12
#define NH_TEXT 160

struct nh_op {
	nh_u32 kind;
	nh_u32 serial; /* what a write stores */
	nh_s64 arg[NH_OP_ARGS];
};

struct nh_result {
	nh_u32 ending;
	nh_s64 ret; /* 0 or -errno */
	nh_u32 signal, si_code;
	nh_u64 value;
	nh_u32 has_value, warnings;
	nh_u64 warning_hash;
	nh_u64 observation; /* first word in the observation area, and count */
	nh_u64 observation_words;
	nh_u64 digest[NH_SECTIONS];
};

/* The WARNs of a trace, and what ended it. */
struct nh_event {
	nh_u32 op, kind;
	nh_u64 address;
	char function[64], text[NH_TEXT];
};

struct nh_fatal {
	nh_u32 op, ending, signal, frames;
	nh_u64 pc, address;
	nh_u64 frame[NH_FRAMES];
	char text[NH_TEXT];
};

#define NH_EVENTS 64

/* Operations that run together: "tasks" of them from number "at" on (from 1; 0:
 * none do), and where the running one gives way to which. */
#define NH_TASKS 3
#define NH_SWITCHES 32
struct nh_schedule {
	nh_u64 at, tasks, count;
	struct {
		nh_u32 point, task;
	} at_point[NH_SWITCHES];
};

struct nh_trace {
	nh_u64 ops, op_offset, result_offset, observation_offset;
	nh_u64 observation_capacity; /* words; 0 means digests only */
	nh_u64 flags, time_limit_ms;
	nh_s64 world[31];
	nh_u64 ready; /* of a session: operations to run at once */
	struct nh_schedule schedule;
	/* out */
	nh_u64 done, observation_used, event_count;
	struct nh_fatal fatal;
	struct nh_event event[NH_EVENTS];
	nh_u64 key[NH_SECTIONS]; /* of the state, when it was asked for */
};

/* The lock boundaries that operations passed while they ran together. Those of a
 * task that may not be switched away are no points of a schedule ("fixed"). */
enum nh_boundary_kind {
	NH_SPIN_LOCK, NH_SPIN_TRYLOCK, NH_READ_LOCK, NH_WRITE_LOCK, NH_MUTEX_LOCK, NH_MUTEX_TRYLOCK,
	NH_DOWN_READ, NH_DOWN_READ_TRYLOCK, NH_DOWN_WRITE, NH_DOWN_WRITE_TRYLOCK,
	NH_DOWNGRADE_WRITE,
	NH_TAKEN = 0x20, /* an attempt came off */
	NH_RELEASED = 0x40,
	NH_SPIN_UNLOCK = NH_RELEASED, NH_READ_UNLOCK, NH_WRITE_UNLOCK, NH_MUTEX_UNLOCK, NH_UP_READ,
	NH_UP_WRITE,
};
#define NH_BOUNDARIES 20000
#define NH_LOCKS 1024
struct nh_boundary {
	unsigned char task, what;
	unsigned short lock : 15, fixed : 1;
};
struct nh_lock {
	nh_u64 address;
	char text[56]; /* empty: a variable of the image, named by its symbol */
};
struct nh_boundaries {
	nh_u32 count, locks;
	nh_u64 ended; /* a bit for each task that came to its end */
	struct nh_lock lock[NH_LOCKS];
	struct nh_boundary boundary[NH_BOUNDARIES];
};

/* What each of several operations comes to, done in one and the same state. */
#define NH_BRANCHES 64
struct nh_branch {
	nh_u64 fatal; /* it ended the process */
	struct nh_result result;
	nh_u64 key[NH_SECTIONS];
};

#define NH_FLAG_DIGEST 1
#define NH_FLAG_LAST_ONLY 2

/* The host side, for the kernel side. */
extern char *nh_direct_map, *nh_vmemmap, *nh_arena, *const nh_stack_low;
#define NH_STACK_BYTES (8UL << 20)
extern nh_u64 nh_arena_bytes;
void nh_fatal(nh_u32 ending, const char *text, nh_u64 address)
	__attribute__((noreturn, cold));
void nh_unmodelled(const char *name) __attribute__((noreturn, cold));
void nh_log(const char *text);
void nh_tick(void);
#ifdef NH_SANITIZE
void nh_allow(const void *at, nh_u64 bytes);
void nh_forbid(const void *at, nh_u64 bytes);
#else
#define nh_allow(at, bytes) ((void)0)
#define nh_forbid(at, bytes) ((void)0)
#endif
extern struct nh_trace *nh_trace;
extern char *nh_shared;
extern nh_u32 nh_current_op;

/* The kernel side, for the host side. */
extern nh_u32 nh_boot_nodes, nh_boot_giant;
void nh_boot(void);
void nh_begin(struct nh_trace *trace);
void nh_step(struct nh_trace *trace, nh_u64 i, _Bool look);
void nh_look(struct nh_trace *trace, nh_u64 i);
void nh_key(struct nh_trace *trace);
void nh_run(struct nh_trace *trace);
void nh_step_together(struct nh_trace *trace, _Bool look);
struct nh_boundaries *nh_boundaries(void);

/* Before them: the lock boundaries of the last operations that ran together, and
 * the last branches. */
#define NH_TOGETHER_BYTES (1UL << 18)
#define NH_BRANCHES_AT (192UL << 10)
/* The last bytes of the shared memory: one bit for each byte of hosted code that
 * began a block and ran. Images built without coverage leave them alone. */
#define NH_COVERAGE_BYTES (1UL << 20)
#endif
