/*
 * A puppet of the conformance suite: performs system calls on the Xen devices as its standard input
 * tells it, one JSON object a line, and answers on its standard output. The protocol is written
 * down in src/conformance/puppet-protocol.ts.
 *
 * It is in C for what a Node process cannot do: fork and go on, survive SIGSEGV and SIGBUS and tell
 * of them, have a signal interrupt a call, move its own memory about.
 *
 *     gcc -O1 -o puppet puppet.c
 *     INTERDOM_DOMID=0 ./puppet
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VERSION 1
#define PAGE 4096UL
#define FIELDS_MAX 16
#define ARGS_MAX 6
#define DESCRIPTORS_MAX 1024

/* ---- text that grows ---- */

struct text {
    char *at;
    size_t length, room;
};

static void die(const char *why) {
    dprintf(2, "puppet: %s\n", why);
    _exit(1);
}

static char *grow(struct text *text, size_t more) {
    if (text->length + more > text->room) {
        text->room = (text->length + more) * 2;
        text->at = realloc(text->at, text->room);
        if (!text->at) die("out of memory");
    }
    return text->at + text->length;
}

static void add(struct text *text, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    char *end = grow(text, (size_t)length + 1);
    va_start(values, format);
    vsnprintf(end, (size_t)length + 1, format, values);
    va_end(values);
    text->length += (size_t)length;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct text *text, const unsigned char *bytes, size_t length) {
    char *to = grow(text, (length + 2) / 3 * 4 + 1);
    char *start = to;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        unsigned value = (unsigned)bytes[i] << 16;
        if (left > 1) value |= (unsigned)bytes[i + 1] << 8;
        if (left > 2) value |= bytes[i + 2];
        *to++ = digits[value >> 18];
        *to++ = digits[value >> 12 & 63];
        *to++ = left > 1 ? digits[value >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[value & 63] : '=';
    }
    text->length += (size_t)(to - start);
}

/* In place: what is decoded is shorter than what it was. */
static size_t decode_base64(char *text, size_t length) {
    unsigned value = 0;
    int bits = 0;
    size_t done = 0;
    for (size_t i = 0; i < length && text[i] != '='; i++) {
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit) return SIZE_MAX;
        value = value << 6 | (unsigned)(digit - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            text[done++] = (char)(value >> bits & 255);
        }
    }
    return done;
}

/* ---- requests: flat objects of numbers, booleans, plain strings and lists of numbers ---- */

struct field {
    const char *name;
    char *text; /* of a string */
    size_t length;
    long number; /* of a number or a boolean; of a list, how many it has */
    long list[ARGS_MAX];
};

struct request {
    struct field fields[FIELDS_MAX];
    int count;
};

static char *skip(char *at) {
    while (*at == ' ' || *at == ',' || *at == ':') at++;
    return at;
}

/* A string without escapes, which is all that a request has; ends it with a zero. */
static char *parse_string(char *at, char **text, size_t *length) {
    if (*at != '"') return NULL;
    *text = ++at;
    size_t size = strcspn(at, "\"\\");
    if (at[size] != '"') return NULL;
    at[size] = 0;
    *length = size;
    return at + size + 1;
}

static char *parse_value(char *at, struct field *field) {
    if (*at == '"') return parse_string(at, &field->text, &field->length);
    if (!strncmp(at, "true", 4)) return field->number = 1, at + 4;
    if (!strncmp(at, "false", 5)) return at + 5;
    char *end;
    if (*at != '[') {
        field->number = strtol(at, &end, 10);
        return end == at ? NULL : end;
    }
    for (at = skip(at + 1); *at != ']'; at = skip(end)) {
        if (field->number == ARGS_MAX) return NULL;
        field->list[field->number++] = strtol(at, &end, 10);
        if (end == at) return NULL;
    }
    return at + 1;
}

static bool parse(char *line, struct request *request) {
    memset(request, 0, sizeof *request);
    char *at = skip(line);
    if (*at++ != '{') return false;
    for (at = skip(at); *at != '}'; at = skip(at)) {
        if (request->count == FIELDS_MAX) return false;
        struct field *field = &request->fields[request->count++];
        char *name;
        size_t length;
        at = parse_string(at, &name, &length);
        if (!at) return false;
        field->name = name;
        at = parse_value(skip(at), field);
        if (!at) return false;
    }
    return true;
}

static struct field *find(struct request *request, const char *name) {
    for (int i = 0; i < request->count; i++)
        if (!strcmp(request->fields[i].name, name)) return &request->fields[i];
    return NULL;
}

static long number(struct request *request, const char *name) {
    struct field *field = find(request, name);
    return field ? field->number : 0;
}

static const char *word(struct request *request, const char *name) {
    struct field *field = find(request, name);
    return field && field->text ? field->text : "";
}

/* ---- answers ---- */

