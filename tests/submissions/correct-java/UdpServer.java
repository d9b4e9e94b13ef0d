import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.nio.charset.StandardCharsets;
import java.util.Random;

public class UdpServer {
    private static final int PORT = 4445;

    public static void main(String[] args) throws IOException {
        Random hasard = new Random();
        try (DatagramSocket socket = new DatagramSocket(PORT)) {
            System.out.println("Serveur UDP sur le port " + PORT);
            byte[] tampon = new byte[2048];
            while (true) {
                DatagramPacket paquet = new DatagramPacket(tampon, tampon.length);
                socket.receive(paquet);
                if (hasard.nextBoolean()) {
                    System.out.println("perdu : " + paquet.getSocketAddress());
                    continue;
                }
                String message = new String(paquet.getData(), 0, paquet.getLength(), StandardCharsets.UTF_8);
                byte[] reponse = ("Reçu : " + message).getBytes(StandardCharsets.UTF_8);
                try {
                    socket.send(new DatagramPacket(reponse, reponse.length, paquet.getSocketAddress()));
                    System.out.println("confirmé : " + paquet.getSocketAddress());
                } catch (IOException e) {
                    System.out.println("envoi impossible : " + e.getMessage());
                }
            }
        }
    }
}
