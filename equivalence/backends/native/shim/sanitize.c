/* Fidelity: CUSTOM
 * What --sanitize asks for: the compiler's checks of addresses, against what the
 * shim's allocator has given out, and of undefined behaviour. Empty otherwise. */
#include "host.h"

#ifdef NH_SANITIZE
/* A byte for eight: how many of them may be used, from the first on. */
#define FREED 0xfd

static unsigned char *shadow_of(nh_u64 address)
{
	return (unsigned char *)NH_SHADOW + ((address - NH_ARENA) >> 3);
}

void nh_allow(const void *at, nh_u64 bytes)
{
	unsigned char *shadow = shadow_of((nh_u64)at);

	for (; bytes >= 8; bytes -= 8)
		*shadow++ = 8;
	if (bytes)
		*shadow = (unsigned char)bytes;
}

void nh_forbid(const void *at, nh_u64 bytes)
{
	unsigned char *shadow = shadow_of((nh_u64)at);
	nh_u64 i;

	for (i = 0; i < (bytes + 7) / 8; i++)
		shadow[i] = FREED;
}

static void check(nh_u64 address, nh_u64 bytes)
{
	nh_u64 at, end = address + bytes;

	if (address < NH_ARENA || end > NH_ARENA + NH_ARENA_BYTES || !bytes)
		return;
	for (at = address & ~7UL; at < end; at += 8) {
		unsigned char usable = *shadow_of(at);

		if (usable == FREED)
			nh_fatal(NH_CRASH, "use after free", address);
		if (usable < (end - at < 8 ? end - at : 8))
			nh_fatal(NH_CRASH, "access out of bounds", address);
	}
}

#define CHECKS(bytes)                                                                              \
	void __asan_load##bytes##_noabort(nh_u64 address) { check(address, bytes); }               \
	void __asan_store##bytes##_noabort(nh_u64 address) { check(address, bytes); }
CHECKS(1)
CHECKS(2)
CHECKS(4)
CHECKS(8)
CHECKS(16)
void __asan_loadN_noabort(nh_u64 address, nh_u64 bytes) { check(address, bytes); }
void __asan_storeN_noabort(nh_u64 address, nh_u64 bytes) { check(address, bytes); }
void __asan_handle_no_return(void) {}

#define UNDEFINED(name, text)                                                                      \
	void __ubsan_handle_##name(void) { nh_fatal(NH_CRASH, "undefined: " text, 0); }
UNDEFINED(shift_out_of_bounds, "shift out of range")
UNDEFINED(out_of_bounds, "index out of bounds")
UNDEFINED(divrem_overflow, "division by zero or out of range")
UNDEFINED(builtin_unreachable, "unreachable code ran")
UNDEFINED(load_invalid_value, "a value that its type does not have")
#endif
