/*
 * A client that breaks every rule of docs/host-protocol.md:
 *
 *     hostile SOCKET SEED COUNT
 *
 * sends COUNT requests that are wrong in some way, connecting anew whenever the host has had enough,
 * and says how often that was. Exits 1 when the host cannot be reached, 3 when it does not answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO = 1, OPEN, IOCTL, MMAP, MUNMAP, PROTECT, DUP, CLOSE, CHUNK, CHUNK_MAPPED, PEER };
enum { MAGIC = 0x4d4f4458, VERSION = 1, BODY_IN_FD = 1, FDS = 253, KINDS = 10 };

struct header { uint16_t op, flags; uint32_t serial; int32_t result; uint32_t length; };
static struct { struct header header; uint8_t body[65536]; } out, in;
static const char *path;
static uint64_t state;
static int host = -1, lifeline = -1, drops, fds[FDS], fd_count, odd[KINDS];
static uint32_t at;

static uint32_t any(uint32_t below) {
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return (state >> 16) % below;
}

static void put32(uint32_t value) { memcpy(out.body + at, &value, 4); at += 4; }
static void put64(uint64_t value) { put32(value); put32(value >> 32); }

/* Numbers at which something changes, and some that are right. */
static uint64_t number(void) {
	static const uint64_t edges[] = { 0, 1, 3, 4, 5, 8, 4095, 4096, 8192, 1 << 20, 0x7fffffff, 0x80000000,
		0xffffffff, 1ull << 32, 1ull << 47, 1ull << 48, (1ull << 53) - 1, 1ull << 53, (1ull << 53) + 4096,
		1ull << 63, -1ull, -4096ull, -8192ull, 66, 67, 0x7ff0 };
	switch (any(4)) {
	case 0: return any(16);
	case 1: return (uint64_t)any(64) << 12;
	case 2: return (uint64_t)any(-1) << 32 | any(-1);
	default: return edges[any(sizeof edges / sizeof *edges)];
	}
}

static void enter(void) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval bound = { 30, 0 };
	if (host >= 0) close(host), drops++;
	if (lifeline >= 0) close(lifeline), lifeline = -1;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	host = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	setsockopt(host, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
	setsockopt(host, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
	if (connect(host, (struct sockaddr *)&address, sizeof address) < 0) perror(path), exit(1);
}

/* Sends the message with so many bytes and the descriptors; 0 when the host has left us. */
static int post(size_t length, int flags) {
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof fds)]; } control;
	struct iovec bytes = { &out, length };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };
	if (fd_count > 0) {
		message.msg_control = &control, message.msg_controllen = CMSG_SPACE(4 * fd_count);
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){ CMSG_LEN(4 * fd_count), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, 4 * fd_count);
	}
	fd_count = at = 0;
	ssize_t sent = sendmsg(host, &message, MSG_NOSIGNAL | flags);
	if (sent < 0 && !flags && (errno == EAGAIN || errno == EWOULDBLOCK)) exit(3);
	return sent >= 0;
}

/* The reply's result; what else is in it is thrown away. -1 when we were dropped. */
static int hear(void) {
	union { struct cmsghdr header; char bytes[CMSG_SPACE(16)]; } control;
	struct iovec bytes = { &in, sizeof in };
	struct msghdr reply = { .msg_iov = &bytes, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control };
	ssize_t length = recvmsg(host, &reply, 0);
	struct cmsghdr *rights = length < 0 ? 0 : CMSG_FIRSTHDR(&reply);
	for (size_t i = 0; rights && i < (rights->cmsg_len - CMSG_LEN(0)) / 4; i++) {
		int fd = ((int *)CMSG_DATA(rights))[i];
		if (in.header.op == HELLO && lifeline < 0) lifeline = fd;
		else close(fd);
	}
	if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) exit(3);
	return length < (ssize_t)sizeof in.header ? -1 : in.header.result;
}

static int ask(int op) {
	out.header = (struct header){ .op = op, .length = at };
	if (!post(sizeof out.header + at, 0)) return -1;
	return hear();
}

static void greet(void) {
	enter();
	put32(MAGIC), put32(VERSION), ask(HELLO);
	for (int name = 0; name < 3; name++) put32(name), put32(2), put32(1), ask(OPEN);
}

static void ranges(uint64_t argument) {
	uint32_t count = any(8) ? 1 : any(4);
	put32(any(64) ? count : number());
	for (uint32_t i = 0; i < count; i++) {
		uint32_t length = any(8) ? 4 * any(16) : any(200);
		put64(any(8) ? argument + 64 * i : number()), put32(any(4) > 0);
		put32(any(64) ? length : number());
		for (uint32_t word = 0; word < (length + 3) / 4; word++) put32(number());
	}
}

