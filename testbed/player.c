/*
 * Plays scripts of system calls on the Xen devices, fast: on an emulated machine a puppet that is
 * told each call and waits for each answer takes ten milliseconds a call, this takes a tenth of one.
 *
 *     player [FILE] <script >tape
 *
 * A line of the script is one call of one process, words apart by a space; the tape has a line for
 * each, what it answered (a number or -errno) and, behind a space, bytes as hexadecimal digits:
 *
 *     0 arena 25                         -> address of 25 pages, of which @0 is the first byte
 *     0 open gntalloc 2050 $0            -> descriptor, kept as $0; the number is open(2)'s flags
 *     0 ioctl $0 1591045 2:0 2:1 4:1 8:0 4:0 4:0 >16:4:$1 -> result, the argument afterwards
 *     0 pointer $0 1591045 4096          -> result of an ioctl with a plain address
 *     0 mmap $0 0 4096 3 1 @0            -> address: descriptor, offset, length, prot, flags, place
 *     0 read $2 4096 3000                -> result, bytes; waits so many milliseconds for them
 *     0 write $2 4:$7                    -> result
 *     0 poll $2 0                        -> revents; waits so long for POLLIN or POLLERR
 *     0 dup $0 $3        0 close $0      0 anonymous 4096 @0
 *     0 munmap @0 4096   0 protect @0 4096 1
 *     0 peek @0 64       0 poke @0 ff00  -> what it ended in (-SIGSEGV), bytes
 *     0 reset                            unmaps the arena, closes everything
 *     0 kill                             a later call of process 0 is of a new one
 *     0 limit xen_gntalloc 3             0 settle 1100
 *     0 guest                            what comes next is played with a guest of the test bed
 *     0 destroy                          destroys it
 *
 * Processes from 4 on are the guest's. There a player too makes the calls, `player peer`, which is
 * told lines over TCP: `= n v` is what variable n has, `.` the end of what a line did, and a line that
 * does nothing. FILE has the number of the guest to begin with; the player makes a new one where it
 * has none, and after a destruction, and writes the number down.
 *
 * A number is written out, or `$n`, what call n's variable was given, or `@n`, byte n of the arena,
 * or `%`, the guest's domid.
 * `size:number` is a field of an argument, little endian; `>offset:size:$n` keeps a field of the
 * answer; a variable at the end of an ioctl keeps its result. Variables are shared by all processes.
 * A script is made by src/differential/script.ts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PROCESSES 8
#define GUEST_PROCESSES 4 /* the first of them */
#define VARIABLES 4096
#define GUEST (VARIABLES - 1) /* the variable of its domid */
#define GUEST_PORT 9
#define LINES_AT_ONCE 16
#define CONNECT_TRIES 500
#define CONNECT_EVERY_US 20000
#define DESCRIPTORS 1024
#define BYTES_MAX 65536
#define TAPE_MAX (4 * BYTES_MAX)
#define WORDS_MAX 512

static void die(const char *why) {
    fprintf(stderr, "player: %s\n", why);
    _exit(1);
}

/* ---- what a process has ---- */

static long *variables;
static unsigned char *arena;
static size_t arena_length;
static bool is_open[DESCRIPTORS];
static unsigned char bytes[BYTES_MAX];
static size_t byte_count;

static sigjmp_buf on_fault;
static volatile sig_atomic_t is_touching;

static void fault(int number) {
    if (is_touching) siglongjmp(on_fault, number);
    signal(number, SIG_DFL);
}

/* ---- words ---- */

static char *words[WORDS_MAX];
static int word_count;

static void split(char *line) {
    word_count = 0;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        if (word_count == WORDS_MAX) die("too many words");
        words[word_count++] = word;
    }
}

static const char *word(int n) {
    if (n >= word_count) die("a word is missing");
    return words[n];
}

static long *variable(const char *text) {
    long n = *text == '$' ? strtol(text + 1, NULL, 10) : -1;
    if (n < 0 || n >= VARIABLES) die("no such variable");
    return &variables[n];
}

static long number(const char *text) {
    if (*text == '$') return *variable(text);
    if (*text == '%') return variables[GUEST];
    if (*text == '@') return (long)arena + strtol(text + 1, NULL, 10);
    return strtoll(text, NULL, 10);
}

