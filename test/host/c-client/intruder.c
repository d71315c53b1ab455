/*
 * A process of domain 2, of another user than the host, that tries every route to what is not its own:
 *
 *     intruder DIRECTORY HOST_PID FOREIGN_REF FOREIGN_PORT READONLY_REF
 *
 * Refs and port are of domain 1; the first two are meant for domain 3. Says "ROUTE ERRNO" for each: 0
 * is a way in.
 */
#define main client_main
#include "client.c"
#undef main
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static void say(const char *route, long result) {
	printf("%s %d\n", route, result == -1 ? errno : result < 0 ? (int)-result : 0);
}

static long enter(const char *directory, const char *name) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", directory, name);
	host = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return connect(host, (struct sockaddr *)&address, sizeof address);
}

static long try_open(const char *format, int pid, int flags) {
	char path[64];
	snprintf(path, sizeof path, format, pid);
	return open(path, flags);
}

/* mmap of a grant at the host: its result. */
static int ask_map(int gntdev, uint32_t ref, int prot, void *address) {
	struct { uint32_t count, pad; uint64_t index; uint32_t domid, ref; } grant = { 1, 0, 0, 1, ref };
	control(gntdev, _IOC(_IOC_NONE, 'G', 0, 24), &grant, sizeof grant);
	put32(gntdev), put64((uintptr_t)address), put64(grant.index), put64(PAGE);
	put32(prot), put32(MAP_SHARED);
	return call(MMAP);
}

static void write_by_any_route(int fd, off_t offset) {
	char byte = 1, path[64];
	uint8_t *page = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, offset);
	struct iovec from = { &byte, 1 }, to = { page, 1 };
	say("map_rw", (long)mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset));
	say("mprotect", mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	void *copy = mremap(page, 0, PAGE, MREMAP_MAYMOVE);
	say("mremap", copy == MAP_FAILED ? -1 : mprotect(copy, PAGE, PROT_READ | PROT_WRITE));
	say("write", pwrite(fd, &byte, 1, offset));
	say("truncate", ftruncate(fd, 0));
	say("punch_hole", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, PAGE));
	say("remove", madvise(page, PAGE, MADV_REMOVE));
	say("populate", madvise(page, PAGE, 23 /* MADV_POPULATE_WRITE */));
	say("vm_write", process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	int memory = open("/proc/self/mem", O_RDWR);
	say("proc_mem", memory < 0 ? -1 : pwrite(memory, &byte, 1, (off_t)(uintptr_t)page));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR);
	say("reopen_map", again < 0 ? -1
		: (long)mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, again, offset));
	say("reopen_write", again < 0 ? -1 : pwrite(again, &byte, 1, offset));
	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (long)page, (long)page + PAGE);
	int file = open(path, O_RDWR);
	say("map_files", file < 0 ? -1 : pwrite(file, &byte, 1, offset));
}

int main(int count, char **words) {
	if (count != 6) return 2;
	int pid = atoi(words[2]), foreign = atoi(words[3]), port = atoi(words[4]);
	say("list", opendir(words[1]) ? 0 : -1);
	say("control", enter(words[1], "control"));
	say("domain", enter(words[1], "domain-1"));
	say("proc_fd", try_open("/proc/%d/fd", pid, O_RDONLY | O_DIRECTORY));
	say("proc_fd_0", try_open("/proc/%d/fd/0", pid, O_RDONLY));
	say("mem", try_open("/proc/%d/mem", pid, O_RDWR));
	say("map_files_of_host", try_open("/proc/%d/map_files", pid, O_RDONLY | O_DIRECTORY));
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	long got = -1;
	for (int fd = 0; fd < 64 && got < 0; fd++) got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	say("pidfd_getfd", got);
	uint8_t byte;
	struct iovec to = { &byte, 1 }, from = { (void *)0x400000, 1 };
	say("vm_read", process_vm_readv(pid, &to, 1, &from, 1, 0));

	if (enter(words[1], "domain-2")) fail("domain-2");
	put32(MAGIC), put32(VERSION);
	if (call(HELLO) < 0) fail("version");
	int gntdev = device(GNTDEV), evtchn = device(EVTCHN);
	uint8_t *page = mmap(0, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("map", ask_map(gntdev, foreign, PROT_READ, page));
	uint32_t bind[2] = { 1, port };
	say("bind", control(evtchn, _IOC(_IOC_NONE, 'E', 1, 8), bind, 8));
	put32(evtchn), put32(port);
	say("peer", call(PEER));
	struct { uint32_t count, pad; uint64_t segments; uint32_t ref; uint16_t offset, domid;
		uint64_t address; uint16_t length, flags; int16_t status, end; uint8_t memory[64]; } copy =
		{ 1, 0, 0, foreign, 0, 1, 0, 64, 1, 0, 0, { 0 } };
	copy.segments = (uintptr_t)&copy.ref, copy.address = (uintptr_t)copy.memory;
	control(gntdev, _IOC(_IOC_NONE, 'G', 8, 16), &copy, sizeof copy);
	printf("copy %d\n", copy.status);
	int chunk = -2;
	for (uint32_t id = 0; id < 1000 && chunk == -2; id++) {
		put32(id);
		chunk = call(CHUNK);
	}
	say("chunk", chunk);

	int readonly = atoi(words[5]);
	say("grant_rw", ask_map(gntdev, readonly, PROT_READ | PROT_WRITE, page));
	if (ask_map(gntdev, readonly, PROT_READ, page) < 0 || get32() != 1) fail("read-only grant");
	uint32_t id = get32(), slot = get32();
	put32(id);
	if (call(CHUNK) < 0) fail("chunk");
	write_by_any_route(fds[0], (off_t)slot * PAGE);
	return 0;
}
