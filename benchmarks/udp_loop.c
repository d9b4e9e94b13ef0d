/* The UDP ping server's loop in C, as the measure for the one in Python.
 *
 * usage: udp_loop PORT DROP plain|numbered|logged
 *
 * The same system calls and decisions for each datagram: receive, recognise the health check, draw
 * the drop, write the confirmation, send. "numbered": a ping that numbers its datagram gets the
 * kernel's receive stamp and the time held, and its place in an account. "logged": two lines for
 * each datagram on standard output, through stdio's buffer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <time.h>

#ifndef SIOCGSTAMPNS
#define SIOCGSTAMPNS 0x8907
#endif

static char account[1 << 20];

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    double drop = atof(argv[2]);
    int numbered = strcmp(argv[3], "plain") != 0, logged = !strcmp(argv[3], "logged");
    static const char check[] = "progres-lab health check\n";
    static char datagram[65536], answer[1200], lines[65536];
    setvbuf(stdout, lines, _IOFBF, sizeof lines);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (struct sockaddr *)&own, sizeof own))
        return 1;
    struct timespec stamp, now;
    ioctl(fd, SIOCGSTAMPNS, &stamp);
    for (;;) {
        struct sockaddr_in client;
        socklen_t length = sizeof client;
        ssize_t size = recvfrom(fd, datagram, sizeof datagram - 1, 0, (struct sockaddr *)&client,
                                &length);
        if (size < 0)
            continue;
        datagram[size] = 0;
        if (size == sizeof check - 1 && !memcmp(datagram, check, size))
            continue;
        unsigned run, request, attempt, number = 0;
        int is_numbered = numbered && sscanf(datagram, "ping %8x %u.%u #%u:", &run, &request,
                                             &attempt, &number) == 4;
        int dropped = drand48() < drop;
        if (!dropped) {
            int quote = size > 1000 ? 1000 : size, head;
            if (is_numbered) {
                ioctl(fd, SIOCGSTAMPNS, &stamp);
                clock_gettime(CLOCK_REALTIME, &now);
                head = sprintf(answer, "received %zd bytes at %ld.%09ld +%ldns: ", size,
                               stamp.tv_sec, stamp.tv_nsec,
                               (now.tv_sec - stamp.tv_sec) * 1000000000 + now.tv_nsec
                                   - stamp.tv_nsec);
            } else {
                head = sprintf(answer, "received %zd bytes: ", size);
            }
            memcpy(answer + head, datagram, quote);
            answer[head + quote] = '\n';
            sendto(fd, answer, head + quote + 1, 0, (struct sockaddr *)&client, length);
        }
        if (is_numbered)
            account[number & (sizeof account - 1)] += dropped ? 4 : 1;
        if (logged) {
            char about[128], when[32];
            struct tm parts;
            clock_gettime(CLOCK_REALTIME, &now);
            strftime(when, sizeof when, "%FT%T", gmtime_r(&now.tv_sec, &parts));
            sprintf(about, "client=%s:%d bytes=%zd", inet_ntoa(client.sin_addr),
                    ntohs(client.sin_port), size);
            printf("%s.%03ldZ udp received %s\n", when, now.tv_nsec / 1000000, about);
            printf("%s.%03ldZ udp %s %s\n", when, now.tv_nsec / 1000000,
                   dropped ? "dropped" : "answered", about);
        }
    }
}