/* The list ends with NULL. */
static bool is_among(const char *const *list, const char *text) {
    for (; *list; list++)
        if (!strcmp(*list, text)) return true;
    return false;
}

/* ---- arguments ---- */

/* Fields from word n on, little endian; answers the first word that is none. */
static int put_fields(int n) {
    for (byte_count = 0; n < word_count && strchr(words[n], ':') && *words[n] != '>'; n++) {
        char *value;
        long size = strtol(words[n], &value, 10);
        unsigned long left = (unsigned long)number(value + 1);
        if (size < 1 || byte_count + (size_t)size > BYTES_MAX) die("no such field");
        for (long i = 0; i < size; i++) {
            bytes[byte_count++] = i < 8 ? left & 255 : 0;
            left >>= 8;
        }
    }
    return n;
}

static void keep_fields(int n, long result) {
    for (; n < word_count; n++) {
        if (*words[n] == '$') {
            if (result > 0) *variable(words[n]) = result;
            continue;
        }
        char *at;
        long offset = strtol(words[n] + 1, &at, 10), size = strtol(at + 1, &at, 10), value = 0;
        for (long i = size; i-- > 0;) value = value << 8 | bytes[offset + i];
        if (result >= 0) *variable(at + 1) = value;
    }
}

static long answered(long result) {
    return result < 0 ? -errno : result;
}

/* A descriptor that there is not must name none later on: least of all one of the player's own. */
static long adopted(long fd, const char *kept) {
    *variable(kept) = fd;
    if (fd < 0) return -errno;
    if (fd >= DESCRIPTORS) die("too many descriptors");
    is_open[fd] = true;
    return fd;
}

/* ---- calls ---- */

static long play_ioctl(void) {
    int next = put_fields(3);
    size_t length = byte_count;
    long result = answered(ioctl((int)number(word(1)), number(word(2)), bytes));
    keep_fields(next, result);
    byte_count = length;
    return result;
}

static long play_open(void) {
    char path[64];
    snprintf(path, sizeof path, "/dev/xen/%s", word(1));
    return adopted(open(path, (int)number(word(2))), word(3));
}

static long map(long fd, long offset, long length, long prot, long flags, long place) {
    void *at = mmap((void *)place, (size_t)length, (int)prot, (int)flags, (int)fd, offset);
    return at == MAP_FAILED ? -errno : (long)at;
}

static long play_mmap(void) {
    long flags = number(word(5)) | MAP_FIXED;
    return map(number(word(1)), number(word(2)), number(word(3)), number(word(4)), flags,
        number(word(6)));
}

static long play_anonymous(long flags, long length, long place) {
    return map(-1, 0, length, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE | MAP_ANONYMOUS, place);
}

static long play_arena(void) {
    arena_length = (size_t)number(word(1)) * PAGE;
    long at = play_anonymous(0, (long)arena_length, 0);
    if (at < 0) die("no memory");
    arena = (unsigned char *)at;
    return at;
}

static short wait_for(int fd, long ms) {
    struct pollfd one = {.fd = fd, .events = POLLIN};
    if (ms > 0 && fd >= 0) poll(&one, 1, (int)ms);
    one.events = POLLIN | POLLOUT;
    poll(&one, 1, 0);
    return one.revents;
}

static long play_read(void) {
    int fd = (int)number(word(1));
    wait_for(fd, number(word(3)));
    long result = answered(read(fd, bytes, (size_t)number(word(2))));
    byte_count = result > 0 ? (size_t)result : 0;
    return result;
}

static long play_write(void) {
    put_fields(2);
    long result = answered(write((int)number(word(1)), bytes, byte_count));
    byte_count = 0;
    return result;
}

/* Copies byte by byte; answers 0, or minus the signal that ended it. */
static long touch(volatile unsigned char *to, volatile unsigned char *from, size_t length) {
    int ended = sigsetjmp(on_fault, 1);
    if (ended == 0) {
        is_touching = 1;
        for (size_t i = 0; i < length; i++) to[i] = from[i];
    }
    is_touching = 0;
    return -ended;
}

static long play_peek(void) {
    size_t length = (size_t)number(word(2));
    if (length > BYTES_MAX) die("too long a look");
    long result = touch(bytes, (unsigned char *)number(word(1)), length);
    byte_count = result ? 0 : length;
    return result;
}

