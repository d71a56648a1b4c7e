#include <linux/io_uring.h>

static int pins_made;

/* A long-term pin is a buffer registered with an io_uring, one ring for each pin. */
static inline long pin(int slot, int map, long start, long pages)
{
	struct io_uring_params params = { 0 };
	struct iovec buffer = { at(map, start), bytes(map, pages) };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params), saved;

	if (ring < 0)
		return -1;
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1) < 0) {
		saved = errno;
		close(ring);
		errno = saved;
		return -1;
	}
	rings[slot] = ring;
	pinned_at[slot] = ++pins_made;
	return 0;
}

static inline long unpin(int slot)
{
	int ring = rings[slot];

	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0)
		return -1;
	rings[slot] = 0;
	return close(ring);
}
