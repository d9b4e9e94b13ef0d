/* Exercice 2 : client d'horloge.  usage : clockclient nombre */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SERVEUR "192.168.1.10"
#define PORT 1236

int main(int argc, char **argv)
{
    int nombre = argc > 1 ? atoi(argv[1]) : 5;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in serveur = {0};
    serveur.sin_family = AF_INET;
    serveur.sin_port = htons(PORT);
    inet_pton(AF_INET, SERVEUR, &serveur.sin_addr);
    if (connect(s, (struct sockaddr *)&serveur, sizeof serveur) < 0) {
        perror("connect");
        return 1;
    }
    FILE *entree = fdopen(s, "r");
    for (int i = 1; i <= nombre; i++) {
        const char question[] = "what time is it?\n";
        char ligne[128];
        if (write(s, question, strlen(question)) < 0 ||
            fgets(ligne, sizeof ligne, entree) == NULL) {
            printf("connexion perdue\n");
            return 1;
        }
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        /* 2026-11-22 19:03:18.975 : la date, puis la fraction de seconde */
        struct tm tm = {0};
        char *reste = strptime(ligne, "%Y-%m-%d %H:%M:%S", &tm);
        if (reste == NULL) {
            printf("reponse illisible : %s", ligne);
            continue;
        }
        tm.tm_isdst = -1;
        double la_bas = mktime(&tm) + (*reste == '.' ? atof(reste) : 0);
        double ici = t.tv_sec + t.tv_nsec / 1e9;
        printf("%d. serveur : %.23s   difference : %.3f s\n", i, ligne, ici - la_bas);
    }
    fclose(entree);
    return 0;
}