static long play_poke(void) {
    put_fields(2);
    long result = touch((unsigned char *)number(word(1)), bytes, byte_count);
    byte_count = 0;
    return result;
}

static long play_close(void) {
    long fd = number(word(1));
    if (fd >= 0 && fd < DESCRIPTORS) is_open[fd] = false;
    return answered(close((int)fd));
}

static long play_reset(void) {
    if (arena) munmap(arena, arena_length);
    arena = NULL;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (is_open[fd]) close(fd);
    memset(is_open, 0, sizeof is_open);
    return 0;
}

static long play(void) {
    const char *call = word(0);
    byte_count = 0;
    if (!strcmp(call, "ioctl")) return play_ioctl();
    if (!strcmp(call, "pointer"))
        return answered(ioctl((int)number(word(1)), number(word(2)), number(word(3))));
    if (!strcmp(call, "open")) return play_open();
    if (!strcmp(call, "dup"))
        return adopted(fcntl((int)number(word(1)), F_DUPFD_CLOEXEC, 0), word(2));
    if (!strcmp(call, "close")) return play_close();
    if (!strcmp(call, "mmap")) return play_mmap();
    if (!strcmp(call, "arena")) return play_arena();
    if (!strcmp(call, "anonymous"))
        return play_anonymous(MAP_FIXED, number(word(1)), number(word(2)));
    if (!strcmp(call, "munmap"))
        return answered(munmap((void *)number(word(1)), (size_t)number(word(2))));
    if (!strcmp(call, "protect"))
        return answered(
            mprotect((void *)number(word(1)), (size_t)number(word(2)), (int)number(word(3))));
    if (!strcmp(call, "peek")) return play_peek();
    if (!strcmp(call, "poke")) return play_poke();
    if (!strcmp(call, "read")) return play_read();
    if (!strcmp(call, "write")) return play_write();
    if (!strcmp(call, "poll")) return wait_for((int)number(word(1)), number(word(2)));
    if (!strcmp(call, "reset")) return play_reset();
    die("no such call");
    return 0;
}

/* ---- processes: each is told its lines, those in a row at once, and writes to the tape ---- */

static struct process {
    pid_t pid;
    int line; /* to it */
    int done; /* from it, a byte when it has played what it was told */
} processes[PROCESSES];

static void tell(int fd, const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0) die("whom this player tells is gone");
        text += written;
        length -= (size_t)written;
    }
}

static char tape[TAPE_MAX];
static size_t tape_length;

static void write_tape(void) {
    tell(1, tape, tape_length);
    tape_length = 0;
}

static void tell_tape(long result) {
    if (tape_length > TAPE_MAX - 2 * BYTES_MAX - 64) write_tape();
    tape_length += (size_t)sprintf(tape + tape_length, "%ld", result);
    if (byte_count > 0) tape[tape_length++] = ' ';
    for (size_t i = 0; i < byte_count; i++) {
        tape[tape_length++] = "0123456789abcdef"[bytes[i] >> 4];
        tape[tape_length++] = "0123456789abcdef"[bytes[i] & 15];
    }
    tape[tape_length++] = '\n';
}

