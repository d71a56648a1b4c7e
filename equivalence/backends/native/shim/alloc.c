/* Fidelity: CUSTOM
 * Small-object allocation: size classes, guard words, poison on free. Defined
 * without slab.h, under the names of every version, because the prototypes vary
 * while the calling convention does not. */
#include "nh.h"
#include "nh_alloc.h"

typedef unsigned long size_t_;
#define NULL_ ((void *)0)
#define GFP_ZERO nh_gfp_zero
#define GFP_NOFAIL nh_gfp_nofail

#define GUARD 0x5afe5afe5afe5afeUL
#define LIVE 0x11feUL
#define DEAD 0xdeadUL
#define POISON 0x6b6b6b6b6b6b6b6bUL

struct object {
	nh_u32 bytes; /* as asked for */
	nh_u32 class_and_state;
	nh_u64 guard; /* of a spare object: the next one, so that all of it is poison */
};

struct kmem_cache {
	nh_u32 bytes, align;
	void (*ctor)(void *);
	const char *name;
	struct object *spare; /* constructed objects stay constructed */
};

/* indexed by code that passes the entry on to the functions below, which ignore it */
void *kmalloc_caches[1024];

/* the end of user addresses, read as a constant by newer versions */
unsigned long USER_PTR_MAX = 0x7ffffffff000UL;

#define CLASSES 40
static struct {
	struct object *head, *tail;
} spare[CLASSES];
static nh_u64 used;
static nh_u64 live_objects;

struct nh_failure nh_failures[NH_FAILURES]; /* one for each kind of object */
int nh_failures_armed;

static nh_u32 class_of(nh_u64 bytes)
{
	nh_u32 class = 0;
	nh_u64 size = 32;

	/* steps of a quarter of a power of two */
	while (size < bytes) {
		class ++;
		size = (32UL << (class / 2)) + (class & 1 ? (16UL << (class / 2)) : 0);
	}
	return class;
}

static nh_u64 class_bytes(nh_u32 class)
{
	return (32UL << (class / 2)) + (class & 1 ? (16UL << (class / 2)) : 0);
}

static nh_u64 *words_of(struct object *object)
{
	return (nh_u64 *)(object + 1);
}

static void *carve(nh_u64 bytes)
{
	nh_u64 at = (used + 63) & ~63UL;

	if (at + bytes > nh_arena_bytes)
		nh_fatal(NH_UNMODELLED, "the shim's arena for small objects is full", bytes);
	used = at + bytes;
	return nh_arena + at;
}

static int injected(nh_u64 bytes, nh_u64 gfp)
{
	struct nh_failure *at;

	if (!nh_failures_armed || (gfp & GFP_NOFAIL))
		return 0;
	for (at = nh_failures; at < nh_failures + NH_FAILURES; at++) {
		if (at->count <= 0 || (at->bytes && at->bytes != bytes))
			continue;
		if (at->skip > 0) {
			at->skip--;
			continue;
		}
		if (!--at->count)
			nh_failures_armed--;
		return 1;
	}
	return 0;
}

static void check_poison(struct object *object, nh_u64 bytes)
{
	nh_u64 *word = words_of(object), i;

	for (i = 0; i < bytes / 8; i++)
		if (word[i] != POISON)
			nh_fatal(NH_CORRUPTION, "a freed object was written to", (nh_u64)&word[i]);
}

static void *plain_alloc(nh_u64 bytes, nh_u64 gfp)
{
	nh_u32 class;
	struct object *object;
	nh_u64 room, i, *word;

	if (injected(bytes, gfp))
		return NULL_;
	class = class_of(bytes + 8);
	room = class_bytes(class);
	if (class >= CLASSES)
		nh_fatal(NH_UNMODELLED, "a small-object request beyond the size classes", bytes);
	object = spare[class].head;
	if (object) {
		if (room <= 4096)
			check_poison(object, room);
		spare[class].head = (struct object *)object->guard;
		if (!spare[class].head)
			spare[class].tail = NULL_;
	} else {
		object = (struct object *)((char *)carve(room + 64) + 64 - sizeof(*object));
	}
	object->bytes = (nh_u32)bytes;
	object->class_and_state = (class << 16) | LIVE;
	object->guard = GUARD;
	word = words_of(object);
	if (gfp & GFP_ZERO) {
		for (i = 0; i < (bytes + 7) / 8; i++)
			word[i] = 0;
	}
	*(nh_u64 *)((char *)word + bytes) = GUARD;
	nh_allow(word, bytes);
	live_objects++;
	return word;
}