static struct text answer;

static void send_answer(void) {
    add(&answer, "\n");
    for (size_t done = 0; done < answer.length;) {
        ssize_t written = write(1, answer.at + done, answer.length - done);
        /* Whoever commanded us is gone. */
        if (written < 0 && errno != EINTR) _exit(1);
        if (written > 0) done += (size_t)written;
    }
    answer.length = 0;
}

static void say_hello(void) {
    const char *domid = getenv("INTERDOM_DOMID");
    add(&answer, "{\"hello\":%d,\"pid\":%d,\"domid\":%s}", VERSION, getpid(), domid ? domid : "0");
    send_answer();
}

/* Each handler calls one of these once. */
static void say_error(const char *words) {
    add(&answer, ",\"error\":\"%s\"", words);
}

static void say_result(long result) {
    add(&answer, ",\"result\":%ld", result < 0 ? (long)-errno : result);
}

static void say_bytes(long result, const void *bytes, size_t length) {
    say_result(result);
    add(&answer, ",\"bytes\":\"");
    add_base64(&answer, bytes, length);
    add(&answer, "\"");
}

/* ---- what a reset gives back ---- */

static bool is_open[DESCRIPTORS_MAX];
/* Addresses of pages that mmap and alloc made, ascending. */
static unsigned long *pages;
static size_t page_count, page_room;

static void adopt(long fd) {
    if (fd >= DESCRIPTORS_MAX) die("too many descriptors");
    if (fd >= 0) is_open[fd] = true;
    say_result(fd);
}

static bool is_ours(long fd) {
    return fd >= 0 && fd < DESCRIPTORS_MAX && is_open[fd];
}

static size_t place_of(unsigned long page) {
    size_t low = 0, high = page_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pages[middle] < page) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void hold(unsigned long address, size_t length) {
    for (unsigned long page = address; page < address + length; page += PAGE) {
        size_t at = place_of(page);
        if (at < page_count && pages[at] == page) continue;
        if (page_count == page_room) {
            page_room = page_room * 2 + 64;
            pages = realloc(pages, page_room * sizeof *pages);
            if (!pages) die("out of memory");
        }
        memmove(pages + at + 1, pages + at, (page_count - at) * sizeof *pages);
        pages[at] = page;
        page_count++;
    }
}

static void let_go(unsigned long address, size_t length) {
    size_t from = place_of(address), to = place_of(address + length);
    memmove(pages + from, pages + to, (page_count - to) * sizeof *pages);
    page_count -= to - from;
}

static void reset(void) {
    for (size_t i = 0; i < page_count;) {
        size_t run = 1;
        while (i + run < page_count && pages[i + run] == pages[i] + run * PAGE) run++;
        munmap((void *)pages[i], run * PAGE);
        i += run;
    }
    page_count = 0;
    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++)
        if (is_open[fd]) close(fd);
    memset(is_open, 0, sizeof is_open);
}

/* ---- signals ---- */

static sigjmp_buf on_fault;
static volatile sig_atomic_t is_touching;
static volatile sig_atomic_t sigio_count;
/* What a SIGIO looks at, if told to, and what the last one saw. */
static const volatile unsigned char *watched;
static volatile unsigned char seen;

static void fault(int signal_number) {
    if (is_touching) siglongjmp(on_fault, signal_number);
    /* A bug of this program: the access is repeated, and ends it. */
    signal(signal_number, SIG_DFL);
}

static void count_sigio(int signal_number) {
    (void)signal_number;
    sigio_count++;
    if (watched) seen = *watched;
}

static void interrupt(int signal_number) {
    (void)signal_number;
}

static void handle(int signal_number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signal_number, &action, NULL);
}

static void handle_signals(void) {
    handle(SIGSEGV, fault, 0);
    handle(SIGBUS, fault, 0);
    handle(SIGIO, count_sigio, SA_RESTART);
    /* Without SA_RESTART: it is there to interrupt. */
    handle(SIGALRM, interrupt, 0);
    signal(SIGPIPE, SIG_IGN);
    /* Nobody waits for children: they are to be gone when they are dead. */
    signal(SIGCHLD, SIG_IGN);
}

/* Copies byte by byte; the signal that ended it, or 0. */
static int copy_guarded(volatile unsigned char *to, const volatile unsigned char *from, size_t n) {
    int signal_number = sigsetjmp(on_fault, 1);
    if (signal_number == 0) {
        is_touching = 1;
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    }
    is_touching = 0;
    return signal_number;
}

static void say_fault(int signal_number) {
    errno = EFAULT;
    say_result(-1);
    add(&answer, ",\"signal\":\"%s\"", signal_number == SIGBUS ? "SIGBUS" : "SIGSEGV");
}

/* ---- calls of the seam ---- */

