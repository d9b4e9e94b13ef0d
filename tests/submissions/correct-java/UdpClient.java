import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Scanner;

public class UdpClient {
    private static final int ESSAIS_MAX = 8;

    public static void main(String[] args) throws IOException {
        InetAddress hote = InetAddress.getByName(args[0]);
        int port = Integer.parseInt(args[1]);
        Scanner clavier = new Scanner(System.in);
        System.out.print("Nombre de requêtes : ");
        int nombre = clavier.nextInt();
        clavier.nextLine();
        System.out.print("Message : ");
        String texte = clavier.nextLine();

        List<Double> rtts = new ArrayList<>();
        try (DatagramSocket socket = new DatagramSocket()) {
            for (int i = 1; i <= nombre; i++) {
                Double rtt = demander(socket, hote, port, texte + " (" + i + ")");
                if (rtt == null) {
                    System.out.println("Requête " + i + " : pas de réponse, on passe à la suivante");
                } else {
                    rtts.add(rtt);
                    System.out.printf(Locale.FRANCE, "Requête %d : RTT = %.3f ms%n", i, rtt);
                }
            }
        }
        double moyenne = rtts.stream().mapToDouble(Double::doubleValue).average().orElse(Double.NaN);
        System.out.printf(Locale.FRANCE, "RTT moyen sur %d réponses : %.3f ms%n", rtts.size(), moyenne);
    }

    /** Renvoie le RTT en millisecondes, ou null si aucune réponse n'est arrivée. */
    private static Double demander(DatagramSocket socket, InetAddress hote, int port, String message)
            throws IOException {
        byte[] octets = message.getBytes(StandardCharsets.UTF_8);
        int delai = 250;
        for (int essai = 1; essai <= ESSAIS_MAX; essai++) {
            long debut = System.nanoTime();
            socket.send(new DatagramPacket(octets, octets.length, hote, port));
            long limite = debut + delai * 1_000_000L;
            while (true) {
                long reste = (limite - System.nanoTime()) / 1_000_000;
                if (reste <= 0) {
                    break;
                }
                socket.setSoTimeout((int) reste);
                DatagramPacket paquet = new DatagramPacket(new byte[2048], 2048);
                try {
                    socket.receive(paquet);
                } catch (SocketTimeoutException e) {
                    break;
                }
                long fin = System.nanoTime();
                String reponse = new String(paquet.getData(), 0, paquet.getLength(), StandardCharsets.UTF_8);
                if (reponse.contains(message)) {
                    return (fin - debut) / 1e6;
                }
            }
            System.out.println("  essai " + essai + " sans réponse après " + delai + " ms");
            delai += delai / 2;
        }
        return null;
    }
}