static void be_process(int in, int out) {
    static char lines[PAGE + 1];
    struct sigaction action = {.sa_handler = fault};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    for (;;) {
        /* The conductor waits for these to be done before it writes others. */
        ssize_t length = read(in, lines, PAGE);
        if (length <= 0) _exit(0);
        lines[length] = 0;
        for (char *line = lines, *end; (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            split(line);
            tell_tape(play());
        }
        write_tape();
        if (write(out, "", 1) != 1) _exit(1);
    }
}

static struct process *process(long n) {
    if (n < 0 || n >= PROCESSES) die("no such process");
    struct process *one = &processes[n];
    if (one->pid) return one;
    /* What is longer than a pipe has room for would come in pieces: packets do not. */
    int line[2], done[2];
    if (pipe2(line, O_DIRECT | O_CLOEXEC) || pipe2(done, O_CLOEXEC)) die("no pipe");
    one->pid = fork();
    if (one->pid < 0) die("no process");
    if (one->pid == 0) {
        for (int i = 0; i < PROCESSES; i++)
            if (&processes[i] != one && processes[i].pid) {
                close(processes[i].line);
                close(processes[i].done);
            }
        close(line[1]);
        close(done[0]);
        be_process(line[0], done[1]);
    }
    close(line[0]);
    close(done[1]);
    one->line = line[1];
    one->done = done[0];
    return one;
}

/* Lines in a row for one process, which are told together: a switch to it costs more than a call. */
static char batch[PAGE];
static size_t batch_length;
static long batch_process;

/* Whoever goes on with anything else must have what was kept played before. */
static void play_batch(void) {
    char byte;
    if (!batch_length) return;
    struct process *one = process(batch_process);
    if (write(one->line, batch, batch_length) != (ssize_t)batch_length) die("a process is gone");
    if (read(one->done, &byte, 1) != 1) die("a process died");
    batch_length = 0;
}

static void keep(long n, const char *line) {
    size_t length = strlen(line);
    if (length >= PAGE) die("too long a line");
    if (n != batch_process || batch_length + length > PAGE) play_batch();
    batch_process = n;
    memcpy(batch + batch_length, line, length);
    batch_length += length;
}

static void end(struct process *one) {
    if (!one->pid) return;
    kill(one->pid, SIGKILL);
    waitpid(one->pid, NULL, 0);
    close(one->line);
    close(one->done);
    one->pid = 0;
}

/* ---- the guest, where a player like this one plays what is its processes' ---- */

/* What the other side knows of our variables. */
static long told[VARIABLES];
static int guest_socket = -1;
static FILE *from_guest;
/* Lines for it that it has not answered. */
static int unanswered;
static char lines_told[LINES_AT_ONCE * PAGE];
static size_t lines_length;
static const char *guest_file;

static void learn(const char *line) {
    long n, value;
    if (sscanf(line, "= %ld %ld", &n, &value) != 2 || n < 0 || n >= VARIABLES) die("not a value");
    variables[n] = told[n] = value;
}

static void tell_variables(int fd) {
    char text[64];
    if (!memcmp(told, variables, sizeof told)) return;
    for (int n = 0; n < VARIABLES; n++) {
        if (told[n] == variables[n]) continue;
        told[n] = variables[n];
        tell(fd, text, (size_t)sprintf(text, "= %d %ld\n", n, told[n]));
    }
}

/* Each line waits for its answer: a packet that waits for more would only be late. */
static void send_at_once(int fd) {
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static void run(const char *command) {
    if (system(command)) die(command);
}

static void connect_guest(long domid) {
    char command[160];
    snprintf(command, sizeof command,
        "domu %ld 'setsid nc -l -p %d -e /payload/player peer </dev/null >/dev/null 2>&1 &'"
        " </dev/null >&2", domid, GUEST_PORT);
    run(command);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(GUEST_PORT)};
    address.sin_addr.s_addr = htonl(10 << 24 | (unsigned)domid << 8 | 2);
    for (int tries = 0; tries < CONNECT_TRIES; tries++) {
        guest_socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (!connect(guest_socket, (struct sockaddr *)&address, sizeof address)) {
            send_at_once(guest_socket);
            from_guest = fdopen(guest_socket, "r");
            return;
        }
        close(guest_socket);
        usleep(CONNECT_EVERY_US);
    }
    die("the guest's player does not answer");
}

static void forget_guest(void) {
    if (from_guest) fclose(from_guest);
    from_guest = NULL;
    guest_socket = -1;
}

/* The guest that is there, or a new one; its processes are those of the sequence before. */
static void have_guest(void) {
    long domid = 0;
    if (from_guest) return;
    FILE *file = fopen(guest_file, "r");
    if (file) {
        if (fscanf(file, "%ld", &domid) != 1) domid = 0;
        fclose(file);
    }
    if (!domid) {
        char command[96];
        snprintf(command, sizeof command, "new-guest </dev/null >%s", guest_file);
        run(command);
        file = fopen(guest_file, "r");
        if (!file || fscanf(file, "%ld", &domid) != 1) die("no new guest");
        fclose(file);
    }
    variables[GUEST] = domid;
    for (int n = 0; n < VARIABLES; n++) told[n] = -1;
    connect_guest(domid);
}

static void destroy_guest(void) {
    char command[64];
    forget_guest();
    snprintf(command, sizeof command, "xl destroy domu%ld >&2", variables[GUEST]);
    run(command);
    if (truncate(guest_file, 0)) die("truncate");
}

/* Sends the lines that were kept and passes on what they answer. */
static void hear_guest(void) {
    static char answer[BYTES_MAX * 2 + 64];
    if (!unanswered) return;
    tell_variables(guest_socket);
    tell(guest_socket, lines_told, lines_length);
    lines_length = 0;
    while (unanswered > 0) {
        if (!fgets(answer, sizeof answer, from_guest)) die("the guest's player is gone");
        if (*answer == '.') unanswered--;
        else if (*answer == '=') learn(answer);
        else tell(1, answer, strlen(answer));
    }
}

/* Whether a line can end in an event for the other domain. */
static bool can_send(const char *line) {
    static const char *const calls[] = {
        "ioctl", "pointer", "close", "mmap", "munmap", "reset", "kill", NULL,
    };
    char call[16];
    return sscanf(line, "%*d %15s", call) == 1 && is_among(calls, call);
}

/*
 * Keeps a line for the guest: those in a row travel together, up to one that can send an event. Two
 * events that find their receiver without a turn between them are one; hearing the answer is ours.
 */
static void forward(const char *line) {
    size_t length = strlen(line);
    play_batch();
    if (!from_guest) die("no guest");
    if (length >= PAGE) die("too long a line");
    memcpy(lines_told + lines_length, line, length);
    lines_length += length;
    if (++unanswered == LINES_AT_ONCE || can_send(line)) hear_guest();
}

/* The guest has taken what events there are for it when its player answers. */
static void give_turn(void) {
    forward(".\n");
    hear_guest();
}

static long set_limit(const char *module, const char *pages) {
    char path[96];
    snprintf(path, sizeof path, "/sys/module/%s/parameters/limit", module);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    long written = answered(write(fd, pages, strlen(pages)));
    close(fd);
    return written < 0 ? written : 0;
}

/* The calls of the machine, which no process makes; false for those that one does. */
static bool perform_here(char *line) {
    static const char *const ours[] = {"kill", "guest", "destroy", "settle", "limit", NULL};
    char module[32], pages[16];
    long n, ms, result = 0;
    char call[16];
    if (sscanf(line, "%ld %15s", &n, call) != 2) die("not a line");
    if (!is_among(ours, call)) return false;
    play_batch();
    if (!strcmp(call, "kill")) {
        end(&processes[n]);
    } else if (!strcmp(call, "guest")) {
        have_guest();
    } else if (!strcmp(call, "destroy")) {
        destroy_guest();
    } else if (sscanf(line, "%ld settle %ld", &n, &ms) == 2) {
        usleep((useconds_t)ms * 1000);
    } else if (sscanf(line, "%ld limit %31s %15s", &n, module, pages) == 3) {
        result = set_limit(module, pages);
    } else {
        die("not a line");
    }
    tell_tape(result);
    write_tape();
    return true;
}

static void play_here(char *line) {
    char *rest;
    long n = strtol(line, &rest, 10);
    if (!perform_here(line)) keep(n, rest + 1);
}

int main(int count, char **arguments) {
    static char line[BYTES_MAX];
    bool is_peer = count > 1 && !strcmp(arguments[1], "peer");
    guest_file = count > 1 ? arguments[1] : "/tmp/guest";
    signal(SIGPIPE, SIG_IGN);
    variables = mmap(NULL, VARIABLES * sizeof *variables, PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (variables == MAP_FAILED) die("no memory");
    for (int n = 0; n < VARIABLES; n++) variables[n] = told[n] = -1;
    if (is_peer) send_at_once(1);
    while (fgets(line, sizeof line, stdin)) {
        if (is_peer && *line == '=') {
            learn(line);
        } else if (is_peer) {
            if (*line != '.') play_here(line);
            play_batch();
            tell_variables(1);
            tell(1, ".\n", 2);
        } else if (strtol(line, NULL, 10) >= GUEST_PROCESSES) {
            forward(line);
        } else {
            hear_guest();
            play_here(line);
            if (from_guest && can_send(line)) give_turn();
        }
    }
    hear_guest();
    play_batch();
    for (int i = 0; i < PROCESSES; i++) end(&processes[i]);
    return 0;
}