static void do_open(struct request *request) {
    const char *access = word(request, "access");
    int flags = !strcmp(access, "read") ? O_RDONLY : !strcmp(access, "write") ? O_WRONLY : O_RDWR;
    if (number(request, "nonblock")) flags |= O_NONBLOCK;
    char path[64];
    snprintf(path, sizeof path, "/dev/xen/%s", word(request, "device"));
    adopt(open(path, flags | O_CLOEXEC));
}

static void do_ioctl(struct request *request) {
    long fd = number(request, "fd");
    unsigned long command = (unsigned long)number(request, "number");
    struct field *bytes = find(request, "bytes");
    if (!bytes) {
        say_result(ioctl((int)fd, command, number(request, "address")));
        return;
    }
    size_t length = decode_base64(bytes->text, bytes->length);
    if (length == SIZE_MAX || length < _IOC_SIZE(command)) {
        say_error("the argument is shorter than the command says");
        return;
    }
    /* A copy of its own: what lies behind it in the line is none of the driver's. */
    void *argument = malloc(length + PAGE);
    if (!argument) die("out of memory");
    memcpy(argument, bytes->text, length);
    long result = ioctl((int)fd, command, argument);
    say_bytes(result, argument, length);
    free(argument);
}

static void say_mapped(void *address, size_t length) {
    if (address == MAP_FAILED) {
        say_result(-1);
        return;
    }
    hold((unsigned long)address, length);
    say_result((long)address);
}

static void map(struct request *request, int prot, int flags, int fd) {
    struct field *at = find(request, "at");
    size_t length = (size_t)number(request, "length");
    void *place = at ? (void *)at->number : NULL;
    if (at) flags |= MAP_FIXED;
    say_mapped(mmap(place, length, prot, flags, fd, number(request, "offset")), length);
}

static void do_mmap(struct request *request) {
    int prot = (int)number(request, "prot"), flags = (int)number(request, "flags");
    map(request, prot, flags, (int)number(request, "fd"));
}

