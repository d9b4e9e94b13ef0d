/* Exercice 1 : serveur UDP. La moitie des messages est perdue expres. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 1234
#define TAILLE 1024

int main(void)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0) {
        perror("socket");
        return 1;
    }
    struct sockaddr_in moi = {0};
    moi.sin_family = AF_INET;
    moi.sin_addr.s_addr = htonl(INADDR_ANY);
    moi.sin_port = htons(PORT);
    if (bind(s, (struct sockaddr *)&moi, sizeof moi) < 0) {
        perror("bind");
        return 1;
    }
    srand(time(NULL) ^ getpid());
    printf("serveur UDP, port %d\n", PORT);

    for (;;) {
        char message[TAILLE], reponse[TAILLE + 16];
        struct sockaddr_in client;
        socklen_t lg = sizeof client;
        ssize_t n = recvfrom(s, message, sizeof message, 0, (struct sockaddr *)&client, &lg);
        if (n < 0) {
            perror("recvfrom");
            continue;
        }
        if ((double)rand() / RAND_MAX < 0.5) {
            printf("%s:%d perdu\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));
            continue;
        }
        memcpy(reponse, "OK:", 3);
        memcpy(reponse + 3, message, n);
        if (sendto(s, reponse, n + 3, 0, (struct sockaddr *)&client, lg) < 0)
            perror("sendto");
        printf("%s:%d confirme\n", inet_ntoa(client.sin_addr), ntohs(client.sin_port));
    }
}
