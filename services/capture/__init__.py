"""Capture what one network interface sees into a pcapng file: ``python3 -m services.capture``."""
