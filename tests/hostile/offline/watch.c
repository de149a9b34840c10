/* Stands before the C library (LD_PRELOAD): whatever code of a process, Python's, Qt's, torch's or llama.cpp's, wants to
 * reach a network writes it to the file OFFLINE_LOG and is refused. AF_UNIX and the kernel's own netlink are let through;
 * with OFFLINE_LOOPBACK 127.0.0.0/8 too. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void program(char *words, int size)
{
    int file = open("/proc/self/cmdline", O_RDONLY);
    int length = file < 0 ? 0 : read(file, words, size - 1);
    for (int place = 0; place < length - 1; place++)
        if (words[place] == 0 || words[place] == '\n')
            words[place] = ' ';
    words[length > 0 ? length : 0] = 0;
    close(file);
}

static void tell(const char *call, const char *place)
{
    const char *path = getenv("OFFLINE_LOG");
    char words[200], line[512];
    int log = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (log < 0)
        return;
    program(words, sizeof words);
    int length = snprintf(line, sizeof line, "%s %s %s\n", call, place, words);
    if (write(log, line, length) < 0)
        perror("watch");
    close(log);
}

static int refused(const char *call, const struct sockaddr *address)
{
    char place[INET6_ADDRSTRLEN] = "";
    int loopback = 0;
    if (address == NULL || address->sa_family == AF_UNIX || address->sa_family == AF_NETLINK)
        return 0;
    if (address->sa_family == AF_INET) {
        struct in_addr v4 = ((const struct sockaddr_in *)address)->sin_addr;
        inet_ntop(AF_INET, &v4, place, sizeof place);
        loopback = ntohl(v4.s_addr) >> 24 == 127;
    } else if (address->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, place, sizeof place);
    } else {
        snprintf(place, sizeof place, "family-%d", address->sa_family);
    }
    tell(call, place);
    if (loopback && getenv("OFFLINE_LOOPBACK"))
        return 0;
    errno = EACCES;
    return 1;
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    return refused("connect", address) ? -1 : real(fd, address, length);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    return refused("bind", address) ? -1 : real(fd, address, length);
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *address, socklen_t length)
{
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "sendto");
    return refused("sendto", address) ? -1 : real(fd, bytes, size, flags, address, length);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    tell("getaddrinfo", name ? name : "-");
    if (getenv("OFFLINE_LOOPBACK") && name != NULL && strcmp(name, "127.0.0.1") == 0)
        return real(name, service, hints, found);
    return EAI_FAIL;
}
