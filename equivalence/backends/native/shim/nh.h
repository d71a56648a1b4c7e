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

struct nh_trace {
	nh_u64 ops, op_offset, result_offset, observation_offset;
	nh_u64 observation_capacity; /* words; 0 means digests only */
	nh_u64 flags, time_limit_ms;
	nh_s64 world[32];
	/* out */
	nh_u64 done, observation_used, event_count;
	struct nh_fatal fatal;
	struct nh_event event[NH_EVENTS];
};

#define NH_FLAG_DIGEST 1
#define NH_FLAG_LAST_ONLY 2

/* The host side, for the kernel side. */
extern char *nh_direct_map, *nh_vmemmap, *nh_arena;
extern nh_u64 nh_arena_bytes;
void nh_fatal(nh_u32 ending, const char *text, nh_u64 address)
	__attribute__((noreturn, cold));
void nh_unmodelled(const char *name) __attribute__((noreturn, cold));
void nh_log(const char *text);
extern struct nh_trace *nh_trace;
extern char *nh_shared;
extern nh_u32 nh_current_op;

/* The kernel side, for the host side. */
extern nh_u32 nh_boot_nodes, nh_boot_giant;
void nh_boot(void);
void nh_begin(struct nh_trace *trace);
void nh_step(struct nh_trace *trace, nh_u64 i, _Bool look);
void nh_look(struct nh_trace *trace, nh_u64 i);
void nh_run(struct nh_trace *trace);

/* The last bytes of the shared memory: one bit for each byte of hosted code that
 * began a block and ran. Images built without coverage leave them alone. */
#define NH_COVERAGE_BYTES (1UL << 20)
#endif
