/* Exercice 2 : serveur d'horloge, un thread par client. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 1236

static int envoyer(int s, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t e = write(s, p, n);
        if (e <= 0)
            return -1;
        p += e;
        n -= e;
    }
    return 0;
}

static void *servir(void *argument)
{
    int s = *(int *)argument;
    free(argument);
    char tampon[512];
    ssize_t n;
    /* chaque '?' termine une question, quel que soit le decoupage de TCP */
    while ((n = read(s, tampon, sizeof tampon)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (tampon[i] != '?')
                continue;
            struct timespec t;
            struct tm tm;
            char date[32], ligne[64];
            clock_gettime(CLOCK_REALTIME, &t);
            localtime_r(&t.tv_sec, &tm);
            strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
            int lg = snprintf(ligne, sizeof ligne, "%s.%03ld\n", date, t.tv_nsec / 1000000);
            if (envoyer(s, ligne, lg) < 0)
                goto fin;
        }
    }
fin:
    close(s);
    return NULL;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    int ecoute = socket(AF_INET, SOCK_STREAM, 0), un = 1;
    setsockopt(ecoute, SOL_SOCKET, SO_REUSEADDR, &un, sizeof un);
    struct sockaddr_in moi = {0};
    moi.sin_family = AF_INET;
    moi.sin_addr.s_addr = htonl(INADDR_ANY);
    moi.sin_port = htons(PORT);
    if (bind(ecoute, (struct sockaddr *)&moi, sizeof moi) < 0 || listen(ecoute, 64) < 0) {
        perror("bind/listen");
        return 1;
    }
    for (;;) {
        int c = accept(ecoute, NULL, NULL);
        if (c < 0) {
            perror("accept");
            continue;
        }
        int *argument = malloc(sizeof *argument);
        *argument = c;
        pthread_t t;
        if (pthread_create(&t, NULL, servir, argument) != 0) {
            close(c);
            free(argument);
            continue;
        }
        pthread_detach(t);
    }
}
