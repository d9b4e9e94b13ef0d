import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Locale;

public class ClockClient {
    public static void main(String[] args) throws IOException {
        int nombre = Integer.parseInt(args[2]);
        try (Socket socket = new Socket(args[0], Integer.parseInt(args[1]))) {
            BufferedReader entree = new BufferedReader(
                new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII));
            OutputStream sortie = socket.getOutputStream();
            for (int i = 1; i <= nombre; i++) {
                sortie.write("what time is it?\n".getBytes(StandardCharsets.US_ASCII));
                String ligne = entree.readLine();
                if (ligne == null) {
                    System.out.println("Le serveur a raccroché.");
                    return;
                }
                Instant serveur = Instant.parse(ligne.trim());
                double ecart = Duration.between(Instant.now(), serveur).toNanos() / 1e6;
                System.out.printf(Locale.FRANCE, "Il est %s, décalage : %.3f ms%n", serveur, ecart);
            }
        }
    }
}
