prises = []
while True:
    prises.append(bytearray(b"x") * (16 << 20))
