/* Fidelity: CUSTOM
 * Allocation flags as numbers, set at boot by a file that sees gfp.h, and the
 * switches of failure injection. */
#ifndef NH_ALLOC_H
#define NH_ALLOC_H
extern unsigned int nh_gfp_zero, nh_gfp_nofail;
extern long nh_fail_alloc_after;
extern int nh_fail_alloc_count;
extern unsigned long nh_fail_alloc_bytes; /* 0: of any size */
unsigned long long nh_live_objects(void);
#endif