static void plausible_call(void) {
	static const char drivers[] = "GGE";
	switch (any(8)) {
	case 0: put64(number()), put64(number()), ask(MUNMAP); break;
	case 1: put64(number()), put64(number()), put32(any(8)), ask(PROTECT); break;
	case 2: put32(any(8)), put64(number()), put64(number()), put64(number());
		put32(any(8)), put32(any(4)), ask(MMAP); break;
	case 3: put32(number()), ask(any(2) ? CHUNK : CHUNK_MAPPED); break;
	case 4: put32(any(8)), put32(number()), ask(PEER); break;
	case 5: put32(any(3)), put32(any(4)), put32(any(2)), ask(any(4) ? OPEN : DUP); break;
	default: {
		static const int sizes[] = { 24, 16, 24, 4, 4, 24, 16, 16, 16, 20, 8 };
		static const int widths[] = { 4, 8, 4, 4, 4, 0, 2, 4 };
		uint32_t device = any(3), nr = any(device == 2 ? 8 : 11);
		uint64_t argument = number();
		put32(3 + device);
		put32(any(16) ? _IOC(0, drivers[device], nr, device == 2 ? widths[nr] : sizes[nr]) : number());
		put64(argument), ranges(argument);
		ask(IOCTL);
	} }
}

/* Descriptors of the wrong kind, with a body or instead of one. */
static void descriptors(int carry) {
	for (int i = any(8) ? any(4) : any(FDS + 1); i > 0; i--) fds[fd_count++] = odd[any(KINDS)];
	uint32_t length = carry ? number() : 4 * any(16);
	out.header = (struct header){ any(14), carry ? BODY_IN_FD : 0, 1, 0, length };
	post(sizeof out.header + (carry ? 4 * any(3) : length), 0);
}

static int wrong_in_some_way(void) {
	switch (any(12)) {
	case 0: { /* anything at all */
		uint32_t length = any(16) ? any(300) : any(sizeof out);
		for (uint32_t i = 0; i < length; i++) ((uint8_t *)&out)[i] = any(256);
		post(length, 0);
		return 1;
	}
	case 1: /* a length that lies */
		out.header = (struct header){ any(14), any(16) ? 0 : any(4), 1, 0, number() };
		post(sizeof out.header + any(64), 0);
		return 1;
	case 2: /* any operation with any body, at times an early or a late end */
		for (uint32_t words = any(14); words > 0; words--) put32(number());
		ask(any(20));
		return 1;
	case 3: descriptors(0); return 1;
	case 4: descriptors(1); return 1;
	case 5: /* half a header */
		post(any(16), 0);
		return 1;
	case 6: /* a call before the greeting, or another greeting */
		enter();
		if (any(2)) put32(any(3)), put32(2), put32(1), ask(OPEN);
		else put32(any(2) ? MAGIC : number()), put32(number()), ask(HELLO);
		return 1;
	case 7: { /* a flood, and no reply is read */
		int count = 1 + any(40);
		for (int i = 0; i < count; i++) {
			put32(3 + any(4)), out.header = (struct header){ .op = 12, .length = 4 };
			if (!post(sizeof out.header + 4, MSG_DONTWAIT)) break;
		}
		if (any(4) == 0) greet();
		return count;
	}
	default: plausible_call(); return 1;
	}
}

int main(int count, char **words) {
	if (count != 4) return 2;
	path = words[1], state = 0x9e3779b97f4a7c15ull * (strtoull(words[2], 0, 10) + 1);
	int pipes[2], pair[2];
	if (pipe(pipes) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 2;
	int unsealed = memfd_create("unsealed", MFD_ALLOW_SEALING), large = memfd_create("large", 0);
	if (ftruncate(unsealed, 4096) || ftruncate(large, 1ll << 40)) return 2;
	int made[KINDS] = { pipes[0], pipes[1], pair[0], unsealed, large, eventfd(0, 0), epoll_create1(0),
		open("/dev/zero", O_RDWR), open("/", O_RDONLY), open("/proc/self/maps", O_RDONLY) };
	memcpy(odd, made, sizeof odd);
	greet();
	for (long left = atol(words[3]); left > 0;) {
		left -= wrong_in_some_way();
		/* Replies that nobody waited for; and whether somebody is there still. */
		ssize_t length;
		while ((length = recv(host, &in, sizeof in, MSG_DONTWAIT)) > 0);
		if (length == 0 || errno != EAGAIN) greet();
	}
	printf("%d\n", drops);
}
