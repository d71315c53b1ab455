/*
 * A process of a domain of the host, in C: docs/host-protocol.md in about 150 lines.
 *
 *     client SOCKET grant DOMID              shares a page with DOMID, says "REF PORT"
 *     client SOCKET map DOMID REF PORT       maps a page of DOMID and binds to its port
 *
 * Either way byte 72 of the page falls and the port is notified when this process dies. It says
 * what byte 0 holds whenever it is notified, and notifies back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO = 1, OPEN, IOCTL, MMAP, MUNMAP, PROTECT, DUP, CLOSE, CHUNK, CHUNK_MAPPED, PEER };
enum { GNTALLOC, GNTDEV, EVTCHN };
enum { MAGIC = 0x4d4f4458, VERSION = 1, PAGE = 4096, SLOTS = 131072, MASKED = 1, PENDING = 2 };
enum { LOOK_AT_ALL, SENT };
enum { CLEAR_BYTE = 1, SEND_EVENT = 2, BYTE = 72 };

struct header { uint16_t op, flags; uint32_t serial; int32_t result; uint32_t length; };
struct message { struct header header; uint8_t body[65536]; };
/* Where a port is: its number, its word, the pipe that its number travels through. */
struct port { uint32_t number, slot; _Atomic uint32_t *states; int pipe; };

static struct message out, in;
static uint32_t at;      /* how far `out` is written, or `in` read */
static int is_answered;  /* the next put begins a new request */
static int fds[4];       /* the descriptors of the last reply */
static int host;

static void fail(const char *what) { perror(what); exit(1); }
static void put32(uint32_t value) {
	if (is_answered) at = is_answered = 0;
	memcpy(out.body + at, &value, 4);
	at += 4;
}
static void put64(uint64_t value) { put32(value); put32(value >> 32); }
static uint32_t get32(void) { uint32_t v; memcpy(&v, in.body + at, 4); at += 4; return v; }
static uint64_t get64(void) { uint64_t low = get32(); return low | (uint64_t)get32() << 32; }

/* A round trip with the body that was put; afterwards the reply's body is there to get. */
static int call(int op) {
	static uint32_t serial;
	union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof fds)]; } control;
	struct iovec bytes = { &in, sizeof in };
	struct msghdr reply = { .msg_iov = &bytes, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control };
	out.header = (struct header){ .op = op, .serial = ++serial, .length = at };
	at = 0, is_answered = 1;
	if (send(host, &out, sizeof out.header + out.header.length, MSG_NOSIGNAL) < 0) fail("send");
	if (recvmsg(host, &reply, MSG_CMSG_CLOEXEC) < (ssize_t)sizeof in.header) fail("host");
	struct cmsghdr *rights = CMSG_FIRSTHDR(&reply);
	if (rights) memcpy(fds, CMSG_DATA(rights), rights->cmsg_len - CMSG_LEN(0));
	return in.header.result;
}

static int device(int name) {
	put32(name), put32(2), put32(1);
	return call(OPEN);
}

/* ioctl: the argument travels as the one range of memory that the driver sees. */
static int control(int fd, unsigned long number, void *argument, uint32_t length) {
	put32(fd), put32(number), put64((uintptr_t)argument);
	put32(1), put64((uintptr_t)argument), put32(1), put32(length);
	memcpy(out.body + at, argument, length);
	at += (length + 3) & ~3u;
	int result = call(IOCTL);
	for (uint32_t writes = get32(); writes > 0; writes--) {
		void *to = (void *)(uintptr_t)get64();
		uint32_t count = get32();
		memcpy(to, in.body + at, count);
		at += (count + 3) & ~3u;
	}
	for (uint32_t chunks = get32(); chunks > 0; chunks--) get32();
	return result;
}

/* mmap of one page: the host says where it lies, and the memory is mapped by ourselves. */
static uint8_t *map(int fd, uint64_t offset) {
	uint8_t *page = mmap(0, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	put32(fd), put64((uintptr_t)page), put64(offset), put64(PAGE);
	put32(PROT_READ | PROT_WRITE), put32(MAP_SHARED);
	if (call(MMAP) < 0 || get32() != 1) return MAP_FAILED;
	uint32_t chunk = get32(), slot = get32();
	put32(chunk);
	if (call(CHUNK) < 0) return MAP_FAILED;
	page = mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fds[0],
		(off_t)slot * PAGE);
	close(fds[0]);
	return page;
}

