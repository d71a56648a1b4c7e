/* Fidelity: CUSTOM
 * What the files of the process side share. */
#ifndef NH_HOST_H
#define NH_HOST_H
#include "nh.h"

/* Fixed places: addresses are the same in every run, so nothing that hashes an
 * address can differ between two runs of one trace. */
#define NH_DIRECT_MAP 0x100000000000UL
#define NH_VMEMMAP 0x180000000000UL
#define NH_ARENA 0x200000000000UL
#define NH_ARENA_BYTES (1UL << 30)
#define NH_SHADOW 0x2c0000000000UL

long nh_call(long number, long a, long b, long c, long d, long e, long f);
void nh_map_at(void *where, unsigned long bytes, int rights);
/* guard.c */
void nh_reserve(void);
int nh_hand_out(nh_u64 address);
int nh_filter(void);
void nh_confine(void);
#endif