static void do_alloc(struct request *request) {
    map(request, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void do_munmap(struct request *request) {
    unsigned long address = (unsigned long)number(request, "address");
    size_t length = (size_t)number(request, "length");
    long result = munmap((void *)address, length);
    if (result >= 0) let_go(address, length);
    say_result(result);
}

static void do_protect(struct request *request) {
    void *address = (void *)number(request, "address");
    say_result(mprotect(address, (size_t)number(request, "length"), (int)number(request, "prot")));
}

static void do_peek(struct request *request) {
    size_t length = (size_t)number(request, "length");
    unsigned char *copy = malloc(length + 1);
    if (!copy) die("out of memory");
    int ended = copy_guarded(copy, (unsigned char *)number(request, "address"), length);
    if (ended) say_fault(ended);
    else say_bytes(0, copy, length);
    free(copy);
}

static void do_poke(struct request *request) {
    struct field *bytes = find(request, "bytes");
    size_t length = bytes ? decode_base64(bytes->text, bytes->length) : SIZE_MAX;
    if (length == SIZE_MAX) {
        say_error("nothing to poke");
        return;
    }
    unsigned char *to = (unsigned char *)number(request, "address");
    int ended = copy_guarded(to, (unsigned char *)bytes->text, length);
    if (ended) say_fault(ended);
    else say_result(0);
}

static void do_read(struct request *request) {
    size_t length = (size_t)number(request, "length");
    void *into = malloc(length + 1);
    if (!into) die("out of memory");
    ssize_t count = read((int)number(request, "fd"), into, length);
    say_bytes(count, into, count < 0 ? 0 : (size_t)count);
    free(into);
}

static void do_write(struct request *request) {
    struct field *bytes = find(request, "bytes");
    size_t length = bytes ? decode_base64(bytes->text, bytes->length) : 0;
    say_result(write((int)number(request, "fd"), bytes ? bytes->text : "", length));
}

static void do_poll(struct request *request) {
    struct pollfd one = {.fd = (int)number(request, "fd"), .events = POLLIN | POLLOUT};
    say_result(poll(&one, 1, 0) < 0 ? -1 : 0);
    add(&answer, ",\"readiness\":{\"in\":%s,\"out\":%s,\"err\":%s}",
        one.revents & POLLIN ? "true" : "false", one.revents & POLLOUT ? "true" : "false",
        one.revents & POLLERR ? "true" : "false");
}

static void do_ready(struct request *request) {
    struct pollfd one = {.fd = (int)number(request, "fd"), .events = POLLIN};
    int count;
    do count = poll(&one, 1, (int)number(request, "timeoutMs"));
    while (count < 0 && errno == EINTR);
    if (count == 0) errno = ETIMEDOUT;
    say_result(count == 1 ? 0 : -1);
}

static void do_dup(struct request *request) {
    adopt(fcntl((int)number(request, "fd"), F_DUPFD_CLOEXEC, 0));
}

static void do_close(struct request *request) {
    long fd = number(request, "fd");
    is_open[fd] = false;
    say_result(close((int)fd));
}

static void do_reset(struct request *request) {
    (void)request;
    reset();
    say_result(0);
}

static void do_exit(struct request *request) {
    (void)request;
    say_result(0);
    add(&answer, "}");
    send_answer();
    /* With everything still open: what an exit releases is the kernel's business. */
    _exit(0);
}

/* ---- what the seam does not have ---- */

static const struct {
    const char *name;
    long number;
} system_calls[] = {
    {"epoll_create1", SYS_epoll_create1},
    {"epoll_ctl", SYS_epoll_ctl},
    {"epoll_pwait", SYS_epoll_pwait},
    {"fcntl", SYS_fcntl},
    {"futex", SYS_futex},
    {"lseek", SYS_lseek},
    {"madvise", SYS_madvise},
    {"mlock", SYS_mlock},
    {"mremap", SYS_mremap},
    {"msync", SYS_msync},
    {"pipe2", SYS_pipe2},
    {"process_vm_readv", SYS_process_vm_readv},
    {"read", SYS_read},
    {"setitimer", SYS_setitimer},
    {"write", SYS_write},
};

static void do_syscall(struct request *request) {
    const char *name = word(request, "name");
    struct field *args = find(request, "args");
    for (size_t i = 0; args && i < sizeof system_calls / sizeof *system_calls; i++) {
        if (strcmp(system_calls[i].name, name)) continue;
        const long *a = args->list;
        say_result(syscall(system_calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]));
        return;
    }
    say_error("no such system call here");
}

/* Input that came and was not yet performed. */
static struct text input;

static void do_fork(struct request *request) {
    int line = (int)number(request, "line");
    pid_t child = fork();
    if (child != 0) {
        if (child > 0) close(line);
        say_result(child);
        return;
    }
    /* The child's own line, and nothing of what was said or heard on its parent's. */
    dup2(line, 0);
    dup2(line, 1);
    close(line);
    input.length = answer.length = 0;
    sigio_count = 0;
    say_hello();
}

static void do_watch(struct request *request) {
    watched = (const unsigned char *)number(request, "address");
    say_result(0);
}

static void do_signals(struct request *request) {
    (void)request;
    long count = sigio_count;
    sigio_count = 0;
    unsigned char byte = seen;
    say_bytes(count, &byte, watched ? 1 : 0);
}

/* ---- the loop ---- */

static const struct {
    const char *op;
    void (*perform)(struct request *);
    bool on_descriptor;
} operations[] = {
    {"open", do_open, false},       {"ioctl", do_ioctl, true},
    {"mmap", do_mmap, true},        {"read", do_read, true},
    {"write", do_write, true},      {"poll", do_poll, true},
    {"ready", do_ready, true},      {"dup", do_dup, true},
    {"close", do_close, true},      {"alloc", do_alloc, false},
    {"munmap", do_munmap, false},   {"protect", do_protect, false},
    {"peek", do_peek, false},       {"poke", do_poke, false},
    {"reset", do_reset, false},     {"exit", do_exit, false},
    {"syscall", do_syscall, false}, {"fork", do_fork, false},
    {"signals", do_signals, false}, {"watch", do_watch, false},
};

static void perform(struct request *request) {
    const char *op = word(request, "op");
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].op, op)) continue;
        long fd = number(request, "fd");
        if (!operations[i].on_descriptor || is_ours(fd)) return operations[i].perform(request);
        char words[64];
        snprintf(words, sizeof words, "the puppet has no descriptor %ld", fd);
        return say_error(words);
    }
    say_error("no such request");
}

static void perform_line(char *line) {
    struct request request;
    if (!parse(line, &request)) die("not a request");
    pid_t self = getpid();
    add(&answer, "{\"id\":%ld", number(&request, "id"));
    perform(&request);
    /* A child that was just made has said hello, and that is all. */
    if (getpid() != self) return;
    add(&answer, "}");
    send_answer();
}

/* Takes the first line out of the input, before it is performed: a fork empties the input. */
static bool take_line(struct text *line) {
    char *end = input.length ? memchr(input.at, '\n', input.length) : NULL;
    if (!end) return false;
    size_t length = (size_t)(end - input.at);
    line->length = 0;
    memcpy(grow(line, length + 1), input.at, length);
    line->at[length] = 0;
    input.length -= length + 1;
    memmove(input.at, end + 1, input.length);
    return true;
}

int main(void) {
    struct text line = {0};
    handle_signals();
    say_hello();
    for (;;) {
        while (take_line(&line)) perform_line(line.at);
        ssize_t count = read(0, grow(&input, 65536), 65536);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) _exit(0);
        input.length += (size_t)count;
    }
}