/* What BIND_* and PEER end with: inbox, slot and port; the pipe and the states come along. */
static struct port take_port(void) {
	get32();
	uint32_t slot = get32(), number = get32();
	_Atomic uint32_t *states =
		mmap(0, SLOTS * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	if (states == MAP_FAILED) fail("states");
	return (struct port){ number, slot, states, fds[0] };
}

static void notify(int evtchn, uint32_t own) {
	put32(evtchn), put32(own);
	if (call(PEER) < 0) return; /* nobody is there: as on Xen, no error */
	get32();
	struct port peer = take_port();
	_Atomic uint32_t *state = peer.states + peer.slot;
	uint32_t word = atomic_load(state);
	while (!(word & PENDING) &&
		!atomic_compare_exchange_weak(state, &word, word ? word | PENDING : MASKED));
	if (word == 0) { /* It was idle: we have masked it, and owe it a message. */
		atomic_fetch_add(peer.states + SENT, 1);
		if (write(peer.pipe, &peer.number, 4) < 0) {
			atomic_store(peer.states + LOOK_AT_ALL, 1);
			if (write(peer.pipe, &peer.number, 4) < 0) atomic_fetch_sub(peer.states + SENT, 1);
		}
	}
	munmap((void *)peer.states, SLOTS * 4);
	close(peer.pipe), close(fds[1]);
}

/* Lets the next notification through; 1 when one came meanwhile, which is delivered by this. */
static int write_back(struct port *own) {
	_Atomic uint32_t *state = own->states + own->slot;
	uint32_t word = atomic_load(state);
	while (!atomic_compare_exchange_weak(state, &word, word & PENDING ? MASKED : 0));
	return (word & PENDING) != 0;
}

int main(int count, char **words) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (count < 4) return 2;
	int is_grant = !strcmp(words[2], "grant");
	uint32_t domid = atoi(words[3]);
	strncpy(address.sun_path, words[1], sizeof address.sun_path - 1);
	host = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(host, (struct sockaddr *)&address, sizeof address) < 0) fail(words[1]);
	put32(MAGIC), put32(VERSION);
	if (call(HELLO) < 0) fail("version"); /* fds[0] is the lifeline: it ends with the host */

	int grants = device(is_grant ? GNTALLOC : GNTDEV);
	int evtchn = device(EVTCHN);
	struct { uint16_t domid, flags; uint32_t count; uint64_t index; uint32_t ref, pad; }
		alloc = { domid, 1, 1, 0, 0, 0 };
	struct { uint32_t count, pad; uint64_t index; uint32_t domid, ref; }
		grant = { 1, 0, 0, domid, is_grant ? 0 : atoi(words[4]) };
	uint32_t bind[2] = { domid, is_grant ? 0 : atoi(words[5]) };
	if (is_grant ? control(grants, _IOC(_IOC_NONE, 'G', 5, 24), &alloc, sizeof alloc)
		: control(grants, _IOC(_IOC_NONE, 'G', 0, 24), &grant, sizeof grant)) fail("grant");
	uint64_t index = is_grant ? alloc.index : grant.index;
	uint8_t *page = map(grants, index);
	if (page == MAP_FAILED) fail("map");
	int port = is_grant ? control(evtchn, _IOC(_IOC_NONE, 'E', 2, 4), bind, 4)
		: control(evtchn, _IOC(_IOC_NONE, 'E', 1, 8), bind, 8);
	uint32_t bound = port > 0 ? get32() : 0; /* 2: with its first event */
	if (!bound) fail("bind");
	struct port own = take_port();
	struct { uint64_t index; uint32_t action, port; }
		unmap = { index + BYTE, CLEAR_BYTE | SEND_EVENT, port };
	page[BYTE] = 1;
	if (control(grants, _IOC(_IOC_NONE, 'G', 7, 16), &unmap, sizeof unmap)) fail("notify");
	printf("%u %u\n", alloc.ref, port);
	for (int has_event = bound == 2;;) {
		for (; has_event; has_event = write_back(&own)) {
			printf("%u\n", page[0]);
			notify(evtchn, port);
		}
		struct pollfd wait = { own.pipe, POLLIN, 0 };
		fflush(stdout);
		poll(&wait, 1, -1);
		uint32_t number;
		has_event = read(own.pipe, &number, 4) == 4 && number == own.number;
	}
}
