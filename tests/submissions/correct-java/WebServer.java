import java.io.IOException;
import java.io.InputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

public class WebServer implements Runnable {
    private static final int PORT = 8000;
    private static final String PAGE =
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>Java</title></head>"
        + "<body><p>Le serveur Java répond.</p></body></html>";

    private final Socket client;

    WebServer(Socket client) {
        this.client = client;
    }

    public static void main(String[] args) throws IOException {
        try (ServerSocket ecoute = new ServerSocket(PORT, 100)) {
            System.out.println("http://localhost:" + PORT);
            while (true) {
                new Thread(new WebServer(ecoute.accept())).start();
            }
        }
    }

    @Override
    public void run() {
        try (client) {
            client.setSoTimeout(60_000);
            String tete = lire(client.getInputStream());
            if (tete.isEmpty()) {
                return;
            }
            String statut;
            String corps;
            try {
                String[] ligne = tete.split("\r?\n")[0].split(" ");
                if (ligne.length != 3 || !ligne[2].startsWith("HTTP/")) {
                    statut = "400 Bad Request";
                    corps = "Requête incompréhensible";
                } else {
                    corps = page(ligne[1]);
                    statut = corps == null ? "404 Not Found" : "200 OK";
                    corps = corps == null ? "Pas de page " : corps;
                }
            } catch (RuntimeException e) {
                statut = "500 Internal Server Error";
                corps = "Erreur interne";
            }
            byte[] octets = corps.getBytes(StandardCharsets.UTF_8);
            String entete = "HTTP/1.1 " + statut + "\r\nContent-Type: text/html; charset=utf-8\r\n"
                + "Content-Length: " + octets.length + "\r\nConnection: close\r\n\r\n";
            client.getOutputStream().write(entete.getBytes(StandardCharsets.US_ASCII));
            if (!tete.startsWith("HEAD ")) {
                client.getOutputStream().write(octets);
            }
        } catch (IOException e) {
            System.out.println("connexion perdue : " + e.getMessage());
        }
    }

    private static String page(String chemin) {
        if (chemin.equals("/boum")) {
            throw new IllegalStateException("boum");
        }
        return chemin.equals("/") ? PAGE : null;
    }

    private static String lire(InputStream entree) throws IOException {
        StringBuilder lu = new StringBuilder();
        int octet;
        while (lu.length() < 16384 && (octet = entree.read()) != -1) {
            lu.append((char) octet);
            if (lu.length() >= 4 && lu.substring(lu.length() - 4).equals("\r\n\r\n")) {
                break;
            }
        }
        return lu.toString();
    }
}
