/* Fidelity: CUSTOM
 * Allocation flags as numbers, set at boot by a file that sees gfp.h, and the
 * switches of failure injection. */
#ifndef NH_ALLOC_H
#define NH_ALLOC_H
extern unsigned int nh_gfp_zero, nh_gfp_nofail;
/* The next "count" sleeping allocations of so many bytes (0: of any size) fail,
 * after "skip" that do not. */
#define NH_FAILURES 8
struct nh_failure {
	long skip, count;
	unsigned long bytes;
};
extern struct nh_failure nh_failures[NH_FAILURES];
extern int nh_failures_armed;
unsigned long long nh_live_objects(void);
/* How large the object is that an address is in (0: none), and how far in. */
unsigned long nh_object_of(const void *address, unsigned long *offset);
#endif
