"""The three exercises' servers (udp, clock, http) and the sidecar that degrades their network."""
