/* Fidelity: CUSTOM
 * Bounds that the code under test cannot pass: memory is handed out as it is
 * touched, up to the process's limit, and only this process's own system call
 * instruction may be used, for the few calls that it needs. */
#include "host.h"

#define SYS_mprotect 10
#define SYS_setrlimit 160
#define RLIMIT_CPU_ 0
#define TRACE_CPU_SECONDS 60UL

/* The regions are reserved whole and made accessible piece by piece. RLIMIT_DATA
 * counts what is accessible, so a piece is small where touching is sparse: of a
 * huge page, only the first word is used. */
static const struct {
	nh_u64 at, bytes, piece, ready;
} region[] = {
	{ NH_DIRECT_MAP, 64UL << 30, 16384, 0 },
	{ NH_VMEMMAP, 1UL << 30, 2UL << 20, 0 },
	{ NH_ARENA, NH_ARENA_BYTES, 2UL << 20, 16UL << 20 },
#ifdef NH_SANITIZE
	{ NH_SHADOW, NH_ARENA_BYTES / 8, 1UL << 20, 2UL << 20 },
#endif
};

#define REGIONS (sizeof(region) / sizeof(region[0]))

void nh_reserve(void)
{
	unsigned int i;

	for (i = 0; i < REGIONS; i++) {
		nh_map_at((void *)region[i].at, region[i].bytes, 0);
		if (region[i].ready)
			nh_call(SYS_mprotect, (long)region[i].at, (long)region[i].ready, 3, 0, 0, 0);
	}
}

/* An access that memory must be handed out for: 1 done, 0 it is none, -1 there is
 * no more. */
int nh_hand_out(nh_u64 address)
{
	unsigned int i;

	for (i = 0; i < REGIONS; i++) {
		nh_u64 piece = region[i].piece;

		if (address < region[i].at || address >= region[i].at + region[i].bytes)
			continue;
		return nh_call(SYS_mprotect, (long)(address & ~(piece - 1)), (long)piece, 3, 0, 0, 0) ? -1 : 1;
	}
	return 0;
}

struct filter_word {
	unsigned short code;
	unsigned char jt, jf;
	nh_u32 k;
};

#define LOAD(offset) { 0x20, 0, 0, offset }
#define UNLESS(value, skip) { 0x15, 0, skip, value }
#define IF(value, skip) { 0x15, skip, 0, value }
#define END(action) { 0x06, 0, 0, action }
#define KILL_ 0x80000000U
#define TRAP_ 0x00030000U
#define ALLOW_ 0x7fff0000U

extern char nh_after_syscall[];

/* For good: what serving and running traces need, from where it comes from. */
int nh_filter(void)
{
	struct filter_word words[] = {
		LOAD(4), IF(0xc000003eU, 1), END(KILL_),
		LOAD(0), UNLESS(15, 1), END(ALLOW_), /* the return from a signal */
		LOAD(12), IF(0, 1), END(TRAP_),
		LOAD(8), IF((nh_u32)(nh_u64)nh_after_syscall, 1), END(TRAP_),
		LOAD(0),
		IF(0, 13), IF(1, 12), IF(10, 11), IF(13, 10), IF(38, 9), IF(57, 8), IF(60, 7), IF(61, 6),
		IF(131, 5), IF(157, 4), IF(160, 3), IF(231, 2), IF(317, 1),
		END(TRAP_), END(ALLOW_),
	};

	struct {
		unsigned short count;
		struct filter_word *words;
	} program = { sizeof(words) / sizeof(words[0]), words };

	return nh_call(157, 38, 1, 0, 0, 0, 0) || nh_call(157, 22, 2, (long)&program, 0, 0, 0);
}

/* Of a trace's process: a bound on its time. */
void nh_confine(void)
{
	unsigned long seconds[2] = { TRACE_CPU_SECONDS, TRACE_CPU_SECONDS + 5 };

	nh_call(SYS_setrlimit, RLIMIT_CPU_, (long)seconds, 0, 0, 0, 0);
}