static struct object *checked(const void *at)
{
	struct object *object = (struct object *)at - 1;

	if ((char *)at < nh_arena || (char *)at >= nh_arena + used)
		nh_fatal(NH_CORRUPTION, "a free of what was never allocated", (nh_u64)at);
	if ((object->class_and_state & 0xffff) == DEAD)
		nh_fatal(NH_CORRUPTION, "an object was freed twice", (nh_u64)at);
	if (object->guard != GUARD)
		nh_fatal(NH_CORRUPTION, "the words before an object were overwritten", (nh_u64)at);
	if ((object->class_and_state & 0xffff) != LIVE)
		nh_fatal(NH_CORRUPTION, "a free of what was never allocated", (nh_u64)at);
	if (*(nh_u64 *)((char *)at + object->bytes) != GUARD)
		nh_fatal(NH_CORRUPTION, "the words after an object were overwritten", (nh_u64)at);
	return object;
}

static void plain_free(const void *at)
{
	struct object *object;
	nh_u64 room, i, *word;
	nh_u32 class;

	if ((nh_u64)at <= 16)
		return;
	object = checked(at);
	class = object->class_and_state >> 16;
	room = class_bytes(class);
	object->class_and_state = (class << 16) | DEAD;
	nh_forbid(at, object->bytes);
	word = words_of(object);
	if (room <= 4096)
		for (i = 0; i < room / 8; i++)
			word[i] = POISON;
	object->guard = 0;
	/* first in, first out: a stale pointer meets poison for as long as possible */
	if (spare[class].tail)
		spare[class].tail->guard = (nh_u64)object;
	else
		spare[class].head = object;
	spare[class].tail = object;
	live_objects--;
}

unsigned long nh_object_of(const void *address, unsigned long *offset)
{
	const char *at = (const char *)((nh_u64)address & ~63UL), *low = at - 65536;

	if ((char *)address < nh_arena || (char *)address >= nh_arena + used)
		return 0;
	for (; at > nh_arena && at > low; at -= 64) {
		const struct object *object = (const struct object *)at - 1;

		if (object->guard != GUARD || (object->class_and_state & 0xffff) != LIVE)
			continue;
		*offset = (unsigned long)((const char *)address - at);
		return *offset < object->bytes ? object->bytes : 0;
	}
	return 0;
}

nh_u64 nh_live_objects(void)
{
	return live_objects;
}

/* caches */
static struct kmem_cache *make_cache(const char *name, nh_u32 bytes, nh_u32 align, void (*ctor)(void *))
{
	struct kmem_cache *cache = carve(sizeof(*cache));

	cache->bytes = bytes;
	cache->align = align;
	cache->ctor = ctor;
	cache->name = name;
	cache->spare = NULL_;
	return cache;
}

/* Constructed objects stay constructed, and wide alignment fits no size class. */
static int own_list(struct kmem_cache *cache)
{
	return cache->ctor || cache->align > 64;
}

static void *cache_alloc(struct kmem_cache *cache, nh_u64 gfp)
{
	struct object *object;
	nh_u64 *word, i;

	if (!own_list(cache))
		return plain_alloc(cache->bytes, gfp);
	if (injected(cache->bytes, gfp))
		return NULL_;
	object = cache->spare;
	if (object) {
		cache->spare = *(struct object **)((char *)(object + 1) + cache->bytes + 8);
		if (!cache->ctor)
			check_poison(object, cache->bytes);
	} else {
		nh_u64 align = cache->align > 64 ? cache->align : 64;
		nh_u64 at = (nh_u64)carve(((cache->bytes + 7UL) & ~7UL) + 32 + 2 * align);

		object = (struct object *)((at + 16 + align - 1) & ~(align - 1)) - 1;
		if (cache->ctor) {
			word = words_of(object);
			for (i = 0; i < cache->bytes / 8; i++)
				word[i] = 0;
			cache->ctor(word);
		}
	}
	if (!cache->ctor && (gfp & GFP_ZERO))
		for (i = 0; i < cache->bytes / 8; i++)
			words_of(object)[i] = 0;
	object->bytes = cache->bytes;
	object->class_and_state = LIVE;
	object->guard = GUARD;
	*(nh_u64 *)((char *)(object + 1) + cache->bytes) = GUARD;
	nh_allow(object + 1, cache->bytes);
	live_objects++;
	return object + 1;
}

