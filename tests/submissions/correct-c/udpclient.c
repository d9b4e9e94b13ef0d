/* Exercice 1 : client UDP.  usage : udpclient nombre message */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>

#define SERVEUR "192.168.1.10"
#define PORT 1234
#define ESSAIS 7

static double maintenant(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Attend la reponse qui contient la marque, au plus jusqu'a "limite". 1 si elle est arrivee. */
static int attendre(int s, const char *marque, double limite)
{
    for (;;) {
        double reste = limite - maintenant();
        if (reste <= 0)
            return 0;
        struct timeval tv;
        tv.tv_sec = (long)reste;
        tv.tv_usec = (long)((reste - (long)reste) * 1e6);
        fd_set lecture;
        FD_ZERO(&lecture);
        FD_SET(s, &lecture);
        int r = select(s + 1, &lecture, NULL, NULL, &tv);
        if (r < 0 && errno != EINTR) {
            perror("select");
            exit(1);
        }
        if (r <= 0)
            continue;
        char tampon[2048];
        ssize_t n = recvfrom(s, tampon, sizeof tampon - 1, 0, NULL, NULL);
        if (n < 0)
            continue;
        tampon[n] = '\0';
        if (strstr(tampon, marque) != NULL)
            return 1;
        printf("  (vieille reponse ignoree)\n");
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage : %s nombre message\n", argv[0]);
        return 2;
    }
    int nombre = atoi(argv[1]), recus = 0;
    double somme = 0;

    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in serveur = {0};
    serveur.sin_family = AF_INET;
    serveur.sin_port = htons(PORT);
    inet_pton(AF_INET, SERVEUR, &serveur.sin_addr);

    for (int i = 1; i <= nombre; i++) {
        double delai = 0.4;
        int essai;
        for (essai = 1; essai <= ESSAIS; essai++) {
            char marque[64], message[1024];
            snprintf(marque, sizeof marque, "#%d.%d#", i, essai);
            snprintf(message, sizeof message, "%s %s", marque, argv[2]);
            double debut = maintenant();
            if (sendto(s, message, strlen(message), 0, (struct sockaddr *)&serveur,
                       sizeof serveur) < 0)
                perror("sendto");
            if (attendre(s, marque, debut + delai)) {
                double rtt = (maintenant() - debut) * 1000;
                printf("requete %d : RTT = %.3f ms\n", i, rtt);
                somme += rtt;
                recus++;
                break;
            }
            printf("requete %d : pas de reponse en %.0f ms\n", i, delai * 1000);
            delai = delai * 1.6;
        }
        if (essai > ESSAIS)
            printf("requete %d : abandon\n", i);
    }
    printf("%d reponses sur %d\n", recus, nombre);
    if (recus > 0)
        printf("RTT moyen = %.3f ms\n", somme / recus);
    return recus == nombre ? 0 : 1;
}
