/* Exercice 3 : serveur web, un thread par connexion, fichiers du dossier "www". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PORT 12345
#define MAX 16384

static void envoyer(int s, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t e = write(s, p, n);
        if (e <= 0)
            return;
        p += e;
        n -= e;
    }
}

static void repondre(int s, const char *statut, const char *corps, size_t n, int sans_corps)
{
    char tete[256];
    int lg = snprintf(tete, sizeof tete,
                      "HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n"
                      "Connection: close\r\n\r\n", statut, n);
    envoyer(s, tete, lg);
    if (!sans_corps)
        envoyer(s, corps, n);
}

static void erreur(int s, const char *statut)
{
    repondre(s, statut, statut, strlen(statut), 0);
}

static void traiter(int s, char *requete)
{
    char methode[16], chemin[256], version[16], fichier[300], corps[65536];
    if (sscanf(requete, "%15s %255s %15s", methode, chemin, version) != 3 ||
        strncmp(version, "HTTP/", 5) != 0) {
        erreur(s, "400 Bad Request");
        return;
    }
    int tete_seule = strcmp(methode, "HEAD") == 0;
    if (strcmp(methode, "GET") != 0 && !tete_seule) {
        erreur(s, "405 Method Not Allowed");
        return;
    }
    if (strcmp(chemin, "/") == 0)
        strcpy(chemin, "/index.html");
    if (strstr(chemin, "..") != NULL || strchr(chemin, '%') != NULL) {
        erreur(s, "403 Forbidden");
        return;
    }
    snprintf(fichier, sizeof fichier, "www%s", chemin);
    FILE *f = fopen(fichier, "r");
    if (f == NULL) {
        erreur(s, "404 Not Found");
        return;
    }
    size_t n = fread(corps, 1, sizeof corps, f);
    if (ferror(f))
        erreur(s, "500 Internal Server Error");
    else
        repondre(s, "200 OK", corps, n, tete_seule);
    fclose(f);
}

static void *servir(void *argument)
{
    int s = (int)(long)argument;
    char requete[MAX + 1];
    size_t lu = 0;
    struct timeval patience = {60, 0};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    requete[0] = '\0';
    while (lu < MAX && strstr(requete, "\r\n\r\n") == NULL) {
        ssize_t n = read(s, requete + lu, MAX - lu);
        if (n <= 0)
            break;
        lu += n;
        requete[lu] = '\0';
    }
    if (lu > 0)
        traiter(s, requete);
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
    printf("http://localhost:%d/\n", PORT);
    for (;;) {
        int c = accept(ecoute, NULL, NULL);
        if (c < 0)
            continue;
        pthread_t t;
        if (pthread_create(&t, NULL, servir, (void *)(long)c) != 0)
            close(c);
        else
            pthread_detach(t);
    }
}