static void cache_free(struct kmem_cache *cache, void *at)
{
	struct object *object;

	if (!at)
		return;
	if (!own_list(cache)) {
		object = checked(at);
		if (object->bytes != cache->bytes)
			nh_fatal(NH_CORRUPTION, "an object was freed to another cache", (nh_u64)at);
		plain_free(at);
		return;
	}
	object = checked(at);
	object->class_and_state = DEAD;
	if (!cache->ctor) {
		nh_u64 i;

		nh_forbid(at, cache->bytes);

		for (i = 0; i < cache->bytes / 8; i++)
			words_of(object)[i] = POISON;
	}
	*(struct object **)((char *)at + cache->bytes + 8) = cache->spare;
	cache->spare = object;
	live_objects--;
}

struct cache_args { /* the leading members of the newer argument block */
	nh_u32 align, useroffset, usersize, freeptr_offset;
	_Bool use_freeptr_offset;
	void (*ctor)(void *);
};

struct kmem_cache *__kmem_cache_create_args(const char *name, nh_u32 bytes, struct cache_args *args, nh_u32 flags)
{
	return make_cache(name, bytes, args ? args->align : 0, args ? args->ctor : NULL_);
}
struct kmem_cache *kmem_cache_create(const char *name, nh_u32 bytes, nh_u32 align, nh_u32 flags, void (*ctor)(void *))
{
	return make_cache(name, bytes, align, ctor);
}
struct kmem_cache *kmem_cache_create_usercopy(const char *name, nh_u32 bytes, nh_u32 align, nh_u32 flags,
					      nh_u32 useroffset, nh_u32 usersize, void (*ctor)(void *))
{
	return make_cache(name, bytes, align, ctor);
}
void *kmem_cache_alloc_noprof(struct kmem_cache *cache, nh_u32 gfp)
{
	return cache_alloc(cache, gfp);
}
void *kmem_cache_alloc(struct kmem_cache *cache, nh_u32 gfp)
{
	return cache_alloc(cache, gfp);
}
void *kmem_cache_alloc_lru_noprof(struct kmem_cache *cache, void *lru, nh_u32 gfp)
{
	return cache_alloc(cache, gfp);
}
void *kmem_cache_alloc_lru(struct kmem_cache *cache, void *lru, nh_u32 gfp)
{
	return cache_alloc(cache, gfp);
}
void *kmem_cache_alloc_node_noprof(struct kmem_cache *cache, nh_u32 gfp, int node)
{
	return cache_alloc(cache, gfp);
}
void *kmem_cache_alloc_node(struct kmem_cache *cache, nh_u32 gfp, int node)
{
	return cache_alloc(cache, gfp);
}
static int bulk_alloc(struct kmem_cache *cache, nh_u64 gfp, size_t_ count, void **objects)
{
	size_t_ i;

	for (i = 0; i < count; i++) {
		objects[i] = cache_alloc(cache, gfp);
		if (!objects[i]) {
			while (i--)
				cache_free(cache, objects[i]);
			return 0;
		}
	}
	return (int)count;
}
int kmem_cache_alloc_bulk_noprof(struct kmem_cache *cache, nh_u32 gfp, size_t_ count, void **objects)
{
	return bulk_alloc(cache, gfp, count, objects);
}
int kmem_cache_alloc_bulk(struct kmem_cache *cache, nh_u32 gfp, size_t_ count, void **objects)
{
	return bulk_alloc(cache, gfp, count, objects);
}
void kmem_cache_free(struct kmem_cache *cache, void *at)
{
	cache_free(cache, at);
}
void kmem_cache_free_bulk(struct kmem_cache *cache, size_t_ count, void **objects)
{
	size_t_ i;

	for (i = 0; i < count; i++) {
		if (cache)
			cache_free(cache, objects[i]);
		else
			plain_free(objects[i]);
	}
}
void kmem_cache_destroy(struct kmem_cache *cache)
{
}
int kmem_cache_shrink(struct kmem_cache *cache)
{
	return 0;
}

