// SPDX-License-Identifier: GPL-2.0-only
/* Building answers, and reading and writing the small files of /proc and /sys. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void put(struct text *text, const char *format, ...)
{
	va_list arguments;
	size_t room = text->size - text->used;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->at + text->used, room, format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= room)
		text->overflow = 1;
	else
		text->used += (size_t)length;
}

static void put_byte(struct text *text, char byte)
{
	if (text->used + 1 < text->size)
		text->at[text->used++] = byte;
	else
		text->overflow = 1;
}

/* As a JSON string, one character for each byte: the host puts UTF-8 together. */
void put_string(struct text *text, const char *string, size_t length)
{
	put_byte(text, '"');
	for (size_t k = 0; k < length; k++) {
		unsigned char byte = (unsigned char)string[k];

		if (byte == '"' || byte == '\\') {
			put_byte(text, '\\');
			put_byte(text, (char)byte);
		} else if (byte < 0x20 || byte > 0x7e) {
			put(text, "\\u%04x", byte);
		} else {
			put_byte(text, (char)byte);
		}
	}
	put_byte(text, '"');
}

/* Returns the length read, or -1 with errno. The buffer ends with a NUL. */
int read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;

	if (fd < 0)
		return -1;
	while (used < size - 1) {
		ssize_t got = read(fd, buffer + used, size - 1 - used);

		if (got < 0) {
			int saved = errno;

			close(fd);
			errno = saved;
			return -1;
		}
		if (got == 0)
			break;
		used += (size_t)got;
	}
	buffer[used] = '\0';
	close(fd);
	return (int)used;
}

/* One write(2), because each write to these files is one request to the kernel. */
int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t done;
	int saved;

	if (fd < 0)
		return -1;
	done = write(fd, value, strlen(value));
	saved = errno;
	close(fd);
	errno = saved;
	return done < 0 ? -1 : 0;
}

uint64_t read_number(const char *path)
{
	char buffer[64];

	if (read_file(path, buffer, sizeof(buffer)) < 0)
		return 0;
	return strtoull(buffer, NULL, 10);
}
