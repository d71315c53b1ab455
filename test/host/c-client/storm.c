/*
 * Processes that are killed at any moment of their lives:
 *
 *     storm DIRECTORY SEED KILLS BATCH
 *
 * forks BATCH children at a time, of domain 1 or 2, each of which shares, maps, copies, binds,
 * notifies and arms notifications at random, and leaves requests half made; kills each after a
 * random while; and does so until KILLS of them have died. They name each other's grants and ports
 * through a page of their own.
 */
#define main client_main
#include "client.c"
#undef main
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { NOTES = 64 };
static struct { uint32_t refs[3][NOTES], ports[3][NOTES]; } *notes;
static uint64_t state;
static uint32_t self, peer;
static int lifeline;

static uint32_t any(uint32_t below) {
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return (state >> 16) % below;
}

static void enter(const char *directory) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%s/domain-%u", directory, self);
	host = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(host, (struct sockaddr *)&address, sizeof address) < 0) fail(address.sun_path);
	put32(MAGIC), put32(VERSION);
	if (call(HELLO) < 0) fail("version");
	close(fds[1]);
	lifeline = fds[0]; /* who closes it is gone */
}

static void share(int gntalloc) {
	struct { uint16_t domid, flags; uint32_t count; uint64_t index; uint32_t refs[4]; }
		alloc = { peer, any(2), 1 + any(4), 0, { 0 } };
	if (control(gntalloc, _IOC(_IOC_NONE, 'G', 5, 24), &alloc, sizeof alloc)) return;
	if (alloc.flags) map(gntalloc, alloc.index);
	notes->refs[self][any(NOTES)] = alloc.refs[0];
	struct { uint64_t index; uint32_t action, port; }
		unmap = { alloc.index + any(PAGE), any(4), notes->ports[self][any(NOTES)] };
	control(gntalloc, _IOC(_IOC_NONE, 'G', 7, 16), &unmap, sizeof unmap);
	struct { uint64_t index; uint32_t count, pad; } dealloc = { alloc.index, any(2) + 1, 0 };
	if (any(3) == 0) control(gntalloc, _IOC(_IOC_NONE, 'G', 6, 16), &dealloc, sizeof dealloc);
}

static void look(int gntdev) {
	struct { uint32_t count, pad; uint64_t index; uint32_t domid, ref; }
		grant = { 1, 0, 0, peer, notes->refs[peer][any(NOTES)] };
	if (control(gntdev, _IOC(_IOC_NONE, 'G', 0, 24), &grant, sizeof grant)) return;
	uint8_t *page = map(gntdev, grant.index);
	struct { uint64_t index; uint32_t action, port; }
		unmap = { grant.index + any(PAGE), any(4), notes->ports[self][any(NOTES)] };
	if (page == MAP_FAILED) return;
	control(gntdev, _IOC(_IOC_NONE, 'G', 7, 16), &unmap, sizeof unmap);
	put64((uintptr_t)page), put64(PAGE);
	if (any(2)) call(MUNMAP);
	else at = 0;
}

/* From a grant into memory of our own, or back: header and segment in one range. */
static void copy(int gntdev) {
	struct { uint32_t count, pad; uint64_t segments; uint32_t ref; uint16_t offset, domid;
		uint64_t address; uint16_t length, flags, status, end; uint8_t memory[64]; } copy =
		{ 1, 0, 0, notes->refs[peer][any(NOTES)], any(PAGE - 64), peer, 0, 64, 1, 0, 0, { 0 } };
	copy.segments = (uintptr_t)&copy.ref, copy.address = (uintptr_t)copy.memory;
	control(gntdev, _IOC(_IOC_NONE, 'G', 8, 16), &copy, sizeof copy);
}

static void channel(int evtchn) {
	uint32_t bind[2] = { peer, notes->ports[peer][any(NOTES)] };
	int port = any(2) ? control(evtchn, _IOC(_IOC_NONE, 'E', 2, 4), bind, 4)
		: control(evtchn, _IOC(_IOC_NONE, 'E', 1, 8), bind, 8);
	if (port <= 0) return;
	notes->ports[self][any(NOTES)] = port;
	if (any(2)) notify(evtchn, port);
	uint32_t unbind = port;
	if (any(3) == 0) control(evtchn, _IOC(_IOC_NONE, 'E', 3, 4), &unbind, 4);
}

/* A request that nobody waits for the answer of, or the first bytes of one. */
static void half(int fd) {
	put32(fd), put32(1);
	out.header = (struct header){ .op = any(12), .length = any(2) ? at : any(64) };
	is_answered = 1;
	send(host, &out, any(2) ? sizeof out.header + at : any(20), MSG_NOSIGNAL);
	pause();
}

static void live(const char *directory) {
	enter(directory);
	int gntalloc = device(GNTALLOC), gntdev = device(GNTDEV), evtchn = device(EVTCHN);
	for (;;) {
		switch (any(16)) {
		case 0: case 1: case 2: case 3: share(gntalloc); break;
		case 4: case 5: case 6: case 7: look(gntdev); break;
		case 8: case 9: copy(gntdev); break;
		case 10: half(3 + any(3)); break;
		default: channel(evtchn);
		}
		for (int fd = lifeline + 1; fd < lifeline + 24; fd++) close(fd); /* what replies brought */
	}
}

int main(int count, char **words) {
	if (count != 5) return 2;
	long kills = atol(words[3]), batch = atol(words[4]);
	notes = mmap(0, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (long done = 0; done < kills; done += batch) {
		pid_t children[batch];
		for (long i = 0; i < batch; i++) {
			children[i] = fork();
			if (children[i] > 0) continue;
			state = 0x9e3779b97f4a7c15ull * (strtoull(words[2], 0, 10) + done + i + 1);
			self = 1 + any(2), peer = 3 - self;
			live(words[1]);
		}
		state = 0xbf58476d1ce4e5b9ull * (strtoull(words[2], 0, 10) + done + 1);
		struct timespec while_ = { 0, any(8000) * 1000 };
		nanosleep(&while_, 0);
		for (long i = 0; i < batch; i++) {
			kill(children[i], SIGKILL);
			while_.tv_nsec = any(200) * 1000;
			nanosleep(&while_, 0);
		}
		for (long i = 0; i < batch; i++) {
			int status;
			waitpid(children[i], &status, 0);
			if (!WIFSIGNALED(status)) return 1;
		}
	}
	printf("%ld\n", kills);
	return 0;
}
