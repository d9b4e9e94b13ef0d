import java.io.IOException;
import java.io.InputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Instant;

public class ClockServer {
    private static final int PORT = 4446;

    public static void main(String[] args) throws IOException {
        try (ServerSocket ecoute = new ServerSocket(PORT)) {
            while (true) {
                Socket client = ecoute.accept();
                new Thread(() -> servir(client), "client-" + client.getPort()).start();
            }
        }
    }

    private static void servir(Socket client) {
        try (client) {
            InputStream entree = client.getInputStream();
            StringBuilder question = new StringBuilder();
            int octet;
            while ((octet = entree.read()) != -1) {
                if (octet != '?') {
                    if (question.length() < 200) {
                        question.append((char) octet);
                    }
                    continue;
                }
                System.out.println(client.getRemoteSocketAddress() + " demande " + question + "?");
                question.setLength(0);
                String reponse = Instant.now() + "\n";
                client.getOutputStream().write(reponse.getBytes(StandardCharsets.US_ASCII));
            }
        } catch (IOException e) {
            System.out.println("client perdu : " + e.getMessage());
        }
    }
}