/* kmalloc and relatives: size and flags sit in different places */
#define KMALLOC(name, args, size, flags)                                                           \
	void *name args                                                                            \
	{                                                                                          \
		return plain_alloc(size, flags);                                                   \
	}
KMALLOC(__kmalloc, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(__kmalloc_noprof, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(__kmalloc_large_noprof, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(kmalloc_large, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(__kmalloc_node, (size_t_ size, nh_u32 flags, int node), size, flags)
KMALLOC(__kmalloc_node_noprof, (size_t_ size, nh_u32 flags, int node), size, flags)
KMALLOC(__kmalloc_large_node_noprof, (size_t_ size, nh_u32 flags, int node), size, flags)
KMALLOC(kmalloc_large_node, (size_t_ size, nh_u32 flags, int node), size, flags)
KMALLOC(__kmalloc_node_track_caller, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(__kmalloc_node_track_caller_noprof, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(kmalloc_trace, (void *cache, nh_u32 flags, size_t_ size), size, flags)
KMALLOC(__kmalloc_cache_noprof, (void *cache, nh_u32 flags, size_t_ size), size, flags)
KMALLOC(kmalloc_node_trace, (void *cache, nh_u32 flags, int node, size_t_ size), size, flags)
KMALLOC(__kmalloc_cache_node_noprof, (void *cache, nh_u32 flags, int node, size_t_ size), size, flags)
KMALLOC(vmalloc_huge_noprof, (size_t_ size, nh_u32 flags), size, flags)
KMALLOC(vmalloc_noprof, (size_t_ size), size, 0)
KMALLOC(vzalloc_noprof, (size_t_ size), size, GFP_ZERO)

/* a shrinker is filled in and never called */
void *shrinker_alloc(nh_u32 flags, const char *name, ...)
{
	return plain_alloc(512, GFP_ZERO);
}
void kfree(const void *at)
{
	plain_free(at);
}
void vfree(const void *at)
{
	plain_free(at);
}
void kvfree(const void *at)
{
	plain_free(at);
}
void kfree_sensitive(const void *at)
{
	plain_free(at);
}
size_t_ ksize(const void *at)
{
	return ((struct object *)at - 1)->bytes;
}

/* one per-cpu area: every CPU's copy is the same memory */
void *pcpu_alloc_noprof(size_t_ size, size_t_ align, _Bool reserved, nh_u32 flags)
{
	return plain_alloc(size, GFP_ZERO);
}
void *__alloc_percpu_gfp(size_t_ size, size_t_ align, nh_u32 flags)
{
	return plain_alloc(size, GFP_ZERO);
}
void *__alloc_percpu(size_t_ size, size_t_ align)
{
	return plain_alloc(size, GFP_ZERO);
}
void free_percpu(void *at)
{
	plain_free(at);
}

/* strings of memory, for the compiler's own calls too */
void *memcpy(void *to, const void *from, size_t_ bytes)
{
	void *start = to;

	/* starting a string instruction costs more than a few words do */
	while (bytes >= 8 && bytes <= 512) {
		*(nh_u64 *)to = *(const nh_u64 *)from;
		to += 8;
		from += 8;
		bytes -= 8;
	}
	if (bytes)
		asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
	return start;
}
void *__memcpy(void *to, const void *from, size_t_ bytes)
{
	return memcpy(to, from, bytes);
}
void *memset(void *to, int value, size_t_ bytes)
{
	void *start = to;
	nh_u64 word = (unsigned char)value * 0x0101010101010101UL;

	while (bytes >= 8 && bytes <= 512) {
		*(nh_u64 *)to = word;
		to += 8;
		bytes -= 8;
	}
	if (bytes)
		asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
	return start;
}
void *__memset(void *to, int value, size_t_ bytes)
{
	return memset(to, value, bytes);
}
void *memmove(void *to, const void *from, size_t_ bytes)
{
	char *target = to;
	const char *source = from;

	if (target <= source || target >= source + bytes)
		return memcpy(to, from, bytes);
	while (bytes--)
		target[bytes] = source[bytes];
	return to;
}
void *__memmove(void *to, const void *from, size_t_ bytes)
{
	return memmove(to, from, bytes);
}
