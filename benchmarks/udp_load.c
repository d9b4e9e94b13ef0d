/* Saturates a UDP server: usage: udp_load PORT SECONDS plain|numbered. Prints replies per second.
 *
 * Keeps WINDOW datagrams in flight, so that the server always has one to take and its queue never
 * overflows; sends and receives in batches (sendmmsg, recvmmsg), so that it is not the bottleneck;
 * and never sleeps, since then the server would pay for waking it, the slower server more often.
 * "plain" sends the same text always; "numbered" the lab's own pings, which ask for the server's
 * times and for their place in its account.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { WINDOW = 128, BATCH = 32, ROOM = 256 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int numbered = !strcmp(argv[3], "numbered");
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(fd, (struct sockaddr *)&server, sizeof server))
        return 1;
    static char out[BATCH][ROOM], in[BATCH][ROOM];
    struct iovec out_vector[BATCH], in_vector[BATCH];
    struct mmsghdr out_message[BATCH] = {0}, in_message[BATCH] = {0};
    for (int i = 0; i < BATCH; i++) {
        out_vector[i] = (struct iovec){out[i], sprintf(out[i], "%-40d", i)};
        in_vector[i] = (struct iovec){in[i], ROOM};
        out_message[i].msg_hdr = (struct msghdr){.msg_iov = &out_vector[i], .msg_iovlen = 1};
        in_message[i].msg_hdr = (struct msghdr){.msg_iov = &in_vector[i], .msg_iovlen = 1};
    }
    long sent = 0, received = 0;
    double begin = now(), end = begin + atof(argv[2]), heard = begin;
    int in_flight = 0;
    while (now() < end) {
        while (in_flight + BATCH <= WINDOW) {
            for (int i = 0; numbered && i < BATCH; i++) {
                long n = sent + i + 1;
                out_vector[i].iov_len = sprintf(out[i], "ping 7f3a9c01 %ld.1 #%ld: hello", n, n);
            }
            int done = sendmmsg(fd, out_message, BATCH, 0);
            if (done < 0)
                return 1;
            sent += done;
            in_flight += done;
        }
        int done = recvmmsg(fd, in_message, BATCH, MSG_DONTWAIT, NULL);
        if (done > 0) {
            received += done;
            in_flight -= done;
            heard = now();
        } else if (now() - heard > 0.1) { /* something was lost after all */
            in_flight = 0;
            heard = now();
        }
    }
    printf("%.0f\n", received / (now() - begin));
    return 0;
}
